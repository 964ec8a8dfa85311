use std::collections::BTreeMap;

use types::{
    Digest, Failure, Fence, MetricPoint, Progress, Rank, SlotKind, Step, TaskName, TaskSpec,
};

/// One rank's work, as the coordinator gave it.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Assignment {
    /// The attempt.
    pub(crate) fence: Fence,
    /// What is done, for messages.
    pub(crate) task: TaskName,
    /// This worker's rank.
    pub(crate) rank: Rank,
    /// Ranks in the gang.
    pub(crate) world_size: u32,
    /// The task.
    pub(crate) spec: TaskSpec,
    /// Role to artifact.
    pub(crate) inputs: BTreeMap<String, Digest>,
    /// What rank 0 has to hand in.
    pub(crate) outputs: Vec<String>,
    /// The last committed checkpoint.
    pub(crate) resume: Option<Digest>,
    /// The data manifest, if the task reads data.
    pub(crate) manifest: Option<Digest>,
}

impl Assignment {
    /// Which of the worker's slots it takes.
    pub(crate) fn slot(&self) -> SlotKind {
        self.spec.kind().slot()
    }

    /// Everything that has to be on this host's disk before the rank starts.
    pub(crate) fn artifacts(&self) -> impl Iterator<Item = Digest> + '_ {
        self.inputs
            .values()
            .copied()
            .chain(self.resume)
            .chain(self.manifest)
    }
}

/// How a rank is to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum StopMode {
    /// After this step, with a checkpoint.
    Checkpoint,
    /// At once.
    Now,
}

/// What a worker has to say about a rank, in order and until it is acknowledged.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Report {
    /// The process runs and has met its gang.
    Started,
    /// The values of one step.
    Metrics(MetricPoint),
    /// A complete checkpoint is in the coordinator's store.
    Checkpoint { step: Step, digest: Digest },
    /// It has done its part; outputs, if it is rank 0, are in the coordinator's store. Its process is gone.
    Finished { outputs: BTreeMap<String, Digest> },
    /// It has failed. Its process is gone.
    Failed(Failure),
    /// It has stopped as told. Its process is gone.
    Stopped,
}

impl Report {
    /// Whether the slot is free after it.
    pub(crate) const fn is_end(&self) -> bool {
        matches!(
            self,
            Self::Finished { .. } | Self::Failed(_) | Self::Stopped
        )
    }
}

/// Something about a rank that only the latest value of matters; sent when there is a connection, else forgotten.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct ProgressNote {
    pub(crate) fence: Fence,
    pub(crate) rank: Rank,
    pub(crate) progress: Progress,
}
