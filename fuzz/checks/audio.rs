//! Any bytes are a sound or an error. The decoder's panics count as errors; what is accepted has an end and no odd numbers.

use audio::{probe, read_mono_within};

#[path = "scratch.rs"]
mod scratch;

/// Some bytes are minutes of silence in FLAC, so the time is limited here, as it is for users.
const SECONDS: f64 = 60.0;

/// Other rates are read as they are: making a filter for an odd ratio takes long and shows nothing about the reader.
const RESAMPLED: [u32; 4] = [8_000, 22_050, 44_100, 48_000];

thread_local! {
    static SCRATCH: scratch::Scratch = scratch::Scratch::new();
}

pub(crate) fn check(input: &[u8]) {
    let path = SCRATCH.with(|scratch| scratch.write("fuzzed", input));
    let Ok(info) = probe(&path) else {
        return;
    };
    let rate = if RESAMPLED.contains(&info.rate) {
        16_000
    } else {
        info.rate
    };
    if let Ok(samples) = read_mono_within(&path, rate, SECONDS) {
        assert!(!samples.is_empty());
        assert!(samples.len() <= (SECONDS * f64::from(rate)) as usize + 1);
        assert!(samples.iter().all(|x| x.is_finite()));
    }
}
