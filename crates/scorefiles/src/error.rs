use std::io;
use std::path::{Path, PathBuf};

/// A file that cannot be scored: which one, where in it, what was found, what was expected.
#[derive(Debug, thiserror::Error)]
pub enum Error {
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
    /// A table of events, labels or durations with a fault.
    #[error(transparent)]
    Table(#[from] dataset::Error),
    /// A file of tensors with a fault.
    #[error(transparent)]
    Tensors(#[from] tensorfile::Error),
    /// A table of frame scores with a fault in one line.
    #[error("{}: line {line}: {problem}", path.display())]
    Line {
        /// The table.
        path: PathBuf,
        /// Line, from 1.
        line: usize,
        /// What is wrong there.
        problem: Problem,
    },
    /// A folder or file of frame scores with a fault that has no line.
    #[error("{}: {problem}", path.display())]
    File {
        /// The folder or file.
        path: PathBuf,
        /// What is wrong.
        problem: Problem,
    },
    /// Scores that are none, or that the ground truth does not fit.
    #[error("{}: {source}", .paths.iter().map(|path| path.display().to_string()).collect::<Vec<_>>().join(", "))]
    Scores {
        /// The files that it is about.
        paths: Vec<PathBuf>,
        /// What does not fit.
        source: Box<eval::Error>,
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

    pub(crate) fn file(path: &Path, problem: Problem) -> Self {
        Self::File {
            path: path.to_owned(),
            problem,
        }
    }

    pub(crate) fn scores(paths: &[&Path]) -> impl FnOnce(eval::Error) -> Self {
        let paths = paths.iter().map(|path| (*path).to_owned()).collect();
        move |source| Self::Scores {
            paths,
            source: Box::new(source),
        }
    }
}

/// What is wrong with frame scores.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum Problem {
    /// No tables in a folder.
    #[error("the folder has no .tsv file among its {found} entries, expected one for each clip")]
    EmptyFolder {
        /// What else there is.
        found: usize,
    },
    /// No clips in a file.
    #[error("there are no scores in it, expected a tensor scores/<clip> for each clip")]
    NoClips,
    /// A name that is no clip's.
    #[error("{name:?} cannot be the name of a clip: it would be no file in a folder")]
    NotAClip {
        /// The name.
        name: String,
    },
    /// A name that is no class's in a table.
    #[error("{name:?} cannot be the name of a class: it would be no column of a table")]
    NotAColumn {
        /// The name.
        name: String,
    },
    /// Not UTF-8.
    #[error("the text is not UTF-8 (save the table as UTF-8)")]
    NotUtf8,
    /// The first line does not name the columns.
    #[error("found {found:?}, expected a header: onset, offset and the classes, separated by tabs")]
    Header {
        /// The first line.
        found: String,
    },
    /// A column without a name.
    #[error("column {column} of the header has no name, expected a class")]
    UnnamedClass {
        /// Column, from 1.
        column: usize,
    },
    /// A class that has two columns.
    #[error("class {class:?} has two columns")]
    ClassTwice {
        /// The class.
        class: String,
    },
    /// A class that the other files have.
    #[error("class {class:?} has no column here, but one in {}", first.display())]
    ClassMissing {
        /// The class.
        class: String,
        /// The first file of the folder.
        first: PathBuf,
    },
    /// A class that the other files do not have.
    #[error("class {class:?} has a column here, but none in {}", first.display())]
    ClassUnknown {
        /// The class.
        class: String,
        /// The first file of the folder.
        first: PathBuf,
    },
    /// A row that is longer or shorter than the header.
    #[error("the row has {found} cells, the header has {expected}")]
    Cells {
        /// In this row.
        found: usize,
        /// In the header.
        expected: usize,
    },
    /// A time that is none.
    #[error("the {column} is {found:?}, expected a number of seconds, 0 or more")]
    Time {
        /// `onset` or `offset`.
        column: &'static str,
        /// The text.
        found: String,
    },
    /// A frame without length.
    #[error("the frame ends at {offset} s, not after its onset at {onset} s")]
    NoLength {
        /// In seconds.
        onset: f64,
        /// In seconds.
        offset: f64,
    },
    /// Frames one over the other.
    #[error(
        "the frame begins at {onset} s, before the previous one ends at {previous} s (frames follow each other)"
    )]
    Overlap {
        /// In seconds.
        onset: f64,
        /// In seconds.
        previous: f64,
    },
    /// Time between frames, for which there is no score.
    #[error(
        "the frame begins at {onset} s, after the previous one ended at {previous} s (frames follow each other without a gap)"
    )]
    Gap {
        /// In seconds.
        onset: f64,
        /// In seconds.
        previous: f64,
    },
    /// A score that is none.
    #[error(
        "the score of class {class:?} from {onset} s to {offset} s is {found:?}, expected a number"
    )]
    Score {
        /// The class.
        class: String,
        /// Of the frame, in seconds.
        onset: f64,
        /// Of the frame, in seconds.
        offset: f64,
        /// The text.
        found: String,
    },
    /// A header and nothing else.
    #[error("there are no rows, expected one for each frame")]
    NoFrames,
    /// A file of tensors in another format.
    #[error("this is no safetensors file, expected one, or a folder of .tsv files")]
    NotSafetensors,
    /// No class list in a file of tensors.
    #[error("the metadata has {found} as \"classes\", expected the list of classes as JSON text")]
    ClassList {
        /// What is there.
        found: String,
    },
    /// A tensor that is none of scores and boundaries.
    #[error(
        "tensor {name:?} is not known, expected scores/<clip>, timestamps/<clip> or timestamps"
    )]
    UnknownTensor {
        /// Its name.
        name: String,
    },
    /// Boundaries of a clip that has no scores.
    #[error("clip {clip:?} has timestamps but no scores")]
    NoScores {
        /// The clip.
        clip: String,
    },
    /// Scores of a clip that has no boundaries.
    #[error(
        "clip {clip:?} has scores but no timestamps (expected timestamps/{clip} or timestamps)"
    )]
    NoTimestamps {
        /// The clip.
        clip: String,
    },
    /// A tensor of another type or shape.
    #[error("tensor {name:?} is {found}, expected {expected}")]
    Tensor {
        /// Its name.
        name: String,
        /// Type and shape.
        found: String,
        /// Type and shape.
        expected: String,
    },
    /// Frames after the end.
    #[error(
        "clip {clip:?} has a frame from {onset} s to {offset} s, but lasts {duration} s by {} (the last frame begins before the audio ends)",
        durations.display()
    )]
    BeyondAudio {
        /// The clip.
        clip: String,
        /// Of its last frame, in seconds.
        onset: f64,
        /// Of its last frame, in seconds.
        offset: f64,
        /// In seconds.
        duration: f64,
        /// The table of durations.
        durations: PathBuf,
    },
}
