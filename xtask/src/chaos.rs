//! A whole run under fire.

use std::process::ExitCode;

use anyhow::Result;

use crate::{libtorch, shell};

#[derive(clap::Args)]
pub(crate) struct Args {
    /// So many kills and freezes of processes; links break in between
    #[arg(long, default_value_t = 200)]
    kills: u32,
    /// The same seed plans the same faults [default: another one each time]
    #[arg(long)]
    seed: Option<u64>,
    /// Workers, each a process of its own
    #[arg(long, default_value_t = 3)]
    workers: u32,
    /// Something else: one training whose coordinator is killed and away for these seconds, one after the other, such as 0,5,20,60
    #[arg(long, value_name = "SECONDS", value_delimiter = ',')]
    away: Vec<u64>,
}

pub(crate) fn run(args: &Args) -> Result<ExitCode> {
    libtorch::ensure(false)?;
    // it starts these
    shell::step(
        "building coordinator and worker",
        shell::cargo().args(["build", "--locked", "-p", "coordinator", "-p", "worker"]),
    )?;
    let mut command = shell::system_program("chaos");
    command.args(["--kills", &args.kills.to_string()]);
    command.args(["--workers", &args.workers.to_string()]);
    if let Some(seed) = args.seed {
        command.args(["--seed", &seed.to_string()]);
    }
    for seconds in &args.away {
        command.args(["--away", &seconds.to_string()]);
    }
    shell::hand_over(&mut command)
}
