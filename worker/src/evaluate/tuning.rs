//! Settings of boxes that a data set prefers.

use std::io::Write;

use anyhow::{Context, Result, bail};
use eval::{Collars, PsdsSettings, TuningGrid, TuningMetric};
use types::BoxSettings;

use super::options::{Metric, Tune};
use super::table::{align_right, plain};
use super::{TunedFile, read};

pub(super) fn tune(options: &Tune) -> Result<String> {
    let grid = grid(options)?;
    let (scores, truth) = read(&options.inputs, &options.ground_truth, &options.durations)?;
    let metric = match options.metric {
        Metric::Psds1 => TuningMetric::Psds(PsdsSettings::PSDS1),
        Metric::CollarF1 => TuningMetric::CollarF1(Collars::DCASE),
    };
    let tuned = eval::tune(&scores, &truth, &grid, metric, options.shared)?;
    let classes = scores.classes();
    let settings: Vec<BoxSettings> = tuned
        .settings
        .iter()
        .copied()
        .map(BoxSettings::from)
        .collect();
    let thresholds = tuned.thresholds.iter().flatten().copied();
    let file = TunedFile {
        csebbs: classes
            .iter()
            .cloned()
            .zip(settings.iter().copied())
            .collect(),
        thresholds: classes.iter().cloned().zip(thresholds).collect(),
    };
    write(&file, options)?;

    let mut table = plain();
    table.set_header([
        "class",
        "filter",
        "absolute limit",
        "relative limit",
        "value",
    ]);
    let limit = |limit: Option<f64>| limit.map_or("-".to_owned(), |limit| limit.to_string());
    for ((class, settings), value) in classes.iter().zip(&settings).zip(&tuned.values) {
        table.add_row([
            class.clone(),
            format!("{} s", settings.step_seconds),
            limit(settings.merge_absolute),
            limit(settings.merge_relative),
            format!("{value:.4}"),
        ]);
    }
    align_right(&mut table, 1..5);
    Ok(format!(
        "{table}\n\n{} settings tried on {} clips; the best are in {}",
        grid.step_seconds.len() * grid.merge.len(),
        scores.clips().len(),
        options.output.display()
    ))
}

/// The grid of DCASE 2024, or what the options name of it.
fn grid(options: &Tune) -> Result<TuningGrid> {
    let reference = TuningGrid::dcase_2024();
    if options.step.is_none()
        && options.absolute.is_none()
        && options.relative.is_none()
        && !options.joint
    {
        return Ok(reference);
    }
    let finite = |limit: fn(&eval::MergeLimits) -> f64| -> Vec<f64> {
        let limits = reference.merge.iter().map(limit);
        limits.filter(|limit| limit.is_finite()).collect()
    };
    let or = |list: &Option<Vec<f64>>, otherwise: Vec<f64>| list.clone().unwrap_or(otherwise);
    let step = or(&options.step, reference.step_seconds.clone());
    // one kind that is named alone is meant alone
    let named = options.absolute.is_some() || options.relative.is_some();
    let both = options.joint || !named;
    let absolute = or(
        &options.absolute,
        if both {
            finite(|merge| merge.absolute)
        } else {
            Vec::new()
        },
    );
    let relative = or(
        &options.relative,
        if both {
            finite(|merge| merge.relative)
        } else {
            Vec::new()
        },
    );
    if step
        .iter()
        .chain(&absolute)
        .chain(&relative)
        .any(|value| value.is_nan() || *value <= 0.0)
    {
        bail!("filter lengths and merge limits must be positive numbers");
    }
    Ok(match options.joint {
        true => TuningGrid::both(&step, &absolute, &relative),
        false => TuningGrid::either(&step, &absolute, &relative),
    })
}

/// The file has its name only when it is complete.
fn write(file: &TunedFile, options: &Tune) -> Result<()> {
    let path = &options.output;
    let folder = path
        .parent()
        .filter(|folder| !folder.as_os_str().is_empty());
    let failed = || format!("cannot write {}", path.display());
    let mut aside =
        tempfile::NamedTempFile::new_in(folder.unwrap_or(".".as_ref())).with_context(failed)?;
    serde_json::to_writer_pretty(&mut aside, file).with_context(failed)?;
    aside.write_all(b"\n").with_context(failed)?;
    aside.persist(path).with_context(failed)?;
    Ok(())
}
