//! Change of the sampling rate.

use std::ops::RangeInclusive;

use rubato::audioadapter_buffers::direct::SequentialSlice;
use rubato::{Fft, FixedSync, Resampler, WindowFunction};

use crate::Problem;

/// Rates that recordings have. Anything outside is a damaged header, and would make the filter needlessly long.
pub(crate) const RATES: RangeInclusive<u32> = 1_000..=768_000;

/// The filter is at least this many samples long at the slower of both rates: its transition band is then a few per cent of
/// the band, and what would fold back is below 16-bit noise.
const FILTER_LEN: u64 = 1024;

/// How many samples `len` samples at `from` Hz become at `to` Hz: round(len * to / from).
pub fn resampled_len(len: usize, from: u32, to: u32) -> usize {
    let (len, from, to) = (len as u128, u128::from(from.max(1)), u128::from(to));
    usize::try_from((2 * len * to + from) / (2 * from)).unwrap_or(usize::MAX)
}

/// Resamples with a windowed-sinc filter, without delay: sample `n` of the result is the sound at `n / to` seconds. The result has
/// [`resampled_len`] samples; equal rates give the input back, bit for bit. Computed in double precision.
///
/// # Errors
/// [`Problem::Rate`] if a rate is outside 1 to 768 kHz.
pub fn resample(samples: Vec<f32>, from: u32, to: u32) -> Result<Vec<f32>, Problem> {
    for rate in [from, to] {
        if !RATES.contains(&rate) {
            return Err(Problem::Rate { found: rate });
        }
    }
    if from == to || samples.is_empty() {
        return Ok(samples);
    }
    let len = resampled_len(samples.len(), from, to);
    // Whole periods of the ratio, and an even number of them: the filter's middle then lies on a sample at both rates, and
    // its delay can be taken off exactly.
    let period = from / gcd(from, to);
    let block = (FILTER_LEN * u64::from(from)).div_ceil(u64::from(from.min(to)));
    let block = u64::from(period) * 2 * block.div_ceil(2 * u64::from(period));
    let failed = |what: String| Problem::Unsupported {
        what: format!("resampling from {from} to {to} Hz: {what}"),
    };
    let mut resampler = Fft::<f64>::new_custom(
        from as usize,
        to as usize,
        block as usize,
        1,
        1,
        WindowFunction::BlackmanHarris2,
        FixedSync::Input,
    )
    .map_err(|error| failed(error.to_string()))?;
    let frames = samples.len();
    let input: Vec<f64> = samples.into_iter().map(f64::from).collect();
    let input =
        SequentialSlice::new(&input, 1, frames).map_err(|error| failed(error.to_string()))?;
    let output = resampler
        .process_all(&input, frames, None)
        .map_err(|error| failed(error.to_string()))?
        .take_data();
    Ok(output.into_iter().take(len).map(|x| x as f32).collect())
}

fn gcd(a: u32, b: u32) -> u32 {
    if b == 0 { a } else { gcd(b, a % b) }
}
