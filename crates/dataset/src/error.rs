use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use types::Split;

/// Data that cannot be used: which file, where in it, what was found, what was expected, what to do.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The plan names no files for a split that is needed.
    #[error(
        "split {split} is needed but the plan's [data] gives no files for it (add it to the splits in use)"
    )]
    SplitNotConfigured {
        /// Which split.
        split: Split,
    },
    /// A split lacks a table that its use needs.
    #[error("split {split} has no {what} file in the plan's [data] (give its path)")]
    TableNotConfigured {
        /// Which split.
        split: Split,
        /// `metadata` or `durations`.
        what: &'static str,
    },
    /// A file or folder that is not there.
    #[error("{}: no such {what} (needed by {needed_by}; check the data root and the split's paths in the plan)", path.display())]
    Missing {
        /// Where it should be.
        path: PathBuf,
        /// `table`, `audio folder` or `audio file`.
        what: &'static str,
        /// The split, or the table and line that names the file.
        needed_by: String,
    },
    /// The operating system's word about a file.
    #[error("{}: cannot {doing}: {source}", path.display())]
    Io {
        /// Which file.
        path: PathBuf,
        /// What was being done.
        doing: &'static str,
        /// The cause.
        source: io::Error,
    },
    /// A table with a fault at one place.
    #[error("{place}: {problem}")]
    Table {
        /// File, line, column.
        place: Place,
        /// What is wrong there and what to do.
        problem: TableProblem,
    },
    /// A sound file that cannot be read.
    #[error(transparent)]
    Audio(#[from] audio::Error),
    /// Sets too small, or sizes that contradict each other.
    #[error("{0}")]
    Sampler(String),
    /// A stored manifest that is not one.
    #[error("{}: not a data manifest: {cause} (delete the file, it is made again)", path.display())]
    Manifest {
        /// Which file.
        path: PathBuf,
        /// The JSON reader's complaint.
        cause: String,
    },
}

impl Error {
    pub(crate) fn io(path: &Path, doing: &'static str) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Io {
            path,
            doing,
            source,
        }
    }
}

/// A place in a table. Lines count from 1, the header included.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// The table.
    pub path: PathBuf,
    /// Line, from 1.
    pub line: u64,
    /// Column by its name in the header.
    pub column: Option<&'static str>,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: line {}", self.path.display(), self.line)?;
        match self.column {
            Some(column) => write!(f, ", column {column:?}"),
            None => Ok(()),
        }
    }
}

/// What is wrong at one place of a table.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TableProblem {
    /// Nothing in it, not even a header.
    #[error("the file is empty, expected a header row with tab-separated columns {expected}")]
    Empty {
        /// The columns that are needed.
        expected: String,
    },
    /// A column that is needed is not in the header.
    #[error(
        "no such column; the header has {found}, expected {expected} separated by tabs{comma_hint}"
    )]
    MissingColumn {
        /// The header.
        found: String,
        /// The columns that are needed.
        expected: String,
        /// Set if the header looks comma-separated.
        comma_hint: &'static str,
    },
    /// A row that is longer or shorter than the header.
    #[error(
        "the row has {found} fields, the header has {expected}: {row:?} (fields are separated by one tab each)"
    )]
    FieldCount {
        /// Fields in this row,
        found: usize,
        /// fields in the header.
        expected: usize,
        /// The row.
        row: String,
    },
    /// Not UTF-8.
    #[error("the text is not UTF-8 (save the table as UTF-8)")]
    NotUtf8,
    /// Nothing where something must be.
    #[error("the field is empty, expected {expected}")]
    EmptyField {
        /// What belongs there.
        expected: &'static str,
    },
    /// Text that is not a number in range.
    #[error("found {found:?}, expected {expected}")]
    BadNumber {
        /// The text.
        found: String,
        /// What belongs there.
        expected: &'static str,
    },
    /// An event that ends before it begins.
    #[error(
        "the event ends before it begins: onset {onset}, offset {offset} (swap or remove them)"
    )]
    EndsBeforeItBegins {
        /// As written.
        onset: String,
        /// As written.
        offset: String,
    },
    /// An event without length.
    #[error("the event ends where it begins, at {time} (remove it)")]
    NoLength {
        /// As written.
        time: String,
    },
    /// Weak labels that are no list of classes.
    #[error("found {found:?}, expected names of classes separated by commas, each once")]
    BadLabels {
        /// The text.
        found: String,
    },
    /// A class that is none of the split's.
    #[error("unknown class {found:?}{hint}; expected one of: {expected}")]
    UnknownClass {
        /// The text.
        found: String,
        /// `, did you mean …?` or nothing.
        hint: String,
        /// The known classes.
        expected: String,
    },
    /// A file name that would leave its folder.
    #[error("found {found:?}, expected the plain name of an audio file (no folder)")]
    NotAFileName {
        /// The text.
        found: String,
    },
    /// A file name that cannot be a MAESTRO window.
    #[error(
        "found {found:?}, expected <recording>-<start>-<end>.wav with times in hundredths of a second, such as cafe_restaurant_00-000000-001000.wav"
    )]
    NotAWindow {
        /// The text.
        found: String,
    },
    /// Two rows about one thing that must have one.
    #[error("{name:?} has a row already, on line {first} (keep one of them)")]
    Duplicate {
        /// What occurs twice.
        name: String,
        /// Line of the first row.
        first: u64,
    },
    /// Two audio files that differ in their extension alone.
    #[error(
        "{name:?} has the same name but for the extension as a file above (clips are known by the name without extension)"
    )]
    SameStem {
        /// The second file.
        name: String,
    },
    /// Nothing to learn or score from.
    #[error("the table has no rows with annotations (expected at least one)")]
    NoRows,
    /// A clip without its duration.
    #[error("no duration for {name:?} (add a row for it)")]
    NoDuration {
        /// The clip or recording.
        name: String,
    },
}
