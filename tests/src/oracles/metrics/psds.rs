//! PSDS with all its curves, and the counts behind it.

use anyhow::{Context, Result, bail};
use eval::{
    ChangePoint, GroundTruth, Intersection, OperatingPoint, PsdsSettings, Scores,
    intersection_statistics, psds,
};

use super::super::rows::{Part, Tolerance};
use super::expected::Node;
use super::{Folder, SCORES, VALUES, by_class};

/// A column of a curve: name, value, what is accepted.
type Column = (&'static str, fn(&OperatingPoint) -> f64, Tolerance);

/// Every parameter set.
pub(super) fn compare(
    folder: &Folder<'_>,
    scores: &Scores,
    truth: &GroundTruth,
    expected: Node<'_>,
) -> Result<()> {
    for (set, wanted) in expected.entries()? {
        let got = psds(scores, truth, &settings(wanted.get("params"))?)?;
        one(folder, set, scores.classes(), &got, wanted).with_context(|| set.to_owned())?;
    }
    Ok(())
}

fn one(
    folder: &Folder<'_>,
    set: &str,
    classes: &[String],
    got: &eval::Psds,
    wanted: Node<'_>,
) -> Result<()> {
    let rows = folder.rows;
    rows.check_number(set, got.value, wanted.get("psds").number()?, VALUES);
    let curve = wanted.get("psd_roc");
    let (efpr, etpr) = (
        curve.get("effective_fpr").numbers()?,
        curve.get("effective_tpr").numbers()?,
    );
    let name = |part: &str| format!("{set}, {part}");
    rows.check_numbers(
        &name("combined effective FPR"),
        &got.combined.efpr,
        &efpr,
        VALUES,
    );
    rows.check_numbers(
        &name("combined effective TPR"),
        &got.combined.etpr,
        &etpr,
        VALUES,
    );
    let values = by_class(classes, wanted.get("single_class_psds"), Node::number)?;
    rows.check_numbers(&name("classes"), &got.by_class, &values, VALUES);
    let columns: [Column; 3] = [
        ("tpr", |point| point.tpr, VALUES),
        ("effective_fpr", |point| point.efpr, VALUES),
        ("score", |point| point.score, SCORES),
    ];
    for (column, value, tolerance) in columns {
        let curves = wanted.get("single_class_psd_rocs");
        let wanted = by_class(classes, curves, |curve| curve.get(column).numbers())?;
        let parts: Vec<_> = (classes.iter().zip(&got.curves).zip(wanted))
            .map(|((class, curve), wanted)| {
                (class.as_str(), curve.iter().map(value).collect(), wanted)
            })
            .collect();
        rows.check_parts(&name(&format!("curves' {column}")), &parts, tolerance);
    }
    Ok(())
}

/// Counts at every threshold at which one changes.
pub(super) fn change_points(
    folder: &Folder<'_>,
    scores: &Scores,
    truth: &GroundTruth,
    expected: Node<'_>,
) -> Result<()> {
    let classes = scores.classes();
    for wanted in expected.items()? {
        let params = wanted.get("params");
        let settings = intersection(params)?;
        let got = intersection_statistics(scores, truth, settings)?;
        let set = format!("statistics at {}/{}", settings.dtc, settings.gtc);
        let wanted = wanted.get("classes");
        let mut parts: [Vec<Part<'_>>; 6] = Default::default();
        for (class, got) in classes.iter().zip(&got) {
            let wanted = wanted.get(class);
            let column = |value: &dyn Fn(&ChangePoint) -> f64, end: f64| -> Vec<f64> {
                // from the lowest score up; at the end, above the highest score, nothing is found
                got.points.iter().rev().map(value).chain([end]).collect()
            };
            let mut add = |place: usize, got: Vec<f64>, wanted: Vec<f64>| {
                parts[place].push((class, got, wanted));
            };
            add(
                0,
                column(&|point| point.score, f64::INFINITY),
                wanted.get("score").numbers()?,
            );
            add(
                1,
                column(&|point| point.true_positives as f64, 0.0),
                wanted.get("tps").numbers()?,
            );
            add(
                2,
                column(&|point| point.false_positives as f64, 0.0),
                wanted.get("fps").numbers()?,
            );
            for (other, crossed) in match wanted.get("cts") {
                crossed if crossed.exists() => crossed.entries()?,
                _ => Vec::new(),
            } {
                let place = (classes.iter().position(|class| class == other))
                    .with_context(|| format!("{other} has no scores"))?;
                add(
                    3,
                    column(&|point| point.cross_triggers[place] as f64, 0.0),
                    crossed.numbers()?,
                );
            }
            add(
                4,
                vec![got.num_reference as f64],
                vec![wanted.get("n_ref").number()?],
            );
            add(
                5,
                vec![got.reference_time],
                vec![wanted.get("t_ref").number()?],
            );
        }
        let names = [
            ("scores", SCORES),
            ("true positives", Tolerance::EXACT),
            ("false positives", Tolerance::EXACT),
            ("cross triggers", Tolerance::EXACT),
            ("numbers of events", Tolerance::EXACT),
            ("time of events", VALUES),
        ];
        for ((name, tolerance), parts) in names.into_iter().zip(parts) {
            if !parts.is_empty() {
                folder
                    .rows
                    .check_parts(&format!("{set}, {name}"), &parts, tolerance);
            }
        }
    }
    Ok(())
}

/// Settings as the published tool names them.
pub(super) fn settings(params: Node<'_>) -> Result<PsdsSettings> {
    Ok(PsdsSettings {
        intersection: intersection(params)?,
        alpha_ct: params.get("alpha_ct").number()?,
        alpha_st: params.get("alpha_st").number()?,
        unit_seconds: unit(params)?,
        max_efpr: params.get("max_efpr").number()?,
        best_points_only: !params.get("non_oracle").is_true(),
    })
}

/// Seconds of the unit in which false positives are counted.
pub(super) fn unit(params: Node<'_>) -> Result<f64> {
    Ok(match params.get("unit_of_time").text()? {
        "hour" => 3600.0,
        "minute" => 60.0,
        "second" => 1.0,
        other => bail!("{other} is no unit of time, expected hour, minute or second"),
    })
}

pub(super) fn intersection(params: Node<'_>) -> Result<Intersection> {
    Ok(Intersection {
        dtc: params.get("dtc_threshold").number()?,
        gtc: params.get("gtc_threshold").number()?,
        cttc: params.get("cttc_threshold").number_or_none()?,
    })
}
