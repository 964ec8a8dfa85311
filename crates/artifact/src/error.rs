use std::io;
use std::path::{Path, PathBuf};

use types::Digest;

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
    #[error(
        "no space left on device: {doing} {} failed; free some and run the same command again",
        path.display()
    )]
    DiskFull {
        /// `writing`, `copying`.
        doing: &'static str,
        /// The file or folder.
        path: PathBuf,
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
        move |source| match source.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
                Self::DiskFull { doing, path }
            }
            _ => Self::Io {
                doing,
                path,
                source,
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_disk_is_said_in_clear_words() {
        let full = io::Error::from(io::ErrorKind::StorageFull);
        let error = Error::io("writing", Path::new("/runs/one/artifacts"))(full);
        assert_eq!(
            error.to_string(),
            "no space left on device: writing /runs/one/artifacts failed; free some and run the same command again"
        );
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn the_systems_own_answer_is_recognised() {
        use std::io::Write;
        let full = Path::new("/dev/full");
        let mut file = std::fs::File::options().write(true).open(full).unwrap();
        let error = file.write_all(b"x").map_err(Error::io("writing", full));
        assert!(matches!(error, Err(Error::DiskFull { .. })));
    }
}
