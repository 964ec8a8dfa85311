//! Runs the house's code on reference values and shows how far the two are apart: `oracles [DIR]`.

#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a chore talks to the person who called it"
)]

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use system_tests::oracles::{self, Detail};

/// Compares every network, loss, augmentation and setting with reference values
#[derive(Parser)]
#[command(name = "oracles", version)]
struct Args {
    /// The folder of cases, one folder per kind
    #[arg(default_value = "tests/oracles")]
    folder: PathBuf,
    /// Show only the worst value of each case, and what failed
    #[arg(long)]
    short: bool,
}

fn main() -> ExitCode {
    let args = Args::parse();
    let detail = match args.short {
        true => Detail::Worst,
        false => Detail::Tensors,
    };
    // a panic becomes a line of the report
    std::panic::set_hook(Box::new(|_| ()));
    let report = oracles::run(&args.folder, |kind, case| {
        println!("{}\n", case.show(kind, detail));
    });
    match report {
        Ok(report) => {
            println!("{report}");
            if report.passed() {
                ExitCode::SUCCESS
            } else {
                eprintln!("error: not everything is within its tolerance");
                ExitCode::FAILURE
            }
        }
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
