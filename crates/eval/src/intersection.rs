//! Counting detections by how much they share with the reference (Bilen et al., "A Framework for the Robust Evaluation of Sound
//! Event Detection", 2020), at every threshold at once.

use rayon::prelude::*;

use crate::{ClipScores, Error, GroundTruth, Scores};

/// When a detection counts.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Intersection {
    /// Detection tolerance: a detection is true if at least this share of it lies in events of its class.
    pub dtc: f64,
    /// Ground-truth tolerance: an event is found if true detections cover at least this share of it.
    pub gtc: f64,
    /// Cross-trigger tolerance: a false detection is a cross-trigger of another class if at least this share of it lies in that
    /// class's events. `None`: cross-triggers are not counted.
    pub cttc: Option<f64>,
}

/// Counts with the threshold just below `score`.
#[derive(Debug, Clone, PartialEq)]
pub struct ChangePoint {
    /// Frames with at least this score are active.
    pub score: f64,
    /// Events found.
    pub true_positives: u64,
    /// Detections that are not true.
    pub false_positives: u64,
    /// Of those, cross-triggers, by class in column order (0 for the class itself); empty without a cross-trigger tolerance.
    pub cross_triggers: Vec<u64>,
}

/// One class's counts at every score where they change, from the highest score down.
#[derive(Debug, Clone, PartialEq)]
pub struct ClassStatistics {
    /// From the highest score down; above the first, nothing is detected.
    pub points: Vec<ChangePoint>,
    /// Events in the ground truth.
    pub num_reference: u64,
    /// Their total length in seconds.
    pub reference_time: f64,
}

/// Statistics of every class, in column order.
///
/// # Errors
/// Whatever [`Error`] says about scores and ground truth.
pub fn intersection_statistics(
    scores: &Scores,
    truth: &GroundTruth,
    settings: Intersection,
) -> Result<Vec<ClassStatistics>, Error> {
    truth.check(scores)?;
    Ok((0..scores.classes().len())
        .into_par_iter()
        .map(|class| of_class(scores, truth, settings, class))
        .collect())
}

/// What one clip adds to the counts when the threshold falls below a score.
struct Change {
    score: f64,
    true_positives: i64,
    false_positives: i64,
    cross_triggers: Vec<i64>,
}

fn of_class(
    scores: &Scores,
    truth: &GroundTruth,
    settings: Intersection,
    class: usize,
) -> ClassStatistics {
    let names = scores.classes();
    let mut changes: Vec<Change> = scores
        .clips()
        .par_iter()
        .flat_map_iter(|clip| {
            let reference: Vec<Vec<(f64, f64)>> = names
                .iter()
                .enumerate()
                .map(|(other, name)| {
                    if other == class || settings.cttc.is_some() {
                        truth.of(&clip.clip, name)
                    } else {
                        Vec::new()
                    }
                })
                .collect();
            changes_of_clip(clip, names.len(), class, &reference, settings)
        })
        .collect();
    // One sort for the whole class; the counts at any score are then running sums.
    changes.sort_by(|one, two| two.score.total_cmp(&one.score));

    let mut points: Vec<ChangePoint> = Vec::new();
    let (mut found, mut wrong) = (0_i64, 0_i64);
    let mut crossed = vec![
        0_i64;
        if settings.cttc.is_some() {
            names.len()
        } else {
            0
        }
    ];
    for (index, change) in changes.iter().enumerate() {
        found += change.true_positives;
        wrong += change.false_positives;
        for (sum, add) in crossed.iter_mut().zip(&change.cross_triggers) {
            *sum += add;
        }
        // Clips may share a score: the counts hold once all of them are in.
        if changes
            .get(index + 1)
            .is_some_and(|next| next.score == change.score)
        {
            continue;
        }
        points.push(ChangePoint {
            score: change.score,
            true_positives: count(found),
            false_positives: count(wrong),
            cross_triggers: crossed.iter().copied().map(count).collect(),
        });
    }
    let stretches: Vec<(f64, f64)> = scores
        .clips()
        .iter()
        .flat_map(|clip| truth.of(&clip.clip, &names[class]))
        .collect();
    ClassStatistics {
        points,
        num_reference: stretches.len() as u64,
        reference_time: stretches.iter().map(|(onset, offset)| offset - onset).sum(),
    }
}

/// Running sums of what each clip has at a score minus what it had before, so never negative.
fn count(sum: i64) -> u64 {
    u64::try_from(sum).unwrap_or(0)
}

fn changes_of_clip(
    clip: &ClipScores,
    num_classes: usize,
    class: usize,
    reference: &[Vec<(f64, f64)>],
    settings: Intersection,
) -> Vec<Change> {
    let column: Vec<f64> = clip
        .values
        .iter()
        .skip(class)
        .step_by(num_classes)
        .copied()
        .collect();
    // A score of minus infinity never counts as a detection (boxes turned into frames are such).
    let mut thresholds: Vec<f64> = column
        .iter()
        .copied()
        .filter(|score| *score > f64::NEG_INFINITY)
        .collect();
    thresholds.sort_by(|one, two| two.total_cmp(one));
    thresholds.dedup();

    let mut changes = Vec::new();
    let mut before = (
        0_i64,
        0_i64,
        vec![
            0_i64;
            if settings.cttc.is_some() {
                num_classes
            } else {
                0
            }
        ],
    );
    for score in thresholds {
        let now = counts(&column, &clip.boundaries, score, class, reference, settings);
        if now != before {
            changes.push(Change {
                score,
                true_positives: now.0 - before.0,
                false_positives: now.1 - before.1,
                cross_triggers: now
                    .2
                    .iter()
                    .zip(&before.2)
                    .map(|(new, old)| new - old)
                    .collect(),
            });
            before = now;
        }
    }
    changes
}

/// Events found, false detections, cross-triggers by class in one clip with every frame active that scores at least `score`.
fn counts(
    column: &[f64],
    boundaries: &[f64],
    score: f64,
    class: usize,
    reference: &[Vec<(f64, f64)>],
    settings: Intersection,
) -> (i64, i64, Vec<i64>) {
    let own = &reference[class];
    let mut covered = vec![0.0; own.len()];
    let mut false_positives = 0;
    let mut crossed = vec![
        0;
        if settings.cttc.is_some() {
            reference.len()
        } else {
            0
        }
    ];
    let mut frame = 0;
    while frame < column.len() {
        if column[frame] < score {
            frame += 1;
            continue;
        }
        let first = frame;
        while frame < column.len() && column[frame] >= score {
            frame += 1;
        }
        let (onset, offset) = (boundaries[first], boundaries[frame]);
        let length = offset - onset;
        if at_least(shared(onset, offset, own), settings.dtc * length) {
            for (sum, event) in covered.iter_mut().zip(own) {
                *sum += overlap(onset, offset, event);
            }
            continue;
        }
        false_positives += 1;
        if let Some(cttc) = settings.cttc {
            for (other, events) in reference.iter().enumerate() {
                if other != class
                    && !events.is_empty()
                    && at_least(shared(onset, offset, events), cttc * length)
                {
                    crossed[other] += 1;
                }
            }
        }
    }
    let found = covered
        .iter()
        .zip(own)
        .filter(|(sum, event)| at_least(**sum, settings.gtc * (event.1 - event.0)))
        .count();
    (
        i64::try_from(found).unwrap_or(i64::MAX),
        false_positives,
        crossed,
    )
}

fn overlap(onset: f64, offset: f64, event: &(f64, f64)) -> f64 {
    (offset.min(event.1) - onset.max(event.0)).max(0.0)
}

fn shared(onset: f64, offset: f64, events: &[(f64, f64)]) -> f64 {
    events
        .iter()
        .map(|event| overlap(onset, offset, event))
        .sum()
}

/// Both sides rounded to a microsecond, ties to even, so that times written with few decimals meet their limit exactly.
fn at_least(shared: f64, wanted: f64) -> bool {
    (shared * 1e6).round_ties_even() / 1e6 >= (wanted * 1e6).round_ties_even() / 1e6
}
