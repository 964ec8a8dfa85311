//! The files in a run directory's `report/`.

use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use anyhow::{Context, Result};
use control::TaskView;
use plan::Plan;
use serde::Serialize;
use types::{Estimate, PostProcessing, ScoreReport, Split, TaskKind, TaskName};

use crate::scores::Row;

/// Folder of the trained weights, by task.
pub(crate) const CHECKPOINTS: &str = "checkpoints";
/// Folder of the pseudo-labels, by iteration.
pub(crate) const PSEUDO_LABELS: &str = "pseudo_labels";

/// How many files [`link_results`] has put in place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Links {
    pub(crate) checkpoints: usize,
    pub(crate) pseudo_labels: usize,
}

#[derive(Serialize)]
struct Scores<'a> {
    plan: &'a str,
    notice: Option<&'a str>,
    scores: &'a [Row],
}

/// Writes `scores.json` (everything) and `scores.tsv` (a row for each value over all classes, with full precision).
///
/// # Errors
/// When a file cannot be written; the old one is whole then.
pub(crate) fn write_scores(folder: &Path, plan: &Plan, rows: &[Row]) -> Result<()> {
    let all = Scores {
        plan: plan.name(),
        notice: plan.notice(),
        scores: rows,
    };
    let mut json = serde_json::to_vec_pretty(&all)?;
    json.push(b'\n');
    write_aside(&folder.join("scores.json"), &json)?;
    let mut tsv =
        "iteration\tstage\tsubject\tsplit\tpost_processing\tmetric\tvalue\tlow\thigh\tresult\n"
            .to_owned();
    for row in rows {
        let ScoreReport {
            iteration, stage, ..
        } = &row.scores;
        for (split, post_processing, metric, Estimate { value, interval }) in values(&row.scores) {
            let [low, high] = match interval {
                Some(ends) => ends.map(|end| end.to_string()),
                None => Default::default(),
            };
            tsv.push_str(&format!(
                "{iteration}\t{stage}\t{}\t{split}\t{post_processing}\t{metric}\t{value}\t{low}\t{high}\t{}\n",
                row.subject(),
                row.result()
            ));
        }
    }
    write_aside(&folder.join("scores.tsv"), tsv.as_bytes())
}

/// Every value over all classes: split, post-processing, name of the metric.
fn values(scores: &ScoreReport) -> Vec<(Split, &'static str, &'static str, Estimate)> {
    let mut values = Vec::new();
    for (split, events) in &scores.events {
        for scores in events {
            let after = scores.post_processing.as_str();
            for (metric, value) in [
                ("psds1", scores.psds1),
                ("psds2", scores.psds2),
                ("psds1_class_mean", scores.psds1_class_mean),
            ] {
                values.push((*split, after, metric, value));
            }
        }
    }
    if let Some(segments) = &scores.segments {
        let after = PostProcessing::Raw.as_str();
        values.push((segments.split, after, "mpauc", segments.mpauc));
    }
    values
}

/// Puts checkpoints and pseudo-labels of tasks that are done where a person finds them, by name, and takes away what is not of
/// this run any more. The bytes are the store's: nothing is stored twice.
///
/// # Errors
/// When a file cannot be linked or copied.
pub(crate) fn link_results(
    folder: &Path,
    tasks: &[TaskView],
    store: &artifact::Store,
) -> Result<Links> {
    let wanted = |kind: TaskKind, output: &str| {
        let of_kind = tasks.iter().filter(move |task| task.kind == kind);
        let files = of_kind.filter_map(|task| {
            let name = match kind {
                TaskKind::PseudoLabel => iteration(&task.task.name),
                _ => task.task.name.as_str(),
            };
            Some((
                format!("{name}.safetensors"),
                store.path(task.outputs.get(output)?),
            ))
        });
        files.collect::<Vec<_>>()
    };
    let link_all = |folder: &Path, files: &[(String, std::path::PathBuf)]| -> Result<usize> {
        fs::create_dir_all(folder)
            .with_context(|| format!("cannot make the folder {}", folder.display()))?;
        for entry in
            fs::read_dir(folder).with_context(|| format!("cannot list {}", folder.display()))?
        {
            let entry = entry?;
            let known = files
                .iter()
                .any(|(name, _)| entry.file_name().to_str() == Some(name));
            if !known && entry.file_name().to_string_lossy().contains(".safetensors") {
                fs::remove_file(entry.path())
                    .with_context(|| format!("cannot remove {}", entry.path().display()))?;
            }
        }
        for (name, source) in files {
            let target = folder.join(name);
            link(source, &target).with_context(|| {
                format!("cannot put {} at {}", source.display(), target.display())
            })?;
        }
        Ok(files.len())
    };
    Ok(Links {
        checkpoints: link_all(
            &folder.join(CHECKPOINTS),
            &wanted(TaskKind::Train, "checkpoint"),
        )?,
        pseudo_labels: link_all(
            &folder.join(PSEUDO_LABELS),
            &wanted(TaskKind::PseudoLabel, "pseudo_labels"),
        )?,
    })
}

/// The iteration's number in `i1.pseudo_label`.
fn iteration(name: &TaskName) -> &str {
    let first = name.as_str().split('.').next().unwrap_or_default();
    first.strip_prefix('i').unwrap_or(first)
}

/// A hard link, or a copy where the file system has none.
fn link(source: &Path, target: &Path) -> io::Result<()> {
    let wanted = fs::metadata(source)?;
    if fs::metadata(target)
        .is_ok_and(|found| (found.dev(), found.ino()) == (wanted.dev(), wanted.ino()))
    {
        return Ok(());
    }
    let mut aside = target.as_os_str().to_owned();
    aside.push(".new");
    let aside = Path::new(&aside);
    match fs::remove_file(aside) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    if fs::hard_link(source, aside).is_err() {
        fs::copy(source, aside)?;
    }
    fs::rename(aside, target)
}

pub(crate) fn write_aside(path: &Path, bytes: &[u8]) -> Result<()> {
    let aside = path.with_extension("new");
    let write = || {
        let mut file = fs::File::create(&aside)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&aside, path)
    };
    write().with_context(|| format!("cannot write {}", path.display()))
}

/// A plan's text may hold anything; a terminal must not obey it.
pub(crate) fn printable(text: &str) -> String {
    text.chars()
        .map(|c| if c.is_control() { '\u{fffd}' } else { c })
        .collect()
}
