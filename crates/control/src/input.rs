use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use types::{
    CallId, Digest, Failure, Fence, Incarnation, Rank, RunId, SlotKind, Step, TaskGraph, TaskId,
    WorkerId,
};

use crate::Settings;

/// Everything that can happen to a cluster.
///
/// Durable inputs are what the journal keeps and what a restart replays. Volatile ones ([`Input::is_durable`] is false)
/// only move the clock of a worker's contact and never change anything else; what follows from silence comes back from
/// [`crate::Cluster::due`] as durable inputs, so that a replay needs no heartbeat.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "input", rename_all = "snake_case")]
pub enum Input {
    /// A coordinator process has opened the journal: first of all inputs, and again after each restart. Every worker is
    /// unknown until it is heard; leases count from now; a shutdown before it is over.
    CoordinatorStarted {
        /// In force from now on.
        settings: Settings,
    },
    /// A user wants this graph done. A run that is still going on is superseded: stopped in order.
    Submit {
        /// Larger than every run before ([`crate::Cluster::next_run`]); the same run and graph again change nothing.
        run: RunId,
        /// The plan's name, for people.
        name: String,
        /// What is to be done.
        graph: Arc<TaskGraph>,
    },
    /// A user ends a run: its ranks stop after a checkpoint.
    CancelRun {
        /// Which.
        run: RunId,
    },
    /// A user wants a failed task tried again, with a fresh budget (and a waiting one tried without back-off).
    Retry {
        /// Which.
        task: TaskId,
    },
    /// An artifact is gone from the store or damaged: nothing that has it among its outputs is remembered any more.
    ArtifactLost {
        /// Which.
        digest: Digest,
    },
    /// A worker introduces itself: on every new connection, first of all.
    Hello {
        /// Its name, which it keeps over restarts.
        worker: WorkerId,
        /// Which of its lives. Grows; a worker takes its start time in milliseconds.
        incarnation: Incarnation,
        /// What it offers.
        description: WorkerDescription,
        /// The ranks that it holds: running ones, and ended ones whose end has not been acknowledged to it yet.
        live: Vec<LiveRank>,
    },
    /// A heartbeat. Volatile.
    Heard {
        /// From whom.
        worker: WorkerId,
        /// In which of its lives.
        incarnation: Incarnation,
    },
    /// A worker leaves; it has no rank process any more.
    Goodbye {
        /// Who.
        worker: WorkerId,
        /// In which of its lives.
        incarnation: Incarnation,
    },
    /// The parent of a worker has seen its process end (and with it, within two seconds, its ranks').
    Exited {
        /// Who.
        worker: WorkerId,
        /// In which of its lives.
        incarnation: Incarnation,
        /// How, for a person: `exit code 1`, `killed by signal 9`.
        detail: String,
    },
    /// Takes a worker out of service: its gangs stop after a checkpoint, it gets nothing new.
    Drain {
        /// Which.
        worker: WorkerId,
    },
    /// A worker cannot free its device (a process that does not die): out of service until it is restarted.
    Quarantine {
        /// Who.
        worker: WorkerId,
        /// In which of its lives.
        incarnation: Incarnation,
        /// Why, for a person.
        reason: String,
    },
    /// A rank's account of itself.
    Report(Report),
    /// Stop everything in order: ranks write a checkpoint and end, nothing new starts, then [`crate::Action::Drained`].
    Shutdown,
    /// A worker has been silent for `unknown_after`. Made by [`crate::Cluster::due`] alone.
    WorkerSilent {
        /// Who.
        worker: WorkerId,
        /// In which of its lives.
        incarnation: Incarnation,
    },
    /// A worker that was silent has been heard again. Made by [`crate::Cluster::due`] alone.
    WorkerBack {
        /// Who.
        worker: WorkerId,
        /// In which of its lives.
        incarnation: Incarnation,
    },
    /// A worker's lease has ended. Made by [`crate::Cluster::due`] alone: nothing else may give a silent worker's tasks away.
    LeaseEnded {
        /// Whose.
        worker: WorkerId,
        /// In which of its lives.
        incarnation: Incarnation,
    },
    /// A user's call that may come more than once: it is obeyed the first time, and changes nothing later. One that was rejected
    /// counts as not made.
    Called {
        /// Which.
        call: CallId,
        /// What the user wants.
        wish: Box<Input>,
    },
    /// A wait (back-off, grace, gathering) is over. Made by [`crate::Cluster::due`].
    Tick,
}

impl Input {
    /// Whether the journal must hold it before its actions are performed.
    #[must_use]
    pub const fn is_durable(&self) -> bool {
        !matches!(self, Self::Heard { .. })
    }

    /// The run that a user's wish is about.
    pub(crate) fn run(&self) -> Option<RunId> {
        match self {
            Self::Submit { run, .. } | Self::CancelRun { run } => Some(*run),
            Self::Retry { task } => Some(task.run),
            _ => None,
        }
    }

    /// The worker that this is a sign of life of.
    pub(crate) const fn speaker(&self) -> Option<&WorkerId> {
        match self {
            Self::Hello { worker, .. }
            | Self::Heard { worker, .. }
            | Self::Quarantine { worker, .. } => Some(worker),
            Self::Report(report) => Some(&report.worker),
            _ => None,
        }
    }
}

/// What a worker offers: one device slot and one host slot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WorkerDescription {
    /// The machine's name; a gang is placed on few machines where there is a choice.
    pub host: String,
    /// A gang's devices are of one kind.
    pub device: DeviceKind,
    /// The device for a person: `cpu, 2 threads`, `NVIDIA H200`.
    pub device_name: String,
}

/// Kinds of device. Gangs are never mixed: the kinds meet through different backends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DeviceKind {
    /// Tensors on the CPU, gangs through Gloo.
    Cpu,
    /// An NVIDIA GPU, gangs through NCCL.
    Cuda,
}

/// A rank that a worker holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct LiveRank {
    /// Under which fence it was started.
    pub fence: Fence,
    /// Its rank in the gang.
    pub rank: Rank,
    /// Which slot it takes.
    pub slot: SlotKind,
}

/// One rank's account of itself, as its worker forwards it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// Who reports.
    pub worker: WorkerId,
    /// In which of its lives.
    pub incarnation: Incarnation,
    /// Which attempt.
    pub fence: Fence,
    /// Which rank of its gang.
    pub rank: Rank,
    /// What it has to say.
    pub what: RankReport,
}

/// What a rank can say. The last three are its end: the process is gone, its slot is free.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "what", rename_all = "snake_case")]
pub enum RankReport {
    /// The process runs and has met its gang.
    Started,
    /// Rank 0: a complete checkpoint is in the artifact store.
    Checkpoint {
        /// Optimizer updates in it.
        step: Step,
        /// Its name.
        digest: Digest,
    },
    /// It has done its part.
    Finished {
        /// Rank 0: every declared output, all in the artifact store. Empty on other ranks.
        outputs: BTreeMap<String, Digest>,
    },
    /// It has failed.
    Failed {
        /// How.
        failure: Failure,
    },
    /// It has stopped because it was told to.
    Stopped,
}

impl RankReport {
    /// Whether the process is gone.
    #[must_use]
    pub const fn is_end(&self) -> bool {
        matches!(
            self,
            Self::Finished { .. } | Self::Failed { .. } | Self::Stopped
        )
    }
}
