//! Measurements that somebody asks for; no test depends on them.

mod checkpoint;
mod eval;
mod reduce;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result};

use crate::shell;

#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(clap::Subcommand)]
enum What {
    /// The metrics and cSEBBs against `sed_scores_eval` and `sebbs`, which pip fetches into an environment of their own
    Eval(eval::Eval),
    /// Ordered reduction of gradients against the fast one: optimizer steps of two ranks, in turns
    Reduce(reduce::Reduce),
    /// What a checkpoint costs the training that goes on beside its writing
    Checkpoint(checkpoint::Checkpoint),
    /// A coordinator with 10,000 tasks in its journal, from its start to its first assignment
    Restart,
}

pub(crate) fn run(args: &Args) -> Result<ExitCode> {
    match &args.what {
        What::Eval(eval) => eval.run(),
        What::Reduce(reduce) => reduce.run(),
        What::Checkpoint(checkpoint) => checkpoint.run(),
        What::Restart => restart(),
    }
}

/// The test does it, and says how long it took.
fn restart() -> Result<ExitCode> {
    let mut command = shell::cargo();
    command.args(["test", "--release", "--locked", "-p", "coordinator"]);
    command.args(["--test", "wire", "--", "--nocapture", "ten_thousand_tasks"]);
    shell::hand_over(&mut command)
}

fn target() -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| shell::root().join("target"), PathBuf::from)
}

/// Where a benchmark keeps what it needs.
fn folder(name: &str) -> Result<PathBuf> {
    let folder = target().join("bench").join(name);
    std::fs::create_dir_all(&folder)
        .with_context(|| format!("cannot make {}", folder.display()))?;
    Ok(folder)
}

/// A room's example, optimised.
fn example(room: &str, name: &str) -> Result<PathBuf> {
    let mut build = shell::cargo();
    build.args([
        "build",
        "--release",
        "--locked",
        "-p",
        room,
        "--example",
        name,
    ]);
    shell::step(&format!("building {name} (release)"), &mut build)?;
    Ok(target().join("release/examples").join(name))
}

fn median(mut seconds: Vec<f64>) -> Result<f64> {
    seconds.sort_by(f64::total_cmp);
    (seconds.get(seconds.len() / 2).copied()).context("nothing was timed")
}

fn human(seconds: f64) -> String {
    match seconds {
        1.0.. => format!("{seconds:.2} s"),
        _ => format!("{:.2} ms", seconds * 1e3),
    }
}
