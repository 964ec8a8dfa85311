//! The front-end of BEATs (recipe 3.4): Kaldi's filter bank.

use tch::{Device, Kind, Tensor};

use crate::mel::kaldi_filters;

const N_FFT: i64 = 512;
const WINDOW: i64 = 400;
const HOP: i64 = 160;
const BANDS: i64 = 128;
const EDGES: (f64, f64) = (20.0, 8000.0);
const PRE_EMPHASIS: f64 = 0.97;
/// Kaldi hears 16-bit integers.
const SCALE: f64 = 32_768.0;
const MEAN: f64 = 15.416_63;
const DEVIATION: f64 = 6.555_82;

/// Logarithmic filter bank energies, 128 bands at a hop of 160 samples, normalised.
#[derive(Debug)]
pub struct BeatsFbank {
    window: Tensor,
    filters: Tensor,
}

/// Every step of the front-end.
#[derive(Debug)]
pub struct BeatsFbankSteps {
    /// (batch, frames, 128), natural logarithm.
    pub fbank: Tensor,
    /// (batch, 1, 128, frames), the transformer's input.
    pub normalised: Tensor,
}

impl BeatsFbank {
    /// Makes window and filters on `device`.
    #[must_use]
    pub fn new(device: Device) -> Self {
        let hann = Tensor::hann_window_periodic(WINDOW, false, (Kind::Float, device));
        Self {
            window: hann.pow_tensor_scalar(0.85),
            filters: kaldi_filters(N_FFT, BANDS, EDGES, device),
        }
    }

    /// (batch, samples) to (batch, 1, 128, frames); a frame needs a whole window.
    pub fn forward(&self, waveforms: &Tensor) -> Tensor {
        self.steps(waveforms).normalised
    }

    /// As [`Self::forward`], with what comes before.
    #[must_use]
    pub fn steps(&self, waveforms: &Tensor) -> BeatsFbankSteps {
        let frames = (waveforms * SCALE).unfold(1, WINDOW, HOP);
        let frames = &frames - frames.mean_dim([2].as_slice(), true, Kind::Float);
        // the first sample of a frame stands before itself
        let before = Tensor::cat(
            &[frames.narrow(2, 0, 1), frames.narrow(2, 0, WINDOW - 1)],
            2,
        );
        let frames = (frames - before * PRE_EMPHASIS) * &self.window;
        let power = frames.fft_rfft(N_FFT, -1, "backward").abs().square();
        let fbank = power
            .matmul(&self.filters)
            .clamp_min(f64::from(f32::EPSILON))
            .log();
        let normalised = (&fbank - MEAN) / (2.0 * DEVIATION);
        BeatsFbankSteps {
            normalised: normalised.transpose(1, 2).unsqueeze(1),
            fbank,
        }
    }

    /// (257, 128).
    pub fn filters(&self) -> &Tensor {
        &self.filters
    }
}
