//! Counting detections by how much they share with the reference (Bilen et al., "A Framework for the Robust Evaluation of Sound
//! Event Detection", 2020), at every threshold at once.

pub(crate) mod boxes;
mod changes;
mod reference;
mod sweep;
mod time;

use rayon::prelude::*;

pub(crate) use changes::{CROSS_TRIGGERS, Changes, FALSE_POSITIVES, TRUE_POSITIVES};
pub(crate) use reference::{Reference, Totals};

use self::changes::{Change, MAX_CLASSES};
use self::sweep::Sweep;
use crate::{Error, GroundTruth, Scores};

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
    let swept = Swept::new(scores, truth, settings)?;
    let totals = swept.reference.totals(|_| 1);
    Ok(swept.by_class(i64::MAX, |class, changes| {
        let mut points = Vec::new();
        changes.visit(
            |_| 1,
            |score, counts| {
                let count = |place: usize| count(counts[place]);
                points.push(ChangePoint {
                    score,
                    true_positives: count(TRUE_POSITIVES),
                    false_positives: count(FALSE_POSITIVES),
                    cross_triggers: (CROSS_TRIGGERS..counts.len()).map(count).collect(),
                });
            },
        );
        ClassStatistics {
            points,
            num_reference: totals.num_reference[class],
            reference_time: totals.reference_time[class],
        }
    }))
}

/// Running sums of what each clip has at a score minus what it had before, so never negative.
fn count(sum: i64) -> u64 {
    u64::try_from(sum).unwrap_or(0)
}

/// Clips that one task takes at a time.
const CLIPS_PER_TASK: usize = 32;

/// The changes of every clip and class, before they are sorted.
pub(crate) struct Swept {
    pub(crate) reference: Reference,
    settings: Intersection,
    /// By task, then by class.
    parts: Vec<Vec<Vec<Change>>>,
}

impl Swept {
    pub(crate) fn new(
        scores: &Scores,
        truth: &GroundTruth,
        settings: Intersection,
    ) -> Result<Self, Error> {
        truth.check(scores)?;
        let classes = scores.classes().len();
        if classes > MAX_CLASSES {
            return Err(Error::Settings(format!(
                "{classes} classes, expected at most {MAX_CLASSES}"
            )));
        }
        let clips = scores.clips().iter().map(|clip| clip.clip.as_str());
        let reference = Reference::new(truth, scores.classes(), clips);
        let parts = scores
            .clips()
            .par_chunks(CLIPS_PER_TASK)
            .enumerate()
            .map_init(
                || Sweep::new(&reference, settings),
                |sweep, (task, clips)| {
                    let mut changes = vec![Vec::new(); classes];
                    for (place, clip) in clips.iter().enumerate() {
                        let boundaries = clip.boundaries.iter().copied();
                        sweep.begin(task * CLIPS_PER_TASK + place, boundaries, None);
                        for (class, changes) in changes.iter_mut().enumerate() {
                            let column = clip.values.get(class..).unwrap_or_default();
                            sweep.class(class, column.iter().step_by(classes).copied(), changes);
                        }
                    }
                    changes
                },
            )
            .collect();
        Ok(Self {
            reference,
            settings,
            parts,
        })
    }

    /// Hands every class's sorted changes to `make`, and returns what it makes in column order. The changes may be taken; what is
    /// left serves the next class. Counts with more than `most` false positives are not wanted ([`Changes::gather`]).
    pub(crate) fn by_class<T: Send>(
        &self,
        most: i64,
        make: impl Fn(usize, &mut Changes) -> T + Sync,
    ) -> Vec<T> {
        let empty = || Changes::new(num_counts(self.reference.num_classes(), self.settings));
        (0..self.reference.num_classes())
            .into_par_iter()
            .map_init(empty, |changes, class| {
                let parts = self.parts.iter().map(|part| part[class].as_slice());
                changes.gather(parts, most);
                make(class, changes)
            })
            .collect()
    }
}

fn num_counts(classes: usize, settings: Intersection) -> usize {
    CROSS_TRIGGERS + if settings.cttc.is_some() { classes } else { 0 }
}
