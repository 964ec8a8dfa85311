use std::collections::BTreeMap;
use std::time::Duration;

use types::{
    Bug, Digest, Failure, FailureClass, Fence, Incarnation, Rank, RunId, SlotKind, TaskId,
    Timestamp, WorkerId, planted,
};

use crate::retry::{Decision, Rule, back_off};
use crate::run::Phase;
use crate::state::{State, Turn};
use crate::worker::Occupant;
use crate::{Action, AttemptOutcome, AttemptView, Checkpoint, GangMember, StopMode, StopReason};

/// One live try at a task by a gang.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Attempt {
    pub(crate) fence: Fence,
    pub(crate) run: RunId,
    /// Index in the run's graph.
    pub(crate) task: usize,
    pub(crate) key: Digest,
    pub(crate) slot: SlotKind,
    /// By rank, never empty.
    pub(crate) seats: Vec<Seat>,
    pub(crate) began: Timestamp,
    /// When all ranks had met.
    pub(crate) started: Option<Timestamp>,
    pub(crate) resumed: Option<Checkpoint>,
    /// What rank 0 handed in; complete or absent.
    pub(crate) outputs: Option<BTreeMap<String, Digest>>,
    /// Its ranks were told to stop after a checkpoint.
    pub(crate) stop: Option<StopReason>,
    /// When the first seat failed; the others were told to stop at once.
    pub(crate) broken: Option<Timestamp>,
    /// What failed seats said, in order of arrival.
    pub(crate) failures: Vec<Failure>,
}

/// One rank's place in a gang.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Seat {
    pub(crate) worker: WorkerId,
    pub(crate) incarnation: Incarnation,
    pub(crate) state: SeatState,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum SeatState {
    /// Told to start.
    Starting,
    Running,
    Finished,
    Failed,
    Stopped,
    /// Its end was not reported but proven: its worker left, or came back without it.
    Lost,
}

impl SeatState {
    pub(crate) const fn is_end(self) -> bool {
        !matches!(self, Self::Starting | Self::Running)
    }
}

impl Attempt {
    /// Seats that have not ended.
    pub(crate) fn remaining(&self) -> impl Iterator<Item = &Seat> {
        self.seats.iter().filter(|seat| !seat.state.is_end())
    }

    /// The first cause as far as known: the best evidence. Of equals the first to arrive, which alone comes from a rank that
    /// had not been told to stop.
    pub(crate) fn cause(&self) -> Option<&Failure> {
        self.failures
            .iter()
            .min_by_key(|failure| Rule::of(failure.class).evidence)
    }

    pub(crate) fn gang(&self) -> Vec<GangMember> {
        let seats = self.seats.iter().zip(0..);
        seats
            .map(|(seat, rank)| GangMember {
                rank: Rank(rank),
                worker: seat.worker.clone(),
                incarnation: seat.incarnation,
            })
            .collect()
    }

    pub(crate) fn began_action(&self, task: TaskId) -> Action {
        Action::AttemptBegan {
            task,
            fence: self.fence,
            gang: self.gang(),
        }
    }

    pub(crate) fn view(&self, ended: Option<(Timestamp, AttemptOutcome)>) -> AttemptView {
        AttemptView {
            fence: self.fence,
            gang: self.gang(),
            began: self.began,
            started: self.started,
            resumed: self.resumed,
            ended,
            failures: self.failures.clone(),
        }
    }

    fn stop_rank(&self, rank: usize, mode: StopMode, reason: StopReason) -> Action {
        let seat = &self.seats[rank];
        Action::StopRank {
            worker: seat.worker.clone(),
            incarnation: seat.incarnation,
            fence: self.fence,
            mode,
            reason,
        }
    }

    fn stop_remaining(&self, turn: &mut Turn, mode: StopMode, reason: StopReason) {
        for (rank, seat) in self.seats.iter().enumerate() {
            if !seat.state.is_end() {
                turn.actions.push(self.stop_rank(rank, mode, reason));
            }
        }
    }
}

impl State {
    /// Tells a gang to stop after a checkpoint. The first reason stays.
    pub(crate) fn order_stop(&mut self, turn: &mut Turn, fence: Fence, reason: StopReason) {
        let Some(attempt) = self.attempts.get_mut(&fence) else {
            return;
        };
        if attempt.stop.is_none() && attempt.broken.is_none() {
            attempt.stop = Some(reason);
            attempt.stop_remaining(turn, StopMode::Checkpoint, reason);
        }
    }

    /// Says a stop again to a worker that may have missed it.
    pub(crate) fn repeat_stop(&self, turn: &mut Turn, fence: Fence, rank: Rank) {
        let Some(attempt) = self.attempts.get(&fence) else {
            return;
        };
        let stop = match (attempt.broken, attempt.stop) {
            (Some(_), _) => (StopMode::Now, StopReason::GangBroken),
            (None, Some(reason)) => (StopMode::Checkpoint, reason),
            (None, None) => return,
        };
        turn.actions
            .push(attempt.stop_rank(rank.0 as usize, stop.0, stop.1));
    }

    /// A rank has ended: its slot is free again, unless its worker says that it is not.
    pub(crate) fn end_seat(&mut self, turn: &mut Turn, fence: Fence, rank: Rank, state: SeatState) {
        let Some(attempt) = self.attempts.get_mut(&fence) else {
            return;
        };
        let seat = &mut attempt.seats[rank.0 as usize];
        seat.state = state;
        let name = seat.worker.clone();
        if let Some(worker) = self.touch(turn, &name)
            && worker.quarantined.is_none()
        {
            worker.free(Occupant { fence, rank });
        }
    }

    /// A rank has ended too early: the gang is broken, and its other ranks stop.
    pub(crate) fn fail_seat(
        &mut self,
        turn: &mut Turn,
        fence: Fence,
        rank: Rank,
        state: SeatState,
        failure: Failure,
    ) {
        self.end_seat(turn, fence, rank, state);
        let Some(attempt) = self.attempts.get_mut(&fence) else {
            return;
        };
        attempt.failures.push(failure);
        if attempt.broken.is_none() {
            attempt.broken = Some(turn.now);
            attempt.stop_remaining(turn, StopMode::Now, StopReason::GangBroken);
            if planted(Bug::SlotFreedEarly) {
                for (seat, rank) in attempt.gang().into_iter().zip(0..) {
                    let rank = Rank(rank);
                    if let Some(worker) = self.touch(turn, &seat.worker) {
                        worker.free(Occupant { fence, rank });
                    }
                }
            }
        }
    }

    /// Closes every attempt of which nothing more is to be expected.
    pub(crate) fn close_attempts(&mut self, turn: &mut Turn) {
        let over: Vec<_> = self
            .attempts
            .values()
            .filter(|attempt| self.is_over(attempt, turn))
            .map(|attempt| attempt.fence)
            .collect();
        for fence in over {
            self.close(turn, fence);
        }
    }

    /// Every rank has ended; or the gang is broken and each rank that has not is on a worker that has fallen silent: alone
    /// it cannot go on. (The slot there stays taken; only the task is free.)
    fn is_over(&self, attempt: &Attempt, turn: &Turn) -> bool {
        let mut remaining = attempt.remaining().peekable();
        if remaining.peek().is_none() {
            return true;
        }
        let Some(broken) = attempt.broken else {
            return false;
        };
        turn.now >= broken.after(self.settings.cause_grace)
            && remaining.all(|seat| {
                self.workers
                    .get(&seat.worker)
                    .is_none_or(|worker| worker.silent || worker.gone)
            })
    }

    fn close(&mut self, turn: &mut Turn, fence: Fence) {
        let Some(mut attempt) = self.attempts.remove(&fence) else {
            return;
        };
        self.live_keys.remove(&attempt.key);
        let (id, index) = (attempt.run, attempt.task);
        for rank in 0..attempt.seats.len() {
            let seat = &attempt.seats[rank];
            if !seat.state.is_end() {
                let message = format!(
                    "worker {} fell silent, and without its gang this rank cannot go on",
                    seat.worker
                );
                let rank = Rank(u32::try_from(rank).unwrap_or(u32::MAX));
                attempt.failures.push(Failure {
                    rank: Some(rank),
                    ..Failure::new(FailureClass::WorkerLost, message)
                });
            }
        }
        let all_finished = attempt
            .seats
            .iter()
            .all(|seat| seat.state == SeatState::Finished);
        let outputs = attempt.outputs.take().filter(|_| all_finished);
        let outcome = match (&outputs, attempt.stop, attempt.cause()) {
            (Some(_), _, _) => AttemptOutcome::Finished,
            // Ranks that stop in order do not stop in the same instant, and the slower ones may miss the others.
            (None, Some(reason), cause)
                if cause.is_none_or(|cause| cause.class == FailureClass::PeerLost) =>
            {
                AttemptOutcome::Stopped { reason }
            }
            (None, _, Some(cause)) => AttemptOutcome::Failed {
                failure: cause.clone(),
            },
            (None, _, None) => AttemptOutcome::Failed {
                failure: Failure::new(
                    FailureClass::Crash,
                    "all ranks ended, but there is no result",
                ),
            },
        };
        let task = self.task_id(id, index);
        turn.actions.push(Action::AttemptEnded {
            task,
            fence,
            outcome: outcome.clone(),
        });
        let Some(run) = self.runs.get_mut(&id) else {
            return;
        };
        let ending = run.ending;
        run.tasks[index]
            .history
            .push(attempt.view(Some((turn.now, outcome.clone()))));
        match (outcome, outputs, ending) {
            (_, Some(outputs), _) => self.remember(turn, id, index, fence, attempt.key, outputs),
            (_, None, Some(reason)) => {
                self.set_final(turn.now, id, index, Phase::Cancelled(reason))
            }
            (AttemptOutcome::Failed { failure }, None, None) => {
                self.after_failure(turn, &attempt, failure)
            }
            (_, None, None) => self.enqueue(id, index, turn.now, turn.now, None),
        }
    }

    /// Again, or never again.
    fn after_failure(&mut self, turn: &mut Turn, attempt: &Attempt, failure: Failure) {
        let (id, index) = (attempt.run, attempt.task);
        let rule = Rule::of(failure.class);
        let mut decision = rule.decision;
        if planted(Bug::BudgetPaysForWorkers) && decision == Decision::Free {
            decision = Decision::Budget;
        }
        if failure.class == FailureClass::Artifact
            && let Some(resumed) = attempt.resumed
        {
            // The damaged artifact may be the checkpoint that it went on from. The one before it may do, or none at all; each
            // time there is one less, so this comes to its end without the budget.
            self.forget_checkpoint(resumed.digest);
            decision = Decision::Free;
        }
        let suspect = failure
            .rank
            .filter(|_| rule.avoids_worker)
            .and_then(|rank| attempt.seats.get(rank.0 as usize));
        let settings = self.settings;
        let name = self.task_id(id, index);
        let Some(run) = self.runs.get_mut(&id) else {
            return;
        };
        let task = &mut run.tasks[index];
        if decision == Decision::Never
            || (decision == Decision::Budget && task.budget_used >= settings.retry_budget)
        {
            self.set_final(turn.now, id, index, Phase::Failed(failure.clone()));
            turn.actions.push(Action::TaskFailed {
                task: name,
                failure,
            });
            return;
        }
        task.budget_used += u32::from(decision == Decision::Budget);
        task.fruitless = task.fruitless.saturating_add(1);
        task.avoids.extend(suspect.map(|seat| seat.worker.clone()));
        let budget_left = settings.retry_budget.saturating_sub(task.budget_used);
        let wait = back_off(&settings, rule.wait, task.fruitless);
        let wait = if planted(Bug::BackOffForgotten) {
            Duration::ZERO
        } else {
            wait
        };
        let at = turn.now.after(wait);
        self.enqueue(id, index, turn.now, at, Some(failure.clone()));
        turn.actions.push(Action::TaskRetried {
            task: name,
            failure,
            at,
            budget_left,
        });
    }
}
