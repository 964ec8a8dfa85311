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

/// The values of one optimizer step, for curves.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct MetricPoint {
    /// Optimizer steps completed, this one included.
    pub step: Step,
    /// Values by name: `loss`, `loss/strong`, `lr/cnn`, …
    pub values: BTreeMap<String, f64>,
}
