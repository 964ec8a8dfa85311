//! The front-end of ATST-Frame (recipe 3.2).

use tch::{Device, Kind, Tensor};
use types::DecibelFloor;

use crate::mel::MelSpectrogram;

const TOP_DECIBELS: f64 = 80.0;
/// Smallest and largest value of the original's training data.
const MIN: f64 = -79.6482;
const MAX: f64 = 50.6842;

/// Power mel spectrogram, 64 bands at a hop of 160 samples, in decibels, normalised.
#[derive(Debug)]
pub struct AtstMel {
    mel: MelSpectrogram,
    floor: DecibelFloor,
}

/// Every step of the front-end.
#[derive(Debug)]
pub struct AtstMelSteps {
    /// (batch, 64, frames).
    pub power: Tensor,
    /// (batch, 64, frames), after the floor.
    pub decibels: Tensor,
    /// (batch, 1, 64, frames), the transformer's input.
    pub normalised: Tensor,
}

impl AtstMel {
    /// Makes window and filters on `device`.
    #[must_use]
    pub fn new(floor: DecibelFloor, device: Device) -> Self {
        let window = Tensor::hann_window_periodic(1024, true, (Kind::Float, device));
        Self {
            mel: MelSpectrogram::htk(window, 160, 64, (60.0, 7800.0), true),
            floor,
        }
    }

    /// (batch, samples) to (batch, 1, 64, frames).
    pub fn forward(&self, waveforms: &Tensor) -> Tensor {
        self.steps(waveforms).normalised
    }

    /// As [`Self::forward`], with what comes before.
    #[must_use]
    pub fn steps(&self, waveforms: &Tensor) -> AtstMelSteps {
        let power = self.mel.forward(waveforms);
        let decibels = self.apply_floor(&Self::unbounded_decibels(&power));
        AtstMelSteps {
            normalised: Self::normalise(&decibels),
            power,
            decibels,
        }
    }

    /// The part of [`Self::forward`] that looks at each clip alone: (batch, samples) to (batch, 64, frames).
    pub fn by_clip(&self, waveforms: &Tensor) -> Tensor {
        Self::unbounded_decibels(&self.mel.forward(waveforms))
    }

    /// The rest of [`Self::forward`].
    pub fn finish(&self, by_clip: &Tensor) -> Tensor {
        Self::normalise(&self.apply_floor(by_clip))
    }

    fn unbounded_decibels(power: &Tensor) -> Tensor {
        power.clamp_min(1e-10).log10() * 10.0
    }

    fn apply_floor(&self, decibels: &Tensor) -> Tensor {
        let loudest = match self.floor {
            // the batch axis counts as a channel axis in the original (recipe T8)
            DecibelFloor::Batch => decibels.max(),
            DecibelFloor::Clip => decibels.amax([1, 2].as_slice(), true),
        };
        decibels.maximum(&(loudest - TOP_DECIBELS))
    }

    fn normalise(decibels: &Tensor) -> Tensor {
        ((decibels.clamp(-50.0, 80.0) - MIN) / (MAX - MIN) * 2.0 - 1.0).unsqueeze(1)
    }

    /// (513, 64).
    pub fn filters(&self) -> &Tensor {
        &self.mel.filters
    }
}
