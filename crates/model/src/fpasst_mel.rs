//! The front-end of fPaSST (recipe 3.3).

use tch::{Device, Kind, Tensor};
use types::MelEdges;

use crate::mel::{MelSpectrogram, kaldi_filters};

const N_FFT: i64 = 512;
const WINDOW: i64 = 400;
const HOP: i64 = 160;
const BANDS: i64 = 128;
const NYQUIST: f64 = 8000.0;
const PRE_EMPHASIS: f64 = 0.97;
const FLOOR: f64 = 1e-7;

/// Power mel spectrogram after pre-emphasis, 128 bands at a hop of 160 samples, logarithmic, normalised.
#[derive(Debug)]
pub struct FpasstMel {
    mel: MelSpectrogram,
    device: Device,
}

/// Every step of the front-end.
#[derive(Debug)]
pub struct FpasstMelSteps {
    /// (batch, 128, frames).
    pub power: Tensor,
    /// (batch, 1, 128, frames), natural logarithm of the floored power.
    pub log: Tensor,
    /// (batch, 1, 128, frames), the transformer's input.
    pub normalised: Tensor,
}

/// Edges of the mel bank in Hz in evaluation: the upper one falls with its range (recipe 3.3).
#[must_use]
pub fn evaluation_edges(edges: MelEdges) -> (f64, f64) {
    (0.0, NYQUIST - f64::from(edges.high / 2))
}

/// Edges of the mel bank in Hz in training, from one draw below each range.
#[must_use]
pub fn training_edges(edges: MelEdges, low: u32, high: u32) -> (f64, f64) {
    let (_, top) = evaluation_edges(edges);
    (
        f64::from(low),
        top + f64::from(edges.high / 2) - f64::from(high),
    )
}

impl FpasstMel {
    /// Makes window and filters on `device`.
    #[must_use]
    pub fn new(edges: MelEdges, device: Device) -> Self {
        // the window stands in the middle of a longer transform
        let side = (N_FFT - WINDOW) / 2;
        let window = Tensor::hann_window_periodic(WINDOW, true, (Kind::Float, device))
            .constant_pad_nd([side, side]);
        let filters = kaldi_filters(N_FFT, BANDS, evaluation_edges(edges), device);
        Self {
            mel: MelSpectrogram::new(window, HOP, filters, true),
            device,
        }
    }

    /// (batch, samples) to (batch, 1, 128, frames), with the edges of evaluation.
    pub fn forward(&self, waveforms: &Tensor) -> Tensor {
        self.steps(waveforms).normalised
    }

    /// As [`Self::forward`], with what comes before.
    #[must_use]
    pub fn steps(&self, waveforms: &Tensor) -> FpasstMelSteps {
        self.finish(self.mel.forward(&pre_emphasised(waveforms)))
    }

    /// As [`Self::forward`], between these edges in Hz ([`training_edges`]).
    pub fn forward_between(&self, waveforms: &Tensor, edges: (f64, f64)) -> Tensor {
        let filters = kaldi_filters(N_FFT, BANDS, edges, self.device);
        let power = self
            .mel
            .forward_through(&pre_emphasised(waveforms), &filters);
        self.finish(power).normalised
    }

    fn finish(&self, power: Tensor) -> FpasstMelSteps {
        let log = power.clamp_min(FLOOR).log().unsqueeze(1);
        FpasstMelSteps {
            normalised: (&log + 4.5) / 5.0,
            log,
            power,
        }
    }

    /// (257, 128), of evaluation.
    pub fn filters(&self) -> &Tensor {
        &self.mel.filters
    }
}

/// y\[n\] = x\[n + 1\] − 0.97·x\[n\]: one sample shorter (recipe T10).
fn pre_emphasised(waveforms: &Tensor) -> Tensor {
    let samples = waveforms.size()[1];
    waveforms.narrow(1, 1, samples - 1) - waveforms.narrow(1, 0, samples - 1) * PRE_EMPHASIS
}
