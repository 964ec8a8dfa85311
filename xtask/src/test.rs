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

/// The packages that need libtorch: everything that is not a default member of the workspace.
const WITH_LIBTORCH: [&str; 6] = [
    "collective",
    "nccl-rs",
    "model",
    "train",
    "worker",
    "system-tests",
];

pub(crate) fn run(args: &Args) -> Result<ExitCode> {
    if !args.fast {
        libtorch::ensure(false)?;
    }
    // cargo-nextest runs the same tests with a time limit each; plain cargo does without.
    let nextest = shell::works("cargo", &["nextest", "--version"]);
    let runner: &[&str] = if nextest {
        &["nextest", "run"]
    } else {
        &["test"]
    };
    shell::step(
        "tests that need no libtorch",
        shell::cargo().args(runner).arg("--locked"),
    )?;
    shell::step(
        "planted bugs, each of which the simulation has to find",
        shell::cargo()
            .args(["test", "--locked", "-p", "simulation"])
            .args(["--features", "planted", "--test", "planted"]),
    )?;
    if !args.fast {
        // The whole-system tests start these.
        shell::step(
            "building coordinator and worker",
            shell::cargo().args(["build", "--locked", "-p", "coordinator", "-p", "worker"]),
        )?;
        let packages = WITH_LIBTORCH.iter().flat_map(|name| ["-p", name]);
        shell::step(
            "tests with libtorch and whole runs (several minutes)",
            shell::cargo().args(runner).arg("--locked").args(packages),
        )?;
        shell::step(
            "files exchanged with h5py, which pip fetches",
            shell::cargo()
                .args(["test", "--locked", "-p", "tensorfile", "--test", "h5py"])
                .args(["--", "--ignored"]),
        )?;
        if nextest {
            shell::step(
                "examples in the documentation",
                shell::cargo().args(["test", "--locked", "--workspace", "--doc"]),
            )?;
        }
    }
    shell::say("all tests passed");
    Ok(ExitCode::SUCCESS)
}
