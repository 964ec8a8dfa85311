//! Scores of one member or of the ensemble (recipe 9).

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use eval::{
    Area, Bootstrap, GroundTruth, Interval, Intervals, OperatingPoint, PsdsSettings, Scores,
    SebbSettings, TuningGrid, TuningMetric,
};
use serde::Serialize;
use types::{
    BoxSettings, ClassScore, Estimate, EvaluateSpec, EventScores, PostProcessing, Progress,
    ProgressUnit, RocCurve, ScoreReport, SegmentScores, Split,
};

use crate::context::{Outcome, RankContext};
use crate::pseudo_labels::Ensemble;
use crate::room::write_with_room;
use crate::scoring::{FrameScores, MAX_FPR, ground_truth, median_filtered, sounding};
use crate::{Error, shown};

/// Runs an `evaluate` task.
pub(crate) fn run(spec: &EvaluateSpec, context: &mut RankContext<'_>) -> Result<Outcome, Error> {
    let mut report = ScoreReport {
        iteration: spec.iteration,
        stage: spec.stage,
        subject: spec.subject.clone(),
        events: BTreeMap::new(),
        tuned_on: None,
        csebbs: BTreeMap::new(),
        segments: None,
    };
    let mut tuned = Tuned::default();
    for split in [spec.evaluation.desed, spec.evaluation.test]
        .into_iter()
        .flatten()
    {
        let events = score_events(spec, split, context, &mut tuned)?;
        if !events.is_empty() {
            report.events.insert(split, events);
        }
    }
    if !tuned.0.is_empty() {
        report.tuned_on = spec.evaluation.desed;
        report.csebbs = tuned.shown();
    }
    if let Some(split) = spec.evaluation.maestro {
        report.segments = score_segments(spec, split, context)?;
    }
    let Some(scores) = write("scores", &report, context)? else {
        return Ok(Outcome::Stopped);
    };
    let mut outputs = BTreeMap::from([("scores".to_owned(), scores)]);
    if let (Some(split), true) = (spec.evaluation.desed, spec.evaluation.clips > 0) {
        let clips = shown::clips(spec, split, context)?;
        let Some(clips) = write("clips", &clips, context)? else {
            return Ok(Outcome::Stopped);
        };
        outputs.insert("clips".to_owned(), clips);
    }
    Ok(Outcome::Finished(outputs))
}

/// An output of that name, as JSON; none if there is no room for it and the host wants the task to stop.
fn write(
    name: &str,
    output: &impl Serialize,
    context: &mut RankContext<'_>,
) -> Result<Option<PathBuf>, Error> {
    let path = context.scratch.join(format!("{name}.json"));
    let text = serde_json::to_vec(output)
        .map_err(|error| Error::Artifact(format!("{name} that JSON cannot hold: {error}")))?;
    let written = write_with_room(context.host, &path, text.len() as u64, || {
        std::fs::write(&path, &text).map_err(Error::io(&path))
    })?;
    Ok(written.map(|()| path))
}

/// Settings of change detection by class, once they are tuned.
#[derive(Default)]
struct Tuned(BTreeMap<String, SebbSettings>);

impl Tuned {
    /// Tunes on this split, unless another one came before.
    fn on(&mut self, scores: &Scores, truth: &GroundTruth) -> Result<(), Error> {
        if !self.0.is_empty() {
            return Ok(());
        }
        let metric = TuningMetric::Psds(PsdsSettings::PSDS1);
        let found = eval::tune(scores, truth, &TuningGrid::dcase_2024(), metric, false)?;
        self.0 = (scores.classes().iter().cloned())
            .zip(found.settings)
            .collect();
        Ok(())
    }

    /// Boxes as frame scores; none if there is a class that nothing was tuned for.
    fn boxes(&self, scores: &Scores, truth: &GroundTruth) -> Result<Option<Scores>, Error> {
        let settings: Option<Vec<SebbSettings>> = (scores.classes().iter())
            .map(|class| self.0.get(class).copied())
            .collect();
        let Some(settings) = settings else {
            return Ok(None);
        };
        let boxes = eval::bounding_boxes(scores, &settings)?;
        Ok(Some(boxes.scores(&truth.durations, f64::NEG_INFINITY)?))
    }

    fn shown(&self) -> BTreeMap<String, BoxSettings> {
        (self.0.iter())
            .map(|(class, settings)| (class.clone(), BoxSettings::from(*settings)))
            .collect()
    }
}

/// Sound events of one split, after every kind of post-processing; nothing where no event sounds.
fn score_events(
    spec: &EvaluateSpec,
    split: Split,
    context: &mut RankContext<'_>,
    tuned: &mut Tuned,
) -> Result<Vec<EventScores>, Error> {
    let truth = dataset::desed_truth(&spec.data, split, &spec.evaluation.desed_classes)?;
    let classes = sounding(&truth);
    if classes.is_empty() {
        return Ok(Vec::new());
    }
    let raw = scores(spec, split, &classes, context, |clip| {
        truth.events.contains_key(clip)
    })?;
    let truth = ground_truth(&truth);
    tuned.on(&raw, &truth)?;
    let mut found = Vec::new();
    for post_processing in PostProcessing::ALL {
        let scores = match post_processing {
            PostProcessing::Raw => Some(raw.clone()),
            PostProcessing::Median => Some(median_filtered(&raw)?),
            PostProcessing::Csebbs => tuned.boxes(&raw, &truth)?,
        };
        if let Some(scores) = scores {
            found.push(event_scores(spec, post_processing, &scores, &truth)?);
        }
    }
    Ok(found)
}

fn event_scores(
    spec: &EvaluateSpec,
    post_processing: PostProcessing,
    scores: &Scores,
    truth: &GroundTruth,
) -> Result<EventScores, Error> {
    let [one, two] = [PsdsSettings::PSDS1, PsdsSettings::PSDS2];
    let (psds1, psds2) = (
        eval::psds(scores, truth, &one)?,
        eval::psds(scores, truth, &two)?,
    );
    let intervals = |settings| {
        let bootstrap = bootstrap(spec)?;
        eval::psds_intervals(scores, truth, settings, &bootstrap).ok()
    };
    let around = intervals(&one);
    let around_two = intervals(&two);
    let by_class = |curve: fn(&[OperatingPoint]) -> RocCurve| {
        (scores.classes().iter().cloned())
            .zip(psds1.curves.iter().map(|points| curve(points)))
            .collect()
    };
    Ok(EventScores {
        post_processing,
        clips: scores.clips().len() as u64,
        psds1: estimate(psds1.value, around.as_ref().map(|all| all.value)),
        psds2: estimate(psds2.value, around_two.map(|all| all.value)),
        psds1_class_mean: estimate(
            psds1.by_class.iter().sum::<f64>() / psds1.by_class.len() as f64,
            around.as_ref().map(|all| all.class_mean),
        ),
        psds1_by_class: class_scores(
            scores.classes(),
            psds1
                .by_class
                .iter()
                .copied()
                .zip(psds1.num_reference.iter().copied()),
            around.as_ref(),
        ),
        roc_by_class: by_class(|points| RocCurve {
            efpr: points.iter().map(|point| point.efpr).collect(),
            tpr: points.iter().map(|point| point.tpr).collect(),
        }),
        roc: RocCurve {
            efpr: psds1.combined.efpr,
            tpr: psds1.combined.etpr,
        },
    })
}

/// Segments of MAESTRO's recordings; none where nothing sounds.
fn score_segments(
    spec: &EvaluateSpec,
    split: Split,
    context: &mut RankContext<'_>,
) -> Result<Option<SegmentScores>, Error> {
    let truth = dataset::maestro_truth(&spec.data, split, &spec.evaluation.maestro_classes)?;
    let truth = truth.recordings;
    let classes = sounding(&truth);
    if classes.is_empty() {
        return Ok(None);
    }
    let scores = scores(spec, split, &classes, context, |clip| {
        truth.durations.contains_key(dataset::recording_of(clip))
    })?;
    let (scores, truth) = (median_filtered(&scores)?, ground_truth(&truth));
    // the published figures count the area as a staircase (recipe T29)
    let area = Area::Staircase;
    let auroc = eval::maestro_auroc(&scores, &truth, MAX_FPR, area)?;
    let around = bootstrap(spec).and_then(|bootstrap| {
        eval::maestro_auroc_intervals(&scores, &truth, MAX_FPR, area, &bootstrap).ok()
    });
    Ok(Some(SegmentScores {
        split,
        clips: scores.clips().len() as u64,
        mpauc: estimate(auroc.mean, around.as_ref().map(|all| all.value)),
        pauc_by_class: class_scores(
            scores.classes(),
            auroc
                .by_class
                .iter()
                .map(|class| (class.value, class.num_positive)),
            around.as_ref(),
        ),
    }))
}

/// None where the plan wants no intervals. Where a class sounds in so few clips that most draws miss it, there are none either.
fn bootstrap(spec: &EvaluateSpec) -> Option<Bootstrap> {
    let replicates = spec.evaluation.replicates as usize;
    (replicates > 0).then(|| Bootstrap {
        replicates,
        seed: spec.seed,
        ..Bootstrap::default()
    })
}

fn estimate(value: f64, interval: Option<Interval>) -> Estimate {
    Estimate {
        value,
        interval: interval.map(|Interval { low, high }| [low, high]),
    }
}

/// Values and numbers of references in column order, with their intervals, by name.
fn class_scores(
    classes: &[String],
    values: impl Iterator<Item = (f64, u64)>,
    around: Option<&Intervals>,
) -> BTreeMap<String, ClassScore> {
    (classes.iter().zip(values).enumerate())
        .map(|(column, (class, (value, num_reference)))| {
            let interval = around.map(|all| all.by_class[column]);
            let score = ClassScore {
                score: estimate(value, interval),
                num_reference,
            };
            (class.clone(), score)
        })
        .collect()
}

/// Frame probabilities of the clips that `wanted` accepts, from the members' mean logits.
pub(crate) fn scores(
    spec: &EvaluateSpec,
    split: Split,
    classes: &BTreeSet<String>,
    context: &mut RankContext<'_>,
    wanted: impl Fn(&str) -> bool,
) -> Result<Scores, Error> {
    let shards = spec.shards.get(&split).copied().unwrap_or(1);
    let ensemble = Ensemble::open(context, &spec.members, split, shards)?;
    let mut scores = FrameScores::new(split, classes);
    let mut names = ensemble.names();
    let mut done = 0;
    ensemble.for_each_chunk(|logits| {
        scores.add(names.by_ref(), logits, &wanted)?;
        done += logits.size()[0] as u64;
        context.host.progress(Progress {
            unit: ProgressUnit::Clips,
            done,
            total: ensemble.len(),
            loss: None,
            clips_per_second: None,
        });
        Ok(())
    })?;
    scores.finish()
}
