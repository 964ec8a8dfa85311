//! Sound events: PSDS and F1.

use anyhow::{Context, Result};
use eval::{
    Bootstrap, ClassChanges, Collars, CountsByThreshold, FScore, GroundTruth, Intersection,
    Interval, Intervals, PsdsSettings, Scores, bounding_boxes, collar_changes, intersection_counts,
    median_filter, psds, psds_intervals, segment_changes,
};

use super::options::Evaluate;
use super::table::{Report, Value};
use super::{TunedFile, bootstrap, read};

pub(super) fn evaluate(options: &Evaluate) -> Result<String> {
    let ground_truth = options.ground_truth.as_deref();
    let ground_truth = ground_truth.context("no ground truth, expected --ground-truth")?;
    let (scores, truth) = read(&options.inputs, ground_truth)?;
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
    let by_intersection = intersection_counts(&scores, &truth, Intersection::F1)?;
    add_f1(
        &mut report,
        "intersection F1",
        options.threshold,
        &by_intersection,
        None,
    )?;
    for (name, changes) in [
        (
            "collar F1",
            collar_changes(&scores, &truth, Collars::DCASE)?,
        ),
        ("segment F1", segment_changes(&scores, &truth, 1.0)?),
    ] {
        let counts: Vec<CountsByThreshold> = changes.iter().map(ClassChanges::counts).collect();
        let draws = bootstrap.as_ref().map(|bootstrap| Draws {
            bootstrap,
            clips: scores.clips().len(),
            changes: &changes,
        });
        add_f1(
            &mut report,
            name,
            options.threshold,
            &counts,
            draws.as_ref(),
        )?;
    }
    report.show(options)
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

/// What a bootstrap of F1 needs.
struct Draws<'a> {
    bootstrap: &'a Bootstrap,
    clips: usize,
    changes: &'a [ClassChanges],
}

impl Draws<'_> {
    /// Interval of the macro F1 at thresholds, or at the best ones of each draw.
    fn interval(&self, thresholds: Option<f64>) -> Option<Interval> {
        let statistic = |times: &[u32]| {
            let counts: Result<Vec<_>, _> = (self.changes.iter())
                .map(|class| class.weighted_counts(times))
                .collect();
            let counts = counts.ok()?;
            let found = match thresholds {
                Some(threshold) => FScore::at(&counts, &[threshold]).ok()?,
                None => FScore::best(&counts),
            };
            Some(vec![found.macro_average().f1])
        };
        let intervals = self.bootstrap.intervals(self.clips, statistic).ok()?;
        intervals.first().copied()
    }
}

fn add_f1(
    report: &mut Report,
    name: &str,
    threshold: f64,
    counts: &[CountsByThreshold],
    draws: Option<&Draws<'_>>,
) -> Result<()> {
    let at = FScore::at(counts, &[threshold])?;
    let best = FScore::best(counts);
    for (name, found, thresholds) in [
        (format!("{name} at {threshold}"), at, Some(threshold)),
        (format!("{name}, best thresholds"), best, None),
    ] {
        let interval = draws.and_then(|draws| draws.interval(thresholds));
        report.add(&name, Value::new(found.macro_average().f1, interval));
        let by_class = found.by_class.iter();
        report.add_classes(
            &name,
            by_class
                .map(|class| Value::new(class.counts.f1(), None))
                .collect(),
        );
        if thresholds.is_none() {
            report.add_thresholds(
                &name,
                found.by_class.iter().map(|class| class.threshold).collect(),
            );
        }
    }
    Ok(())
}
