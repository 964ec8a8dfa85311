//! `worker evaluate` and `worker tune`: any system's frame scores against ground truth, with no training and no coordinator.

mod clips;
mod events;
mod f1;
pub mod options;
mod segments;
mod table;
#[cfg(test)]
mod tests;
mod tuning;

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, Result, bail};
use eval::{Bootstrap, GroundTruth, Scores, SebbSettings};
use serde::{Deserialize, Serialize};
use types::BoxSettings;

use crate::exit;
use options::{Evaluate, Inputs, Tune};

/// Runs `worker evaluate`; gives the process's exit code.
#[must_use]
pub fn evaluate(options: &Evaluate) -> u8 {
    ended(match (&options.maestro, &options.weak_labels) {
        (Some(labels), _) => segments::evaluate(options, labels),
        (None, Some(labels)) => clips::evaluate(options, labels),
        (None, None) => events::evaluate(options),
    })
}

/// Runs `worker tune`; gives the process's exit code.
#[must_use]
pub fn tune(options: &Tune) -> u8 {
    ended(tuning::tune(options))
}

fn ended(result: Result<String>) -> u8 {
    match result {
        Ok(text) => {
            use std::io::Write;
            // a reader that has gone needs nothing more
            let _ = writeln!(std::io::stdout().lock(), "{text}");
            exit::OK
        }
        Err(error) => {
            eprintln!("error: {}", told(&error));
            exit::FAILED
        }
    }
}

/// The error and its causes, but none that what comes before has told already.
fn told(error: &anyhow::Error) -> String {
    error.chain().fold(String::new(), |text, cause| {
        let cause = cause.to_string();
        match text.as_str() {
            "" => cause,
            said if said.contains(&cause) => text,
            said => format!("{said}: {cause}"),
        }
    })
}

/// Settings of boxes as a file: what `worker tune` writes, and part of what a run's `scores.json` says of each ensemble.
#[derive(Debug, Serialize, Deserialize)]
struct TunedFile {
    /// By class name.
    csebbs: BTreeMap<String, BoxSettings>,
    /// Each class's best threshold, where the metric has one.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    thresholds: BTreeMap<String, f64>,
}

impl TunedFile {
    fn read(path: &Path) -> Result<Self> {
        let text =
            std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
        serde_json::from_slice(&text).with_context(|| {
            format!(
                "{} holds no settings of boxes, expected what `worker tune` writes",
                path.display()
            )
        })
    }

    /// In the order of `classes`.
    fn of(&self, classes: &[String], path: &Path) -> Result<Vec<SebbSettings>> {
        (classes.iter())
            .map(|class| {
                let settings = self.csebbs.get(class);
                let settings = settings.with_context(|| {
                    format!("{} has no settings for class {class:?}", path.display())
                })?;
                Ok(SebbSettings::from(*settings))
            })
            .collect()
    }
}

/// Scores and ground truth of the classes in question: those named, or those with an event. Clips without any event of them stay.
fn read(inputs: &Inputs, ground_truth: &Path, durations: &Path) -> Result<(Scores, GroundTruth)> {
    let (scores, truth) = scorefiles::read_scored(&inputs.scores, ground_truth, durations)?;
    let sounds = |class: &String| {
        let mut events = truth.events.values().flatten();
        events.any(|event| event.class == *class)
    };
    let classes: Vec<String> = match &inputs.classes {
        Some(names) => names.clone(),
        None => scores
            .classes()
            .iter()
            .filter(|class| sounds(class))
            .cloned()
            .collect(),
    };
    if classes.is_empty() {
        bail!(
            "{} has no event at all, so that nothing can be scored",
            ground_truth.display()
        );
    }
    let scores = scores.select_classes(&classes)?;
    let events = truth.events.into_iter().map(|(clip, mut events)| {
        events.retain(|event| classes.contains(&event.class));
        (clip, events)
    });
    let truth = GroundTruth {
        events: events.collect(),
        durations: truth.durations,
    };
    Ok((scores, truth))
}

fn bootstrap(options: &Evaluate) -> Option<Bootstrap> {
    let replicates = options.replicates as usize;
    (replicates > 0).then(|| Bootstrap {
        replicates,
        seed: options.seed,
        ..Bootstrap::default()
    })
}
