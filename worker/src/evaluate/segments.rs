//! MAESTRO: seconds of recordings.

use std::path::Path;

use anyhow::Result;
use eval::{Area, GroundTruth, maestro_auroc, maestro_auroc_intervals};

use super::bootstrap;
use super::options::{AreaRule, Evaluate};
use super::table::{Report, Value};

/// mpAUC looks at false positive rates up to here.
const MAX_FPR: f64 = 0.1;

pub(super) fn evaluate(options: &Evaluate, labels: &Path) -> Result<String> {
    let inputs = &options.inputs;
    let scores = scorefiles::read_scores(&inputs.scores)?;
    let wanted = inputs
        .classes
        .clone()
        .unwrap_or_else(|| scores.classes().to_vec());
    let durations = scorefiles::read_durations(options.durations()?)?;
    let maestro = scorefiles::read_maestro(labels, &wanted)?;
    let truth = GroundTruth {
        events: maestro.recordings,
        durations,
    };
    let sounding: Vec<String> = (wanted.iter())
        .filter(|class| {
            let mut events = truth.events.values().flatten();
            inputs.classes.is_some() || events.any(|event| event.class == **class)
        })
        .cloned()
        .collect();
    let scores = scores.select_classes(&sounding)?;
    let area = match options.area {
        AreaRule::Staircase => Area::Staircase,
        AreaRule::Linear => Area::Linear,
    };
    let found = maestro_auroc(&scores, &truth, MAX_FPR, area)?;
    let around = bootstrap(options).and_then(|bootstrap| {
        maestro_auroc_intervals(&scores, &truth, MAX_FPR, area, &bootstrap).ok()
    });
    let mut report = Report::new(&sounding, truth.durations.len());
    report.add(
        "mpAUC",
        Value::new(found.mean, around.as_ref().map(|all| all.value)),
    );
    let by_class = found.by_class.iter().enumerate().map(|(class, area)| {
        Value::new(area.value, around.as_ref().map(|all| all.by_class[class]))
    });
    report.add_classes("mpAUC", by_class.collect());
    report.show(options)
}
