//! Scores of one member or of the ensemble (recipe 9).

use std::collections::{BTreeMap, BTreeSet};

use dataset::{CLASSES as CLASS_NAMES, NUM_CLASSES, Purpose, Truth};
use eval::{Area, ClipScores, GroundTruth, PsdsSettings, Scores};
use types::{ClassScore, EvaluateSpec, Progress, ProgressUnit, ScoreReport, Split};

use crate::context::{Outcome, RankContext};
use crate::pseudo_labels::Ensemble;
use crate::{Error, FRAMES};

/// mpAUC looks at false positive rates up to here.
const MAX_FPR: f64 = 0.1;

/// Runs an `evaluate` task.
pub(crate) fn run(spec: &EvaluateSpec, context: &mut RankContext<'_>) -> Result<Outcome, Error> {
    let mut report = ScoreReport {
        iteration: spec.iteration,
        stage: spec.stage,
        subject: spec.subject.clone(),
        clips: BTreeMap::new(),
        psds1: None,
        psds1_class_mean: None,
        mpauc: None,
        psds1_by_class: BTreeMap::new(),
        pauc_by_class: BTreeMap::new(),
    };
    if let Some(split) = spec.evaluation.desed {
        score_desed(spec, split, context, &mut report)?;
    }
    if let Some(split) = spec.evaluation.maestro {
        score_maestro(spec, split, context, &mut report)?;
    }
    let path = context.scratch.join("scores.json");
    let text = serde_json::to_vec_pretty(&report)
        .map_err(|error| Error::Artifact(format!("scores that JSON cannot hold: {error}")))?;
    std::fs::write(&path, text).map_err(Error::io(&path))?;
    Ok(Outcome::one("scores", path))
}

fn score_desed(
    spec: &EvaluateSpec,
    split: Split,
    context: &mut RankContext<'_>,
    report: &mut ScoreReport,
) -> Result<(), Error> {
    let truth = dataset::desed_truth(&spec.data, split, &spec.evaluation.desed_classes)?;
    let classes = sounding(&truth);
    if classes.is_empty() {
        return Ok(());
    }
    let scores = scores(spec, split, &classes, context, |clip| {
        truth.events.contains_key(clip)
    })?;
    report.clips.insert(split, scores.clips().len() as u64);
    let psds = eval::psds(&scores, &ground_truth(&truth), &PsdsSettings::PSDS1)?;
    report.psds1 = Some(psds.value);
    report.psds1_class_mean = mean(&psds.by_class);
    for ((class, value), num_reference) in scores
        .classes()
        .iter()
        .zip(psds.by_class)
        .zip(psds.num_reference)
    {
        let score = ClassScore {
            value,
            num_reference,
        };
        report.psds1_by_class.insert(class.clone(), score);
    }
    Ok(())
}

fn score_maestro(
    spec: &EvaluateSpec,
    split: Split,
    context: &mut RankContext<'_>,
    report: &mut ScoreReport,
) -> Result<(), Error> {
    let truth = dataset::maestro_truth(&spec.data, split, &spec.evaluation.maestro_classes)?;
    let truth = truth.recordings;
    let classes = sounding(&truth);
    if classes.is_empty() {
        return Ok(());
    }
    let scores = scores(spec, split, &classes, context, |clip| {
        truth.durations.contains_key(dataset::recording_of(clip))
    })?;
    report.clips.insert(split, scores.clips().len() as u64);
    // the published figures count the area as a staircase (recipe T29)
    let auroc = eval::maestro_auroc(&scores, &ground_truth(&truth), MAX_FPR, Area::Staircase)?;
    report.mpauc = Some(auroc.mean);
    for (class, area) in scores.classes().iter().zip(auroc.by_class) {
        let score = ClassScore {
            value: area.value,
            num_reference: area.num_positive,
        };
        report.pauc_by_class.insert(class.clone(), score);
    }
    Ok(())
}

/// Classes with at least one event, sorted; a class that never sounds has no true positive rate.
fn sounding(truth: &Truth) -> BTreeSet<String> {
    truth
        .events
        .values()
        .flatten()
        .map(|event| event.class.clone())
        .collect()
}

fn ground_truth(truth: &Truth) -> GroundTruth {
    let events = truth
        .events
        .iter()
        .map(|(clip, events)| (clip.clone(), types::merge_touching(events)));
    GroundTruth {
        events: events.collect(),
        durations: truth.durations.clone(),
    }
}

/// Frame probabilities of the clips that `wanted` accepts: sigmoid of the members' mean logits, 0 outside the split's class
/// mask, median-filtered where the plan says so.
fn scores(
    spec: &EvaluateSpec,
    split: Split,
    classes: &BTreeSet<String>,
    context: &mut RankContext<'_>,
    wanted: impl Fn(&str) -> bool,
) -> Result<Scores, Error> {
    let shards = spec.shards.get(&split).copied().unwrap_or(1);
    let ensemble = Ensemble::open(context, &spec.members, split, shards)?;
    let mask = dataset::class_mask(split, Purpose::Evaluation);
    let columns: Vec<usize> = (0..NUM_CLASSES)
        .filter(|&class| classes.contains(CLASS_NAMES[class]))
        .collect();
    let boundaries = dataset::frame_boundaries();

    let mut names = ensemble.names();
    let mut clips = Vec::new();
    let mut done = 0;
    ensemble.for_each_chunk(|logits| {
        let probabilities = Vec::<f32>::try_from(logits.sigmoid().contiguous().view([-1]))?;
        for frames in probabilities.chunks_exact(FRAMES as usize * NUM_CLASSES) {
            let Some(name) = names.next() else { break };
            if !wanted(name) {
                continue;
            }
            let mut values: Vec<f64> = frames
                .iter()
                .zip(mask.iter().cycle())
                .map(|(value, valid)| f64::from(value * valid))
                .collect();
            if spec.evaluation.median_filter {
                values = eval::median_filter(&values, &eval::DCASE_2024_WINDOWS);
            }
            let chosen = values
                .chunks_exact(NUM_CLASSES)
                .flat_map(|frame| columns.iter().map(|&column| frame[column]))
                .collect();
            clips.push(ClipScores {
                clip: name.to_owned(),
                boundaries: boundaries.clone(),
                values: chosen,
            });
        }
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
    let names = columns
        .iter()
        .map(|&column| CLASS_NAMES[column].to_owned())
        .collect();
    Ok(Scores::new(names, clips)?)
}

fn mean(values: &[f64]) -> Option<f64> {
    (!values.is_empty()).then(|| values.iter().sum::<f64>() / values.len() as f64)
}
