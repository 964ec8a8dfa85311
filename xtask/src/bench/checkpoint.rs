//! What a checkpoint costs the training that goes on beside its writing.

use std::process::{Command, ExitCode};

use anyhow::{Context, Result, ensure};
use serde::Deserialize;

use super::{example, folder, median};
use crate::{libtorch, shell};

#[derive(clap::Args)]
pub(super) struct Checkpoint {
    /// Rounds of three steps: one without a checkpoint, one with, and the one during which it is written
    #[arg(long, default_value_t = 7, value_parser = clap::value_parser!(u32).range(1..=1000))]
    rounds: u32,
}

#[derive(Deserialize)]
struct Times {
    bytes: u64,
    rounds: Vec<Round>,
}

/// Seconds of three steps in a row.
#[derive(Deserialize)]
struct Round {
    without: f64,
    with: f64,
    writing: f64,
}

impl Round {
    /// A step with a checkpoint and all that its writing costs the next step, in steps without one.
    fn ratio(&self) -> f64 {
        (self.with + self.writing - self.without) / self.without
    }
}

impl Checkpoint {
    pub(super) fn run(&self) -> Result<ExitCode> {
        libtorch::ensure(false)?;
        let folder = folder("checkpoint")?;
        let program = example("train", "checkpoint_times")?;
        // the first three steps warm up, and the last checkpoint is written during the step after it
        let steps = (self.rounds + 2) * 3;
        shell::say(format!("{steps} steps of a published-size network"));
        let output = Command::new(program)
            .arg(steps.to_string())
            .arg(&folder)
            .output()
            .context("cannot start the program that was just built")?;
        let said = String::from_utf8_lossy(&output.stderr);
        ensure!(
            output.status.success(),
            "it ended with {}: {said}",
            output.status
        );
        let times: Times = serde_json::from_slice(&output.stdout)?;
        let column = |of: fn(&Round) -> f64| median(times.rounds.iter().map(of).collect());
        println!(
            "\ncheckpoints of {}, medians of {} rounds:\n\
             a step without one         {:.2} s\n\
             a step with one            {:.2} s\n\
             the step during its writing {:.2} s\n\
             all that it costs, paired  {:.3} times a step without",
            types::Bytes(times.bytes),
            times.rounds.len(),
            column(|round| round.without)?,
            column(|round| round.with)?,
            column(|round| round.writing)?,
            column(Round::ratio)?,
        );
        Ok(ExitCode::SUCCESS)
    }
}
