//! Owns one device: obeys the coordinator, supervises the rank processes that train, and survives them.

use std::process::ExitCode;

use clap::Parser;
use worker::cli::{Cli, Other};
use worker::{convert, evaluate, exit, predict, rank, supervisor, warden};

const _: () = assert!(
    !types::PLANTABLE,
    "a program for users is never built with the feature \"planted\""
);

fn main() -> ExitCode {
    let cli = Cli::parse();
    if matches!(cli.other, Some(Other::Rank))
        && let Err(error) = warden::stand()
    {
        eprintln!("no room for a rank process: {error}");
        return ExitCode::from(exit::FAILED);
    }
    cli.start_logging();
    let code = match cli.other {
        Some(Other::Rank) => rank::run(),
        Some(Other::Probe { gpu }) => rank::probe(gpu),
        Some(Other::Predict(options)) => predict::run(&options),
        Some(Other::Convert(options)) => convert::run(&options),
        Some(Other::Evaluate(options)) => evaluate::evaluate(&options),
        Some(Other::Tune(options)) => evaluate::tune(&options),
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
