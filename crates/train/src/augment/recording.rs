//! What happens to a recording before any feature is made of it (recipe 6.1, 6.2, 6.5).

use tch::Tensor;

/// Mixes two recordings of equal length (…, samples): both lose their mean, are added with weights `weight` and 1 − `weight`,
/// and the sum loses its mean again.
pub fn mix_recordings(own: &Tensor, partner: &Tensor, weight: f64) -> Tensor {
    let centred = |x: &Tensor| x - x.mean_dim([-1].as_slice(), true, tch::Kind::Float);
    centred(&mix_labels(&centred(own), &centred(partner), weight))
}

/// Mixes labels or pseudo-label probabilities as [`mix_recordings`] mixes sounds; nothing is clamped.
pub fn mix_labels(own: &Tensor, partner: &Tensor, weight: f64) -> Tensor {
    own * weight + partner * (1.0 - weight)
}

/// Convolves (…, samples) with an impulse response (taps), which stands around each sample; the length stays.
pub fn convolve(recording: &Tensor, response: &Tensor) -> Tensor {
    let taps = response.size()[0];
    let samples = recording.size().last().copied().unwrap_or(0);
    if taps == 0 || samples == 0 {
        return recording.shallow_clone();
    }
    // Zeros of half the response on both sides and the part where all of it lies inside: a stretch of the full convolution.
    let first = taps - 1 - taps / 2;
    let length = (samples + taps - 1) as u64;
    let n_fft = i64::try_from(length.next_power_of_two()).unwrap_or(i64::MAX);
    let spectrum =
        recording.fft_rfft(n_fft, -1, "backward") * response.fft_rfft(n_fft, -1, "backward");
    spectrum
        .fft_irfft(n_fft, -1, "backward")
        .narrow(-1, first, samples)
        .contiguous()
}

/// Multiplies by a gain in decibels.
pub fn amplify(recording: &Tensor, decibels: f64) -> Tensor {
    recording * 10.0_f64.powf(decibels / 20.0)
}
