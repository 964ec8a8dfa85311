//! Boxes as what the metrics take: frame scores, or decided events.

use std::collections::BTreeMap;

use types::{Detection, SoundEvent};

use super::BoundingBox;
use crate::{ClipScores, Error, Scores};

/// Boxes of many clips.
#[derive(Debug, Clone, PartialEq)]
pub struct Boxes {
    /// Class names, in column order.
    pub classes: Vec<String>,
    /// In the order of the scores that they were found in.
    pub clips: Vec<ClipBoxes>,
}

/// Boxes of one clip.
#[derive(Debug, Clone, PartialEq)]
pub struct ClipBoxes {
    /// File name without its last extension.
    pub clip: String,
    /// For each class in column order, by onset and apart.
    pub by_class: Vec<Vec<BoundingBox>>,
}

/// How long a clip without boxes is where nothing else says so.
const SHORTEST: f64 = 1e-3;

impl Boxes {
    /// Frames with a boundary wherever a box of any class begins or ends: the confidence inside, `fill` elsewhere. With minus
    /// infinity, what lies outside is never detected; tables for other tools use 0. Frames end with the last box, or with the clip
    /// where `durations` has it.
    ///
    /// # Errors
    /// Whatever [`Scores::new`] refuses.
    pub fn scores(&self, durations: &BTreeMap<String, f64>, fill: f64) -> Result<Scores, Error> {
        let clips = self
            .clips
            .iter()
            .map(|clip| clip.frames(durations.get(&clip.clip).copied(), fill))
            .collect();
        Scores::new(self.classes.clone(), clips)
    }

    /// Boxes whose confidence is above the class's threshold (one for all classes, or one per class), by clip; in the order of
    /// classes, then of onsets.
    ///
    /// # Errors
    /// Another number of thresholds.
    pub fn detections(
        &self,
        thresholds: &[f64],
    ) -> Result<BTreeMap<String, Vec<Detection>>, Error> {
        if thresholds.len() != 1 && thresholds.len() != self.classes.len() {
            return Err(Error::Settings(format!(
                "{} thresholds for {} classes, expected one for all or one per class",
                thresholds.len(),
                self.classes.len()
            )));
        }
        let of_clip = |clip: &ClipBoxes| -> Vec<Detection> {
            (clip.by_class.iter().zip(&self.classes))
                .zip(thresholds.iter().cycle())
                .flat_map(|((boxes, class), threshold)| {
                    let above = boxes.iter().filter(|found| found.confidence > *threshold);
                    above.map(|found| Detection {
                        event: SoundEvent {
                            onset: found.onset,
                            offset: found.offset,
                            class: class.clone(),
                        },
                        confidence: found.confidence,
                    })
                })
                .collect()
        };
        Ok(self
            .clips
            .iter()
            .map(|clip| (clip.clip.clone(), of_clip(clip)))
            .collect())
    }
}

impl ClipBoxes {
    fn frames(&self, duration: Option<f64>, fill: f64) -> ClipScores {
        let all = || self.by_class.iter().flatten();
        let mut boundaries: Vec<f64> = all()
            .flat_map(|found| [found.onset, found.offset])
            .collect();
        boundaries.push(0.0);
        boundaries.extend(duration);
        boundaries.sort_by(f64::total_cmp);
        boundaries.dedup();
        if boundaries.len() < 2 {
            boundaries.push(SHORTEST);
        }
        let classes = self.by_class.len();
        let mut values = vec![fill; (boundaries.len() - 1) * classes];
        let place = |time: f64| boundaries.partition_point(|boundary| *boundary < time);
        for (class, boxes) in self.by_class.iter().enumerate() {
            for found in boxes {
                for frame in place(found.onset)..place(found.offset) {
                    values[frame * classes + class] = found.confidence;
                }
            }
        }
        ClipScores {
            clip: self.clip.clone(),
            boundaries,
            values,
        }
    }
}
