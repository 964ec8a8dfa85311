use std::collections::BTreeMap;
use std::sync::Arc;

use types::{Digest, RunId, TaskGraph, TaskId, Timestamp};

use crate::{Action, Input, Rejection, RunView, TaskView, WaitingFor, WorkerView};

/// Workers, runs, attempts, and what is remembered.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Cluster {
    now: Timestamp,
}

impl Cluster {
    /// An empty cluster.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes one input at `now`; see the crate's page for the loop around it.
    ///
    /// # Errors
    /// A [`Rejection`] when the input is stale, unknown or impossible. The state is untouched then.
    pub fn apply(&mut self, now: Timestamp, _input: Input) -> Result<Vec<Action>, Rejection> {
        self.now = now;
        Ok(Vec::new())
    }

    /// The inputs that time alone brings, in the order in which they have to be applied. Empty before
    /// [`Cluster::next_deadline`].
    #[must_use]
    pub fn due(&self, _now: Timestamp) -> Vec<Input> {
        Vec::new()
    }

    /// When to call [`Cluster::due`] even if nothing arrives.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Timestamp> {
        None
    }

    /// The one main reason why a task is not running, as of the last input.
    #[must_use]
    pub fn explain(&self, _task: &TaskId) -> WaitingFor {
        WaitingFor::NoSuchTask
    }

    /// The time of the last durable input: the shell's clock must not start before it.
    #[must_use]
    pub fn clock(&self) -> Timestamp {
        self.now
    }

    /// The number for the next [`Input::Submit`].
    #[must_use]
    pub fn next_run(&self) -> RunId {
        RunId(1)
    }

    /// Every run, oldest first; the last is the current one.
    #[must_use]
    pub fn runs(&self) -> Vec<RunView> {
        Vec::new()
    }

    /// A run.
    #[must_use]
    pub fn run(&self, _run: RunId) -> Option<RunView> {
        None
    }

    /// The graph that a run was submitted with.
    #[must_use]
    pub fn graph(&self, _run: RunId) -> Option<&Arc<TaskGraph>> {
        None
    }

    /// A run's tasks in the graph's order; empty if there is no such run.
    #[must_use]
    pub fn tasks(&self, _run: RunId) -> Vec<TaskView> {
        Vec::new()
    }

    /// A task.
    #[must_use]
    pub fn task(&self, _task: &TaskId) -> Option<TaskView> {
        None
    }

    /// Every worker ever heard of, by name.
    #[must_use]
    pub fn workers(&self) -> Vec<WorkerView> {
        Vec::new()
    }

    /// What finished work with this content key gave: output name to artifact.
    #[must_use]
    pub fn remembered(&self, _key: &Digest) -> Option<&BTreeMap<String, Digest>> {
        None
    }
}
