//! What a model says: for each clip a matrix of scores, frames x classes.

use std::collections::{BTreeMap, BTreeSet};

use crate::error::Error;

/// Scores of one clip.
#[derive(Debug, Clone, PartialEq)]
pub struct ClipScores {
    boundaries: Vec<f64>,
    values: Vec<f64>,
}

/// Scores of many clips over one list of classes.
#[derive(Debug, Clone, PartialEq)]
pub struct Scores {
    classes: Vec<String>,
    clips: BTreeMap<String, ClipScores>,
}

impl ClipScores {
    /// Times between the frames in seconds, one more than there are frames.
    #[must_use]
    pub fn boundaries(&self) -> &[f64] {
        &self.boundaries
    }

    /// Frames.
    #[must_use]
    pub fn num_frames(&self) -> usize {
        self.boundaries.len() - 1
    }

    /// All scores, `[frame * classes + class]`.
    #[must_use]
    pub fn values(&self) -> &[f64] {
        &self.values
    }

    /// One class's scores over the frames.
    #[must_use]
    pub fn class(&self, class: usize) -> Vec<f64> {
        let classes = self.values.len() / self.num_frames();
        self.values
            .iter()
            .skip(class)
            .step_by(classes)
            .copied()
            .collect()
    }
}

impl Scores {
    /// No clips yet.
    ///
    /// # Errors
    /// When there are no classes or one occurs twice.
    pub fn new(classes: Vec<String>) -> Result<Self, Error> {
        if classes.is_empty() {
            return Err(Error::Nothing { what: "classes" });
        }
        let mut seen = BTreeSet::new();
        if let Some(class) = classes.iter().find(|class| !seen.insert(*class)) {
            return Err(Error::ClassTwice {
                class: class.clone(),
            });
        }
        Ok(Self {
            classes,
            clips: BTreeMap::new(),
        })
    }

    /// Adds a clip: `boundaries` holds frames + 1 times that grow, `values` frames x classes scores. A score may be
    /// infinite; a frame of −∞ is never a detection.
    ///
    /// # Errors
    /// When shapes do not fit, times do not grow, a score is not a number, or the clip is there already.
    pub fn insert(
        &mut self,
        clip: &str,
        boundaries: Vec<f64>,
        values: Vec<f64>,
    ) -> Result<(), Error> {
        let named = || clip.to_owned();
        let (frames, classes) = (boundaries.len().saturating_sub(1), self.classes.len());
        if frames == 0 || values.len() != frames * classes {
            return Err(Error::Shape {
                clip: named(),
                found: values.len(),
                frames,
                classes,
            });
        }
        for (index, pair) in boundaries.windows(2).enumerate() {
            let grows = pair[0] < pair[1] && pair[0].is_finite() && pair[1].is_finite();
            if !grows {
                return Err(Error::Boundaries {
                    clip: named(),
                    index: index + 1,
                    found: pair[1],
                    before: pair[0],
                });
            }
        }
        if let Some(index) = values.iter().position(|value| value.is_nan()) {
            return Err(Error::NotANumber {
                clip: named(),
                class: self.classes[index % classes].clone(),
                frame: index / classes,
            });
        }
        if self.clips.contains_key(clip) {
            return Err(Error::ClipTwice { clip: named() });
        }
        let scores = ClipScores { boundaries, values };
        self.clips.insert(named(), scores);
        Ok(())
    }

    /// Class names, in column order.
    #[must_use]
    pub fn classes(&self) -> &[String] {
        &self.classes
    }

    /// Clips by id.
    #[must_use]
    pub fn clips(&self) -> &BTreeMap<String, ClipScores> {
        &self.clips
    }

    /// The same scores with these columns only, in this order.
    ///
    /// # Errors
    /// When a class is not there, or twice.
    pub fn with_classes<S: AsRef<str>>(&self, classes: &[S]) -> Result<Self, Error> {
        let columns = classes
            .iter()
            .map(|class| self.column(class.as_ref()))
            .collect::<Result<Vec<_>, _>>()?;
        let names = classes.iter().map(|class| class.as_ref().to_owned());
        let mut chosen = Self::new(names.collect())?;
        for (clip, scores) in &self.clips {
            let values = scores
                .values
                .chunks_exact(self.classes.len())
                .flat_map(|row| columns.iter().map(|&column| row[column]))
                .collect();
            let scores = ClipScores {
                boundaries: scores.boundaries.clone(),
                values,
            };
            chosen.clips.insert(clip.clone(), scores);
        }
        Ok(chosen)
    }

    /// The same scores without the clips for which `keep` is false.
    #[must_use]
    pub fn with_clips(mut self, mut keep: impl FnMut(&str) -> bool) -> Self {
        self.clips.retain(|clip, _| keep(clip));
        self
    }

    fn column(&self, class: &str) -> Result<usize, Error> {
        self.classes
            .iter()
            .position(|known| known == class)
            .ok_or_else(|| Error::UnknownClass {
                class: class.to_owned(),
                known: self.classes.join(", "),
            })
    }
}
