//! Fuzzing the readers of outside files (fuzz/Cargo.toml).

use std::process::{Command, ExitCode};

use anyhow::{Result, bail};

use crate::shell;

#[derive(clap::Args)]
pub(crate) struct Args {
    /// One target (default: all, one after the other; `cargo fuzz list` names them)
    target: Option<String>,
    /// How long each target is fuzzed
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=10_000))]
    minutes: u64,
}

pub(crate) fn run(args: &Args) -> Result<ExitCode> {
    if !shell::works("cargo", &["+nightly", "fuzz", "--version"]) {
        bail!(
            "fuzzing needs the nightly compiler and cargo-fuzz (rustup toolchain install nightly; cargo install cargo-fuzz)"
        );
    }
    // The toolchain's own cargo, which `shell::cargo` is, does not know `+nightly`.
    let nightly = |arguments: &[&str]| {
        let mut command = Command::new("cargo");
        command.current_dir(shell::root()).arg("+nightly");
        command.args(arguments).env_remove("RUSTUP_TOOLCHAIN");
        command
    };
    let list = nightly(&["fuzz", "list"]).output()?.stdout;
    let list = String::from_utf8_lossy(&list).into_owned();
    let targets: Vec<&str> = match &args.target {
        Some(target) => vec![target],
        None => list.lines().collect(),
    };
    shell::step(
        "seeds",
        &mut nightly(&[
            "run",
            "-q",
            "--manifest-path",
            "fuzz/Cargo.toml",
            "--example",
            "seeds",
        ]),
    )?;
    for target in targets {
        let mut command = nightly(&["fuzz", "run", target]);
        command
            .args([
                &format!("fuzz/corpus/{target}"),
                &format!("fuzz/regressions/{target}"),
            ])
            .args([
                "--",
                "-rss_limit_mb=2048",
                "-malloc_limit_mb=1024",
                "-timeout=10",
            ])
            .arg(format!("-max_total_time={}", 60 * args.minutes));
        let dictionary = format!("fuzz/corpus/{target}.dict");
        if shell::root().join(&dictionary).is_file() {
            command.arg(format!("-dict={dictionary}"));
        }
        shell::step(&format!("fuzzing {target}"), &mut command)?;
    }
    Ok(ExitCode::SUCCESS)
}
