//! Exit codes, documented because scripts read them.

/// All went as it should, or the worker was told to leave and did.
pub const OK: u8 = 0;
/// Something failed; the message says what.
pub const FAILED: u8 = 1;
/// The command line does not make sense.
pub const USAGE: u8 = 2;
/// The device asked for is not there or cannot be used.
pub const NO_DEVICE: u8 = 3;
/// A rank process: its worker is gone.
pub const ORPHANED: u8 = 4;
/// A rank process: the work failed; its last message said how.
pub const RANK_FAILED: u8 = 5;
/// A rank process: a panic; its last message said where.
pub const RANK_PANICKED: u8 = 6;
/// Two signals: left at once. `worker predict`: stopped by a signal.
pub const INTERRUPTED: u8 = 130;
