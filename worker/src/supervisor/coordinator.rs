use std::future::Future;
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use duty::protocol::{StoreAnswer, StoreAsk};
use duty::{Assignment, Held, Numbered, ProgressNote, StopMode};
use tokio::sync::{mpsc, oneshot};
use types::{Digest, Failure, Fence, Rank, Timestamp};

use super::logs::LogBatch;

/// A future that a trait object can give.
pub(crate) type Boxed<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// From the worker, while there is a connection.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Uplink {
    /// To be acknowledged.
    Report(Numbered),
    /// Only the latest matters.
    Progress(ProgressNote),
    /// To be acknowledged.
    Logs {
        fence: Fence,
        rank: Rank,
        batch: LogBatch,
    },
    /// A rank waits for room on a disk, for this reason, or goes on.
    Waits {
        fence: Fence,
        rank: Rank,
        reason: Option<String>,
    },
    /// The worker wants no new work.
    Draining,
    /// The worker's device is unusable until it is restarted.
    Quarantined {
        /// For people.
        reason: String,
    },
    /// The worker leaves for good; it has no rank any more.
    Goodbye,
}

/// From the coordinator.
#[derive(Debug, Clone)]
pub(crate) enum Downlink {
    /// It has accepted this worker.
    Welcome {
        lost_after: Duration,
        /// When its journal began: fences of another one mean other attempts.
        journal: u64,
    },
    /// It has heard what was sent then.
    Heard { sent_at: Timestamp },
    /// It has written down all reports up to this one.
    Acknowledged { up_to: u64 },
    /// It has so many lines of this attempt's log.
    LogsAcknowledged { fence: Fence, lines: u64 },
    /// Start a rank.
    Start(Arc<Assignment>),
    /// Start a rank, in words that this worker does not understand.
    Unstartable {
        fence: Fence,
        rank: Rank,
        failure: Failure,
    },
    /// End a rank.
    Stop {
        fence: Fence,
        mode: StopMode,
        /// For people.
        reason: String,
    },
    /// Leave.
    Leave,
}

/// A connection in the making: the link needs to know what to say first, the shell where to say the rest.
#[derive(Debug)]
pub(crate) struct Opening {
    pub(crate) uplink: mpsc::Sender<Uplink>,
    pub(crate) held: oneshot::Sender<Vec<Held>>,
}

/// Who is asked about a gang's rendezvous.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Asker {
    pub(crate) fence: Fence,
    pub(crate) rank: Rank,
    /// The same number for the same question, however often it is asked.
    pub(crate) request: u64,
}

/// The coordinator beside its stream of commands. A seam: tests have one in memory.
pub(crate) trait Coordinator: Send + Sync + 'static {
    /// Asks the rendezvous store of a gang; waits out a coordinator that is away, up to `limit`.
    fn ask_store(
        &self,
        asker: Asker,
        ask: StoreAsk,
        limit: Duration,
    ) -> Boxed<'static, StoreAnswer>;

    /// Writes an artifact to a new file.
    fn download<'a>(&'a self, digest: Digest, to: &'a Path) -> Boxed<'a, Result<(), DepotError>>;

    /// Puts a file into the artifact store. What is there already is not sent again.
    fn upload<'a>(&'a self, digest: Digest, file: &'a Path) -> Boxed<'a, Result<(), DepotError>>;

    /// Resolves when the current connection, after a [`Uplink::Goodbye`], has been closed.
    fn closed(&self) -> Boxed<'_, ()>;
}

/// Why an artifact did not travel.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum DepotError {
    /// Worth another try.
    #[error("the coordinator is out of reach: {0}")]
    Away(String),
    /// The coordinator does not have it.
    #[error("the coordinator has no artifact {0}")]
    Missing(Digest),
    /// The coordinator will not have it, whatever we do.
    #[error("the coordinator refuses it: {0}")]
    Refused(String),
    /// There is no room for it, here or there. Worth another try when somebody has made some.
    #[error("{0}")]
    NoRoom(String),
    /// This host's disk.
    #[error("{0}")]
    Disk(String),
}

impl From<artifact::Error> for DepotError {
    fn from(error: artifact::Error) -> Self {
        let text = error.to_string();
        match error {
            artifact::Error::DiskFull { .. } => Self::NoRoom(text),
            _ => Self::Disk(text),
        }
    }
}
