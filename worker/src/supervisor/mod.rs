//! The long-lived half of a worker: no tensors, one device, one coordinator.
//!
//! Decisions are in [`duty`] and [`attempt`], which are pure; `shell` does what they say; `coordinator` is the seam to the
//! network and `process` the one to the rank processes.

mod assignment;
mod attempt;
mod cache;
mod clock;
mod coordinator;
mod device;
mod duty;
mod ending;
mod folder;
mod lease;
mod logs;
mod oom;
mod outbox;
mod parent;
mod process;
mod rank_handle;
mod settings;
mod shell;
mod transfer;

#[cfg(test)]
mod fake_coordinator;
#[cfg(test)]
mod samples;
