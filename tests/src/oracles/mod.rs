//! The reference's values: finds every case below a folder, runs the house's own code on it and compares.
//!
//! What a case asks for is read from its own description, so another family of cases with other sizes, seeds and numbers of
//! clips runs as well. A case that is not understood is a failure, and so is an expected value that nothing was compared with.

mod case;
mod network;
mod report;
mod rows;

mod augment;
mod config;
mod crnn;
mod frontend;
mod keys;
mod labels;
mod metrics;
mod training;
mod transformer;

use std::ffi::OsStr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

pub use case::Case;
pub use report::{Detail, Report};
pub use rows::{CaseReport, Outcome, Row, Rows, Tolerance};

/// How the cases of a kind lie in its folder.
#[derive(Clone, Copy)]
enum Run {
    /// A description each, most of them with tensors.
    Described(fn(&Case) -> Result<()>),
    /// A folder each.
    Folder(fn(&Path, &Rows) -> Result<()>),
}

/// The kinds of cases, by folder.
const KINDS: [(&str, Run); 9] = [
    ("frontend", Run::Described(frontend::run)),
    ("transformer", Run::Described(transformer::run)),
    ("keys", Run::Described(keys::run)),
    ("crnn", Run::Described(crnn::run)),
    ("training", Run::Described(training::run)),
    ("augment", Run::Described(augment::run)),
    ("labels", Run::Described(labels::run)),
    ("config", Run::Described(config::run)),
    ("metrics", Run::Folder(metrics::run)),
];

/// Runs every case below `root`; `done` hears of each.
///
/// # Errors
/// When the folder cannot be read or holds a kind that is not known.
pub fn run(root: &Path, mut done: impl FnMut(&str, &CaseReport)) -> Result<Report> {
    for folder in listing(root)?.iter().filter(|path| path.is_dir()) {
        let name = folder.file_name().unwrap_or_default().to_string_lossy();
        if !KINDS.iter().any(|(kind, _)| *kind == name) {
            let known: Vec<&str> = KINDS.iter().map(|(kind, _)| *kind).collect();
            bail!(
                "{} is no kind of cases, expected one of {known:?}",
                folder.display()
            );
        }
    }
    let mut report = Report::default();
    for (kind, run) in KINDS {
        let folder = root.join(kind);
        let mut cases = Vec::new();
        if folder.is_dir() {
            for path in places(&folder, run)? {
                if let Some(case) = one(&path, run) {
                    done(kind, &case);
                    cases.push(case);
                }
            }
        }
        report.kinds.push((kind, cases));
    }
    Ok(report)
}

/// Where the cases of a kind are: in its folder and, of other people's data that are not this house's to hand on, beside the
/// project.
fn places(folder: &Path, run: Run) -> Result<Vec<PathBuf>> {
    let mut paths = listing(folder)?;
    match run {
        Run::Described(_) => paths.retain(|path| path.extension().is_some_and(|e| e == "json")),
        Run::Folder(_) => {
            let house = Path::new(env!("CARGO_MANIFEST_DIR"));
            let name = folder.file_name().unwrap_or_default();
            let shipped = house.join("oracles").join(name).canonicalize().ok();
            let beside = house.join("../../shared/oracles").join(name);
            if shipped.is_some() && shipped == folder.canonicalize().ok() && beside.is_dir() {
                let real = |path: &PathBuf| {
                    let name = path.file_name().unwrap_or_default().to_string_lossy();
                    name.starts_with("real_")
                };
                paths.extend(listing(&beside)?.into_iter().filter(real));
            }
            paths.retain(|path| path.is_dir());
        }
    }
    Ok(paths)
}

/// Runs one case; none if it is a file of inputs.
fn one(path: &Path, run: Run) -> Option<CaseReport> {
    let name = |part: Option<&OsStr>| part.unwrap_or_default().to_string_lossy().into_owned();
    match run {
        Run::Described(run) => match Case::open(path) {
            Ok(case) if case.is_input() => None,
            Ok(case) => {
                let outcome = caught(|| run(&case));
                Some(case.finish(outcome))
            }
            Err(error) => Some(Rows::default().into_report(name(path.file_stem()), Err(error))),
        },
        Run::Folder(run) => {
            let rows = Rows::default();
            let outcome = caught(|| run(path, &rows));
            Some(rows.into_report(name(path.file_name()), outcome))
        }
    }
}

/// What libtorch refuses reaches tch's callers as a panic.
fn caught(run: impl FnOnce() -> Result<()>) -> Result<()> {
    catch_unwind(AssertUnwindSafe(run)).unwrap_or_else(|panic| Err(anyhow::anyhow!(said(&panic))))
}

fn said(panic: &Box<dyn std::any::Any + Send>) -> String {
    let text = panic
        .downcast_ref::<String>()
        .map(String::as_str)
        .or_else(|| panic.downcast_ref::<&str>().copied())
        .unwrap_or("a panic without a message");
    text.lines().next().unwrap_or_default().to_owned()
}

fn listing(folder: &Path) -> Result<Vec<PathBuf>> {
    let what = || format!("cannot list {}", folder.display());
    let mut paths = std::fs::read_dir(folder)
        .with_context(what)?
        .map(|entry| Ok(entry?.path()))
        .collect::<std::io::Result<Vec<_>>>()
        .with_context(what)?;
    paths.sort();
    Ok(paths)
}
