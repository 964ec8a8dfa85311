use std::io;
use std::path::{Path, PathBuf};

use types::{Bytes, Digest};

/// What can go wrong between bytes and their name.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// There is no such artifact.
    #[error("there is no artifact {digest} (looked for {})", path.display())]
    Missing {
        /// What was asked for.
        digest: Digest,
        /// Where it would be.
        path: PathBuf,
    },
    /// The file of an artifact does not have the bytes that were put there.
    #[error("{} is damaged: expected the digest {expected}, found {found}", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// The artifact's name.
        expected: Digest,
        /// What is there.
        found: Digest,
    },
    /// What was put has other bytes than announced. Nothing of it is kept.
    #[error("what was put as artifact {expected} has the digest {found}; nothing of it was kept")]
    Mismatch {
        /// What was announced.
        expected: Digest,
        /// What came.
        found: Digest,
    },
    /// The disk, or what this user may use of it, is full.
    #[error("no room on {}: {doing} needs {}, {} is free", path.display(), Bytes(*needed), Bytes(*free))]
    DiskFull {
        /// `writing`, `creating`.
        doing: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// Bytes that were to be written.
        needed: u64,
        /// Bytes that could be.
        free: u64,
    },
    /// The disk refused.
    #[error("{doing} {} failed: {source}", path.display())]
    Io {
        /// `writing`, `reading`.
        doing: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
}

impl Error {
    /// For `map_err`.
    pub(crate) fn io(doing: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Io {
            doing,
            path,
            source,
        }
    }
}
