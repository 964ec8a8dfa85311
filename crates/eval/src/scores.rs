use std::collections::BTreeSet;

use crate::Error;

/// Frame scores of many clips, all with the same classes.
#[derive(Debug, Clone, PartialEq)]
pub struct Scores {
    classes: Vec<String>,
    clips: Vec<ClipScores>,
}

/// Frame scores of one clip.
#[derive(Debug, Clone, PartialEq)]
pub struct ClipScores {
    /// File name without its last extension.
    pub clip: String,
    /// Frame boundaries in seconds, growing, one more than there are frames; frame `i` covers `[b[i], b[i+1])`.
    pub boundaries: Vec<f64>,
    /// Shape (frame, class), row by row.
    pub values: Vec<f64>,
}

impl ClipScores {
    /// Number of frames.
    #[must_use]
    pub fn num_frames(&self) -> usize {
        self.boundaries.len().saturating_sub(1)
    }
}

impl Scores {
    /// Checks shapes and values, and sorts clips by name.
    ///
    /// # Errors
    /// Wrong shape, boundaries that do not grow, a NaN, a clip or class that is there twice.
    pub fn new(classes: Vec<String>, mut clips: Vec<ClipScores>) -> Result<Self, Error> {
        unique("class", classes.iter())?;
        unique("clip", clips.iter().map(|clip| &clip.clip))?;
        for clip in &clips {
            check(clip, &classes)?;
        }
        clips.sort_by(|one, two| one.clip.cmp(&two.clip));
        Ok(Self { classes, clips })
    }

    /// Class names, in column order.
    #[must_use]
    pub fn classes(&self) -> &[String] {
        &self.classes
    }

    /// Clips, sorted by name.
    #[must_use]
    pub fn clips(&self) -> &[ClipScores] {
        &self.clips
    }
}

fn unique<'a>(what: &'static str, names: impl Iterator<Item = &'a String>) -> Result<(), Error> {
    let mut seen = BTreeSet::new();
    for name in names {
        if !seen.insert(name) {
            return Err(Error::Twice {
                what,
                name: name.clone(),
            });
        }
    }
    Ok(())
}

fn check(clip: &ClipScores, classes: &[String]) -> Result<(), Error> {
    if clip.values.len() != clip.num_frames() * classes.len() {
        return Err(Error::Shape {
            clip: clip.clip.clone(),
            found: clip.values.len(),
            frames: clip.num_frames(),
            classes: classes.len(),
        });
    }
    for (frame, pair) in clip.boundaries.windows(2).enumerate() {
        // Written so that a NaN fails.
        if !(pair[0] < pair[1] && pair[1].is_finite()) {
            return Err(Error::Boundaries {
                clip: clip.clip.clone(),
                frame,
                onset: pair[0],
                offset: pair[1],
            });
        }
    }
    if let Some(place) = clip.values.iter().position(|value| value.is_nan()) {
        return Err(Error::NotANumber {
            clip: clip.clip.clone(),
            class: classes[place % classes.len()].clone(),
            frame: place / classes.len(),
        });
    }
    Ok(())
}
