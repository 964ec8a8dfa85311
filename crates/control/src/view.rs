use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde::{Deserialize, Serialize};
use types::{
    Digest, Failure, Fence, Incarnation, Rank, RunId, TaskId, TaskKind, Timestamp, WorkerId,
};

use crate::{AttemptOutcome, Checkpoint, GangMember, WaitingFor, WorkerDescription};

/// Where a task is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TaskState {
    /// Inputs are missing.
    Blocked,
    /// Could run.
    Ready,
    /// A gang and a fence are chosen; ranks are meeting.
    Assigned,
    /// All ranks run.
    Running,
    /// Has its result.
    Done,
    /// Failed for good.
    Failed,
    /// Its run was ended first.
    Cancelled,
}

impl TaskState {
    /// The word in tables.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Blocked => "blocked",
            Self::Ready => "ready",
            Self::Assigned => "assigned",
            Self::Running => "running",
            Self::Done => "done",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
        }
    }

    /// Whether nothing more will happen to it (unless a user retries it).
    #[must_use]
    pub const fn is_final(self) -> bool {
        matches!(self, Self::Done | Self::Failed | Self::Cancelled)
    }
}

impl fmt::Display for TaskState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// Where a worker is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WorkerState {
    /// Heard lately, runs nothing.
    Idle,
    /// Heard lately, runs something.
    Busy,
    /// Silent: not dead yet.
    Unknown,
    /// Gets nothing new.
    Draining,
    /// Its device is unusable.
    Quarantined,
    /// Left, died, or its lease ended.
    Gone,
}

impl WorkerState {
    /// The word in tables.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Idle => "idle",
            Self::Busy => "busy",
            Self::Unknown => "unknown",
            Self::Draining => "draining",
            Self::Quarantined => "quarantined",
            Self::Gone => "gone",
        }
    }
}

impl fmt::Display for WorkerState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// How a run ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RunOutcome {
    /// Every task is done.
    Done,
    /// Some task failed, and nothing else can go on.
    Failed,
    /// A user ended it.
    Cancelled,
    /// A newer run took its place.
    Superseded,
}

impl fmt::Display for RunOutcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Done => "done",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
            Self::Superseded => "superseded",
        })
    }
}

/// A run as people see it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RunView {
    /// Its number.
    pub run: RunId,
    /// The plan's name.
    pub name: String,
    /// When it was submitted.
    pub submitted: Timestamp,
    /// When and how it ended; none while it goes on.
    pub ended: Option<(Timestamp, RunOutcome)>,
    /// Tasks in each state.
    pub counts: BTreeMap<TaskState, u32>,
    /// Done tasks whose result was remembered from before the run: nothing was executed for them.
    pub remembered: u32,
}

/// A task as people see it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TaskView {
    /// Which.
    pub task: TaskId,
    /// Its kind.
    pub kind: TaskKind,
    /// Where it is.
    pub state: TaskState,
    /// Why it is not running.
    pub waiting: WaitingFor,
    /// Its content key, once all inputs are known.
    pub key: Option<Digest>,
    /// Role to artifact, as far as known.
    pub inputs: BTreeMap<String, Digest>,
    /// Output name to artifact, once done.
    pub outputs: BTreeMap<String, Digest>,
    /// Whether its result was remembered from before, so that nothing was executed.
    pub remembered: bool,
    /// Every attempt, oldest first; a live one is the last.
    pub attempts: Vec<AttemptView>,
    /// The last committed checkpoint, until it is done.
    pub checkpoint: Option<Checkpoint>,
    /// How many more failures by its own fault are forgiven.
    pub budget_left: u32,
    /// Workers on which it failed in a way that may be theirs: its next attempt prefers others.
    pub avoids: BTreeSet<WorkerId>,
    /// When it became done, failed or cancelled.
    pub ended: Option<Timestamp>,
}

/// One try at a task.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AttemptView {
    /// Its number.
    pub fence: Fence,
    /// Who was in it.
    pub gang: Vec<GangMember>,
    /// When the gang was chosen.
    pub began: Timestamp,
    /// When all ranks had met; none if they never did.
    pub started: Option<Timestamp>,
    /// The checkpoint that it went on from.
    pub resumed: Option<Checkpoint>,
    /// When and how it ended; none while it is live.
    pub ended: Option<(Timestamp, AttemptOutcome)>,
    /// What each failed rank said, in order of arrival.
    pub failures: Vec<Failure>,
}

/// A worker as people see it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct WorkerView {
    /// Its name.
    pub worker: WorkerId,
    /// Which of its lives.
    pub incarnation: Incarnation,
    /// Where it is.
    pub state: WorkerState,
    /// Why its device is unusable, if it is.
    pub quarantined: Option<String>,
    /// What it offers.
    pub description: WorkerDescription,
    /// What is in its device slot.
    pub device: Option<SlotView>,
    /// What is in its host slot.
    pub host: Option<SlotView>,
    /// When it was last heard; none if not since the coordinator started.
    pub heard: Option<Timestamp>,
}

/// The rank in a slot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SlotView {
    /// The attempt.
    pub fence: Fence,
    /// Its rank.
    pub rank: Rank,
    /// Its task; none if the attempt is over and this rank is only being stopped.
    pub task: Option<TaskId>,
}
