//! Sound events: PSDS and F1.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context, Result};
use eval::{
    Collars, GroundTruth, Intersection, Interval, Intervals, PsdsSettings, Scores, bounding_boxes,
    clip_changes, collar_changes, intersection_changes, median_filter, psds, psds_intervals,
    segment_changes,
};

use super::f1::F1;
use super::options::Evaluate;
use super::table::{Report, Value};
use super::{TunedFile, bootstrap, read};

pub(super) fn evaluate(options: &Evaluate) -> Result<String> {
    let ground_truth = options.ground_truth.as_deref();
    let ground_truth = ground_truth.context("no ground truth, expected --ground-truth")?;
    let (scores, truth) = read(&options.inputs, ground_truth, options.durations()?)?;
    let scores = processed(options, scores, &truth)?;
    let bootstrap = bootstrap(options);
    let mut report = Report::new(scores.classes(), truth.durations.len());
    for (name, settings) in [
        ("PSDS1", PsdsSettings::PSDS1),
        ("PSDS2", PsdsSettings::PSDS2),
    ] {
        let found = psds(&scores, &truth, &settings)?;
        let around = bootstrap
            .as_ref()
            .and_then(|bootstrap| psds_intervals(&scores, &truth, &settings, bootstrap).ok());
        let of = |pick: fn(&Intervals) -> Interval| around.as_ref().map(pick);
        report.add(name, Value::new(found.value, of(|all| all.value)));
        if name == "PSDS1" {
            let mean = found.by_class.iter().sum::<f64>() / found.by_class.len() as f64;
            report.add(
                "mean single-class PSDS1",
                Value::new(mean, of(|all| all.class_mean)),
            );
        }
        let by_class = found.by_class.iter().enumerate().map(|(class, value)| {
            Value::new(*value, around.as_ref().map(|all| all.by_class[class]))
        });
        report.add_classes(name, by_class.collect());
    }
    let f1 = F1 {
        clips: scores.clips().len(),
        bootstrap,
        threshold: options.threshold,
    };
    for (name, changes) in [
        (
            "intersection F1",
            intersection_changes(&scores, &truth, Intersection::F1)?,
        ),
        (
            "collar F1",
            collar_changes(&scores, &truth, Collars::DCASE)?,
        ),
        ("segment F1", segment_changes(&scores, &truth, 1.0)?),
        ("clip F1", clip_changes(&scores, &labels(&truth))?),
    ] {
        f1.add(&mut report, name, &changes)?;
    }
    report.show(options)
}

/// What sounds in each clip at all.
fn labels(truth: &GroundTruth) -> BTreeMap<String, BTreeSet<String>> {
    let clips = truth.events.iter();
    clips
        .map(|(clip, events)| {
            let classes = events.iter().map(|event| event.class.clone());
            (clip.clone(), classes.collect())
        })
        .collect()
}

/// Median filter or boxes, where they are asked for.
fn processed(options: &Evaluate, scores: Scores, truth: &GroundTruth) -> Result<Scores> {
    if let Some(path) = &options.boxes {
        let settings = TunedFile::read(path)?.of(scores.classes(), path)?;
        let boxes = bounding_boxes(&scores, &settings)?;
        return Ok(boxes.scores(&truth.durations, f64::NEG_INFINITY)?);
    }
    let Some(frames) = options.median else {
        return Ok(scores);
    };
    let windows = vec![frames; scores.classes().len()];
    let clips = scores.clips().iter().map(|clip| eval::ClipScores {
        values: median_filter(&clip.values, &windows),
        ..clip.clone()
    });
    Ok(Scores::new(scores.classes().to_vec(), clips.collect())?)
}
