//! Inputs that must be refused, and one that must not.

use std::collections::BTreeMap;

use anyhow::{Context, Result};
use eval::{Collars, FScore, GroundTruth, PsdsSettings, SoundEvent, collar_counts, psds};

use super::super::rows::{Outcome, Row, Tolerance};
use super::expected::Node;
use super::psds::unit;
use super::{Folder, VALUES};

pub(super) fn compare(folder: &Folder<'_>, expected: Node<'_>) -> Result<()> {
    let scores = folder.scores()?;
    let cases = expected.get("cases").entries()?;
    let truths = (cases.iter())
        .map(|(name, case)| Ok((*name, truth(*case).with_context(|| (*name).to_owned())?)))
        .collect::<Result<BTreeMap<_, _>>>()?;
    let valid = (cases.iter())
        .find(|(_, case)| !case.get("psds1").has_entries())
        .and_then(|(name, _)| truths.get(name))
        .context("no case is accepted")?;
    for (name, case) in &cases {
        let truth = &truths[name];
        let got = psds(&scores, truth, &PsdsSettings::PSDS1).map(|got| got.value);
        let wanted = case.get("psds1");
        outcome(
            folder,
            &format!("{name}, PSDS1"),
            got,
            wanted,
            &names(valid, truth),
        )?;
        // collars have nothing to do with durations
        let truth = GroundTruth {
            durations: valid.durations.clone(),
            ..truth.clone()
        };
        let got = collar_counts(&scores, &truth, Collars::DCASE)
            .and_then(|counts| Ok(FScore::at(&counts, &[0.5])?.macro_average().f1));
        let wanted = case.get("collar_f_macro_at_0.5");
        let name = format!("{name}, F1 by collars");
        let sounds =
            |class: &String| (truth.events.values().flatten()).any(|event| event.class == *class);
        if got.is_ok() && wanted.get("rejected").is_true() && !scores.classes().iter().all(sounds) {
            folder.rows.push(Row {
                outcome: Outcome::Outside(
                    "a class without events has an F1 here, the reference refuses it",
                ),
                ..Row::new(&name, Tolerance::EXACT)
            });
        } else {
            outcome(folder, &name, got, wanted, &names(valid, &truth))?;
        }
    }
    for (name, case) in expected.get("parameter_checks").entries()? {
        let params = case.get("params");
        let unit_seconds = match params.get("unit_of_time") {
            given if given.exists() => unit(params),
            _ => Ok(PsdsSettings::PSDS1.unit_seconds),
        };
        let mut settings = PsdsSettings {
            alpha_ct: params.get("alpha_ct").number()?,
            ..PsdsSettings::PSDS1
        };
        settings.intersection.cttc = params.get("cttc_threshold").number_or_none()?;
        let got = unit_seconds
            .map_err(|error| error.to_string())
            .and_then(|unit_seconds| {
                settings.unit_seconds = unit_seconds;
                psds(&scores, valid, &settings)
                    .map(|got| got.value)
                    .map_err(|error| error.to_string())
            });
        outcome(folder, name, got, case, &[])?;
    }
    Ok(())
}

fn outcome<E: std::fmt::Display>(
    folder: &Folder<'_>,
    name: &str,
    got: Result<f64, E>,
    wanted: Node<'_>,
    named: &[String],
) -> Result<()> {
    if !wanted.has_entries() {
        let wanted = wanted.number()?;
        match got {
            Ok(got) => folder.rows.check_number(name, got, wanted, VALUES),
            Err(error) => folder
                .rows
                .check_text(name, Err(format!("refused: {error}"))),
        }
        return Ok(());
    }
    if wanted.get("rejected").is_true() {
        let refused = match got {
            Ok(value) => Err(format!("{value}, expected to be refused")),
            Err(error) => {
                let error = error.to_string();
                match named.iter().find(|name| !error.contains(name.as_str())) {
                    Some(name) => Err(format!("the refusal does not name {name}: {error}")),
                    None => Ok(()),
                }
            }
        };
        folder
            .rows
            .check_text(&format!("{name}, refused by name"), refused);
    }
    Ok(())
}

fn truth(case: Node<'_>) -> Result<GroundTruth> {
    let mut truth = GroundTruth::default();
    for (clip, events) in case.get("ground_truth").entries()? {
        let mut list = Vec::new();
        for event in events.items()? {
            let parts = event.items()?;
            let [onset, offset, class] = parts[..] else {
                anyhow::bail!(
                    "an event of {} parts, expected onset, offset and class",
                    parts.len()
                );
            };
            list.push(SoundEvent {
                onset: onset.number()?,
                offset: offset.number()?,
                class: class.text()?.to_owned(),
            });
        }
        truth.events.insert(clip.to_owned(), list);
    }
    for (clip, duration) in case.get("durations").entries()? {
        truth.durations.insert(clip.to_owned(), duration.number()?);
    }
    Ok(truth)
}

/// What a refusal has to name: what is otherwise than in the accepted case.
fn names(valid: &GroundTruth, refused: &GroundTruth) -> Vec<String> {
    let mut clips: Vec<&String> = Vec::new();
    for (one, other) in [(valid, refused), (refused, valid)] {
        clips.extend(
            one.events
                .keys()
                .filter(|clip| !other.events.contains_key(*clip)),
        );
        clips.extend(
            one.durations
                .keys()
                .filter(|clip| !other.durations.contains_key(*clip)),
        );
    }
    if let Some(clip) = clips.first() {
        return vec![format!("{clip:?}")];
    }
    for (clip, events) in &refused.events {
        if let Some(event) = events
            .iter()
            .find(|event| !valid.events[clip].contains(event))
        {
            return vec![
                format!("{clip:?}"),
                format!("{:?}", event.class),
                format!("{} s", event.onset),
                format!("{} s", event.offset),
            ];
        }
    }
    for (clip, events) in &valid.events {
        if let Some(event) = events
            .iter()
            .find(|event| !refused.events[clip].contains(event))
        {
            return vec![format!("{:?}", event.class)];
        }
    }
    Vec::new()
}
