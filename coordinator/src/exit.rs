//! Exit codes, part of the program's interface.

/// Every task is done.
pub(crate) const OK: u8 = 0;
/// A task failed for good, or the run was cancelled.
pub(crate) const FAILED: u8 = 1;
/// The command line or the plan is wrong.
pub(crate) const USAGE: u8 = 2;
/// Something around the run is not as it must be: a coordinator that cannot be reached, a folder that cannot be written.
pub(crate) const ENVIRONMENT: u8 = 3;
/// Stopped by a signal; the same command goes on.
pub(crate) const INTERRUPTED: u8 = 130;
