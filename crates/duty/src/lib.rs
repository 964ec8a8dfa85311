//! The pure half of a worker, `control`'s counterpart: obey, keep the lease, report everything once.
//!
//! [`Duty`] is one total function over plain data: it takes an [`Input`] at a time that is given to it, and says what has to be
//! done. It refuses to know sockets, processes, files, clocks and threads; the worker's shell has those, and so does the
//! simulation in `tests`, which drives this very code. What a worker and its rank process say to each other is in
//! [`protocol`].

mod assignment;
mod attempt;
mod backoff;
mod duty;
mod ending;
mod exit;
mod lease;
mod life;
mod outbox;
mod pace;
pub mod protocol;
#[cfg(test)]
mod samples;

pub use assignment::{Assignment, ProgressNote, Report, StopMode};
pub use attempt::{Deed, Happening, Limits, Upload};
pub use backoff::Backoff;
pub use duty::{Action, Duty, Held, Input};
pub use exit::Exit;
pub use life::next_incarnation;
pub use outbox::Numbered;
pub use pace::{HangLimits, PULSE};
