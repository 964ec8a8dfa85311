use std::collections::BTreeMap;

use control::{RunView, TaskView, WorkerView};
use types::{Progress, TaskId, Timestamp};

/// What the terminal shows. Made by the shell after its inputs, a few times a second at most.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Snapshot {
    /// The current run.
    pub(crate) run: RunView,
    /// Its tasks, in the graph's order.
    pub(crate) tasks: Vec<TaskView>,
    /// Every worker ever heard of.
    pub(crate) workers: Vec<WorkerView>,
    /// How far running tasks are.
    pub(crate) progress: BTreeMap<TaskId, Progress>,
    /// What waits for room on a disk, a line each.
    pub(crate) paused: Vec<String>,
    /// When this was true.
    pub(crate) now: Timestamp,
}
