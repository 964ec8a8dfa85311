//! Debian packages: download, unpack, keep the files of the list.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use anyhow::{Context, Result, bail};

use super::bank::{Source, sha256};
use crate::shell;

/// Makes sure that every file of `sources` lies in `cache` and is what the list says.
///
/// # Errors
/// No package client, no connection, or a package with another content.
pub(super) fn ensure(sources: &[Source], cache: &Path) -> Result<()> {
    let mut missing: BTreeMap<&str, Vec<&Source>> = BTreeMap::new();
    for source in sources {
        if !is_there(source, cache)? {
            missing.entry(&source.package).or_default().push(source);
        }
    }
    if missing.is_empty() {
        return Ok(());
    }
    for program in ["apt-get", "dpkg-deb"] {
        if !shell::works(program, &["--version"]) {
            bail!(
                "the recordings come from Debian packages, and there is no `{program}` here (`--synthetic` makes a procedural set \
                 instead, without downloads)"
            );
        }
    }
    let count = missing.len();
    for (index, (package, sources)) in missing.into_iter().enumerate() {
        shell::say(format!("package {} of {count}: {package}", index + 1));
        fetch(package, &sources, cache)?;
    }
    Ok(())
}

/// Whether the file is in the cache, unchanged.
fn is_there(source: &Source, cache: &Path) -> Result<bool> {
    let path = source.file(cache);
    match fs::read(&path) {
        Ok(bytes) => Ok(sha256(&bytes) == source.sha256),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error).with_context(|| format!("cannot read {}", path.display())),
    }
}

fn fetch(package: &str, sources: &[&Source], cache: &Path) -> Result<()> {
    let folder = cache.join("unpack").join(package);
    if folder.exists() {
        fs::remove_dir_all(&folder)
            .with_context(|| format!("cannot remove {}", folder.display()))?;
    }
    make(&folder)?;
    let archive = download(package, &folder, cache)?;
    let unpacked = folder.join("root");
    let output = run(Command::new("dpkg-deb")
        .arg("-x")
        .arg(&archive)
        .arg(&unpacked))?;
    if !output.status.success() {
        bail!("cannot unpack {}: {}", archive.display(), said(&output));
    }
    for source in sources {
        keep(source, &unpacked, cache, &archive)?;
    }
    fs::remove_dir_all(&folder).with_context(|| format!("cannot remove {}", folder.display()))
}

/// Checks one unpacked file and moves it to its place.
fn keep(source: &Source, unpacked: &Path, cache: &Path, archive: &Path) -> Result<()> {
    let from = unpacked.join(&source.path);
    let archive = archive.file_name().unwrap_or_default().to_string_lossy();
    let bytes = fs::read(&from)
        .with_context(|| format!("{archive} has no file {} (another version of the package than the list was made for; `--synthetic` does without)", source.path))?;
    let found = sha256(&bytes);
    if found != source.sha256 {
        bail!(
            "{archive}: {} has SHA-256 {found}, expected {} (another version of the package than the list was made for, or a damaged \
             download; `--synthetic` does without)",
            source.path,
            source.sha256
        );
    }
    let to = source.file(cache);
    if let Some(parent) = to.parent() {
        make(parent)?;
    }
    fs::rename(&from, &to)
        .with_context(|| format!("cannot move {} to {}", from.display(), to.display()))
}

/// `apt-get download`; if the package lists are missing or old, once more with fresh lists of our own (which needs no root).
fn download(package: &str, folder: &Path, cache: &Path) -> Result<PathBuf> {
    let first = run(apt(&[]).arg("download").arg(package).current_dir(folder))?;
    if !first.status.success() {
        shell::say("fetching Debian's package lists");
        let state = cache.join("apt");
        make(&state.join("lists/partial"))?;
        make(&state.join("archives/partial"))?;
        let own = [
            format!("Dir::State::Lists={}", state.join("lists").display()),
            format!("Dir::Cache={}", state.display()),
        ];
        let update = run(apt(&own).arg("update"))?;
        let second = run(apt(&own).arg("download").arg(package).current_dir(folder))?;
        if !second.status.success() {
            bail!(
                "cannot download the Debian package {package}: {}{}(`--synthetic` makes a procedural set instead, without downloads)",
                said(&second),
                said(&update)
            );
        }
    }
    let entries =
        fs::read_dir(folder).with_context(|| format!("cannot read {}", folder.display()))?;
    entries
        .filter_map(|entry| Some(entry.ok()?.path()))
        .find(|path| path.extension().is_some_and(|extension| extension == "deb"))
        .with_context(|| format!("apt-get download {package} left no .deb file"))
}

fn apt(options: &[String]) -> Command {
    let mut command = Command::new("apt-get");
    command.args([
        "-q",
        "-o",
        "APT::Sandbox::User=",
        "-o",
        "Acquire::Retries=2",
        "-o",
        "Acquire::http::Timeout=30",
    ]);
    for option in options {
        command.args(["-o", option]);
    }
    command
}

fn run(command: &mut Command) -> Result<Output> {
    let program = command.get_program().to_string_lossy().into_owned();
    command
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("cannot start {program}"))
}

/// The lines of a failed program that say why.
fn said(output: &Output) -> String {
    let text = String::from_utf8_lossy(&output.stderr);
    let mut lines = String::new();
    for line in text
        .lines()
        .filter(|line| line.starts_with("E:") || line.starts_with("W: Failed"))
    {
        lines.push_str(line.trim());
        lines.push(' ');
    }
    lines
}

fn make(folder: &Path) -> Result<()> {
    fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))
}
