use super::CountsByThreshold;
use crate::{Error, GroundTruth, Intersection, Scores, intersection_statistics};

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
    // A score where only cross-triggers change is no change point here; it would move the best threshold.
    let settings = Intersection {
        cttc: None,
        ..settings
    };
    let classes = intersection_statistics(scores, truth, settings)?;
    Ok(classes.iter().map(CountsByThreshold::from).collect())
}
