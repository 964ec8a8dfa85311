//! The main job, on one machine, from nothing.

use std::process::{Command, ExitCode};

use anyhow::Result;

use crate::{demo_data, libtorch, shell};

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Use procedural sounds instead of the real recordings (no downloads beyond libtorch)
    #[arg(long)]
    synthetic: bool,
    /// Local workers, each with one rank process
    #[arg(long, default_value_t = 2)]
    local_workers: u32,
    /// The plan to run
    #[arg(long, default_value = "configs/demo.toml")]
    plan: String,
}

pub(crate) fn run(args: &Args) -> Result<ExitCode> {
    libtorch::ensure(false)?;
    shell::step(
        "building coordinator and worker (release)",
        shell::cargo().args(["build", "--release", "-p", "coordinator", "-p", "worker"]),
    )?;
    demo_data::ensure(
        &shell::root().join("data/demo"),
        &shell::root().join("data/cache"),
        args.synthetic,
    )?;
    let target = std::env::var_os("CARGO_TARGET_DIR")
        .map_or_else(|| shell::root().join("target"), Into::into);
    let program = target.join("release/coordinator");
    shell::say(format!(
        "coordinator --plan {} --local-workers {}",
        args.plan, args.local_workers
    ));
    shell::hand_over(Command::new(program).current_dir(shell::root()).args([
        "--plan",
        &args.plan,
        "--local-workers",
        &args.local_workers.to_string(),
    ]))
}
