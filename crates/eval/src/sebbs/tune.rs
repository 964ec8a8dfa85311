//! Settings by class that a data set prefers.

use rayon::prelude::*;

use super::change::Schedules;
use super::{BoundingBox, Boxes, ClipBoxes, SebbSettings, Segments, merge};
use crate::fscore::{Collars, collar_counts};
use crate::intersection::boxes::BoxScorer;
use crate::intersection::{Reference, Totals};
use crate::{Error, GroundTruth, PsdsSettings, Scores};

/// When a gap between two events is closed: only if it is within both limits. Infinity is no limit.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct MergeLimits {
    /// The events' highest scores are above the gap's lowest by less than this.
    pub absolute: f64,
    /// They are less than this many times as high.
    pub relative: f64,
}

impl MergeLimits {
    /// Everything is merged.
    pub const NONE: Self = Self {
        absolute: f64::INFINITY,
        relative: f64::INFINITY,
    };
}

/// The settings that are tried: every length with every limit, in this order.
#[derive(Debug, Clone, PartialEq)]
pub struct TuningGrid {
    /// Lengths of the step filter in seconds.
    pub step_seconds: Vec<f64>,
    /// Limits of merging.
    pub merge: Vec<MergeLimits>,
}

impl TuningGrid {
    /// Limits of one kind at a time: first the absolute ones, then the relative ones.
    #[must_use]
    pub fn either(step_seconds: &[f64], absolute: &[f64], relative: &[f64]) -> Self {
        let absolute = absolute.iter().map(|limit| MergeLimits {
            absolute: *limit,
            ..MergeLimits::NONE
        });
        let relative = relative.iter().map(|limit| MergeLimits {
            relative: *limit,
            ..MergeLimits::NONE
        });
        Self {
            step_seconds: step_seconds.to_vec(),
            merge: absolute.chain(relative).collect(),
        }
    }

    /// Every absolute limit with every relative one.
    #[must_use]
    pub fn both(step_seconds: &[f64], absolute: &[f64], relative: &[f64]) -> Self {
        let pairs = absolute.iter().flat_map(|absolute| {
            relative.iter().map(|relative| MergeLimits {
                absolute: *absolute,
                relative: *relative,
            })
        });
        Self {
            step_seconds: step_seconds.to_vec(),
            merge: pairs.collect(),
        }
    }

    /// The 128 settings of the DCASE 2024 system (recipe 9.5).
    #[must_use]
    pub fn dcase_2024() -> Self {
        Self::either(
            &[0.38, 0.42, 0.46, 0.5, 0.54, 0.58, 0.62, 0.66],
            &[0.15, 0.175, 0.2, 0.225, 0.25, 0.275, 0.3, 0.325],
            &[1.5, 1.75, 2.0, 2.25, 2.5, 2.75, 3.0, 3.25],
        )
    }

    fn settings(&self) -> impl Iterator<Item = SebbSettings> {
        self.step_seconds.iter().flat_map(|step_seconds| {
            self.merge.iter().map(|merge| SebbSettings {
                step_seconds: *step_seconds,
                merge: *merge,
            })
        })
    }
}

/// What is made as high as possible.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum TuningMetric {
    /// The area under the single-class PSD-ROC.
    Psds(PsdsSettings),
    /// Collar-based F1 at its best threshold, which is found along with the settings.
    CollarF1(Collars),
}

/// The chosen settings. Vectors are in column order.
#[derive(Debug, Clone, PartialEq)]
pub struct Tuned {
    /// Of each class.
    pub settings: Vec<SebbSettings>,
    /// What the metric says of each class with them.
    pub values: Vec<f64>,
    /// Each class's best threshold, where the metric has one.
    pub thresholds: Option<Vec<f64>>,
}

/// A class's value with one setting, and its threshold.
type Value = (f64, Option<f64>);

/// Tries every setting of the grid on every class and keeps the first best: for each class its own, or with `shared` the one with
/// the highest mean over classes.
///
/// # Errors
/// Whatever [`Error`] says about scores, ground truth and settings; a class without any event; an empty grid.
pub fn tune(
    scores: &Scores,
    truth: &GroundTruth,
    grid: &TuningGrid,
    metric: TuningMetric,
    shared: bool,
) -> Result<Tuned, Error> {
    let settings: Vec<SebbSettings> = grid.settings().collect();
    if settings.is_empty() || scores.classes().is_empty() {
        return Err(Error::Settings(
            "nothing to tune: expected a class, a filter length and merge limits".to_owned(),
        ));
    }
    for settings in &settings {
        settings.check()?;
    }
    if let TuningMetric::Psds(settings) = &metric {
        settings.check()?;
    }
    super::check_scores(scores)?;
    truth.check(scores)?;
    let names = scores.clips().iter().map(|clip| clip.clip.as_str());
    let reference = Reference::new(truth, scores.classes(), names);
    let totals = reference.totals(|_| 1);
    if let Some(class) = totals.num_reference.iter().position(|events| *events == 0) {
        return Err(Error::NoReference {
            class: scores.classes()[class].clone(),
        });
    }

    let mut values: Vec<Vec<Value>> = vec![Vec::new(); scores.classes().len()];
    let task = Task {
        scores,
        truth,
        reference: &reference,
        totals: &totals,
        metric,
    };
    // Change detection depends on the length alone, so all limits share its segments.
    for step_seconds in &grid.step_seconds {
        let schedules = Schedules::new(scores, *step_seconds);
        values
            .par_iter_mut()
            .enumerate()
            .try_for_each(|(class, values)| {
                task.of_class(&schedules, class, &grid.merge, values)
            })?;
    }

    let first_best = |of: &dyn Fn(usize) -> f64| {
        (1..settings.len()).fold(0, |best, place| match of(place) > of(best) {
            true => place,
            false => best,
        })
    };
    let chosen: Vec<usize> = match shared {
        false => values
            .iter()
            .map(|values| first_best(&|place| values[place].0))
            .collect(),
        true => {
            let sum = |place: usize| values.iter().map(|values| values[place].0).sum();
            vec![first_best(&sum); values.len()]
        }
    };
    let of_chosen = |class: usize| values[class][chosen[class]];
    let all = 0..values.len();
    Ok(Tuned {
        settings: chosen.iter().map(|place| settings[*place]).collect(),
        values: all.clone().map(|class| of_chosen(class).0).collect(),
        thresholds: all.map(|class| of_chosen(class).1).collect(),
    })
}

struct Task<'a> {
    scores: &'a Scores,
    truth: &'a GroundTruth,
    reference: &'a Reference,
    totals: &'a Totals,
    metric: TuningMetric,
}

impl Task<'_> {
    /// Adds the value of each limit to `values`.
    fn of_class(
        &self,
        schedules: &Schedules,
        class: usize,
        limits: &[MergeLimits],
        values: &mut Vec<Value>,
    ) -> Result<(), Error> {
        let mut padded = Vec::new();
        let clips: Vec<Segments> = (0..self.scores.clips().len())
            .map(|clip| {
                let mut segments = Segments::default();
                schedules.segments(self.scores, clip, class, &mut padded, &mut segments);
                segments
            })
            .collect();
        match self.metric {
            TuningMetric::Psds(settings) => {
                let mut scorer = BoxScorer::new(self.reference, self.totals, class, &settings);
                let mut boxes: Vec<BoundingBox> = Vec::new();
                for limits in limits {
                    for (clip, segments) in clips.iter().enumerate() {
                        boxes.clear();
                        merge::boxes(segments, *limits, |found| boxes.push(found));
                        let boxes = boxes.iter();
                        scorer.clip(
                            clip,
                            boxes.map(|found| (found.onset, found.offset, found.confidence)),
                        );
                    }
                    values.push((scorer.finish(), None));
                }
            }
            TuningMetric::CollarF1(collars) => {
                let truth = self.truth.of_class(&self.scores.classes()[class]);
                for limits in limits {
                    let boxes = self.boxes(class, &clips, *limits);
                    let frames = boxes.scores(&truth.durations, f64::NEG_INFINITY)?;
                    let counts = collar_counts(&frames, &truth, collars)?;
                    for best in counts.iter().map(crate::fscore::CountsByThreshold::best) {
                        values.push((best.counts.f1(), Some(best.threshold)));
                    }
                }
            }
        }
        Ok(())
    }

    fn boxes(&self, class: usize, clips: &[Segments], limits: MergeLimits) -> Boxes {
        let of_clip = |segments: &Segments| {
            let mut boxes = Vec::new();
            merge::boxes(segments, limits, |found| boxes.push(found));
            vec![boxes]
        };
        Boxes {
            classes: vec![self.scores.classes()[class].clone()],
            clips: (self.scores.clips().iter().zip(clips))
                .map(|(clip, segments)| ClipBoxes {
                    clip: clip.clip.clone(),
                    by_class: of_clip(segments),
                })
                .collect(),
        }
    }
}
