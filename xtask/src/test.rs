//! Every test, cheap ones first.

use std::process::ExitCode;

use anyhow::Result;

use crate::{libtorch, shell};

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Only the tests that need no libtorch (a minute on a laptop)
    #[arg(long)]
    fast: bool,
}

pub(crate) fn run(args: &Args) -> Result<ExitCode> {
    if !args.fast {
        libtorch::ensure(false)?;
    }
    // cargo-nextest runs the same tests side by side and with a time limit each; plain cargo does without.
    let nextest = shell::works("cargo", &["nextest", "--version"]);
    let runner: &[&str] = if nextest {
        &["nextest", "run"]
    } else {
        &["test"]
    };
    shell::step("tests that need no libtorch", shell::cargo().args(runner))?;
    if !args.fast {
        shell::step("all tests", shell::cargo().args(runner).arg("--workspace"))?;
        if nextest {
            shell::step(
                "examples in the documentation",
                shell::cargo().args(["test", "--workspace", "--doc"]),
            )?;
        }
    }
    Ok(ExitCode::SUCCESS)
}
