//! The rank process: one attempt's tensors, and nothing that must survive them.
//!
//! It reads [`Command`](duty::protocol::Command)s from its standard input and writes
//! [`Message`]s to what was its standard output; stray prints of libraries go to the log. When the
//! input ends, its worker is gone, and it ends too.

mod gang;
mod host;
mod lease;
mod panics;
mod pipe;
mod probe;
mod store;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use train::{Outcome, RankContext};
use types::{FailureClass, SlotKind};

pub use probe::probe;

use duty::protocol::{Device, Message, Start};

use crate::exit;
use host::WorkerHost;
use pipe::Pipe;

/// Runs one attempt to its end; gives the process's exit code. Called as the first thing of `main`.
#[must_use]
pub fn run() -> u8 {
    let (pipe, start) = match Pipe::open() {
        Ok(opened) => opened,
        Err(error) => {
            tracing::error!(
                "this command is for the worker, which speaks to it through pipes: {error}"
            );
            return exit::USAGE;
        }
    };
    panics::remember();
    tracing::info!(
        "attempt {} of {}: rank {} of {} on {}",
        start.fence,
        start.task,
        start.rank,
        start.world_size,
        start.device
    );
    let (last_word, code) = match catch_unwind(AssertUnwindSafe(|| work(&pipe, &start))) {
        Ok(Ok(Outcome::Finished(outputs))) => (Message::Finished { outputs }, exit::OK),
        Ok(Ok(Outcome::Stopped)) => (Message::Stopped, exit::OK),
        Ok(Err((class, message))) => {
            tracing::error!("{class}: {message}");
            (Message::Failed { class, message }, exit::RANK_FAILED)
        }
        Err(_) => {
            let message = format!("panic: {}", panics::last());
            let class = FailureClass::Crash;
            (Message::Failed { class, message }, exit::RANK_PANICKED)
        }
    };
    pipe.say(&last_word);
    code
}

/// Loads what the device needs, for a process that is no rank. Comes before everything else that touches libtorch.
///
/// # Errors
/// When the device is not there or cannot be used.
pub fn open_device(device: Device) -> Result<tch::Device, String> {
    match gang::open_device(device) {
        Ok(opened) => Ok(opened.device),
        Err((_, message)) => Err(message),
    }
}

/// What went wrong, and in what sense.
type Trouble = (FailureClass, String);

fn work(pipe: &Arc<Pipe>, start: &Start) -> Result<Outcome, Trouble> {
    let opened = if start.spec.kind().slot() == SlotKind::Host {
        // arithmetic beside the device: it is in use by another rank
        gang::open_device(Device::Cpu)?
    } else {
        gang::open_device(start.device)?
    };
    let group = gang::join(pipe, start, &opened)?;
    pipe.say(&Message::Met);
    let mut host = WorkerHost::new(Arc::clone(pipe), start.handover.clone());
    let context = RankContext {
        device: opened.device,
        group: &group,
        inputs: &start.inputs,
        resume: start.resume.as_deref(),
        manifest: start.manifest.as_deref(),
        scratch: &start.scratch,
        host: &mut host,
    };
    train::run(&start.spec, context).map_err(|error| (error.class(), chain(&error)))
}

/// An error with its causes, for one line.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let next = error.to_string();
        // many errors show their source already
        if !text.contains(&next) {
            text.push_str(": ");
            text.push_str(&next);
        }
        cause = error.source();
    }
    text
}
