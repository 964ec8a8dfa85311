//! Sound event bounding boxes by change detection (Ebbers et al., "Sound Event Bounding Boxes", 2024; recipe 9.5): from frame scores
//! to onset, offset and one confidence for each event, so that a threshold decides about whole events and not about frames.
//!
//! [`bounding_boxes`] finds them, [`tune`] chooses the settings of each class, and [`Boxes::scores`] makes frames of them again, for
//! every metric of this room.

mod change;
mod frames;
mod merge;
mod tune;

pub use change::{Segments, change_segments};
pub use frames::{Boxes, ClipBoxes};
pub use tune::{MergeLimits, Tuned, TuningGrid, TuningMetric, tune};

use rayon::prelude::*;
use types::BoxSettings;

use crate::{Error, Scores};
use change::Schedules;

/// How boxes of one class are found.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct SebbSettings {
    /// Length of the step filter in seconds.
    pub step_seconds: f64,
    /// Which neighbours become one box.
    pub merge: MergeLimits,
}

impl SebbSettings {
    fn check(&self) -> Result<(), Error> {
        let MergeLimits { absolute, relative } = self.merge;
        if !(self.step_seconds > 0.0 && self.step_seconds.is_finite()) {
            return Err(Error::Settings(format!(
                "the step filter is {} s long, expected a positive number",
                self.step_seconds
            )));
        }
        if absolute.is_nan() || relative.is_nan() {
            return Err(Error::Settings(
                "a merge limit is not a number, expected one, or infinity for no limit".to_owned(),
            ));
        }
        Ok(())
    }
}

impl From<SebbSettings> for BoxSettings {
    fn from(settings: SebbSettings) -> Self {
        let limit = |limit: f64| limit.is_finite().then_some(limit);
        Self {
            step_seconds: settings.step_seconds,
            merge_relative: limit(settings.merge.relative),
            merge_absolute: limit(settings.merge.absolute),
        }
    }
}

impl From<BoxSettings> for SebbSettings {
    fn from(settings: BoxSettings) -> Self {
        let limit = |limit: Option<f64>| limit.unwrap_or(f64::INFINITY);
        Self {
            step_seconds: settings.step_seconds,
            merge: MergeLimits {
                absolute: limit(settings.merge_absolute),
                relative: limit(settings.merge_relative),
            },
        }
    }
}

/// That the step filter can run over these scores.
fn check_scores(scores: &Scores) -> Result<(), Error> {
    for clip in scores.clips() {
        if let Some(onset) = clip.boundaries.first().filter(|onset| **onset != 0.0) {
            return Err(Error::Start {
                clip: clip.clip.clone(),
                onset: *onset,
            });
        }
        if let Some(place) = clip.values.iter().position(|value| value.is_infinite()) {
            let columns = scores.classes().len();
            return Err(Error::Infinite {
                clip: clip.clip.clone(),
                class: scores.classes()[place % columns].clone(),
                frame: place / columns,
            });
        }
    }
    Ok(())
}

/// An event with one confidence from onset to offset.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct BoundingBox {
    /// In seconds.
    pub onset: f64,
    /// In seconds.
    pub offset: f64,
    /// Mean score of its frames.
    pub confidence: f64,
}

/// Boxes of every clip and class: `settings` has one entry for all classes or one per class, in column order. Scores are taken to
/// be 0 outside the clip, so they should be probabilities, not logits.
///
/// # Errors
/// Another number of settings, or impossible ones; an infinite score, a clip that does not begin at 0 s.
pub fn bounding_boxes(scores: &Scores, settings: &[SebbSettings]) -> Result<Boxes, Error> {
    let classes = scores.classes().len();
    if settings.len() != 1 && settings.len() != classes {
        return Err(Error::Settings(format!(
            "{} settings of boxes for {classes} classes, expected one for all or one per class",
            settings.len()
        )));
    }
    for settings in settings {
        settings.check()?;
    }
    check_scores(scores)?;
    let of_class = |class: usize| settings[class.min(settings.len() - 1)];
    let columns: Vec<Vec<Vec<BoundingBox>>> = (0..classes)
        .into_par_iter()
        .map(|class| {
            let settings = of_class(class);
            let schedules = Schedules::new(scores, settings.step_seconds);
            let (mut segments, mut padded) = (Segments::default(), Vec::new());
            (0..scores.clips().len())
                .map(|clip| {
                    schedules.segments(scores, clip, class, &mut padded, &mut segments);
                    let mut boxes = Vec::new();
                    merge::boxes(&segments, settings.merge, |found| boxes.push(found));
                    boxes
                })
                .collect()
        })
        .collect();
    let mut columns: Vec<_> = columns.into_iter().map(Vec::into_iter).collect();
    let clips = scores
        .clips()
        .iter()
        .map(|clip| ClipBoxes {
            clip: clip.clip.clone(),
            by_class: columns
                .iter_mut()
                .map(|column| column.next().unwrap_or_default())
                .collect(),
        })
        .collect();
    Ok(Boxes {
        classes: scores.classes().to_vec(),
        clips,
    })
}
