//! What workers and the coordinator say to each other, as plain data; the services turn it into messages of the wire.

use std::time::Duration;

use control::{RankReport, StartRank, StopMode};
use types::{Fence, MetricPoint, Progress, Rank, Timestamp};

/// Something a worker says, turned into plain data.
#[derive(Debug, Clone, PartialEq)]
pub enum Said {
    /// It is there.
    Heartbeat {
        /// By the worker's own clock; given back to it.
        sent_at: u64,
    },
    /// To be written down and acknowledged.
    Report {
        /// Grows by one within a worker's life.
        sequence: u64,
        /// The attempt.
        fence: Fence,
        /// Which rank of it.
        rank: Rank,
        /// What there is to say.
        what: SaidReport,
    },
    /// Of which only the latest matters.
    Progress {
        /// The attempt.
        fence: Fence,
        /// Which rank of it.
        rank: Rank,
        /// How far it is.
        progress: Progress,
    },
    /// Consecutive lines of a rank's log.
    Logs {
        /// The attempt.
        fence: Fence,
        /// Which rank of it.
        rank: Rank,
        /// The number of the first line; a rank's lines count from 0.
        first: u64,
        /// The lines.
        lines: Vec<String>,
    },
    /// A rank waits for room on a disk, or goes on.
    Waits {
        /// The attempt.
        fence: Fence,
        /// Which rank of it.
        rank: Rank,
        /// Why it waits; none if it goes on.
        reason: Option<String>,
    },
    /// It wants nothing new.
    Draining,
    /// Its device is unusable until it is restarted.
    Quarantined {
        /// Why, for a person.
        reason: String,
    },
    /// It leaves for good.
    Goodbye,
}

impl Said {
    /// Whether it changes nothing that the journal holds: it need not wait for the journal.
    pub(crate) const fn is_volatile(&self) -> bool {
        matches!(
            self,
            Self::Heartbeat { .. } | Self::Progress { .. } | Self::Waits { .. }
        )
    }
}

/// A report is for the core, or a point of a curve for people.
#[derive(Debug, Clone, PartialEq)]
pub enum SaidReport {
    /// For the core.
    Rank(RankReport),
    /// For people.
    Metrics(MetricPoint),
}

/// Something that a worker is told.
#[derive(Debug, Clone, PartialEq)]
pub enum Told {
    /// The answer to its hello, and the first word of a connection.
    Welcome(Greeting),
    /// A heartbeat was heard.
    Heard {
        /// What the heartbeat said.
        sent_at: u64,
    },
    /// Reports are written down.
    ReportsTaken {
        /// All up to and including this one.
        up_to: u64,
    },
    /// Log lines are written down.
    LogsTaken {
        /// The attempt.
        fence: Fence,
        /// Which rank of it.
        rank: Rank,
        /// So many, from its first on.
        lines: u64,
    },
    /// Start a rank process.
    Start(Box<StartRank>),
    /// End a rank process.
    Stop {
        /// The attempt.
        fence: Fence,
        /// How.
        mode: StopMode,
        /// Why, for a person.
        reason: String,
    },
    /// Nothing is left for it: it may go.
    Leave,
}

/// What a worker has to know first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Greeting {
    /// How often it lets itself be heard.
    pub heartbeat: Duration,
    /// Its lease.
    pub lost_after: Duration,
    /// When the journal began; fences of another one mean other attempts. The clerk fills it in.
    pub journal: Timestamp,
}
