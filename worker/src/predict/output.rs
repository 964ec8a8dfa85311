//! Tables and JSON, complete or not at all.

use std::fmt::Write as _;
use std::fs::{self, Permissions};
use std::io::{self, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde_json::json;

use super::options::Format;
use types::Found;

/// Events of all files, gathered until the end.
#[derive(Debug)]
pub(crate) enum Events {
    /// A row per event (recipe 1.1).
    Table {
        /// The rows with their header.
        text: String,
        /// Whether there is a column `confidence`.
        with_scores: bool,
    },
    /// A list of files.
    Json(Vec<serde_json::Value>),
}

impl Events {
    pub(crate) fn new(format: Format, with_scores: bool) -> Self {
        match format {
            Format::Json => Self::Json(Vec::new()),
            Format::Tsv => {
                let mut text = String::from("filename\tonset\toffset\tevent_label");
                text.push_str(if with_scores { "\tconfidence\n" } else { "\n" });
                Self::Table { text, with_scores }
            }
        }
    }

    pub(crate) fn add(&mut self, name: &str, found: &Found) {
        match self {
            Self::Table { text, with_scores } => {
                for found in &found.events {
                    let event = &found.event;
                    // writing to a string cannot fail
                    let _ = write!(
                        text,
                        "{name}\t{:.3}\t{:.3}\t{}",
                        event.onset, event.offset, event.class
                    );
                    if *with_scores {
                        let _ = write!(text, "\t{:.4}", found.confidence);
                    }
                    text.push('\n');
                }
            }
            Self::Json(files) => {
                let events: Vec<_> = found
                    .events
                    .iter()
                    .map(|found| {
                        json!({
                            "onset": rounded(found.event.onset, 1e3),
                            "offset": rounded(found.event.offset, 1e3),
                            "event_label": found.event.class,
                            "confidence": rounded(found.confidence, 1e4),
                        })
                    })
                    .collect();
                let duration = rounded(found.duration, 1e3);
                files.push(json!({"filename": name, "duration": duration, "events": events}));
            }
        }
    }

    /// To a file or, without one, to standard output.
    pub(crate) fn write(self, path: Option<&Path>) -> Result<()> {
        let text = match self {
            Self::Table { text, .. } => text,
            Self::Json(files) => {
                let mut text = serde_json::to_string_pretty(&files)?;
                text.push('\n');
                text
            }
        };
        let Some(path) = path else {
            let mut out = io::stdout().lock();
            return match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
                // whoever read it has seen enough
                Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
                result => result.context("cannot write to standard output"),
            };
        };
        write_file(path, text.as_bytes())
    }
}

fn rounded(value: f64, steps: f64) -> f64 {
    (value * steps).round() / steps
}

/// Frame scores as sed_scores_eval reads them: onset, offset, one column per class.
pub(crate) fn score_table(found: &Found) -> String {
    let mut text = format!("onset\toffset\t{}\n", found.classes.join("\t"));
    let rows = found.scores.chunks_exact(found.classes.len().max(1));
    for (bounds, scores) in found.boundaries.windows(2).zip(rows) {
        let _ = write!(text, "{}\t{}", bounds[0], bounds[1]);
        for score in scores {
            let _ = write!(text, "\t{score}");
        }
        text.push('\n');
    }
    text
}

/// Where a file of this stem and extension goes below `folder`.
pub(crate) fn beside(folder: &Path, stem: &str, extension: &str) -> PathBuf {
    folder.join(format!("{stem}.{extension}"))
}

/// Writes the file under another name beside its place, then renames it. Folders are made as needed.
pub(crate) fn write_file(path: &Path, content: &[u8]) -> Result<()> {
    let write = || -> io::Result<()> {
        let folder = make_folder_of(path)?;
        let mut aside = tempfile::Builder::new()
            .prefix(".tutti-")
            // what the user's mask leaves of it
            .permissions(Permissions::from_mode(0o666))
            .tempfile_in(folder)?;
        aside.write_all(content)?;
        aside.persist(path).map_err(|error| error.error)?;
        Ok(())
    };
    write().with_context(|| format!("cannot write {}", path.display()))
}

/// The folder that a file lies in, made if it is not there.
pub(crate) fn make_folder_of(path: &Path) -> io::Result<&Path> {
    let folder = match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    fs::create_dir_all(folder)?;
    Ok(folder)
}
