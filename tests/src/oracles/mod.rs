//! The reference's values: finds every case below a folder, runs the house's own code on it and compares.
//!
//! What a case asks for is read from its own description, so another family of cases with other sizes, seeds and numbers of
//! clips runs as well. A case that is not understood is a failure, and so is an expected tensor that nothing was compared with.

mod case;
mod network;
mod report;

mod augment;
mod config;
mod crnn;
mod frontend;
mod keys;
mod labels;
mod training;
mod transformer;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

pub use case::{Case, CaseReport, Outcome, Row, Tolerance};
pub use report::{Detail, Report};

type Run = fn(&Case) -> Result<()>;

/// The kinds of cases, by folder.
const KINDS: [(&str, Run); 8] = [
    ("frontend", frontend::run),
    ("transformer", transformer::run),
    ("keys", keys::run),
    ("crnn", crnn::run),
    ("training", training::run),
    ("augment", augment::run),
    ("labels", labels::run),
    ("config", config::run),
];
/// Another kind, which room `eval` tests: its cases are folders.
const ELSEWHERE: &str = "metrics";

/// Runs every case below `root`; `done` hears of each.
///
/// # Errors
/// When the folder cannot be read or holds a kind that is not known.
pub fn run(root: &Path, mut done: impl FnMut(&str, &CaseReport)) -> Result<Report> {
    for folder in listing(root)?.iter().filter(|path| path.is_dir()) {
        let name = folder.file_name().unwrap_or_default().to_string_lossy();
        if name != ELSEWHERE && !KINDS.iter().any(|(kind, _)| *kind == name) {
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
            for path in listing(&folder)? {
                if path
                    .extension()
                    .is_some_and(|extension| extension == "json")
                    && let Some(case) = one(&path, run)
                {
                    done(kind, &case);
                    cases.push(case);
                }
            }
        }
        report.kinds.push((kind, cases));
    }
    Ok(report)
}

/// Runs one case; none if it is a file of inputs.
fn one(path: &Path, run: Run) -> Option<CaseReport> {
    match Case::open(path) {
        Ok(case) if case.is_input() => None,
        Ok(case) => {
            // what libtorch refuses reaches tch's callers as a panic
            let outcome = catch_unwind(AssertUnwindSafe(|| run(&case)));
            Some(case.finish(outcome.unwrap_or_else(|panic| Err(anyhow::anyhow!(said(&panic))))))
        }
        Err(error) => Some(CaseReport {
            name: path
                .file_stem()
                .unwrap_or_default()
                .to_string_lossy()
                .into_owned(),
            rows: Vec::new(),
            error: Some(format!("{error:#}")),
        }),
    }
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
