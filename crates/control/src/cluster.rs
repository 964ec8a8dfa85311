use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use types::{Bug, CallId, Digest, Fence, RunId, TaskGraph, TaskId, Timestamp, WorkerId, planted};

use crate::state::State;
use crate::{
    Action, AttemptView, Input, Rejection, RunOutcome, RunView, TaskView, WaitingFor, WorkerView,
    explain,
};

/// Workers, runs, attempts, and what is remembered.
///
/// Equality leaves out contact: when each worker was last heard, and the time of the last input.
#[derive(Debug, Clone, Default)]
pub struct Cluster {
    state: State,
    contact: Contact,
}

/// What only heartbeats know: never recorded, never replayed, and without influence but through [`Cluster::due`].
#[derive(Debug, Clone, Default)]
pub(crate) struct Contact {
    /// The time of the last input.
    pub(crate) now: Timestamp,
    pub(crate) workers: BTreeMap<WorkerId, LastHeard>,
}

#[derive(Debug, Clone, Copy)]
pub(crate) struct LastHeard {
    /// Its lease counts from here: when it was last heard, or when the coordinator started.
    pub(crate) since: Timestamp,
    /// Heard since it was found silent (or since the coordinator started).
    pub(crate) fresh: bool,
}

impl PartialEq for Cluster {
    fn eq(&self, other: &Self) -> bool {
        self.state == other.state
    }
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
    pub fn apply(&mut self, now: Timestamp, input: Input) -> Result<Vec<Action>, Rejection> {
        let speaker = input.speaker().cloned();
        let actions = if let Input::Heard {
            worker,
            incarnation,
        } = &input
        {
            self.state.check_worker(worker, *incarnation)?;
            Vec::new()
        } else {
            let starting = matches!(input, Input::CoordinatorStarted { .. });
            let silent = if let Input::WorkerSilent { worker, .. } = &input {
                Some(worker.clone())
            } else {
                None
            };
            let actions = self.state.apply(now, input)?;
            if starting && !planted(Bug::LeasesNotRestarted) {
                self.contact.workers.clear();
                let last = LastHeard {
                    since: now,
                    fresh: false,
                };
                let present = self.state.workers.iter().filter(|(_, worker)| !worker.gone);
                self.contact.workers = present.map(|(name, _)| (name.clone(), last)).collect();
            }
            if let Some(last) = silent.and_then(|name| self.contact.workers.get_mut(&name)) {
                last.fresh = false;
            }
            actions
        };
        self.contact.now = now;
        if let Some(name) = speaker {
            self.contact.workers.insert(
                name,
                LastHeard {
                    since: now,
                    fresh: true,
                },
            );
        }
        Ok(actions)
    }

    /// The inputs that time alone brings, in the order in which they have to be applied. Empty before
    /// [`Cluster::next_deadline`].
    #[must_use]
    pub fn due(&self, now: Timestamp) -> Vec<Input> {
        let mut inputs = Vec::new();
        for (name, worker) in self.state.workers.iter().filter(|(_, worker)| !worker.gone) {
            let Some(last) = self.contact.workers.get(name) else {
                continue;
            };
            let incarnation = worker.incarnation;
            if now >= self.lease_end(last.since) {
                inputs.push(Input::LeaseEnded {
                    worker: name.clone(),
                    incarnation,
                });
            } else if worker.silent && last.fresh {
                inputs.push(Input::WorkerBack {
                    worker: name.clone(),
                    incarnation,
                });
            } else if !worker.silent && now >= last.since.after(self.state.settings.unknown_after) {
                inputs.push(Input::WorkerSilent {
                    worker: name.clone(),
                    incarnation,
                });
            }
        }
        if self.state.next_timer().is_some_and(|timer| timer <= now) {
            inputs.push(Input::Tick);
        }
        inputs
    }

    /// When to call [`Cluster::due`] even if nothing arrives.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Timestamp> {
        let workers = self.state.workers.iter().filter(|(_, worker)| !worker.gone);
        let contacts = workers.filter_map(|(name, worker)| {
            let last = self.contact.workers.get(name)?;
            Some(if worker.silent && last.fresh {
                self.contact.now
            } else if worker.silent {
                self.lease_end(last.since)
            } else {
                last.since
                    .after(self.state.settings.unknown_after)
                    .min(self.lease_end(last.since))
            })
        });
        contacts.chain(self.state.next_timer()).min()
    }

    /// The one main reason why a task is not running, as of the last input.
    #[must_use]
    pub fn explain(&self, task: &TaskId) -> WaitingFor {
        explain::explain(&self.state, &self.contact, task)
    }

    /// [`Cluster::explain`] for every task of a run, in the graph's order; empty if there is no such run.
    #[must_use]
    pub fn reasons(&self, run: RunId) -> Vec<WaitingFor> {
        explain::reasons(&self.state, &self.contact, run)
    }

    /// The time of the last durable input: the shell's clock must not start before it.
    #[must_use]
    pub fn clock(&self) -> Timestamp {
        self.state.clock
    }

    /// What a call of a user that was obeyed (see [`Input::Called`]) was about; the inner none if about no run.
    #[must_use]
    pub fn obeyed(&self, call: &CallId) -> Option<Option<RunId>> {
        self.state.calls.obeyed(call)
    }

    /// When its journal began: the time of the first durable input. It tells this cluster's fences from those of another one.
    #[must_use]
    pub fn began(&self) -> Option<Timestamp> {
        self.state.began
    }

    /// The number for the next [`Input::Submit`].
    #[must_use]
    pub fn next_run(&self) -> RunId {
        self.state.next_run()
    }

    /// Whether a shutdown has been asked for.
    #[must_use]
    pub fn is_stopping(&self) -> bool {
        self.state.stopping
    }

    /// Every run, oldest first; the last is the current one.
    #[must_use]
    pub fn runs(&self) -> Vec<RunView> {
        self.state
            .runs
            .iter()
            .map(|(id, run)| run.view(*id))
            .collect()
    }

    /// A run.
    #[must_use]
    pub fn run(&self, run: RunId) -> Option<RunView> {
        self.state.runs.get(&run).map(|found| found.view(run))
    }

    /// When and how a run ended, if it has.
    #[must_use]
    pub fn ended(&self, run: RunId) -> Option<(Timestamp, RunOutcome)> {
        self.state.runs.get(&run)?.ended
    }

    /// The graph that a run was submitted with.
    #[must_use]
    pub fn graph(&self, run: RunId) -> Option<&Arc<TaskGraph>> {
        self.state.runs.get(&run).map(|found| &found.graph)
    }

    /// A run's tasks in the graph's order; empty if there is no such run.
    #[must_use]
    pub fn tasks(&self, run: RunId) -> Vec<TaskView> {
        explain::tasks(&self.state, &self.contact, run)
    }

    /// A task.
    #[must_use]
    pub fn task(&self, task: &TaskId) -> Option<TaskView> {
        explain::task(&self.state, &self.contact, task)
    }

    /// The task and the attempt behind a fence, while that attempt is live: who may enter its rendezvous store.
    #[must_use]
    pub fn live_attempt(&self, fence: Fence) -> Option<(TaskId, AttemptView)> {
        let attempt = self.state.attempts.get(&fence)?;
        Some((
            self.state.task_id(attempt.run, attempt.task),
            attempt.view(None),
        ))
    }

    /// Every worker ever heard of, by name.
    #[must_use]
    pub fn workers(&self) -> Vec<WorkerView> {
        explain::workers(&self.state, &self.contact)
    }

    /// What finished work with this content key gave: output name to artifact.
    #[must_use]
    pub fn remembered(&self, key: &Digest) -> Option<&BTreeMap<String, Digest>> {
        self.state.memo.get(key)
    }

    /// Every artifact that something refers to: results, inputs, checkpoints of unfinished work, what live attempts were given. All
    /// others are of no use to this cluster, but for those that a live attempt has not reported yet.
    #[must_use]
    pub fn referenced(&self) -> BTreeSet<Digest> {
        self.state.referenced()
    }

    /// The fence of the newest attempt; below all others if there was none.
    #[must_use]
    pub fn newest_fence(&self) -> Fence {
        self.state.last_fence
    }

    /// The fence of the oldest attempt that is live.
    #[must_use]
    pub fn oldest_live_fence(&self) -> Option<Fence> {
        self.state.attempts.keys().next().copied()
    }

    fn lease_end(&self, since: Timestamp) -> Timestamp {
        let settings = &self.state.settings;
        if planted(Bug::LeaseShort) {
            return since.after(settings.lost_after / 2);
        }
        if planted(Bug::MarginDropped) {
            return since.after(settings.lost_after);
        }
        since
            .after(settings.lost_after)
            .after(settings.lease_margin)
    }
}
