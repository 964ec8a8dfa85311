//! Many seeds of the simulation, for whoever wants more than the tests play.

use std::process::ExitCode;

use anyhow::Result;

use crate::shell;

#[derive(clap::Args)]
pub(crate) struct Args {
    /// How many seeds
    #[arg(long, default_value_t = 1_000)]
    seeds: u64,
    /// The first one
    #[arg(long, default_value_t = 0)]
    from: u64,
    /// Long runs with 2,000 faults each, one per 15 virtual seconds
    #[arg(long)]
    storm: bool,
    /// Plant each known bug in turn and tell which seed finds it
    #[arg(long, conflicts_with = "storm")]
    planted: bool,
    /// Tell everything that happened in a failing seed, not only its last events
    #[arg(long)]
    all: bool,
}

pub(crate) fn run(args: &Args) -> Result<ExitCode> {
    let mut command = shell::cargo();
    command.args(["run", "--locked", "--quiet", "-p", "simulation"]);
    if args.planted {
        command.args(["--features", "planted"]);
    }
    let (seeds, from) = (args.seeds.to_string(), args.from.to_string());
    command.args(["--", "--seeds", &seeds, "--from", &from]);
    for (wanted, flag) in [
        (args.storm, "--storm"),
        (args.planted, "--planted"),
        (args.all, "--all"),
    ] {
        if wanted {
            command.arg(flag);
        }
    }
    shell::step("simulation", &mut command)?;
    Ok(ExitCode::SUCCESS)
}
