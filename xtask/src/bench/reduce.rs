//! Ordered reduction of gradients beside the fast one.

use std::path::Path;
use std::process::{Child, Command, ExitCode};

use anyhow::{Context, Result, ensure};
use serde::Deserialize;

use super::{example, human, median};
use crate::{libtorch, shell};

const RANKS: u32 = 2;
/// What an ordered step may cost, as a multiple of a fast one.
const ALLOWED: f64 = 1.15;

#[derive(clap::Args)]
pub(super) struct Reduce {
    /// Steps of each side
    #[arg(long, default_value_t = 15, value_parser = clap::value_parser!(u32).range(1..=1000))]
    steps: u32,
    /// The published transformer with few clips, for which the exchange weighs more, instead of a small one with many
    #[arg(long)]
    published: bool,
}

/// What rank 0 says about the steps of both.
#[derive(Debug, Deserialize)]
struct Times {
    ordered: Vec<f64>,
    fast: Vec<f64>,
    parameters: u64,
    clips: u64,
}

impl Reduce {
    pub(super) fn run(&self) -> Result<ExitCode> {
        libtorch::ensure(false)?;
        let program = example("train", "reduce_times")?;
        let folder = tempfile::tempdir().context("cannot make a folder")?;
        shell::say(format!("{} steps of each side", self.steps));
        let rank = |number| self.rank(&program, folder.path(), number);
        let others: Vec<Child> = (1..RANKS)
            .map(|number| rank(number).spawn().context("cannot start a rank"))
            .collect::<Result<_>>()?;
        let said = rank(0).output().context("cannot start rank 0")?;
        let mut well = said.status.success();
        for mut other in others {
            // without rank 0 they end by themselves: their group has lost it
            well &= other.wait()?.success();
        }
        ensure!(
            well,
            "a rank failed: {}",
            String::from_utf8_lossy(&said.stderr)
        );
        let times: Times = serde_json::from_slice(&said.stdout)
            .context("rank 0 said something else than times")?;
        let (ordered, fast) = (median(times.ordered.clone())?, median(times.fast.clone())?);
        println!(
            "\nordered   {}\nfast      {}\nratio     {:.3} of the medians (at most {ALLOWED} is asked for)\n",
            spread(ordered, &times.ordered),
            spread(fast, &times.fast),
            ordered / fast
        );
        println!(
            "An optimizer step of stage 2, {RANKS} processes on loopback with one thread each, in turns: the published CRNN and the\n\
             {} transformer, {} parameters, one micro-batch of {} clips for each rank.",
            self.size(),
            times.parameters,
            times.clips
        );
        Ok(ExitCode::SUCCESS)
    }

    fn size(&self) -> &'static str {
        if self.published { "published" } else { "small" }
    }

    fn rank(&self, program: &Path, folder: &Path, number: u32) -> Command {
        let mut command = Command::new(program);
        command
            .args([number.to_string(), RANKS.to_string()])
            .arg(folder)
            .arg(self.steps.to_string())
            .arg(self.size())
            .env("OMP_NUM_THREADS", "1");
        command
    }
}

/// The median of these, and from where to where they go.
fn spread(median: f64, seconds: &[f64]) -> String {
    let low = seconds.iter().copied().fold(f64::INFINITY, f64::min);
    let high = seconds.iter().copied().fold(0.0, f64::max);
    format!("{} ({} to {})", human(median), human(low), human(high))
}
