use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use types::{
    Digest, Failure, Fence, Incarnation, Rank, RunId, Step, TaskId, TaskKind, Timestamp, WorkerId,
};

use crate::{RunOutcome, WorkerState};

/// What the shell has to do, in order, once the input that led to it is in the journal. Every action may be performed
/// twice (a crash between journal and deed is repaired by the worker's next hello).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "action", rename_all = "snake_case")]
pub enum Action {
    /// A gang has been chosen: open the rendezvous store of this fence, for these ranks alone. Comes again when a worker
    /// of the gang reconnects.
    AttemptBegan {
        /// Which task.
        task: TaskId,
        /// The attempt.
        fence: Fence,
        /// Everyone in it, by rank.
        gang: Vec<GangMember>,
    },
    /// Tell a worker to start a rank process.
    StartRank(StartRank),
    /// Tell a worker to end a rank process. A worker that does not run it (any more) answers with its end all the same
    /// ([`crate::RankReport::Stopped`] if it never ran), for the slot is taken until then.
    StopRank {
        /// Who.
        worker: WorkerId,
        /// In which of its lives.
        incarnation: Incarnation,
        /// Which attempt.
        fence: Fence,
        /// How.
        mode: StopMode,
        /// Why.
        reason: StopReason,
    },
    /// An attempt is over: drop its rendezvous store and whoever waits in it.
    AttemptEnded {
        /// Which task.
        task: TaskId,
        /// The attempt.
        fence: Fence,
        /// How it ended.
        outcome: AttemptOutcome,
    },
    /// A task has its result.
    TaskDone {
        /// Which task.
        task: TaskId,
        /// Its content key.
        key: Digest,
        /// Output name to artifact.
        outputs: BTreeMap<String, Digest>,
        /// The attempt that made it; none if it was remembered.
        fence: Option<Fence>,
    },
    /// A task will be tried again.
    TaskRetried {
        /// Which task.
        task: TaskId,
        /// Why.
        failure: Failure,
        /// Not before.
        at: Timestamp,
        /// How many more failures of its own are forgiven.
        budget_left: u32,
    },
    /// A task has failed for good.
    TaskFailed {
        /// Which task.
        task: TaskId,
        /// The first cause of its last attempt.
        failure: Failure,
    },
    /// A worker's state has changed; for the log.
    WorkerChanged {
        /// Who.
        worker: WorkerId,
        /// Its state before; none if it is new.
        from: Option<WorkerState>,
        /// Its state now.
        to: WorkerState,
    },
    /// A draining worker has nothing left: tell it that it may leave.
    WorkerDrained {
        /// Who.
        worker: WorkerId,
        /// In which of its lives.
        incarnation: Incarnation,
    },
    /// A run is over.
    RunFinished {
        /// Which.
        run: RunId,
        /// How.
        outcome: RunOutcome,
    },
    /// After a shutdown: no rank of a worker that answers is left.
    Drained,
}

/// Everything that a worker needs to start one rank.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StartRank {
    /// Whom it is for.
    pub worker: WorkerId,
    /// In which of its lives.
    pub incarnation: Incarnation,
    /// What is done.
    pub task: TaskId,
    /// Its kind, which decides the slot.
    pub kind: TaskKind,
    /// The attempt.
    pub fence: Fence,
    /// This process's rank.
    pub rank: Rank,
    /// Everyone, by rank; the length is the world size.
    pub gang: Vec<GangMember>,
    /// Role to artifact.
    pub inputs: BTreeMap<String, Digest>,
    /// Names of the outputs that rank 0 must hand in.
    pub outputs: Vec<String>,
    /// The task's `types::TaskSpec` as JSON.
    pub spec: Arc<str>,
    /// The last committed checkpoint of this very work, to go on from.
    pub resume: Option<Checkpoint>,
}

/// One seat of a gang.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GangMember {
    /// Dense from 0.
    pub rank: Rank,
    /// Who has it.
    pub worker: WorkerId,
    /// In which of its lives.
    pub incarnation: Incarnation,
}

/// A committed checkpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Checkpoint {
    /// Optimizer updates in it.
    pub step: Step,
    /// The artifact.
    pub digest: Digest,
}

/// How a rank is to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StopMode {
    /// After this step, with a checkpoint.
    Checkpoint,
    /// At once: its gang is broken or its result unwanted.
    Now,
}

/// Why a rank has to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StopReason {
    /// Another rank of its gang has ended too early.
    GangBroken,
    /// Its fence is not (any more) that of a live attempt.
    StaleFence,
    /// A worker of its gang is being drained.
    Drain,
    /// A user has cancelled the run.
    Cancelled,
    /// A newer run has taken this run's place.
    Superseded,
    /// The coordinator shuts down.
    Shutdown,
}

impl fmt::Display for StopReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::GangBroken => "another rank of its gang has ended",
            Self::StaleFence => "its attempt is over",
            Self::Drain => "a worker of its gang is being drained",
            Self::Cancelled => "the run was cancelled",
            Self::Superseded => "a newer run has taken its place",
            Self::Shutdown => "the coordinator is shutting down",
        })
    }
}

/// How an attempt ended.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "outcome", rename_all = "snake_case")]
pub enum AttemptOutcome {
    /// With the task's result.
    Finished,
    /// Its ranks stopped because they were told to.
    Stopped {
        /// Why they were.
        reason: StopReason,
    },
    /// The gang's first cause.
    Failed {
        /// The cause.
        failure: Failure,
    },
}
