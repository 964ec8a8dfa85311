//! From annotated times to label frames (recipe 2.3, 2.4).

use crate::classes::NUM_CLASSES;
use crate::clip::{CLIP_SECONDS, SAMPLE_RATE};

/// Label frames of a 10 s clip.
pub const NUM_FRAMES: usize = 156;

/// Samples per spectrogram frame, and spectrogram frames per label frame.
const HOP: f64 = 256.0;
const POOLING: f64 = 4.0;

/// Seconds per label frame.
pub const FRAME_SECONDS: f64 = 0.064;

/// One annotated event of a clip.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct LabeledEvent {
    /// Seconds from the start of the file.
    pub onset: f64,
    /// Seconds from the start of the file.
    pub offset: f64,
    /// Index into [`crate::CLASSES`].
    pub class: usize,
    /// The value of its frames: 1, or MAESTRO's soft label.
    pub confidence: f64,
}

/// Targets of one clip: shape (27, 156), class-major, as the reference hands them to the losses.
#[derive(Debug, Clone, PartialEq)]
pub struct LabelGrid {
    values: Vec<f32>,
}

impl LabelGrid {
    /// No class anywhere.
    #[must_use]
    pub fn zeros() -> Self {
        Self {
            values: vec![0.0; NUM_CLASSES * NUM_FRAMES],
        }
    }

    /// Targets of events, in their order, of the 10 s that begin `crop_onset` seconds into the file (recipe 1.4). Exact
    /// duplicates count once; where two events of a class share a frame, the later row overwrites, even with a lower value.
    #[must_use]
    pub fn strong(events: &[LabeledEvent], crop_onset: f64) -> Self {
        let mut grid = Self::zeros();
        for (index, event) in events.iter().enumerate() {
            if events[..index].contains(event) {
                continue;
            }
            let onset = (event.onset - crop_onset).max(0.0);
            let offset = (event.offset - crop_onset).min(CLIP_SECONDS);
            if onset < offset {
                let frames = onset_frame(onset)..offset_frame(offset);
                if frames.start < frames.end {
                    let row = event.class * NUM_FRAMES;
                    grid.values[row + frames.start..row + frames.end].fill(event.confidence as f32);
                }
            }
        }
        grid
    }

    /// A weak label: 1 in frame 0 of each class, read back as "any frame above 0" (recipe 1.5).
    #[must_use]
    pub fn weak(classes: &[usize]) -> Self {
        let mut grid = Self::zeros();
        for class in classes {
            grid.values[class * NUM_FRAMES] = 1.0;
        }
        grid
    }

    /// All values, `[class * 156 + frame]`.
    #[must_use]
    pub fn values(&self) -> &[f32] {
        &self.values
    }

    /// One class's frames.
    #[must_use]
    pub fn class(&self, class: usize) -> &[f32] {
        &self.values[class * NUM_FRAMES..][..NUM_FRAMES]
    }

    /// 1 for each class that has a frame above 0. Shape (27).
    #[must_use]
    pub fn to_weak(&self) -> [f32; NUM_CLASSES] {
        std::array::from_fn(|class| f32::from(self.class(class).iter().any(|x| *x > 0.0)))
    }
}

fn frame(seconds: f64) -> f64 {
    (seconds * f64::from(SAMPLE_RATE) / HOP / POOLING).clamp(0.0, NUM_FRAMES as f64)
}

/// The label frame in which an event that begins at `seconds` starts.
#[must_use]
pub fn onset_frame(seconds: f64) -> usize {
    frame(seconds) as usize
}

/// One past the last label frame of an event that ends at `seconds`.
#[must_use]
pub fn offset_frame(seconds: f64) -> usize {
    frame(seconds).ceil() as usize
}

/// The 157 boundaries of the label frames in seconds: 0, 0.064, …, 9.984.
#[must_use]
pub fn frame_boundaries() -> Vec<f64> {
    (0..=NUM_FRAMES)
        .map(|frame| (frame as f64 * POOLING / (f64::from(SAMPLE_RATE) / HOP)).min(CLIP_SECONDS))
        .collect()
}
