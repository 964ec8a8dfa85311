//! F1 of sound event detection: by intersection, by collars, by segments, by clips.
//!
//! The kinds differ only in what they count. Each lists what a clip adds to its class's counts when the threshold falls below a
//! score ([`ClassChanges`]), from which a linear pass makes the counts at every threshold ([`CountsByThreshold`]). Thresholds and
//! averages know nothing of the kind ([`FScore`]):
//!
//! ```text
//! let counts = collar_counts(&scores, &truth, Collars::DCASE)?;
//! let at_half = FScore::at(&counts, &[0.5])?;
//! let best = FScore::best(&counts);
//! ```

mod clip;
mod collar;
mod counts;
mod intersection;
mod segment;

pub use clip::{clip_changes, clip_counts};
pub use collar::{Collars, collar_changes, collar_counts};
pub use counts::{Change, ClassChanges, CountPoint, Counts, CountsByThreshold};
pub use intersection::{intersection_changes, intersection_counts};
pub use segment::{segment_changes, segment_counts};

use crate::Error;

/// Precision, recall and their harmonic mean.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Rates {
    /// Share of the detections that are true.
    pub precision: f64,
    /// Share of the references that are found.
    pub recall: f64,
    /// F1.
    pub f1: f64,
}

/// One class at one threshold.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ClassFScore {
    /// What scores strictly above it is active.
    pub threshold: f64,
    /// Counts there, which know precision, recall and F1.
    pub counts: Counts,
}

/// Which classes enter a macro average. The tools disagree, and leaving out those that found nothing makes the value larger.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Macro {
    /// Every class; one that has events but no detections counts 0. So do sed_scores_eval and sed_eval's event-based metrics.
    AllClasses,
    /// Classes that have both a detection and a reference, as in sed_eval's segment-based metrics, where F1 is undefined without.
    Detected,
    /// Classes of which something was found, as in psds_eval, where F1 is undefined without a true positive.
    Found,
}

/// F1 of every class, each at its threshold.
#[derive(Debug, Clone, PartialEq)]
pub struct FScore {
    /// In column order.
    pub by_class: Vec<ClassFScore>,
}

impl FScore {
    /// At given thresholds: one for all classes or one per class.
    ///
    /// # Errors
    /// Another number of thresholds, or one that is not a number.
    pub fn at(classes: &[CountsByThreshold], thresholds: &[f64]) -> Result<Self, Error> {
        if thresholds.len() != 1 && thresholds.len() != classes.len() {
            return Err(Error::Settings(format!(
                "{} thresholds for {} classes, expected one for all or one per class",
                thresholds.len(),
                classes.len()
            )));
        }
        if let Some(place) = thresholds.iter().position(|threshold| threshold.is_nan()) {
            return Err(Error::Settings(format!(
                "threshold {place} is not a number"
            )));
        }
        let by_class = classes
            .iter()
            .zip(thresholds.iter().cycle())
            .map(|(class, threshold)| ClassFScore {
                threshold: *threshold,
                counts: class.at(*threshold),
            })
            .collect();
        Ok(Self { by_class })
    }

    /// At each class's best threshold: [`CountsByThreshold::best`].
    #[must_use]
    pub fn best(classes: &[CountsByThreshold]) -> Self {
        Self {
            by_class: classes.iter().map(CountsByThreshold::best).collect(),
        }
    }

    /// Plain means of precision, recall and F1 over every class ([`Macro::AllClasses`]); not numbers without a class.
    #[must_use]
    pub fn macro_average(&self) -> Rates {
        let mean = |rate: fn(&Counts) -> f64| {
            mean(self.by_class.iter().map(|class| rate(&class.counts))).unwrap_or(f64::NAN)
        };
        Rates {
            precision: mean(Counts::precision),
            recall: mean(Counts::recall),
            f1: mean(Counts::f1),
        }
    }

    /// Mean F1 over the classes that `over` names; none if there is no such class.
    #[must_use]
    pub fn macro_f1(&self, over: Macro) -> Option<f64> {
        let enters = |counts: &&Counts| match over {
            Macro::AllClasses => true,
            Macro::Detected => counts.num_detections() > 0 && counts.num_reference > 0,
            Macro::Found => counts.true_positives > 0,
        };
        let counts = self.by_class.iter().map(|class| &class.counts);
        mean(counts.filter(enters).map(Counts::f1))
    }

    /// From the sums of all classes' counts. Unlike a class's, precision is 0 without a detection, as in sed_scores_eval.
    #[must_use]
    pub fn micro_average(&self) -> Rates {
        let sum = |count: fn(&Counts) -> u64| -> u64 {
            self.by_class.iter().map(|class| count(&class.counts)).sum()
        };
        let found = sum(|counts| counts.true_positives);
        let detected = sum(Counts::num_detections);
        let reference = sum(|counts| counts.num_reference);
        Rates {
            precision: counts::ratio(found, detected).unwrap_or(0.0),
            recall: counts::ratio(found, reference).unwrap_or(0.0),
            f1: counts::ratio(2 * found, detected + reference).unwrap_or(0.0),
        }
    }
}

fn mean(values: impl Iterator<Item = f64>) -> Option<f64> {
    let values: Vec<f64> = values.collect();
    #[expect(clippy::cast_precision_loss, reason = "the number of classes is small")]
    (!values.is_empty()).then(|| values.iter().sum::<f64>() / values.len() as f64)
}
