//! A cyclic shift in time, each clip by its own amount (recipe 6.5; off as published).

use rand_distr::{Distribution, Normal};
use tch::Tensor;
use types::AugmentationSettings;

use crate::{Error, POOLING};

/// One draw for a group of rows: frames of the CRNN mel by which each row moves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TimeShift(pub Vec<i64>);

impl TimeShift {
    /// The integer part of normal draws whose deviation is the given share of `frames` CRNN mel frames.
    pub(crate) fn draw(
        rng: &mut impl rand::Rng,
        settings: &AugmentationSettings,
        rows: i64,
        frames: i64,
    ) -> Result<Self, Error> {
        let deviation = (frames as f64 * settings.time_shift).trunc();
        let normal = Normal::new(0.0, deviation).map_err(|error| {
            Error::Configuration(format!("time_shift is {}: {error}", settings.time_shift))
        })?;
        Ok(Self(
            (0..rows)
                .map(|_| normal.sample(rng).trunc() as i64)
                .collect(),
        ))
    }

    /// Shifts (rows, 1, bins, frames) CRNN features.
    pub fn crnn_features(&self, features: &Tensor) -> Tensor {
        self.roll(features, |shift| shift)
    }

    /// Shifts (rows, …, label frames) labels or pseudo-labels; rounded half to even.
    pub fn labels(&self, labels: &Tensor) -> Tensor {
        self.roll(labels, |shift| {
            (shift as f64 / POOLING as f64).round_ties_even() as i64
        })
    }

    /// Shifts (rows, 1, bins, frames) transformer features, where the CRNN features have `crnn_frames`; rounded half to even.
    pub fn transformer_features(&self, features: &Tensor, crnn_frames: i64) -> Tensor {
        let frames = features.size().last().copied().unwrap_or(0);
        let ratio = frames as f64 / crnn_frames as f64;
        self.roll(features, |shift| {
            (shift as f64 * ratio).round_ties_even() as i64
        })
    }

    fn roll(&self, x: &Tensor, by: impl Fn(i64) -> i64) -> Tensor {
        let rows: Vec<Tensor> = (0..)
            .zip(&self.0)
            .map(|(row, &shift)| x.narrow(0, row, 1).roll([by(shift)], [-1]))
            .collect();
        if rows.is_empty() {
            return x.shallow_clone();
        }
        Tensor::cat(&rows, 0)
    }
}
