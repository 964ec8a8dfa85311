use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use types::{
    Bug, Digest, Fence, Incarnation, RunId, SlotKind, TaskId, Timestamp, WorkerId, planted,
};

use crate::attempt::Attempt;
use crate::calls::Calls;
use crate::run::Run;
use crate::worker::Worker;
use crate::{Action, Checkpoint, Input, Rejection, Settings, StopReason, WorkerState};

/// Everything that a replay brings back.
#[derive(Debug, Clone, PartialEq, Default)]
pub(crate) struct State {
    /// The time of the last durable input.
    pub(crate) clock: Timestamp,
    /// The time of the first one.
    pub(crate) began: Option<Timestamp>,
    pub(crate) settings: Settings,
    /// A shutdown was asked for,
    pub(crate) stopping: bool,
    /// and it has been said that it is complete.
    pub(crate) drained: bool,
    /// The fence of the newest attempt.
    pub(crate) last_fence: Fence,
    /// Until then, smaller gangs than the largest allowed wait for more workers.
    pub(crate) gather_until: Timestamp,
    pub(crate) workers: BTreeMap<WorkerId, Worker>,
    pub(crate) runs: BTreeMap<RunId, Run>,
    /// Live ones only; those that ended are in their task's history.
    pub(crate) attempts: BTreeMap<Fence, Attempt>,
    /// Tasks that could run now: those that want a device, then those that want a host slot, most urgent first.
    pub(crate) ready: BTreeSet<Urgency>,
    /// Tasks that wait for a retry, by when.
    pub(crate) backing_off: BTreeSet<(Timestamp, RunId, usize)>,
    /// Tasks in `ready` or `backing_off` by content key, so that one result serves them all.
    pub(crate) by_key: BTreeMap<Digest, BTreeSet<(RunId, usize)>>,
    /// The live attempt at a content key; at most one.
    pub(crate) live_keys: BTreeMap<Digest, Fence>,
    /// Content key to the outputs of finished work.
    pub(crate) memo: BTreeMap<Digest, BTreeMap<String, Digest>>,
    /// Content key to the newest committed checkpoints of unfinished work, oldest first, never none.
    pub(crate) checkpoints: BTreeMap<Digest, Vec<Checkpoint>>,
    /// What users have asked for lately.
    pub(crate) calls: Calls,
}

/// The order in which the tasks that want one kind of slot get it: longest remaining path first, then the older run, then
/// the graph's order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Urgency {
    pub(crate) slot: SlotKind,
    pub(crate) remaining: Reverse<Duration>,
    pub(crate) run: RunId,
    pub(crate) task: usize,
}

/// One call of `apply`: its time, and what it leads to.
#[derive(Debug)]
pub(crate) struct Turn {
    pub(crate) now: Timestamp,
    pub(crate) actions: Vec<Action>,
    /// Workers that may have changed state, with the state before.
    touched: BTreeMap<WorkerId, Option<WorkerState>>,
}

impl State {
    /// Validates first and changes then, so that a rejected input leaves everything as it was.
    pub(crate) fn apply(&mut self, now: Timestamp, input: Input) -> Result<Vec<Action>, Rejection> {
        if let Input::Called { call, wish } = input {
            if self.calls.obeyed(&call).is_some() {
                return Ok(Vec::new());
            }
            let run = wish.run();
            let actions = self.apply(now, *wish)?;
            self.calls.remember(call, run);
            return Ok(actions);
        }
        let now = now.max(self.clock);
        let mut turn = Turn {
            now,
            actions: Vec::new(),
            touched: BTreeMap::new(),
        };
        match input {
            Input::CoordinatorStarted { settings } => self.coordinator_started(&mut turn, settings),
            Input::Submit { run, name, graph } => self.submit(&mut turn, run, name, graph)?,
            Input::CancelRun { run } => self.cancel(&mut turn, run)?,
            Input::Retry { task } => self.retry(&mut turn, &task)?,
            Input::ArtifactLost { digest } => self.artifact_lost(digest),
            Input::Hello {
                worker,
                incarnation,
                description,
                live,
            } => {
                self.hello(&mut turn, &worker, incarnation, description, &live)?;
            }
            Input::Heard {
                worker,
                incarnation,
            } => self.check_worker(&worker, incarnation)?,
            Input::Goodbye {
                worker,
                incarnation,
            } => {
                self.leave(
                    &mut turn,
                    &worker,
                    incarnation,
                    &format!("worker {worker} left"),
                )?;
            }
            Input::Exited {
                worker,
                incarnation,
                detail,
            } => {
                let message = format!("the process of worker {worker} ended: {detail}");
                self.leave(&mut turn, &worker, incarnation, &message)?;
            }
            Input::LeaseEnded {
                worker,
                incarnation,
            } => {
                let message = format!("worker {worker} was silent until its lease had ended");
                self.leave(&mut turn, &worker, incarnation, &message)?;
            }
            Input::Drain { worker } => self.drain(&mut turn, &worker)?,
            Input::Quarantine {
                worker,
                incarnation,
                reason,
            } => {
                self.quarantine(&mut turn, &worker, incarnation, &reason)?;
            }
            Input::WorkerSilent {
                worker,
                incarnation,
            } => {
                self.set_silent(&mut turn, &worker, incarnation, true)?;
            }
            Input::WorkerBack {
                worker,
                incarnation,
            } => {
                self.set_silent(&mut turn, &worker, incarnation, false)?;
            }
            Input::Report(report) => self.report(&mut turn, report)?,
            Input::Shutdown => self.shutdown(&mut turn),
            // unpacked above
            Input::Called { .. } | Input::Tick => {}
        }
        self.clock = now;
        self.settle(&mut turn);
        Ok(turn.actions)
    }

    /// Draws every consequence that the new state has, until none is left.
    fn settle(&mut self, turn: &mut Turn) {
        self.close_attempts(turn);
        self.end_back_offs(turn);
        self.place(turn);
        self.finish_runs(turn);
        self.tell_drained(turn);
        for (worker, from) in std::mem::take(&mut turn.touched) {
            let Some(to) = self.workers.get(&worker).map(Worker::state) else {
                continue;
            };
            if from != Some(to) {
                turn.actions
                    .push(Action::WorkerChanged { worker, from, to });
            }
        }
    }

    fn coordinator_started(&mut self, turn: &mut Turn, settings: Settings) {
        self.began.get_or_insert(turn.now);
        self.settings = settings;
        self.stopping = false;
        self.drained = false;
        self.gather_until = turn.now.after(settings.gather);
        let present = self.workers.iter().filter(|(_, worker)| !worker.gone);
        let present: Vec<_> = present.map(|(name, _)| name.clone()).collect();
        for name in present {
            if let Some(worker) = self.touch(turn, &name) {
                worker.silent = true;
            }
        }
    }

    fn shutdown(&mut self, turn: &mut Turn) {
        if self.stopping {
            return;
        }
        self.stopping = true;
        let fences: Vec<_> = self.attempts.keys().copied().collect();
        for fence in fences {
            self.order_stop(turn, fence, StopReason::Shutdown);
        }
    }

    /// A shutdown is complete when no rank is left on a worker that answers.
    fn tell_drained(&mut self, turn: &mut Turn) {
        if self.stopping && !self.drained {
            let waits = self.attempts.values().any(|attempt| {
                attempt.remaining().any(|seat| {
                    self.workers
                        .get(&seat.worker)
                        .is_some_and(|worker| !worker.silent)
                })
            });
            if !waits {
                self.drained = true;
                turn.actions.push(Action::Drained);
            }
        }
        let told: Vec<_> = turn.touched.keys().cloned().collect();
        for name in told {
            let Some(worker) = self.workers.get_mut(&name) else {
                continue;
            };
            if worker.draining && !worker.gone && !worker.told_drained && worker.is_free() {
                worker.told_drained = true;
                let incarnation = worker.incarnation;
                turn.actions.push(Action::WorkerDrained {
                    worker: name,
                    incarnation,
                });
            }
        }
    }

    /// When [`Input::Tick`] has something to do next.
    pub(crate) fn next_timer(&self) -> Option<Timestamp> {
        let back_off = self.backing_off.first().map(|(at, _, _)| *at);
        let back_off = back_off.filter(|_| !planted(Bug::BackOffNotWoken));
        let gather = Some(self.gather_until).filter(|_| !self.ready.is_empty());
        let graces = self.attempts.values().filter_map(|attempt| attempt.broken);
        let graces = graces.filter(|_| !planted(Bug::GraceNotWoken));
        let graces = graces.map(|since| since.after(self.settings.cause_grace));
        graces
            .chain(back_off)
            .chain(gather)
            .filter(|timer| *timer > self.clock)
            .min()
    }

    /// A worker to be changed; its state before is kept for the log.
    pub(crate) fn touch(&mut self, turn: &mut Turn, name: &WorkerId) -> Option<&mut Worker> {
        let worker = self.workers.get_mut(name)?;
        turn.touched
            .entry(name.clone())
            .or_insert_with(|| Some(worker.state()));
        Some(worker)
    }

    /// Puts a worker in, in place of an older life of it.
    pub(crate) fn admit(&mut self, turn: &mut Turn, name: &WorkerId, worker: Worker) {
        let before = self.workers.insert(name.clone(), worker);
        turn.touched
            .entry(name.clone())
            .or_insert_with(|| before.map(|before| before.state()));
    }

    /// Whether this is a worker that may speak.
    pub(crate) fn check_worker(
        &self,
        name: &WorkerId,
        incarnation: Incarnation,
    ) -> Result<(), Rejection> {
        let unknown = || Rejection::UnknownWorker {
            worker: name.clone(),
        };
        let worker = self.workers.get(name).ok_or_else(unknown)?;
        if incarnation < worker.incarnation {
            return Err(Rejection::StaleIncarnation {
                worker: name.clone(),
                found: incarnation,
                newest: worker.incarnation,
            });
        }
        if incarnation > worker.incarnation || worker.gone {
            Err(unknown())
        } else {
            Ok(())
        }
    }

    /// The checkpoint to go on from.
    pub(crate) fn newest_checkpoint(&self, key: &Digest) -> Option<Checkpoint> {
        self.checkpoints.get(key)?.last().copied()
    }

    /// Forgets an artifact as a checkpoint: the one before is the newest now.
    pub(crate) fn forget_checkpoint(&mut self, digest: Digest) {
        self.checkpoints.retain(|_, kept| {
            kept.retain(|checkpoint| checkpoint.digest != digest);
            !kept.is_empty()
        });
    }

    pub(crate) fn task_id(&self, run: RunId, task: usize) -> TaskId {
        let name = self.runs[&run].graph.tasks[task].name.clone();
        TaskId { run, name }
    }
}
