//! A small look-alike of DESED and MAESTRO Real from real recordings, in exactly their layout (recipe 1.1, 1.2).
//!
//! The recordings come out of Debian packages (`bank.tsv`); every clip is a function of its split and index, so the set is the same
//! byte for byte wherever it is made. Recordings are dealt out to training and validation before anything is mixed.

mod bank;
mod build;
mod clip;
mod event;
mod fetch;
mod random;
mod recording;
mod sound;
#[cfg(test)]
mod tests;

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context, Result, bail};
use dataset::synthetic;

use self::bank::{Bank, Source};
use crate::shell;

/// Part of every seed and of the marker: a change of the code that changes a sample changes this.
const RECIPE: &str = "demo-data 1";

/// The file in a finished set that says what it was made from.
const MARKER: &str = ".demo-data";

/// Seed of the procedural set.
const SYNTHETIC_SEED: u64 = 1;

/// Options of the chore.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Where the set goes
    #[arg(long, default_value = "data/demo")]
    out: PathBuf,
    /// Make a procedural set: no downloads, no real sounds
    #[arg(long)]
    synthetic: bool,
    /// Where downloaded recordings are kept
    #[arg(long, default_value = "data/cache")]
    cache: PathBuf,
}

/// Runs the chore. Relative paths begin at the root of the workspace.
///
/// # Errors
/// As [`ensure`].
pub(crate) fn run(args: &Args) -> Result<()> {
    ensure(
        &shell::root().join(&args.out),
        &shell::root().join(&args.cache),
        args.synthetic,
    )
}

/// Makes the set at `out` if it is not there yet: from real recordings, or procedural if `synthetic`. It is built beside its place and
/// moved there when it is complete.
///
/// # Errors
/// No package client, no connection, a recording that is not what the list says, no space, a folder that is somebody else's.
pub(crate) fn ensure(out: &Path, cache: &Path, synthetic: bool) -> Result<()> {
    let version = version(synthetic);
    match fs::read_to_string(out.join(MARKER)) {
        Ok(found) if found == version => {
            shell::say(format!("demo data: already in {}", out.display()));
            return Ok(());
        }
        Ok(_) => shell::say(format!(
            "demo data: {} is of another kind or version and will be replaced",
            out.display()
        )),
        Err(_) if is_taken(out) => bail!(
            "{} exists and was not made by this command (move it away, or give another folder with --out)",
            out.display()
        ),
        Err(_) => {}
    }
    let started = Instant::now();
    // Whatever can go wrong with downloads goes wrong before anything is written.
    let recordings = match synthetic {
        true => None,
        false => Some(recordings(cache)?),
    };
    let aside = beside(out, "part");
    remove(&aside)?;
    fs::create_dir_all(&aside).with_context(|| format!("cannot make {}", aside.display()))?;
    match recordings {
        None => {
            shell::say("demo data: a procedural set");
            synthetic::write(&aside, &synthetic::Sizes::demo(), SYNTHETIC_SEED)?;
        }
        Some((bank, sources)) => {
            build::build(&bank, &aside, &build::Sizes::DEMO)?;
            write(&aside.join("ATTRIBUTION"), &bank::attribution(&sources))?;
        }
    }
    write(&aside.join(MARKER), &version)?;
    publish(&aside, out)?;
    shell::say(format!(
        "demo data: made {} in {:.0} s",
        out.display(),
        started.elapsed().as_secs_f64()
    ));
    Ok(())
}

/// The recordings, downloaded if they are not in the cache.
fn recordings(cache: &Path) -> Result<(Bank, Vec<Source>)> {
    let sources = bank::sources(bank::LIST)?;
    shell::say(format!(
        "demo data: {} recordings from Debian packages (about 125 MB, once)",
        sources.len()
    ));
    fetch::ensure(&sources, cache)?;
    shell::say("reading the recordings");
    Ok((Bank::load(&sources, cache)?, sources))
}

/// What a set is made from, in one line.
fn version(synthetic: bool) -> String {
    if synthetic {
        format!("{RECIPE} synthetic {:?}\n", synthetic::Sizes::demo())
    } else {
        let list = bank::sha256(bank::LIST.as_bytes());
        format!("{RECIPE} real {list} {:?}\n", build::Sizes::DEMO)
    }
}

/// Puts the finished set in its place; an older one of ours goes.
fn publish(aside: &Path, out: &Path) -> Result<()> {
    let old = beside(out, "old");
    remove(&old)?;
    if out.exists() {
        fs::rename(out, &old).with_context(|| format!("cannot move {} away", out.display()))?;
    }
    fs::rename(aside, out).with_context(|| format!("cannot move the set to {}", out.display()))?;
    remove(&old)
}

/// Whether there is something at `out` that an empty folder is not.
fn is_taken(out: &Path) -> bool {
    fs::read_dir(out).map_or_else(|_| out.exists(), |mut entries| entries.next().is_some())
}

fn beside(out: &Path, what: &str) -> PathBuf {
    let mut name = out.file_name().unwrap_or_default().to_owned();
    name.push(".");
    name.push(what);
    out.with_file_name(name)
}

fn remove(folder: &Path) -> Result<()> {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("cannot remove {}", folder.display()))
        }
        _ => Ok(()),
    }
}

fn write(path: &Path, text: &str) -> Result<()> {
    fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))
}
