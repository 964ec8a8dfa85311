use super::{Change, ClassChanges, CountsByThreshold};
use crate::intersection::{FALSE_POSITIVES, Swept, TRUE_POSITIVES};
use crate::{Error, GroundTruth, Intersection, Scores};

impl Intersection {
    /// Of the intersection-based F1.
    pub const F1: Self = Self {
        dtc: 0.5,
        gtc: 0.5,
        cttc: None,
    };
}

/// Counts of every class in column order: an event is found if true detections cover enough of it, a detection is true if enough
/// of it lies in events.
///
/// # Errors
/// Whatever [`Error`] says about scores and ground truth.
pub fn intersection_counts(
    scores: &Scores,
    truth: &GroundTruth,
    settings: Intersection,
) -> Result<Vec<CountsByThreshold>, Error> {
    let classes = intersection_changes(scores, truth, settings)?;
    Ok(classes.iter().map(ClassChanges::counts).collect())
}

/// What [`intersection_counts`] sums up, clip by clip.
///
/// # Errors
/// As there.
pub fn intersection_changes(
    scores: &Scores,
    truth: &GroundTruth,
    settings: Intersection,
) -> Result<Vec<ClassChanges>, Error> {
    // A score where only cross-triggers change is no change point here; it would move the best threshold.
    let settings = Intersection {
        cttc: None,
        ..settings
    };
    let swept = Swept::new(scores, truth, settings)?;
    Ok(swept.by_class(i64::MAX, |class, steps| {
        let mut changes: Vec<Change> = Vec::new();
        for (score, clip, count, delta) in steps.steps() {
            let same = |last: &&mut Change| last.score == score && last.clip == clip;
            let change = match changes.last_mut().filter(same) {
                Some(change) => change,
                None => changes.push_mut(Change {
                    score,
                    clip,
                    true_positives: 0,
                    false_positives: 0,
                }),
            };
            match count {
                TRUE_POSITIVES => change.true_positives += delta,
                FALSE_POSITIVES => change.false_positives += delta,
                _ => {}
            }
        }
        ClassChanges::sorted(changes, swept.reference.num_events(class))
    }))
}
