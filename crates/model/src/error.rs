use std::path::PathBuf;

use tch::TchError;

/// What can be wrong with a network's settings or with a file of tensors.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Sizes that no network can have.
    #[error("model settings: {key} is {found}, expected {expected}")]
    Settings {
        /// The setting.
        key: &'static str,
        /// Its value.
        found: String,
        /// What it should be.
        expected: String,
    },
    /// A file of tensors cannot be read or written.
    #[error(transparent)]
    File(#[from] tensorfile::Error),
    /// Names or shapes differ from the network's.
    #[error("{}: does not fit the network{}", path.display(), list_differences(missing, surplus, misshapen))]
    Keys {
        /// The file.
        path: PathBuf,
        /// Tensors of the network that the file lacks.
        missing: Vec<String>,
        /// Tensors of the file that the network lacks.
        surplus: Vec<String>,
        /// `name: found, expected`.
        misshapen: Vec<String>,
    },
    /// libtorch refused an operation.
    #[error("libtorch: {0}")]
    Torch(#[from] TchError),
}

/// At most this many names of a kind are spelt out.
const SHOWN: usize = 20;

fn list_differences(missing: &[String], surplus: &[String], misshapen: &[String]) -> String {
    let mut text = String::new();
    for (what, names) in [
        ("missing", missing),
        ("surplus", surplus),
        ("with another shape or type", misshapen),
    ] {
        if names.is_empty() {
            continue;
        }
        let shown = names
            .iter()
            .take(SHOWN)
            .map(String::as_str)
            .collect::<Vec<_>>()
            .join(", ");
        let more = if names.len() > SHOWN { ", …" } else { "" };
        text.push_str(&format!("; {} {what}: {shown}{more}", names.len()));
    }
    text
}
