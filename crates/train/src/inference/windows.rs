//! Sounds longer than ten seconds: windows on the grid of label frames, and one sequence of logits from all of them.

use dataset::{CLIP_SAMPLES, FRAME_SECONDS, NUM_CLASSES, NUM_FRAMES, SAMPLE_RATE};

/// Samples of a label frame (recipe 2.3).
const FRAME_SAMPLES: usize = 1024;

/// The windows of one sound: each 10 s of samples and 156 label frames, beginning at a whole label frame.
///
/// A sound of at most 10 s is one window, padded with zeros as in training (recipe 1.3). In a longer one a window begins
/// every `hop` frames, and the last one begins earlier than that if it would otherwise reach beyond the end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Windows {
    starts: Vec<usize>,
    samples: usize,
}

impl Windows {
    /// Windows of a sound of so many samples at 16 kHz, one every `hop` label frames (1 to 156).
    #[must_use]
    pub fn new(samples: usize, hop: usize) -> Self {
        let mut starts = vec![0];
        if samples > CLIP_SAMPLES {
            let last = samples.div_ceil(FRAME_SAMPLES) - NUM_FRAMES;
            let hop = hop.clamp(1, NUM_FRAMES);
            starts.extend((1..).map(|index| index * hop).take_while(|&at| at < last));
            starts.push(last);
        }
        Self { starts, samples }
    }

    /// `hop` in seconds as a number of label frames.
    #[must_use]
    pub fn hop_frames(seconds: f64) -> usize {
        ((seconds / FRAME_SECONDS).round() as usize).clamp(1, NUM_FRAMES)
    }

    /// How many there are; at least one.
    #[expect(clippy::len_without_is_empty, reason = "there is always a window")]
    #[must_use]
    pub fn len(&self) -> usize {
        self.starts.len()
    }

    /// Label frames of the whole sound; 156 for a sound of at most 10 s, however short.
    #[must_use]
    pub fn frames(&self) -> usize {
        NUM_FRAMES + self.starts.last().copied().unwrap_or(0)
    }

    /// The samples of one window, fewer than 160 000 where the sound ends before it.
    #[must_use]
    pub fn samples<'a>(&self, window: usize, sound: &'a [f32]) -> &'a [f32] {
        let start = (self.starts[window] * FRAME_SAMPLES).min(sound.len());
        &sound[start..sound.len().min(start + CLIP_SAMPLES)]
    }
}

/// Averages the logits of overlapping windows. A frame's weight falls linearly from the middle of its window to both ends, so
/// that what a window knows least about, its edges, counts least, and neighbours fade into each other.
#[derive(Debug)]
pub struct Blend {
    windows: Windows,
    sums: Vec<f64>,
    weights: Vec<f64>,
    missing: usize,
}

impl Blend {
    /// Nothing yet.
    #[must_use]
    pub fn new(windows: Windows) -> Self {
        let frames = windows.frames();
        Self {
            sums: vec![0.0; frames * NUM_CLASSES],
            weights: vec![0.0; frames],
            missing: windows.len(),
            windows,
        }
    }

    /// The windows that it is made of.
    #[must_use]
    pub fn windows(&self) -> &Windows {
        &self.windows
    }

    /// Adds one window's logits, (156, 27) row by row. Every window is to be added once.
    pub fn add(&mut self, window: usize, logits: &[f32]) {
        let start = self.windows.starts[window];
        for (frame, logits) in logits.chunks_exact(NUM_CLASSES).enumerate() {
            let weight = (frame + 1).min(NUM_FRAMES - frame) as f64;
            self.weights[start + frame] += weight;
            let sums = &mut self.sums[(start + frame) * NUM_CLASSES..][..NUM_CLASSES];
            for (sum, logit) in sums.iter_mut().zip(logits) {
                *sum += weight * f64::from(*logit);
            }
        }
        self.missing = self.missing.saturating_sub(1);
    }

    /// Whether every window has been added.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.missing == 0
    }

    /// The weighted means.
    #[must_use]
    pub fn finish(self) -> FrameLogits {
        let values = self
            .sums
            .chunks_exact(NUM_CLASSES)
            .zip(&self.weights)
            .flat_map(|(sums, weight)| sums.iter().map(move |sum| (sum / weight) as f32))
            .collect();
        FrameLogits {
            values,
            seconds: self.windows.samples as f64 / f64::from(SAMPLE_RATE),
        }
    }
}

/// Logits of a whole sound.
#[derive(Debug, Clone, PartialEq)]
pub struct FrameLogits {
    /// (frame, class), row by row; frames of 64 ms.
    pub values: Vec<f32>,
    /// How long the sound is.
    pub seconds: f64,
}

impl FrameLogits {
    /// Number of frames.
    #[must_use]
    pub fn frames(&self) -> usize {
        self.values.len() / NUM_CLASSES
    }

    /// Their boundaries in seconds, one more than there are frames. The last frame of a sound longer than 10 s ends with it.
    #[must_use]
    pub fn boundaries(&self) -> Vec<f64> {
        let frames = self.frames();
        (0..=frames)
            .map(|frame| {
                let at = (frame * FRAME_SAMPLES) as f64 / f64::from(SAMPLE_RATE);
                if frames > NUM_FRAMES {
                    at.min(self.seconds)
                } else {
                    at
                }
            })
            .collect()
    }

    /// Probabilities: the sigmoid of every logit.
    #[must_use]
    pub fn probabilities(&self) -> Vec<f64> {
        self.values
            .iter()
            .map(|logit| 1.0 / (1.0 + (-f64::from(*logit)).exp()))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn up_to_ten_seconds_is_one_window() {
        for samples in [1, 1023, 80_000, CLIP_SAMPLES] {
            let windows = Windows::new(samples, 78);
            assert_eq!((windows.len(), windows.frames()), (1, NUM_FRAMES));
            assert_eq!(windows.samples(0, &vec![0.0; samples]).len(), samples);
        }
        assert_eq!(Windows::new(CLIP_SAMPLES + 1, 78).starts, [0, 1]);
    }

    #[test]
    fn windows_cover_every_sample_and_every_frame() {
        for hop in [1, 77, 78, 156] {
            for samples in [160_001, 160_768, 319_999, 320_000, 1_000_003] {
                let windows = Windows::new(samples, hop);
                assert_eq!(windows.frames(), samples.div_ceil(FRAME_SAMPLES));
                let sound = vec![0.0; samples];
                let mut heard = 0;
                for (index, &start) in windows.starts.iter().enumerate() {
                    assert!(start * FRAME_SAMPLES <= heard, "{hop} {samples}");
                    heard = start * FRAME_SAMPLES + windows.samples(index, &sound).len();
                }
                assert_eq!(heard, samples);
                let boundaries = FrameLogits {
                    values: vec![0.0; windows.frames() * NUM_CLASSES],
                    seconds: samples as f64 / 16_000.0,
                }
                .boundaries();
                assert!(boundaries.windows(2).all(|pair| pair[0] < pair[1]));
                assert_eq!(boundaries.last(), Some(&(samples as f64 / 16_000.0)));
            }
        }
    }

    #[test]
    fn one_window_is_left_as_it_is() {
        let logits: Vec<f32> = (0..NUM_FRAMES * NUM_CLASSES)
            .map(|index| (index as f32 * 0.37).sin() * 9.1)
            .collect();
        let mut blend = Blend::new(Windows::new(5, 78));
        assert!(!blend.is_complete());
        blend.add(0, &logits);
        assert!(blend.is_complete());
        assert_eq!(blend.finish().values, logits);
    }

    #[test]
    fn the_middle_of_a_window_counts_most() {
        let windows = Windows::new(20 * 16_000, 78);
        assert_eq!(windows.starts, [0, 78, 156, 157]);
        let windows = Windows {
            starts: vec![0, 78],
            ..windows
        };
        let mut blend = Blend::new(windows);
        blend.add(0, &vec![0.0; NUM_FRAMES * NUM_CLASSES]);
        blend.add(1, &vec![1.0; NUM_FRAMES * NUM_CLASSES]);
        let blended = blend.finish();
        let at = |frame: usize| blended.values[frame * NUM_CLASSES];
        assert_eq!(at(77), 0.0);
        assert_eq!(at(78), 1.0 / 79.0);
        assert!((78..155).all(|frame| at(frame) < at(frame + 1)));
        assert_eq!(at(156), 1.0);
    }
}
