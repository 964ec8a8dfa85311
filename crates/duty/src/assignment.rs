use std::collections::BTreeMap;

use types::{
    Digest, Failure, Fence, MetricPoint, Progress, Rank, SlotKind, Step, TaskName, TaskSpec,
};

/// One rank's work, as the coordinator gave it.
#[derive(Debug, Clone, PartialEq)]
pub struct Assignment {
    /// The attempt.
    pub fence: Fence,
    /// What is done, for messages.
    pub task: TaskName,
    /// This worker's rank.
    pub rank: Rank,
    /// Ranks in the gang.
    pub world_size: u32,
    /// The task.
    pub spec: TaskSpec,
    /// Role to artifact.
    pub inputs: BTreeMap<String, Digest>,
    /// What rank 0 has to hand in.
    pub outputs: Vec<String>,
    /// The last committed checkpoint.
    pub resume: Option<Digest>,
    /// The data manifest, if the task reads data.
    pub manifest: Option<Digest>,
}

impl Assignment {
    /// Which of the worker's slots it takes.
    #[must_use]
    pub fn slot(&self) -> SlotKind {
        self.spec.kind().slot()
    }

    /// Everything that has to be on this host's disk before the rank starts.
    pub fn artifacts(&self) -> impl Iterator<Item = Digest> + '_ {
        self.inputs
            .values()
            .copied()
            .chain(self.resume)
            .chain(self.manifest)
    }
}

/// How a rank is to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum StopMode {
    /// After this step, with a checkpoint.
    Checkpoint,
    /// At once.
    Now,
}

/// What a worker has to say about a rank, in order and until it is acknowledged.
#[derive(Debug, Clone, PartialEq)]
pub enum Report {
    /// The process runs and has met its gang.
    Started,
    /// The values of one step.
    Metrics(MetricPoint),
    /// A complete checkpoint is in the coordinator's store.
    Checkpoint {
        /// Optimizer updates in it.
        step: Step,
        /// Its name there.
        digest: Digest,
    },
    /// It has done its part; outputs, if it is rank 0, are in the coordinator's store. Its process is gone.
    Finished {
        /// Output name to artifact; empty on other ranks than 0.
        outputs: BTreeMap<String, Digest>,
    },
    /// It has failed. Its process is gone.
    Failed(Failure),
    /// It has stopped as told. Its process is gone.
    Stopped,
}

impl Report {
    /// Whether the slot is free after it.
    #[must_use]
    pub const fn is_end(&self) -> bool {
        matches!(
            self,
            Self::Finished { .. } | Self::Failed(_) | Self::Stopped
        )
    }
}

/// Something about a rank that only the latest value of matters; sent when there is a connection, else forgotten.
#[derive(Debug, Clone, PartialEq)]
pub struct ProgressNote {
    /// The attempt.
    pub fence: Fence,
    /// Which rank of it.
    pub rank: Rank,
    /// How far it is.
    pub progress: Progress,
}
