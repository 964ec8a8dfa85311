//! The long-lived half of a worker: no tensors, one device, one coordinator.

mod assignment;
mod attempt;
mod clock;
mod duty;
mod ending;
mod folder;
mod lease;
mod logs;
mod oom;
mod outbox;
mod process;
mod settings;
#[cfg(test)]
mod samples;
