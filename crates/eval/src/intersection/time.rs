//! Exact time. Seconds become whole picoseconds once, when scores and ground truth are read: sums of whole numbers do not depend on
//! their order, so that what the sweep keeps up to date by adding and taking away is bit for bit what counting anew would find.

/// Picoseconds in a second: far below what times are compared to, and 26 days fit.
const PER_SECOND: f64 = 1e12;

/// Times further from 0 than this (26 days) are taken as this, so that no difference of two overflows.
const FURTHEST: f64 = (1_u64 << 61) as f64;

/// A time in a clip, in picoseconds.
pub(crate) fn picoseconds(seconds: f64) -> i64 {
    (seconds * PER_SECOND).round().clamp(-FURTHEST, FURTHEST) as i64
}

/// A length that is only ever summed, in picoseconds.
pub(crate) fn long_picoseconds(seconds: f64) -> i128 {
    // At most 2^96, so that billions of them can be summed.
    (seconds * PER_SECOND).round().min(1e28) as i128
}

/// A sum of picoseconds in seconds.
pub(crate) fn seconds(picoseconds: i128) -> f64 {
    picoseconds as f64 / PER_SECOND
}

/// That `shared` is at least the given share of `length`. Both sides are rounded to a microsecond, ties to even, so that times
/// written with few decimals meet their limit exactly.
pub(super) fn at_least(shared: i64, share: f64, length: i64) -> bool {
    let (have, want) = (shared as f64, share * length as f64);
    // Rounding moves either side by half a microsecond at most: further apart, it decides nothing.
    if (have - want).abs() > 2e-6 * PER_SECOND {
        return have > want;
    }
    micro(have / PER_SECOND) >= micro(share * (length as f64 / PER_SECOND))
}

fn micro(seconds: f64) -> f64 {
    (seconds * 1e6).round_ties_even() / 1e6
}
