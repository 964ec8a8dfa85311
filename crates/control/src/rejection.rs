use serde::{Deserialize, Serialize};
use types::{Fence, Incarnation, Rank, RunId, TaskId, WorkerId};

use crate::{Action, RunOutcome, StopMode, StopReason};

/// Why an input changed nothing. An ordinary answer, not a fault.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[serde(tag = "rejection", rename_all = "snake_case")]
pub enum Rejection {
    /// The attempt is over, or never was this worker's.
    #[error(
        "fence {fence} is not that of a live attempt with worker {worker} as rank {rank}; its rank must stop"
    )]
    StaleFence {
        /// Who spoke.
        worker: WorkerId,
        /// In which of its lives.
        incarnation: Incarnation,
        /// Under which fence.
        fence: Fence,
        /// As which rank.
        rank: Rank,
        /// It spoke of its own end, so there is nothing left to stop.
        ended: bool,
    },
    /// The worker has not introduced itself, or its lease has ended: it has to say hello (again).
    #[error("worker {worker} is not known here (any more): it has to say hello first")]
    UnknownWorker {
        /// Who.
        worker: WorkerId,
    },
    /// A newer life of the same worker is known: the older process has to end.
    #[error(
        "worker {worker} speaks as incarnation {found}, but incarnation {newest} is known: the older process must end (are there two workers of one name?)"
    )]
    StaleIncarnation {
        /// Who.
        worker: WorkerId,
        /// In which life it spoke.
        found: Incarnation,
        /// The newest that is known.
        newest: Incarnation,
    },
    /// No such run.
    #[error("run {run} does not exist")]
    UnknownRun {
        /// Which.
        run: RunId,
    },
    /// No such task.
    #[error("task {task} does not exist")]
    UnknownTask {
        /// Which.
        task: TaskId,
    },
    /// The run's number is taken by another graph, or is not larger than every number before it.
    #[error("run {run} cannot be submitted: that number is taken; the next one is {next}")]
    RunNumberTaken {
        /// Which.
        run: RunId,
        /// The next free number.
        next: RunId,
    },
    /// The graph breaks a rule of `types::TaskGraph`.
    #[error("the task graph cannot be run: {problem}")]
    BadGraph {
        /// What is wrong, and where.
        problem: String,
    },
    /// The run is over.
    #[error("run {run} is over ({outcome})")]
    RunOver {
        /// Which.
        run: RunId,
        /// How it ended.
        outcome: RunOutcome,
    },
    /// The task is neither failed nor waiting, so there is nothing to retry.
    #[error("task {task} has not failed: it is {state}")]
    NothingToRetry {
        /// Which.
        task: TaskId,
        /// Its state in a word.
        state: String,
    },
    /// The coordinator is stopping.
    #[error("the coordinator is shutting down")]
    ShuttingDown,
}

impl Rejection {
    /// What to tell the worker that spoke under a stale fence: to stop that rank, if it has not ended by itself.
    #[must_use]
    pub fn action(&self) -> Option<Action> {
        match self {
            Self::StaleFence {
                worker,
                incarnation,
                fence,
                ..
            } => Some(Action::StopRank {
                worker: worker.clone(),
                incarnation: *incarnation,
                fence: *fence,
                mode: StopMode::Now,
                reason: StopReason::StaleFence,
            }),
            _ => None,
        }
    }
}
