//! The CRNN's own front-end (recipe 3.1).

use tch::{Device, Kind, Tensor};

use crate::mel::MelSpectrogram;

/// Magnitude mel spectrogram, 128 bands at a hop of 256 samples, kept linear until [`CrnnMel::scale`].
#[derive(Debug)]
pub struct CrnnMel {
    mel: MelSpectrogram,
}

impl CrnnMel {
    /// Makes window and filters on `device`.
    #[must_use]
    pub fn new(device: Device) -> Self {
        let window = Tensor::hamming_window_periodic(2048, false, (Kind::Float, device));
        Self {
            mel: MelSpectrogram::htk(window, 256, 128, (0.0, 8000.0), false),
        }
    }

    /// (batch, samples) to the linear mel (batch, 1, 128, frames), on which augmentation acts (recipe T14).
    pub fn forward(&self, waveforms: &Tensor) -> Tensor {
        self.mel.forward(waveforms).unsqueeze(1)
    }

    /// Decibels in [−50, 80] of a linear mel (batch, 1, 128, frames).
    pub fn decibels(mel: &Tensor) -> Tensor {
        (mel.clamp_min(1e-5).log10() * 20.0).clamp(-50.0, 80.0)
    }

    /// Decibels brought to [−1, 1] by each clip's own minimum and maximum.
    pub fn min_max(decibels: &Tensor) -> Tensor {
        let low = decibels.amin([1, 2, 3].as_slice(), true);
        let high = decibels.amax([1, 2, 3].as_slice(), true);
        (decibels - &low) / (high - &low + 1e-8) * 2.0 - 1.0
    }

    /// [`Self::decibels`] then [`Self::min_max`]: the CRNN's input.
    pub fn scale(mel: &Tensor) -> Tensor {
        Self::min_max(&Self::decibels(mel))
    }

    /// (1025, 128).
    pub fn filters(&self) -> &Tensor {
        &self.mel.filters
    }
}
