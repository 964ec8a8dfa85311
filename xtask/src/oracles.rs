//! The comparison with the reference's values.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result};

use crate::{libtorch, shell};

#[derive(clap::Args)]
pub(crate) struct Args {
    /// The folder of cases, one folder per kind
    #[arg(default_value_os_t = shell::root().join("tests/oracles"))]
    folder: PathBuf,
    /// Show only the worst value of each case, and what failed
    #[arg(long)]
    short: bool,
}

pub(crate) fn run(args: &Args) -> Result<ExitCode> {
    libtorch::ensure(false)?;
    // cargo runs in the root of the workspace, the caller may be elsewhere
    let folder = std::path::absolute(&args.folder)
        .with_context(|| format!("{} is no path", args.folder.display()))?;
    let mut command = shell::system_program("oracles");
    command.arg(folder);
    if args.short {
        command.arg("--short");
    }
    shell::hand_over(&mut command)
}
