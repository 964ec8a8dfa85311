use std::path::PathBuf;

use tch::TchError;
use tensorfile::hdf5::Hdf5Error;
use types::FailureClass;

/// Why a task could not be done.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The settings ask for something that cannot be.
    #[error("{0}")]
    Configuration(String),
    /// An input that the settings need was not given.
    #[error("input {role:?} is missing: the task was started without it")]
    MissingInput {
        /// Its role.
        role: String,
    },
    /// An input artifact does not fit.
    #[error("{0}")]
    Artifact(String),
    /// A network or a file of tensors.
    #[error(transparent)]
    Model(#[from] model::Error),
    /// Predictions in HDF5.
    #[error(transparent)]
    Hdf5(#[from] Hdf5Error),
    /// The data.
    #[error(transparent)]
    Data(#[from] dataset::Error),
    /// The data here is not what the plan was made for.
    #[error("the data under {} is not the plan's: {difference} (copy it again, or name the right data root)", root.display())]
    OtherData {
        /// The data root.
        root: PathBuf,
        /// The first file that differs.
        difference: Box<dataset::Difference>,
    },
    /// Scores and ground truth.
    #[error(transparent)]
    Score(#[from] eval::Error),
    /// The gang.
    #[error(transparent)]
    Collective(#[from] collective::Error),
    /// A loss that is not a number; nothing was learned from it.
    #[error(
        "step {step}: {term} is {value} in micro-batch {microbatch}: lower the learning rate, or look at the clips of this step"
    )]
    NotANumber {
        /// Optimizer steps completed.
        step: u64,
        /// In the step.
        microbatch: u32,
        /// Which term.
        term: &'static str,
        /// What it is.
        value: f64,
    },
    /// A file of this task's own.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The supervisor did not take something over.
    #[error("the worker did not take it over: {0}")]
    Host(String),
    /// libtorch refused an operation.
    #[error("libtorch: {0}")]
    Torch(String),
}

impl Error {
    /// What the coordinator makes of it.
    #[must_use]
    pub fn class(&self) -> FailureClass {
        match self {
            Self::Configuration(_) => FailureClass::Configuration,
            Self::MissingInput { .. } | Self::Artifact(_) => FailureClass::Artifact,
            Self::Model(error) => match error {
                model::Error::Settings { .. } => FailureClass::Configuration,
                model::Error::File(tensorfile::Error::Io { .. }) => FailureClass::TransientIo,
                model::Error::Torch(error) => torch_class(&error.to_string()),
                _ => FailureClass::Artifact,
            },
            Self::Hdf5(Hdf5Error::Io { .. }) => FailureClass::TransientIo,
            Self::Hdf5(_) => FailureClass::Artifact,
            Self::Data(dataset::Error::SplitNotConfigured { .. } | dataset::Error::Sampler(_)) => {
                FailureClass::Configuration
            }
            Self::Data(_) | Self::OtherData { .. } | Self::Score(_) => FailureClass::Data,
            Self::Collective(error) => collective_class(error),
            Self::NotANumber { .. } => FailureClass::NotANumber,
            Self::Io { .. } | Self::Host(_) => FailureClass::TransientIo,
            Self::Torch(text) => torch_class(text),
        }
    }

    /// What the system said, where it was about a file.
    fn of_the_system(&self) -> Option<&std::io::Error> {
        match self {
            Self::Io { source, .. }
            | Self::Model(model::Error::File(tensorfile::Error::Io { source, .. })) => Some(source),
            _ => None,
        }
    }

    /// A file could not be written or handed over, through no fault of its content.
    pub(crate) fn is_of_the_disk(&self) -> bool {
        matches!(self, Self::Host(_)) || self.of_the_system().is_some()
    }

    /// A file could not be written because there is no room; later there may be.
    pub(crate) fn is_full_disk(&self) -> bool {
        use std::io::ErrorKind;
        self.of_the_system().is_some_and(|error| {
            matches!(
                error.kind(),
                ErrorKind::StorageFull | ErrorKind::QuotaExceeded
            )
        })
    }

    pub(crate) fn io(path: &std::path::Path) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Io { path, source }
    }
}

impl From<TchError> for Error {
    fn from(error: TchError) -> Self {
        Self::Torch(first_line(&error.to_string()))
    }
}

/// What libtorch throws inside plain arithmetic is a panic of tch's.
pub(crate) fn of_panic(panic: &(dyn std::any::Any + Send)) -> Error {
    let text = panic
        .downcast_ref::<String>()
        .map(String::as_str)
        .or_else(|| panic.downcast_ref::<&str>().copied())
        .unwrap_or("a panic without a message");
    Error::Torch(first_line(text))
}

/// libtorch appends a C++ stack, which helps nobody here. tch's panics carry the text with escaped line ends.
fn first_line(text: &str) -> String {
    let text = text.split("Exception raised from").next().unwrap_or(text);
    text.replace("\\n", " ").trim().to_owned()
}

/// libtorch has no error codes, only texts.
fn torch_class(text: &str) -> FailureClass {
    let text = text.to_ascii_lowercase();
    if text.contains("out of memory") || text.contains("can't allocate memory") {
        FailureClass::OutOfMemory
    } else {
        FailureClass::Crash
    }
}

fn collective_class(error: &collective::Error) -> FailureClass {
    use collective::Kind;
    match error.kind() {
        Kind::Store => FailureClass::TransientIo,
        Kind::Network | Kind::Backend | Kind::Peer | Kind::Closed => FailureClass::PeerLost,
        _ => torch_class(&error.to_string()),
    }
}
