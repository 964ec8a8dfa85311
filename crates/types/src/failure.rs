use std::fmt;

use serde::{Deserialize, Serialize};

use crate::{Bytes, Rank, Step};

/// Why an attempt failed; decides whether and how it is tried again (docs/failure.md has the table).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FailureClass {
    /// The plan or the code asks for something impossible.
    Configuration,
    /// A data file is missing, broken or not what the manifest says.
    Data,
    /// An input artifact (checkpoint, predictions) is damaged or does not fit.
    Artifact,
    /// A loss or gradient is not a number.
    NotANumber,
    /// The device or the host ran out of memory.
    OutOfMemory,
    /// Disk full, connection reset, and the like.
    TransientIo,
    /// A peer of the gang went away, so this rank had to stop. Never the first cause of a gang's failure if another is known.
    PeerLost,
    /// The worker went away, or its lease ended.
    WorkerLost,
    /// No progress within the limit.
    Hang,
    /// The rank process was killed by a signal from outside.
    Killed,
    /// The rank process ended in a way that it did not explain: a bug.
    Crash,
}

impl FailureClass {
    /// Every class.
    pub const ALL: [Self; 11] = [
        Self::Configuration,
        Self::Data,
        Self::Artifact,
        Self::NotANumber,
        Self::OutOfMemory,
        Self::Hang,
        Self::Crash,
        Self::TransientIo,
        Self::Killed,
        Self::WorkerLost,
        Self::PeerLost,
    ];

    /// The name in messages.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Configuration => "configuration",
            Self::Data => "data",
            Self::Artifact => "artifact",
            Self::NotANumber => "not a number",
            Self::OutOfMemory => "out of memory",
            Self::TransientIo => "transient I/O",
            Self::PeerLost => "peer lost",
            Self::WorkerLost => "worker lost",
            Self::Hang => "hang",
            Self::Killed => "killed",
            Self::Crash => "crash",
        }
    }
}

impl fmt::Display for FailureClass {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// One rank's account of its end.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// What kind of end.
    pub class: FailureClass,
    /// One or more sentences for a person: what was found, where, what was expected.
    pub message: String,
    /// The rank that failed, if it was one.
    pub rank: Option<Rank>,
    /// The signal that ended the process.
    pub signal: Option<i32>,
    /// Its exit code.
    pub exit_code: Option<i32>,
    /// The most memory that it, or a process below it, had in use, in bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub peak_memory: Option<u64>,
    /// The last step that it reported.
    pub last_step: Option<Step>,
    /// The last lines of its log, oldest first.
    pub log_tail: Vec<String>,
}

impl Failure {
    /// A failure known by its class and message alone.
    #[must_use]
    pub fn new(class: FailureClass, message: impl Into<String>) -> Self {
        Self {
            class,
            message: message.into(),
            rank: None,
            signal: None,
            exit_code: None,
            peak_memory: None,
            last_step: None,
            log_tail: Vec::new(),
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.class)?;
        if let Some(rank) = self.rank {
            write!(f, " in rank {rank}")?;
        }
        if let Some(signal) = self.signal {
            write!(f, ", signal {signal}")?;
        } else if let Some(code) = self.exit_code {
            write!(f, ", exit code {code}")?;
        }
        if let Some(bytes) = self.peak_memory {
            write!(f, ", peak memory {}", Bytes(bytes))?;
        }
        if let Some(step) = self.last_step {
            write!(f, ", after step {step}")?;
        }
        write!(f, ": {}", self.message)
    }
}
