//! Running other programs, and saying so.

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::time::Instant;

use anyhow::{Context, Result, bail};

/// The root of the workspace.
pub(crate) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("xtask is a folder of the workspace")
        .to_owned()
}

/// Announces a step, so that the reader of a long output knows where it is.
pub(crate) fn say(text: impl AsRef<str>) {
    println!("==> {}", text.as_ref());
}

/// The cargo that runs this chore.
pub(crate) fn cargo() -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(root());
    command
}

/// Runs a step with its output shown; says how long it took.
///
/// # Errors
/// When the program cannot be started or does not end with 0.
pub(crate) fn step(what: &str, command: &mut Command) -> Result<()> {
    say(what);
    let started = Instant::now();
    let status = command
        .status()
        .with_context(|| format!("cannot start {}", program(command)))?;
    if !status.success() {
        bail!("{what}: {} ended with {status}", program(command));
    }
    say(format!(
        "{what}: done in {:.0} s",
        started.elapsed().as_secs_f64()
    ));
    Ok(())
}

/// Runs a program as the last thing a chore does, and takes over its exit code.
///
/// # Errors
/// When the program cannot be started.
pub(crate) fn hand_over(command: &mut Command) -> Result<ExitCode> {
    let status = command
        .status()
        .with_context(|| format!("cannot start {}", program(command)))?;
    let code = status
        .code()
        .and_then(|code| u8::try_from(code).ok())
        .unwrap_or(1);
    Ok(ExitCode::from(code))
}

/// Whether `program --version` works.
pub(crate) fn works(program: &str, args: &[&str]) -> bool {
    Command::new(program)
        .args(args)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success())
}

fn program(command: &Command) -> String {
    command.get_program().to_string_lossy().into_owned()
}

/// `cargo run` of a program of the system tests; its arguments are still to come.
pub(crate) fn system_program(name: &str) -> Command {
    let mut command = cargo();
    command.args(["run", "--quiet", "--locked", "-p", "system-tests"]);
    command.args(["--bin", name, "--"]);
    command
}
