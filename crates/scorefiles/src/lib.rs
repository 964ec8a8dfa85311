//! The field's files for scoring, and nothing about training: frame scores, ground truth, durations, weak and soft labels. What is
//! read goes into room `eval`, which computes.
//!
//! - [`read_scores`]: a folder of TSV files or one safetensors file, whichever is there; [`write_tsv_scores`] and
//!   [`write_safetensors_scores`] write them.
//! - [`read_ground_truth`], [`read_durations`], [`read_weak_labels`] and their writers; [`read_maestro`] for MAESTRO's soft labels.
//! - [`read_scored`]: scores, ground truth and durations that belong together, checked.
//!
//! A clip is known by its file name without the last extension. Every complaint names the file, the line or the clip, what was
//! found and what was expected.

mod error;
mod maestro;
mod safetensors;
mod scored;
mod tables;
mod tsv;

use std::path::Path;

use eval::Scores;

pub use error::{Error, Problem};
pub use maestro::{Maestro, read_maestro};
pub use safetensors::{read_safetensors_scores, write_safetensors_scores};
pub use scored::{check_durations, read_scored};
pub use tables::{
    read_durations, read_ground_truth, read_weak_labels, write_durations, write_ground_truth,
    write_weak_labels,
};
pub use tsv::{read_tsv_scores, tsv_text, write_tsv_scores};

/// Frame scores from a folder of TSV files or from one safetensors file.
///
/// # Errors
/// As [`read_tsv_scores`] and [`read_safetensors_scores`].
pub fn read_scores(path: &Path) -> Result<Scores, Error> {
    if path.is_dir() {
        read_tsv_scores(path)
    } else {
        read_safetensors_scores(path)
    }
}

/// Whether a clip of this name can be a file's name in a folder.
fn is_file_name(clip: &str) -> bool {
    !clip.contains(['/', '\\', '\0'])
        && Path::new(clip).file_name().is_some_and(|name| name == clip)
}
