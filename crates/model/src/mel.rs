//! Mel spectrograms as torchaudio makes them: centred frames, reflected edges, HTK scale, no area normalisation.

use tch::{Device, Kind, Tensor};

const SAMPLE_RATE: f64 = 16_000.0;

/// A short-time transform followed by a bank of triangles.
#[derive(Debug)]
pub(crate) struct MelSpectrogram {
    window: Tensor,
    /// (n_fft/2 + 1, mels).
    pub(crate) filters: Tensor,
    hop: i64,
    squared: bool,
}

impl MelSpectrogram {
    /// `window` has n_fft values, `filters` is (n_fft/2 + 1, mels). `squared`: power instead of magnitude.
    pub(crate) fn new(window: Tensor, hop: i64, filters: Tensor, squared: bool) -> Self {
        Self {
            window,
            filters,
            hop,
            squared,
        }
    }

    /// With triangles in hertz between these edges, as torchaudio's default.
    pub(crate) fn htk(
        window: Tensor,
        hop: i64,
        mels: i64,
        (low, high): (f64, f64),
        squared: bool,
    ) -> Self {
        let n_fft = window.size()[0];
        let filters = htk_filters(n_fft / 2 + 1, mels, low, high, window.device());
        Self::new(window, hop, filters, squared)
    }

    /// (batch, samples) to (batch, mels, 1 + samples/hop).
    pub(crate) fn forward(&self, waveforms: &Tensor) -> Tensor {
        self.forward_through(waveforms, &self.filters)
    }

    /// As [`Self::forward`], through other filters.
    pub(crate) fn forward_through(&self, waveforms: &Tensor, filters: &Tensor) -> Tensor {
        let n_fft = self.window.size()[0];
        let padded = waveforms.reflection_pad1d([n_fft / 2, n_fft / 2]);
        // tch's own centring always passes an argument that libtorch refuses, so the edges are padded here.
        let spectrum = padded
            .stft(
                n_fft,
                self.hop,
                n_fft,
                Some(&self.window),
                false,
                true,
                true,
                false,
            )
            .abs();
        let spectrum = if self.squared {
            spectrum.square()
        } else {
            spectrum
        };
        spectrum.transpose(1, 2).matmul(filters).transpose(1, 2)
    }
}

/// Kaldi's bank (recipe 3.3, 3.4): triangles linear in mel over points equally spaced in mel(f) = 1127·ln(1 + f/700), with no
/// weight at the Nyquist frequency. (n_fft/2 + 1, mels), in float32 as the original.
pub(crate) fn kaldi_filters(
    n_fft: i64,
    mels: i64,
    (low, high): (f64, f64),
    device: Device,
) -> Tensor {
    let options = (Kind::Float, Device::Cpu);
    let mel = |hertz: f64| 1127.0 * (1.0 + hertz / 700.0).ln();
    let step = (mel(high) - mel(low)) / (mels + 1) as f64;
    let points = Tensor::arange(mels + 2, options) * step + mel(low);
    let bins = Tensor::arange(n_fft / 2, options) * (SAMPLE_RATE / n_fft as f64);
    let bins = ((bins / 700.0 + 1.0).log() * 1127.0).unsqueeze(1);
    let (left, center, right) = (
        points.narrow(0, 0, mels),
        points.narrow(0, 1, mels),
        points.narrow(0, 2, mels),
    );
    let rising = (&bins - &left) / (&center - &left);
    let falling = (&right - &bins) / (&right - &center);
    rising
        .minimum(&falling)
        .clamp_min(0.0)
        .constant_pad_nd([0, 0, 0, 1])
        .contiguous()
        .to_device(device)
}

/// Triangles linear in hertz over points equally spaced in mel(f) = 2595·log10(1 + f/700), in float32 as the original.
fn htk_filters(bins: i64, mels: i64, low: f64, high: f64, device: Device) -> Tensor {
    let options = (Kind::Float, Device::Cpu);
    let mel = |hertz: f64| 2595.0 * (1.0 + hertz / 700.0).log10();
    let frequencies = Tensor::linspace(0.0, SAMPLE_RATE / 2.0, bins, options);
    let points = Tensor::linspace(mel(low), mel(high), mels + 2, options);
    let ten = Tensor::from(10.0_f32);
    let points = (ten.pow(&(points / 2595.0)) - 1.0) * 700.0;
    let widths = points.narrow(0, 1, mels + 1) - points.narrow(0, 0, mels + 1);
    let slopes = points.unsqueeze(0) - frequencies.unsqueeze(1);
    let falling = -slopes.narrow(1, 0, mels) / widths.narrow(0, 0, mels);
    let rising = slopes.narrow(1, 2, mels) / widths.narrow(0, 1, mels);
    falling
        .minimum(&rising)
        .clamp_min(0.0)
        .contiguous()
        .to_device(device)
}
