use std::collections::BTreeSet;

use types::{Bug, Failure, FailureClass, Fence, Incarnation, Rank, SlotKind, WorkerId, planted};

use crate::attempt::SeatState;
use crate::state::{State, Turn};
use crate::{Action, LiveRank, Rejection, StopMode, StopReason, WorkerDescription, WorkerState};

/// One worker, in its newest life.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Worker {
    pub(crate) incarnation: Incarnation,
    pub(crate) description: WorkerDescription,
    /// Not heard lately.
    pub(crate) silent: bool,
    pub(crate) draining: bool,
    /// It has been told that it may leave.
    pub(crate) told_drained: bool,
    /// Why its device is unusable.
    pub(crate) quarantined: Option<String>,
    /// Left, died, or its lease ended.
    pub(crate) gone: bool,
    /// What is, as far as known, on the device. Stays until that rank's end is known, even when its attempt is over.
    pub(crate) device: Option<Occupant>,
    /// The same for the host slot.
    pub(crate) host: Option<Occupant>,
    /// The newest ranks whose end it has reported: named again in a hello, they are echoes of reports whose acknowledgement got
    /// lost, and take no slot.
    reported: BTreeSet<Occupant>,
}

/// So many are kept; an echo is of the latest ones.
const REPORTED: usize = 64;

/// The rank in a slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Occupant {
    pub(crate) fence: Fence,
    pub(crate) rank: Rank,
}

impl Worker {
    fn new(incarnation: Incarnation, description: WorkerDescription) -> Self {
        Self {
            incarnation,
            description,
            silent: false,
            draining: false,
            told_drained: false,
            quarantined: None,
            gone: false,
            device: None,
            host: None,
            reported: BTreeSet::new(),
        }
    }

    /// It has said itself that this rank's process is gone.
    pub(crate) fn note_end(&mut self, occupant: Occupant) {
        self.reported.insert(occupant);
        if self.reported.len() > REPORTED {
            self.reported.pop_first();
        }
    }

    pub(crate) fn state(&self) -> WorkerState {
        if self.gone {
            WorkerState::Gone
        } else if self.quarantined.is_some() {
            WorkerState::Quarantined
        } else if self.silent {
            WorkerState::Unknown
        } else if self.draining {
            WorkerState::Draining
        } else if self.is_free() {
            WorkerState::Idle
        } else {
            WorkerState::Busy
        }
    }

    pub(crate) fn is_free(&self) -> bool {
        self.device.is_none() && self.host.is_none()
    }

    /// May be given something.
    pub(crate) fn in_service(&self) -> bool {
        matches!(self.state(), WorkerState::Idle | WorkerState::Busy)
    }

    pub(crate) fn slot_mut(&mut self, slot: SlotKind) -> &mut Option<Occupant> {
        match slot {
            SlotKind::Device => &mut self.device,
            SlotKind::Host => &mut self.host,
        }
    }

    /// Frees the slot that this rank is in, if it is in one. Whether it was.
    pub(crate) fn free(&mut self, occupant: Occupant) -> bool {
        let mut freed = false;
        for slot in [&mut self.device, &mut self.host] {
            if *slot == Some(occupant) {
                *slot = None;
                freed = true;
            }
        }
        freed
    }
}

impl State {
    /// A worker on a new connection: a new one, a new life of a known one, or the same one back.
    pub(crate) fn hello(
        &mut self,
        turn: &mut Turn,
        name: &WorkerId,
        incarnation: Incarnation,
        description: WorkerDescription,
        live: &[LiveRank],
    ) -> Result<(), Rejection> {
        match self
            .workers
            .get(name)
            .map(|worker| (worker.incarnation, worker.gone))
        {
            Some((newest, _)) if incarnation < newest => {
                return Err(Rejection::StaleIncarnation {
                    worker: name.clone(),
                    found: incarnation,
                    newest,
                });
            }
            Some((newest, false)) if incarnation == newest => {
                if let Some(worker) = self.touch(turn, name) {
                    worker.silent = false;
                    worker.told_drained = false;
                    worker.description = description;
                }
                self.readopt(turn, name, live);
                self.forget_ended(turn, name, live);
            }
            Some((newest, true)) if incarnation == newest => {
                // Its lease had ended and its ranks were given up, but it is the same process: what it holds is stale.
                let draining = self.workers.get(name).is_some_and(|worker| worker.draining);
                let worker = Worker {
                    draining,
                    ..Worker::new(incarnation, description)
                };
                self.admit(turn, name, worker);
                self.gather_until = turn.now.after(self.settings.gather);
            }
            before => {
                if before.is_some() {
                    let message = format!("worker {name} came back as a new process");
                    self.lose_ranks(turn, name, FailureClass::WorkerLost, &message);
                }
                self.admit(turn, name, Worker::new(incarnation, description));
                self.gather_until = turn.now.after(self.settings.gather);
            }
        }
        self.stop_strangers(turn, name, live);
        Ok(())
    }

    /// The same process is back: its ranks go on untouched. What got lost with the connection is said again.
    fn readopt(&mut self, turn: &mut Turn, name: &WorkerId, live: &[LiveRank]) {
        let held = |fence, rank| {
            live.iter()
                .any(|other| other.fence == fence && other.rank == rank)
        };
        for (fence, rank) in self.seats_of(name) {
            let Some(attempt) = self.attempts.get(&fence) else {
                continue;
            };
            let seat = &attempt.seats[rank.0 as usize];
            let ending = attempt.broken.is_some() || attempt.stop.is_some();
            let taken = live
                .iter()
                .any(|other| other.slot == attempt.slot && self.is_stranger(name, *other));
            match (held(fence, rank), seat.state) {
                (true, _) => {
                    let began = attempt.began_action(self.task_id(attempt.run, attempt.task));
                    turn.actions.push(began);
                    self.repeat_stop(turn, fence, rank);
                }
                (false, SeatState::Starting) if !ending && !taken => {
                    self.repeat_start(turn, fence, rank);
                }
                (false, SeatState::Starting) if ending => {
                    // The command to start it never arrived, and it shall not start any more.
                    self.end_seat(turn, fence, rank, SeatState::Stopped);
                }
                (false, _) => {
                    let message = if taken {
                        format!(
                            "the slot on worker {name} is still taken by a rank of an older attempt"
                        )
                    } else {
                        format!("worker {name} knows nothing of this rank any more")
                    };
                    let failure = Failure {
                        rank: Some(rank),
                        ..Failure::new(FailureClass::WorkerLost, message)
                    };
                    self.fail_seat(turn, fence, rank, SeatState::Lost, failure);
                }
            }
        }
    }

    /// Slots kept for ranks of attempts that were given up are free if the worker does not hold those ranks any more.
    fn forget_ended(&mut self, turn: &mut Turn, name: &WorkerId, live: &[LiveRank]) {
        let seated = self.seats_of(name);
        let Some(worker) = self.touch(turn, name) else {
            return;
        };
        for slot in [&mut worker.device, &mut worker.host] {
            let known = |occupant: &Occupant| {
                seated.contains(&(occupant.fence, occupant.rank))
                    || live
                        .iter()
                        .any(|other| other.fence == occupant.fence && other.rank == occupant.rank)
            };
            *slot = slot.filter(known);
        }
    }

    /// Whether a worker holds this rank without having a seat for it. An end that was reported but whose acknowledgement got
    /// lost is none, and needs no second stop.
    fn is_stranger(&self, name: &WorkerId, rank: LiveRank) -> bool {
        let occupant = Occupant {
            fence: rank.fence,
            rank: rank.rank,
        };
        let worker = self.workers.get(name);
        if worker.is_some_and(|worker| worker.reported.contains(&occupant)) {
            return false;
        }
        let attempt = self.attempts.get(&rank.fence);
        let seat = attempt.and_then(|attempt| attempt.seats.get(rank.rank.0 as usize));
        let incarnation = self.workers.get(name).map(|worker| worker.incarnation);
        !seat.is_some_and(|seat| {
            &seat.worker == name
                && Some(seat.incarnation) == incarnation
                && seat.state != SeatState::Lost
        })
    }

    /// Ranks that a worker holds without (any longer) having a seat for them: their slot is taken until they have ended.
    fn stop_strangers(&mut self, turn: &mut Turn, name: &WorkerId, live: &[LiveRank]) {
        for rank in live {
            if !self.is_stranger(name, *rank) {
                continue;
            }
            let occupant = Occupant {
                fence: rank.fence,
                rank: rank.rank,
            };
            let Some(worker) = self.touch(turn, name) else {
                return;
            };
            if !planted(Bug::StrangersIgnored) {
                worker.slot_mut(rank.slot).get_or_insert(occupant);
            }
            let incarnation = worker.incarnation;
            turn.actions.push(Action::StopRank {
                worker: name.clone(),
                incarnation,
                fence: rank.fence,
                mode: StopMode::Now,
                reason: StopReason::StaleFence,
            });
        }
    }

    /// Evidence that a worker has no rank any more.
    pub(crate) fn leave(
        &mut self,
        turn: &mut Turn,
        name: &WorkerId,
        incarnation: Incarnation,
        message: &str,
    ) -> Result<(), Rejection> {
        self.check_worker(name, incarnation)?;
        self.lose_ranks(turn, name, FailureClass::WorkerLost, message);
        if let Some(worker) = self.touch(turn, name) {
            worker.gone = true;
            worker.silent = false;
            worker.device = None;
            worker.host = None;
        }
        Ok(())
    }

    pub(crate) fn drain(&mut self, turn: &mut Turn, name: &WorkerId) -> Result<(), Rejection> {
        let unknown = || Rejection::UnknownWorker {
            worker: name.clone(),
        };
        let worker = self
            .touch(turn, name)
            .filter(|worker| !worker.gone)
            .ok_or_else(unknown)?;
        worker.draining = true;
        for (fence, _) in self.seats_of(name) {
            self.order_stop(turn, fence, StopReason::Drain);
        }
        Ok(())
    }

    pub(crate) fn quarantine(
        &mut self,
        turn: &mut Turn,
        name: &WorkerId,
        incarnation: Incarnation,
        reason: &str,
    ) -> Result<(), Rejection> {
        self.check_worker(name, incarnation)?;
        if let Some(worker) = self.touch(turn, name) {
            worker.quarantined = Some(reason.to_owned());
        }
        self.lose_ranks(
            turn,
            name,
            FailureClass::Hang,
            &format!("worker {name} is quarantined: {reason}"),
        );
        Ok(())
    }

    pub(crate) fn set_silent(
        &mut self,
        turn: &mut Turn,
        name: &WorkerId,
        incarnation: Incarnation,
        silent: bool,
    ) -> Result<(), Rejection> {
        self.check_worker(name, incarnation)?;
        if let Some(worker) = self.touch(turn, name) {
            worker.silent = silent;
        }
        Ok(())
    }

    /// Ends every seat that this worker has, as lost.
    fn lose_ranks(&mut self, turn: &mut Turn, name: &WorkerId, class: FailureClass, message: &str) {
        for (fence, rank) in self.seats_of(name) {
            let failure = Failure {
                rank: Some(rank),
                ..Failure::new(class, message)
            };
            self.fail_seat(turn, fence, rank, SeatState::Lost, failure);
        }
    }

    /// The seats of a worker that have not ended. Every such seat is in one of its slots.
    fn seats_of(&self, name: &WorkerId) -> Vec<(Fence, Rank)> {
        let Some(worker) = self.workers.get(name) else {
            return Vec::new();
        };
        let occupants = [worker.device, worker.host].into_iter().flatten();
        let seated = occupants.filter(|occupant| {
            let attempt = self.attempts.get(&occupant.fence);
            let seat = attempt.and_then(|attempt| attempt.seats.get(occupant.rank.0 as usize));
            seat.is_some_and(|seat| {
                &seat.worker == name
                    && seat.incarnation == worker.incarnation
                    && !seat.state.is_end()
            })
        });
        seated
            .map(|occupant| (occupant.fence, occupant.rank))
            .collect()
    }
}
