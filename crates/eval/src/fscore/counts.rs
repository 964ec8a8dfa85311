use rayon::prelude::*;

use super::ClassFScore;
use crate::{ClipScores, Error, Scores};

/// True and false positives, and how many there are to find.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Counts {
    /// References found.
    pub true_positives: u64,
    /// Detections that are not true.
    pub false_positives: u64,
    /// References: events, or positive segments or clips.
    pub num_reference: u64,
}

impl Counts {
    /// True and false positives.
    #[must_use]
    pub fn num_detections(&self) -> u64 {
        self.true_positives + self.false_positives
    }

    /// Share of the detections that are true; 1 without a detection.
    #[must_use]
    pub fn precision(&self) -> f64 {
        ratio(self.true_positives, self.num_detections()).unwrap_or(1.0)
    }

    /// Share of the references that are found; 1 without a reference.
    #[must_use]
    pub fn recall(&self) -> f64 {
        ratio(self.true_positives, self.num_reference).unwrap_or(1.0)
    }

    /// Harmonic mean of both; so 0 without a detection where there was something to find, and 1 where there was nothing.
    #[must_use]
    pub fn f1(&self) -> f64 {
        // One division of whole numbers: values that are equal on paper are equal here.
        ratio(
            2 * self.true_positives,
            self.num_detections() + self.num_reference,
        )
        .unwrap_or(1.0)
    }

    /// F1 with the round-off of precision and recall: 9 of 15 and 9 of 12 make less than 12 of 24 and 12 of 12, though both are 2/3.
    fn rounded_f1(&self) -> f64 {
        let (precision, recall) = (self.precision(), self.recall());
        match precision + recall {
            0.0 => 0.0,
            sum => 2.0 * precision * recall / sum,
        }
    }
}

#[expect(
    clippy::cast_precision_loss,
    reason = "counts of events are far below 2^53"
)]
pub(super) fn ratio(part: u64, whole: u64) -> Option<f64> {
    (whole > 0).then(|| part as f64 / whole as f64)
}

/// What one clip adds to its class's counts when the threshold falls below `score`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Change {
    /// Of the frames, segment or clip that become active.
    pub score: f64,
    /// Place of the clip in [`Scores::clips`].
    pub clip: usize,
    /// References found more (or fewer).
    pub true_positives: i64,
    /// False positives more (or fewer).
    pub false_positives: i64,
}

/// One class's changes in every clip.
#[derive(Debug, Clone, PartialEq)]
pub struct ClassChanges {
    changes: Vec<Change>,
    num_reference: Vec<u64>,
}

impl ClassChanges {
    /// Each clip's changes and number of references, in the order of [`Scores::clips`].
    fn new(clips: Vec<(Vec<Change>, u64)>) -> Self {
        let num_reference = clips.iter().map(|(_, reference)| *reference).collect();
        let mut changes: Vec<Change> = clips.into_iter().flat_map(|(changes, _)| changes).collect();
        // The sort is stable, so that clips stay in order where they share a score.
        changes.sort_by(|one, two| two.score.total_cmp(&one.score));
        Self::sorted(changes, num_reference)
    }

    /// Of changes from the highest score down, then by clip, and each clip's number of references.
    pub(super) fn sorted(changes: Vec<Change>, num_reference: Vec<u64>) -> Self {
        Self {
            changes,
            num_reference,
        }
    }

    /// From the highest score down, then by clip.
    #[must_use]
    pub fn changes(&self) -> &[Change] {
        &self.changes
    }

    /// References in each clip.
    #[must_use]
    pub fn num_reference(&self) -> &[u64] {
        &self.num_reference
    }

    /// Counts at every threshold, over all clips.
    #[must_use]
    pub fn counts(&self) -> CountsByThreshold {
        self.sums(|_| 1)
    }

    /// Counts at every threshold with each clip taken as often as `weights` says, for a bootstrap.
    ///
    /// # Errors
    /// Not one weight per clip.
    pub fn weighted_counts(&self, weights: &[u32]) -> Result<CountsByThreshold, Error> {
        if weights.len() != self.num_reference.len() {
            return Err(Error::Settings(format!(
                "{} weights for {} clips, expected one per clip",
                weights.len(),
                self.num_reference.len()
            )));
        }
        Ok(self.sums(|clip| weights[clip]))
    }

    fn sums(&self, weight: impl Fn(usize) -> u32) -> CountsByThreshold {
        let mut points: Vec<CountPoint> = Vec::new();
        let (mut found, mut wrong) = (0_i64, 0_i64);
        for change in &self.changes {
            let weight = i64::from(weight(change.clip));
            // A clip that was not drawn has no say in where counts change either.
            if weight == 0 {
                continue;
            }
            found += weight * change.true_positives;
            wrong += weight * change.false_positives;
            let point = CountPoint {
                score: change.score,
                true_positives: not_negative(found),
                false_positives: not_negative(wrong),
            };
            // Changes may share a score: the counts hold once all of them are in.
            match points.last_mut() {
                Some(last) if last.score == change.score => *last = point,
                _ => points.push(point),
            }
        }
        let num_reference = self.num_reference.iter().enumerate();
        CountsByThreshold {
            points,
            num_reference: num_reference
                .map(|(clip, reference)| u64::from(weight(clip)) * reference)
                .sum(),
        }
    }
}

/// Running sums of what each clip has at a score minus what it had before; only in the midst of a shared score, where nobody looks,
/// may they be negative.
fn not_negative(sum: i64) -> u64 {
    u64::try_from(sum).unwrap_or(0)
}

/// Counts with the threshold just below `score`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct CountPoint {
    /// What scores at least this is active.
    pub score: f64,
    /// References found.
    pub true_positives: u64,
    /// Detections that are not true.
    pub false_positives: u64,
}

/// One class's counts at every score where a clip's counts change.
#[derive(Debug, Clone, PartialEq)]
pub struct CountsByThreshold {
    points: Vec<CountPoint>,
    num_reference: u64,
}

impl CountsByThreshold {
    /// From the highest score down; above the first, nothing is detected.
    #[must_use]
    pub fn points(&self) -> &[CountPoint] {
        &self.points
    }

    /// Counts with everything active that scores strictly above `threshold`.
    #[must_use]
    pub fn at(&self, threshold: f64) -> Counts {
        let above = self.points.partition_point(|point| point.score > threshold);
        self.with(above)
    }

    /// The highest F1 over all thresholds, and a threshold that gives it: half way between the score that must be active and the next
    /// lower one in [`points`](Self::points). It is minus infinity where no lower one is, infinity where nothing must be active. Of
    /// equal F1 values the one at the higher threshold is taken; where they are equal on paper alone, round-off chooses as it does in
    /// sed_scores_eval.
    #[must_use]
    pub fn best(&self) -> ClassFScore {
        let mut best = 0;
        let mut counts = self.with(best);
        for above in 1..=self.points.len() {
            let candidate = self.with(above);
            if candidate.rounded_f1() > counts.rounded_f1() {
                (best, counts) = (above, candidate);
            }
        }
        ClassFScore {
            threshold: self.threshold_below(best),
            counts,
        }
    }

    /// With the first `above` points' scores active.
    fn with(&self, above: usize) -> Counts {
        let point = above.checked_sub(1).map(|last| self.points[last]);
        Counts {
            true_positives: point.map_or(0, |point| point.true_positives),
            false_positives: point.map_or(0, |point| point.false_positives),
            num_reference: self.num_reference,
        }
    }

    fn threshold_below(&self, above: usize) -> f64 {
        let Some(next) = self.points.get(above) else {
            return f64::NEG_INFINITY;
        };
        let Some(last) = above.checked_sub(1).map(|last| self.points[last]) else {
            return f64::INFINITY;
        };
        let middle = f64::midpoint(last.score, next.score);
        // Neighbouring numbers have no middle, and infinity's is infinity: the lower score itself is a threshold too.
        if middle < last.score {
            middle
        } else {
            next.score
        }
    }
}

/// Changes of every class in column order. `of_clip` gets the clip's place, the clip and the class's column, and answers with what
/// the clip adds (in any order) and its number of references.
pub(super) fn of_classes(
    scores: &Scores,
    of_clip: impl Fn(usize, &ClipScores, usize) -> (Vec<Change>, u64) + Sync,
) -> Vec<ClassChanges> {
    (0..scores.classes().len())
        .into_par_iter()
        .map(|class| {
            let clips = scores.clips().par_iter().enumerate();
            ClassChanges::new(
                clips
                    .map(|(place, clip)| of_clip(place, clip, class))
                    .collect(),
            )
        })
        .collect()
}
