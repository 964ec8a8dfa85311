//! Owns one device: obeys the coordinator, supervises the rank processes that train, and survives them.

use std::process::ExitCode;

use clap::Parser;
use worker::cli::{Cli, Hidden};
use worker::{exit, rank, supervisor};

fn main() -> ExitCode {
    let cli = Cli::parse();
    cli.start_logging();
    let code = match cli.hidden {
        Some(Hidden::Rank) => rank::run(),
        Some(Hidden::Probe { gpu }) => rank::probe(gpu),
        None => match supervisor::run(&cli.options) {
            Ok(code) => code,
            Err(error) => {
                tracing::error!("{error:#}");
                exit::FAILED
            }
        },
    };
    ExitCode::from(code)
}
