use std::collections::BTreeSet;

use rayon::prelude::*;

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
    /// No class, wrong shape, boundaries that do not grow, a NaN, a clip or class that is there twice.
    pub fn new(classes: Vec<String>, mut clips: Vec<ClipScores>) -> Result<Self, Error> {
        some(&classes)?;
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

    /// These classes alone, in this order.
    ///
    /// # Errors
    /// A class that has no scores or is there twice.
    pub fn select_classes<S: AsRef<str>>(&self, classes: &[S]) -> Result<Self, Error> {
        let names: Vec<String> = classes.iter().map(|c| c.as_ref().to_owned()).collect();
        some(&names)?;
        unique("class", names.iter())?;
        let columns = names
            .iter()
            .map(|class| {
                let place = self.classes.iter().position(|known| known == class);
                place.ok_or_else(|| Error::NotScored {
                    class: class.clone(),
                    known: self.classes.clone(),
                })
            })
            .collect::<Result<Vec<usize>, Error>>()?;
        let clips = self.clips.par_iter().map(|clip| ClipScores {
            clip: clip.clip.clone(),
            boundaries: clip.boundaries.clone(),
            values: (clip.values.chunks_exact(self.classes.len().max(1)))
                .flat_map(|frame| columns.iter().map(|&column| frame[column]))
                .collect(),
        });
        Ok(Self {
            clips: clips.collect(),
            classes: names,
        })
    }

    /// Only the clips whose name `wanted` accepts.
    #[must_use]
    pub fn retain_clips(mut self, mut wanted: impl FnMut(&str) -> bool) -> Self {
        self.clips.retain(|clip| wanted(&clip.clip));
        self
    }
}

fn some(classes: &[String]) -> Result<(), Error> {
    if classes.is_empty() {
        return Err(Error::Settings(
            "scores of no class, expected one at least".to_owned(),
        ));
    }
    Ok(())
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
        if !(pair[0] < pair[1] && pair[0].is_finite() && pair[1].is_finite()) {
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

#[cfg(test)]
mod tests {
    use super::*;

    fn scores() -> Scores {
        let clip = |name: &str, first: f64| ClipScores {
            clip: name.to_owned(),
            boundaries: vec![0.0, 1.0, 3.0],
            values: (0..6).map(|step| first + f64::from(step)).collect(),
        };
        let classes = ["cat", "dog", "hum"].map(str::to_owned).to_vec();
        Scores::new(classes, vec![clip("b", 10.0), clip("a", 0.0)]).unwrap()
    }

    #[test]
    fn classes_and_clips_are_selected_by_name() {
        let chosen = scores().select_classes(&["hum", "cat"]).unwrap();
        assert_eq!(chosen.classes(), ["hum", "cat"]);
        assert_eq!(chosen.clips()[1].values, [12.0, 10.0, 15.0, 13.0]);
        assert_eq!(chosen.clips()[1].boundaries, [0.0, 1.0, 3.0]);
        let kept = chosen.retain_clips(|clip| clip != "a");
        assert_eq!(kept.clips().len(), 1);
        assert_eq!(kept.clips()[0].clip, "b");
    }

    #[test]
    fn a_class_without_scores_is_refused_by_name() {
        let refused = |classes: &[&str]| scores().select_classes(classes).unwrap_err().to_string();
        assert_eq!(
            refused(&["cat", "cow"]),
            "class \"cow\" has no scores, expected one of [\"cat\", \"dog\", \"hum\"]"
        );
        assert_eq!(refused(&["cat", "cat"]), "class \"cat\" is there twice");
    }
}
