//! Draws that are a function of a name, so that no clip depends on how many were made before it.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng as _, SeedableRng as _};
use sha2::{Digest as _, Sha256};

/// The generator that belongs to one clip, recording or other named thing.
pub(super) struct Random(ChaCha8Rng);

impl Random {
    /// Seeded with the hash of (set, index).
    pub(super) fn new(set: &str, index: usize) -> Self {
        let seed = Sha256::digest(format!("{}/{set}/{index}", super::RECIPE));
        Self(ChaCha8Rng::from_seed(seed.into()))
    }

    /// Uniform in [0, 1), in steps of 2^-53.
    pub(super) fn unit(&mut self) -> f64 {
        (self.0.next_u64() >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// Uniform between the two.
    pub(super) fn between(&mut self, (low, high): (f64, f64)) -> f64 {
        low + (high - low) * self.unit()
    }

    /// An index below `len`.
    pub(super) fn below(&mut self, len: usize) -> usize {
        ((self.unit() * len as f64) as usize).min(len.saturating_sub(1))
    }

    pub(super) fn chance(&mut self, probability: f64) -> bool {
        self.unit() < probability
    }

    /// Roughly normal: the sum of twelve uniform draws.
    pub(super) fn normal(&mut self, deviation: f64) -> f64 {
        let sum: f64 = (0..12).map(|_| self.unit()).sum();
        deviation * (sum - 6.0)
    }
}
