use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::Step;

/// What a task counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ProgressUnit {
    /// Optimizer steps.
    Steps,
    /// Clips.
    Clips,
}

/// How far a running task is; for people only, nothing depends on it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Progress {
    /// What `done` and `total` count.
    pub unit: ProgressUnit,
    /// So many are done,
    pub done: u64,
    /// of so many.
    pub total: u64,
    /// The training loss, averaged since the last report.
    pub loss: Option<f64>,
    /// Clips per second over the whole gang, since the last report.
    pub clips_per_second: Option<f64>,
}

/// Where a rank is in its work. Each section has its own idea of how long is too long.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Section {
    /// Device, gang, data and networks; also tasks that do one thing only.
    SetUp,
    /// One optimizer update.
    Step,
    /// Scores on the validation splits.
    Validation,
    /// Writing one checkpoint, or the result.
    Checkpoint,
    /// One batch of clips of a prediction.
    Batch,
}

impl Section {
    /// The name in messages.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::SetUp => "set-up",
            Self::Step => "step",
            Self::Validation => "validation",
            Self::Checkpoint => "checkpoint",
            Self::Batch => "batch",
        }
    }
}

impl std::fmt::Display for Section {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(self.as_str())
    }
}

/// The values of one optimizer step, for curves.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct MetricPoint {
    /// Optimizer steps completed, this one included.
    pub step: Step,
    /// Values by name: `loss`, `loss/strong`, `lr/cnn`, …
    pub values: BTreeMap<String, f64>,
}
