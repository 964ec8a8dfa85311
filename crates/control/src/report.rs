use std::collections::BTreeMap;

use types::{Bug, Digest, Failure, FailureClass, Fence, Rank, Step, planted};

use crate::attempt::SeatState;
use crate::state::{State, Turn};
use crate::worker::Occupant;
use crate::{Action, AttemptView, Checkpoint, RankReport, Rejection, Report, StartRank};

impl State {
    /// A rank's account of itself. Repeated or late accounts of a seat that has ended change nothing.
    pub(crate) fn report(&mut self, turn: &mut Turn, report: Report) -> Result<(), Rejection> {
        let Report {
            worker: name,
            incarnation,
            fence,
            rank,
            what,
        } = report;
        self.check_worker(&name, incarnation)?;
        let (fence, rank) = if planted(Bug::FenceCheckDropped) {
            let worker = self.workers.get(&name);
            worker
                .and_then(|worker| worker.device.or(worker.host))
                .map_or((fence, rank), |held| (held.fence, held.rank))
        } else {
            (fence, rank)
        };
        let is_end = what.is_end();
        let attempt = self.attempts.get(&fence);
        let seat = attempt.and_then(|attempt| attempt.seats.get(rank.0 as usize));
        let seat = seat.filter(|seat| seat.worker == name && seat.incarnation == incarnation);
        let Some(state) = seat.map(|seat| seat.state) else {
            let occupant = Occupant { fence, rank };
            let held = self
                .workers
                .get(&name)
                .is_some_and(|worker| [worker.device, worker.host].contains(&Some(occupant)));
            if !(is_end && held) {
                return Err(Rejection::StaleFence {
                    worker: name,
                    incarnation,
                    fence,
                    rank,
                    ended: is_end,
                });
            }
            // Its attempt was given up long ago; what counts is that the slot is free now.
            if let Some(worker) = self.touch(turn, &name) {
                worker.note_end(occupant);
                if worker.quarantined.is_none() {
                    worker.free(occupant);
                }
            }
            return Ok(());
        };
        if is_end && let Some(worker) = self.workers.get_mut(&name) {
            worker.note_end(Occupant { fence, rank });
        }
        if state.is_end() {
            return Ok(());
        }
        match what {
            RankReport::Started => self.started(turn, fence, rank),
            RankReport::Checkpoint { step, digest } => {
                self.started(turn, fence, rank);
                self.checkpoint(fence, step, digest);
            }
            RankReport::Finished { outputs } => self.finished(turn, fence, rank, outputs),
            RankReport::Failed { failure } => {
                let failure = Failure {
                    rank: Some(rank),
                    ..failure
                };
                self.fail_seat(turn, fence, rank, SeatState::Failed, failure);
            }
            RankReport::Stopped => self.stopped(turn, fence, rank),
        }
        Ok(())
    }

    fn started(&mut self, turn: &Turn, fence: Fence, rank: Rank) {
        let Some(attempt) = self.attempts.get_mut(&fence) else {
            return;
        };
        attempt.seats[rank.0 as usize].state = SeatState::Running;
        if attempt.started.is_none()
            && attempt
                .seats
                .iter()
                .all(|seat| seat.state != SeatState::Starting)
        {
            attempt.started = Some(turn.now);
        }
    }

    /// Keeps a checkpoint for the next attempt, unless a later one is already there; of those before it as many as the plan says.
    fn checkpoint(&mut self, fence: Fence, step: Step, digest: Digest) {
        let Some(attempt) = self.attempts.get(&fence) else {
            return;
        };
        let Some(run) = self.runs.get_mut(&attempt.run) else {
            return;
        };
        let kept = self.checkpoints.entry(attempt.key).or_default();
        let is_old = |newest: &Checkpoint| newest.step >= step || planted(Bug::OldCheckpointKept);
        if kept.last().is_some_and(is_old) {
            return;
        }
        kept.push(Checkpoint { step, digest });
        let most = run.graph.tasks[attempt.task].keep_checkpoints.max(1) as usize;
        kept.drain(..kept.len().saturating_sub(most));
        run.tasks[attempt.task].fruitless = 0;
    }

    fn finished(
        &mut self,
        turn: &mut Turn,
        fence: Fence,
        rank: Rank,
        mut outputs: BTreeMap<String, Digest>,
    ) {
        let Some(attempt) = self.attempts.get_mut(&fence) else {
            return;
        };
        if rank == Rank(0) {
            let declared = &self.runs[&attempt.run].graph.tasks[attempt.task].outputs;
            let missing: Vec<_> = declared
                .iter()
                .filter(|name| !outputs.contains_key(*name))
                .cloned()
                .collect();
            if !missing.is_empty() {
                let message = format!(
                    "rank 0 finished without the output{} {}",
                    if missing.len() == 1 { "" } else { "s" },
                    missing.join(", ")
                );
                let failure = Failure {
                    rank: Some(rank),
                    ..Failure::new(FailureClass::Crash, message)
                };
                self.fail_seat(turn, fence, rank, SeatState::Failed, failure);
                return;
            }
            outputs.retain(|name, _| declared.contains(name));
            attempt.outputs = Some(outputs);
        }
        self.started(turn, fence, rank);
        self.end_seat(turn, fence, rank, SeatState::Finished);
    }

    fn stopped(&mut self, turn: &mut Turn, fence: Fence, rank: Rank) {
        let Some(attempt) = self.attempts.get(&fence) else {
            return;
        };
        if attempt.stop.is_some() || attempt.broken.is_some() {
            self.end_seat(turn, fence, rank, SeatState::Stopped);
        } else {
            // Nobody here asked for it: its worker's own lease had run out while it could not reach us.
            let message = "its worker stopped it: the lease had ended there".to_owned();
            let failure = Failure {
                rank: Some(rank),
                ..Failure::new(FailureClass::WorkerLost, message)
            };
            self.fail_seat(turn, fence, rank, SeatState::Stopped, failure);
        }
    }

    /// Says to a worker again what it may have missed: that it has a rank to start.
    pub(crate) fn repeat_start(&self, turn: &mut Turn, fence: Fence, rank: Rank) {
        let Some(attempt) = self.attempts.get(&fence) else {
            return;
        };
        let began = attempt.began_action(self.task_id(attempt.run, attempt.task));
        turn.actions.push(began);
        turn.actions
            .push(self.start_action(&attempt.view(None), attempt.run, attempt.task, rank));
    }

    pub(crate) fn start_action(
        &self,
        attempt: &AttemptView,
        run: types::RunId,
        index: usize,
        rank: Rank,
    ) -> Action {
        let node = &self.runs[&run].graph.tasks[index];
        let member = &attempt.gang[rank.0 as usize];
        Action::StartRank(StartRank {
            worker: member.worker.clone(),
            incarnation: member.incarnation,
            task: self.task_id(run, index),
            kind: node.kind,
            fence: attempt.fence,
            rank,
            gang: attempt.gang.clone(),
            inputs: self.runs[&run].tasks[index].inputs.clone(),
            outputs: node.outputs.clone(),
            spec: node.spec.clone(),
            resume: attempt.resumed,
        })
    }
}
