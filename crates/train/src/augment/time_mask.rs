//! A masked stretch of time in the DESED strong clips (recipe 6.5).

use rand::RngExt;
use tch::Tensor;
use types::AugmentationSettings;

use crate::POOLING;

/// One stretch for the whole group, in label frames.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TimeMask {
    /// The first masked label frame,
    pub start: i64,
    /// and how many.
    pub width: i64,
}

impl TimeMask {
    /// Width in [⌊frames·min⌋, ⌊frames·max⌋), start in [0, frames − width).
    pub(crate) fn draw(
        rng: &mut impl rand::Rng,
        settings: &AugmentationSettings,
        frames: i64,
    ) -> Self {
        let share = |factor: f64| ((frames as f64 * factor) as i64).clamp(0, frames - 1);
        let least = share(settings.time_mask_min);
        let width = rng.random_range(least..share(settings.time_mask_max).max(least + 1));
        Self {
            start: rng.random_range(0..frames - width),
            width,
        }
    }

    /// Zeros in the stretch of (rows, 1, bands, frames) CRNN features, in place.
    pub fn crnn_features(&self, features: &Tensor) {
        zero(features, self.start * POOLING, self.width * POOLING);
    }

    /// Zeros in the stretch of (rows, 1, bands, frames) transformer features, in place; edges rounded half to even.
    pub fn transformer_features(&self, features: &Tensor, label_frames: i64) {
        let frames = *features.size().last().unwrap_or(&0);
        let ratio = frames as f64 / label_frames as f64;
        let edge = |label_frame: i64| (label_frame as f64 * ratio).round_ties_even() as i64;
        let start = edge(self.start);
        zero(features, start, edge(self.start + self.width) - start);
    }

    /// Zeros in the stretch of (rows, classes, frames) labels, in place. Pseudo-labels stay as they are (recipe T16).
    pub fn labels(&self, labels: &Tensor) {
        zero(labels, self.start, self.width);
    }
}

fn zero(x: &Tensor, start: i64, width: i64) {
    let _ = x.narrow(-1, start, width).zero_();
}
