use std::io;
use std::path::PathBuf;

use control::RecordError;

/// What can go wrong with a journal.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Two coordinators on one run directory would give every task away twice.
    #[error("{}: in use by {} (one coordinator per run directory; stop that one first)", path.display(), holder(*pid))]
    InUse {
        /// The journal.
        path: PathBuf,
        /// Who has it, if it could be told.
        pid: Option<u32>,
    },
    /// There is no file.
    #[error("{}: no journal there", path.display())]
    Missing {
        /// Where it was expected.
        path: PathBuf,
    },
    /// There is a file, but not one of ours.
    #[error("{}: not a journal of this program ({found}); move it away, or choose another run directory", path.display())]
    NotAJournal {
        /// The file.
        path: PathBuf,
        /// What it is instead, as far as known.
        found: String,
    },
    /// Its tables are those of another version.
    #[error("{}: journal of version {found}, this build reads version {expected} (use the build that wrote it, or start a new run directory)", path.display())]
    Version {
        /// The journal.
        path: PathBuf,
        /// Its version.
        found: i64,
        /// Ours.
        expected: i64,
    },
    /// It was ours, and its content is broken.
    #[error("{}: the journal is damaged: {detail}", path.display())]
    Damaged {
        /// The journal.
        path: PathBuf,
        /// What was found.
        detail: String,
    },
    /// One record cannot be read.
    #[error("{}: record {number}: {source}", path.display())]
    Record {
        /// The journal.
        path: PathBuf,
        /// Which record, from 1.
        number: u64,
        /// Why.
        source: RecordError,
    },
    /// No room: nothing has been recorded.
    #[error("{}: no space left to record what happened (nothing goes on until there is)", path.display())]
    Full {
        /// The journal.
        path: PathBuf,
    },
    /// The file system failed.
    #[error("{}: cannot {doing}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What was tried.
        doing: &'static str,
        /// The cause.
        source: io::Error,
    },
    /// SQLite failed.
    #[error("{}: cannot {doing}: {source}", path.display())]
    Sqlite {
        /// The journal.
        path: PathBuf,
        /// What was tried.
        doing: &'static str,
        /// The cause.
        source: rusqlite::Error,
    },
}

fn holder(pid: Option<u32>) -> String {
    pid.map_or_else(
        || "another process".to_owned(),
        |pid| format!("process {pid}"),
    )
}

impl Error {
    /// Whether the same call may succeed later without anything but room or a working disk.
    #[must_use]
    pub fn may_pass(&self) -> bool {
        match self {
            Self::Full { .. } => true,
            Self::Sqlite { source, .. } => matches!(
                source.sqlite_error_code(),
                Some(rusqlite::ErrorCode::SystemIoFailure | rusqlite::ErrorCode::DatabaseBusy)
            ),
            _ => false,
        }
    }
}
