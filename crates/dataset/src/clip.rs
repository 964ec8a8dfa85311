//! One clip: where its sound is, what it is labeled with, and its ten seconds of samples.

use std::path::PathBuf;

use types::Split;

use crate::classes::{NUM_CLASSES, Purpose, aliases, class_mask};
use crate::error::Error;
use crate::labels::{LabelGrid, LabeledEvent};
use crate::seed::generator;

/// Samples per second of everything after decoding.
pub const SAMPLE_RATE: u32 = 16_000;

/// Length of a clip in seconds,
pub const CLIP_SECONDS: f64 = 10.0;

/// and in samples.
pub const CLIP_SAMPLES: usize = 160_000;

/// What is known about a clip's content.
#[derive(Debug, Clone, PartialEq)]
pub enum Annotation {
    /// Nothing.
    None,
    /// Classes (indices into [`crate::CLASSES`]) that occur somewhere.
    Weak(Vec<usize>),
    /// Events in the order in which they are written into the label grid.
    Strong(Vec<LabeledEvent>),
}

/// One clip of one split.
#[derive(Debug, Clone, PartialEq)]
pub struct Clip {
    /// Where it comes from.
    pub split: Split,
    /// File name without its last extension; unique in the split.
    pub stem: String,
    /// The sound file.
    pub path: PathBuf,
    /// Its labels, with aliases if it was listed for training.
    pub annotation: Annotation,
    /// What it was listed for.
    pub purpose: Purpose,
}

/// The samples of a clip.
#[derive(Debug, Clone, PartialEq)]
pub struct Waveform {
    /// 160 000 samples at 16 kHz, in [-1, 1].
    pub samples: Vec<f32>,
    /// Where in the file they begin, in seconds, rounded to milliseconds; 0 unless the file is longer than 10 s.
    pub crop_onset: f64,
    /// Whether the file is longer than 10 s, so that another crop would give other samples.
    pub cropped: bool,
}

impl Clip {
    /// Targets, shape (27, 156), of the 10 s that begin at `crop_onset` (see [`Waveform::crop_onset`]).
    #[must_use]
    pub fn labels(&self, crop_onset: f64) -> LabelGrid {
        match &self.annotation {
            Annotation::None => LabelGrid::zeros(),
            Annotation::Weak(classes) => LabelGrid::weak(classes),
            Annotation::Strong(events) => LabelGrid::strong(events, crop_onset),
        }
    }

    /// 1 for each class that the clip is annotated for (recipe 2.5). Shape (27).
    #[must_use]
    pub fn mask(&self) -> [f32; NUM_CLASSES] {
        class_mask(self.split, self.purpose)
    }

    /// Decodes the clip: mono, 16 kHz, padded with zeros at the end or cropped to 10 s (recipe 1.3). `crop_seed` chooses the
    /// place of the crop, and nothing else depends on it.
    ///
    /// # Errors
    /// When the file is missing or damaged.
    pub fn read(&self, crop_seed: u64) -> Result<Waveform, Error> {
        let samples = audio::read_mono(&self.path, SAMPLE_RATE)?;
        Ok(fit(samples, crop_seed))
    }

    /// Adds what the aliases of recipe 2.2 add: copies of the events after all others, alias by alias; or classes.
    #[must_use]
    pub fn with_aliases(mut self) -> Self {
        self.purpose = Purpose::Training;
        match &mut self.annotation {
            Annotation::None => {}
            Annotation::Weak(classes) => {
                let annotated = classes.clone();
                for &(from, to) in aliases(self.split) {
                    if annotated.contains(&from) && !classes.contains(&to) {
                        classes.push(to);
                    }
                }
            }
            Annotation::Strong(events) => {
                let annotated = events.clone();
                for &(from, to) in aliases(self.split) {
                    let copies = annotated.iter().filter(|event| event.class == from);
                    events.extend(copies.map(|event| LabeledEvent {
                        class: to,
                        ..*event
                    }));
                }
            }
        }
        self
    }
}

/// Pads or crops to 160 000 samples. The start of a crop is uniform over all places where ten seconds fit.
fn fit(mut samples: Vec<f32>, crop_seed: u64) -> Waveform {
    let surplus = samples.len().saturating_sub(CLIP_SAMPLES);
    if surplus == 0 {
        samples.resize(CLIP_SAMPLES, 0.0);
        return Waveform {
            samples,
            crop_onset: 0.0,
            cropped: false,
        };
    }
    let start = crop_start(surplus, crop_seed);
    samples.drain(..start);
    samples.truncate(CLIP_SAMPLES);
    let seconds = start as f64 / f64::from(SAMPLE_RATE);
    Waveform {
        samples,
        crop_onset: (seconds * 1000.0).round_ties_even() / 1000.0,
        cropped: true,
    }
}

/// Uniform over 0..=surplus.
fn crop_start(surplus: usize, crop_seed: u64) -> usize {
    use rand::RngExt as _;
    generator(&[b"crop", &crop_seed.to_le_bytes()]).random_range(0..=surplus)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_is_padded_long_is_cropped_equal_is_left() {
        let short = fit(vec![1.0; 3], 7);
        assert_eq!(short.samples.len(), CLIP_SAMPLES);
        assert_eq!(short.samples[..4], [1.0, 1.0, 1.0, 0.0]);

        let ramp: Vec<f32> = (0..CLIP_SAMPLES + 16_000).map(|i| i as f32).collect();
        let long = fit(ramp, 7);
        assert_eq!(long.samples.len(), CLIP_SAMPLES);
        assert!((f64::from(long.samples[0]) / 16_000.0 - long.crop_onset).abs() <= 0.0005);
        assert!(long.crop_onset <= 1.0);

        let equal = fit(vec![0.5; CLIP_SAMPLES], 7);
        assert_eq!(equal.crop_onset, 0.0);
        assert_eq!(equal.samples, vec![0.5; CLIP_SAMPLES]);
    }

    #[test]
    fn every_place_of_a_crop_occurs() {
        let mut seen = [0; 4];
        for seed in 0..400 {
            seen[crop_start(3, seed)] += 1;
        }
        assert!(seen.iter().all(|count| *count > 50), "{seen:?}");
    }
}
