use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use types::{Bug, Failure, FailureClass, Fence, Rank, SlotKind, Timestamp, planted};

use crate::assignment::{Assignment, ProgressNote, Report, StopMode};
use crate::attempt::{Attempt, Deed, Effect, Happening, Limits};
use crate::lease::Lease;
use crate::outbox::{Numbered, Outbox};
use crate::protocol::Command;

/// Everything that a supervisor can learn.
#[derive(Debug, Clone)]
pub enum Input {
    /// The coordinator has accepted this worker on a new connection.
    Attached {
        /// How long the lease is.
        lost_after: Duration,
    },
    /// The connection is gone.
    Detached,
    /// The coordinator has heard what was sent at this time.
    Heard {
        /// By this worker's clock.
        sent_at: Timestamp,
    },
    /// The coordinator has written down all reports up to this number.
    Acknowledged {
        /// The number of a report.
        up_to: u64,
    },
    /// Start a rank.
    Start(Arc<Assignment>),
    /// Start a rank, in words that make no sense.
    Refuse {
        /// Under this fence.
        fence: Fence,
        /// With this rank.
        rank: Rank,
        /// What was not understood.
        failure: Failure,
    },
    /// End a rank.
    Stop {
        /// The one of this attempt.
        fence: Fence,
        /// How.
        mode: StopMode,
    },
    /// Something happened to a rank.
    Rank {
        /// To the one of this attempt.
        fence: Fence,
        /// What.
        happening: Happening,
    },
    /// The coordinator wants the worker to leave in order; it may say so more than once.
    Leave,
    /// So does a user, who is more impatient: the second time it is at once.
    Interrupt,
    /// The coordinator's journal is another one than before: its fences mean other attempts. Comes before the
    /// [`Input::Attached`] of that connection.
    OtherJournal,
    /// Time has passed.
    Tick,
}

/// Everything that a supervisor can want.
#[derive(Debug, Clone, PartialEq)]
pub enum Action {
    /// Do this for a rank.
    Rank {
        /// For the one of this attempt.
        fence: Fence,
        /// What.
        deed: Deed,
    },
    /// Send a report; there is a connection.
    Send(Numbered),
    /// Send this; there is a connection.
    Progress(ProgressNote),
    /// Tell the coordinator that nothing new should come; there is a connection.
    Draining,
    /// Tell the coordinator why the device cannot be used until the worker is restarted; there is a connection.
    Quarantined(String),
    /// Tell the coordinator that the worker is gone for good, and end.
    Exit {
        /// Whether it can hear that.
        connected: bool,
    },
    /// Kill everything and end.
    ExitNow,
}

/// A rank that the worker tells the coordinator about when it connects.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Held {
    /// Its attempt.
    pub fence: Fence,
    /// Its place in the gang.
    pub rank: Rank,
    /// What it takes of the worker.
    pub slot: SlotKind,
}

/// What a worker owes: obey, keep its lease, report everything once. Pure; a shell performs the actions.
#[derive(Debug)]
pub struct Duty {
    lease: Lease,
    limits: Limits,
    attached: bool,
    attempts: BTreeMap<Fence, Attempt>,
    /// The newest fence that each slot has seen: what is not newer was obeyed before.
    newest: BTreeMap<SlotKind, Fence>,
    outbox: Outbox,
    leaving: Option<Leaving>,
    /// Why the device is unusable.
    quarantined: Option<String>,
    interrupted: bool,
}

#[derive(Debug, Clone, Copy)]
struct Leaving {
    since: Timestamp,
    /// When the last rank's end was written down.
    empty_since: Option<Timestamp>,
}

/// How long a leaving worker waits for its last reports to be acknowledged.
const LAST_REPORTS: Duration = Duration::from_secs(10);

impl Duty {
    /// A worker that has just begun; `lost_after` is its lease until the coordinator says another.
    #[must_use]
    pub fn new(now: Timestamp, lost_after: Duration, limits: Limits) -> Self {
        Self {
            lease: Lease::new(now, lost_after),
            limits,
            attached: false,
            attempts: BTreeMap::new(),
            newest: BTreeMap::new(),
            outbox: Outbox::default(),
            leaving: None,
            quarantined: None,
            interrupted: false,
        }
    }

    /// The ranks of this worker: running ones, and ended ones whose end has not been acknowledged.
    #[must_use]
    pub fn held(&self) -> Vec<Held> {
        if planted(Bug::HeldForgotten) {
            return Vec::new();
        }
        let mut held: BTreeMap<Fence, (Rank, SlotKind)> = self.outbox.unreported_ends();
        held.extend(self.attempts.iter().map(|(fence, attempt)| {
            let assignment = attempt.assignment();
            (*fence, (assignment.rank, assignment.slot()))
        }));
        held.into_iter()
            .map(|(fence, (rank, slot))| Held { fence, rank, slot })
            .collect()
    }

    /// Whether there are reports that the coordinator has not acknowledged.
    #[must_use]
    pub fn owes_reports(&self) -> bool {
        !self.outbox.is_empty()
    }

    /// What a live attempt is about; none if it is over.
    #[must_use]
    pub fn assignment(&self, fence: Fence) -> Option<Arc<Assignment>> {
        self.attempts
            .get(&fence)
            .map(|attempt| Arc::clone(attempt.assignment()))
    }

    /// Takes one input at `now`, by the worker's own clock, and says what has to be done, in this order.
    pub fn apply(&mut self, now: Timestamp, input: Input) -> Vec<Action> {
        let mut actions = Vec::new();
        match input {
            Input::Attached { lost_after } => {
                self.attached = true;
                self.lease.set_length(lost_after);
                self.lease.renew(now);
                if !planted(Bug::OutboxNotRewound) {
                    self.outbox.rewind();
                }
                actions.extend(self.quarantined.clone().map(Action::Quarantined));
                if self.leaving.is_some() {
                    actions.push(Action::Draining);
                }
                self.tell_lease(now, &mut actions);
            }
            Input::Detached => self.attached = false,
            Input::Heard { sent_at } => {
                self.lease.renew(sent_at);
                self.tell_lease(now, &mut actions);
            }
            Input::Acknowledged { up_to } => self.outbox.acknowledge(up_to),
            Input::Start(assignment) => self.start(now, &assignment, &mut actions),
            Input::Refuse {
                fence,
                rank,
                failure,
            } => {
                let report = Report::Failed(Failure {
                    rank: Some(rank),
                    ..failure
                });
                // which slot it would have taken is part of what was not understood
                self.outbox.push(fence, rank, SlotKind::Device, report);
            }
            Input::Stop { fence, mode } => {
                self.on_rank(now, fence, Happening::Stop(mode), &mut actions);
            }
            Input::Rank { fence, happening } => self.on_rank(now, fence, happening, &mut actions),
            Input::Leave => self.leave(now, &mut actions),
            Input::Interrupt => {
                if self.interrupted {
                    actions.push(Action::ExitNow);
                }
                self.interrupted = true;
                self.leave(now, &mut actions);
            }
            Input::OtherJournal => {
                // a shell ends the processes of attempts that are not there any more
                self.attempts.clear();
                self.newest.clear();
                self.outbox.forget();
            }
            Input::Tick => self.tick(now, &mut actions),
        }
        while self.attached
            && let Some(numbered) = self.outbox.next_to_send()
        {
            actions.push(Action::Send(numbered));
        }
        self.go_if_done(now, &mut actions);
        actions
    }

    /// A rank has to end when the lease does even if this worker stands still and cannot kill it, so each one keeps it, too.
    fn tell_lease(&self, now: Timestamp, actions: &mut Vec<Action>) {
        let left = self.lease.left(now);
        let left_ms = u64::try_from(left.as_millis()).unwrap_or(u64::MAX);
        let running = self.attempts.iter().filter(|(_, rank)| rank.is_running());
        if !planted(Bug::RankLeaseForgotten) {
            actions.extend(running.map(|(&fence, _)| Action::Rank {
                fence,
                deed: Deed::Tell(Command::Lease { left_ms }),
            }));
        }
    }

    fn start(&mut self, now: Timestamp, assignment: &Arc<Assignment>, actions: &mut Vec<Action>) {
        let (fence, rank, slot) = (assignment.fence, assignment.rank, assignment.slot());
        if self
            .newest
            .get(&slot)
            .is_some_and(|&newest| newest >= fence)
        {
            return; // said twice, or overtaken
        }
        self.newest.insert(slot, fence);
        if self.leaving.is_some() {
            self.outbox.push(fence, rank, slot, Report::Stopped);
            return;
        }
        if let Some(reason) = &self.quarantined {
            let failure = Failure::new(
                FailureClass::TransientIo,
                format!("the worker has to be restarted: {reason}"),
            );
            self.outbox.push(fence, rank, slot, Report::Failed(failure));
            return;
        }
        let occupant = self
            .attempts
            .iter()
            .find(|(_, attempt)| attempt.assignment().slot() == slot)
            .map(|(&fence, _)| fence);
        if let Some(occupant) = occupant {
            // a newer fence for the slot means that the coordinator has written the older one off
            self.on_rank(now, occupant, Happening::Stop(StopMode::Now), actions);
            let failure = Failure {
                rank: Some(rank),
                ..Failure::new(
                    FailureClass::TransientIo,
                    format!("the worker's slot was still taken by attempt {occupant}"),
                )
            };
            self.outbox.push(fence, rank, slot, Report::Failed(failure));
            return;
        }
        let (attempt, effects) = Attempt::new(Arc::clone(assignment), self.limits);
        self.attempts.insert(fence, attempt);
        self.pass_on(fence, effects, actions);
    }

    fn on_rank(
        &mut self,
        now: Timestamp,
        fence: Fence,
        happening: Happening,
        actions: &mut Vec<Action>,
    ) {
        let Some(attempt) = self.attempts.get_mut(&fence) else {
            return;
        };
        let launched = matches!(happening, Happening::Launched(Ok(())));
        let effects = attempt.apply(now, happening);
        self.pass_on(fence, effects, actions);
        if launched {
            self.tell_lease(now, actions);
        }
        if self.attempts.get(&fence).is_some_and(Attempt::is_over) {
            self.attempts.remove(&fence);
        }
    }

    fn pass_on(&mut self, fence: Fence, effects: Vec<Effect>, actions: &mut Vec<Action>) {
        let Some(attempt) = self.attempts.get(&fence) else {
            return;
        };
        let (rank, slot) = (attempt.assignment().rank, attempt.assignment().slot());
        for effect in effects {
            match effect {
                Effect::Do(deed) => actions.push(Action::Rank { fence, deed }),
                Effect::Report(report) => self.outbox.push(fence, rank, slot, report),
                Effect::Progress(progress) if self.attached => {
                    actions.push(Action::Progress(ProgressNote {
                        fence,
                        rank,
                        progress,
                    }));
                }
                Effect::Progress(_) => {}
                Effect::Quarantine(reason) => {
                    if self.attached {
                        actions.push(Action::Quarantined(reason.clone()));
                    }
                    self.quarantined.get_or_insert(reason);
                }
            }
        }
    }

    fn leave(&mut self, now: Timestamp, actions: &mut Vec<Action>) {
        if self.leaving.is_some() {
            return;
        }
        self.leaving = Some(Leaving {
            since: now,
            empty_since: None,
        });
        if self.attached {
            actions.push(Action::Draining);
        }
        self.on_every_rank(now, &Happening::Stop(StopMode::Checkpoint), actions);
    }

    fn tick(&mut self, now: Timestamp, actions: &mut Vec<Action>) {
        let happening = if self.lease.is_over(now) {
            if !self.attempts.is_empty() {
                tracing::warn!(
                    "nothing heard from the coordinator for {:.0?}: the lease is over, ranks are ended",
                    self.lease.silence(now)
                );
            }
            Happening::LeaseOver
        } else {
            Happening::Tick
        };
        self.on_every_rank(now, &happening, actions);
        let nobody_to_wait_for = self.leaving.is_some_and(|leaving| {
            !self.attached && now.since(leaving.since) >= self.limits.stop + LAST_REPORTS
        });
        if nobody_to_wait_for {
            // files that cannot be sent are not waited for
            self.on_every_rank(now, &Happening::Stop(StopMode::Now), actions);
        }
    }

    fn on_every_rank(&mut self, now: Timestamp, happening: &Happening, actions: &mut Vec<Action>) {
        let fences: Vec<Fence> = self.attempts.keys().copied().collect();
        for fence in fences {
            self.on_rank(now, fence, happening.clone(), actions);
        }
    }

    fn go_if_done(&mut self, now: Timestamp, actions: &mut Vec<Action>) {
        let Some(leaving) = &mut self.leaving else {
            return;
        };
        if !self.attempts.values().all(Attempt::is_stuck) {
            return;
        }
        let empty_since = *leaving.empty_since.get_or_insert(now);
        if self.outbox.is_empty() || now.since(empty_since) >= LAST_REPORTS {
            actions.push(Action::Exit {
                connected: self.attached,
            });
        }
    }
}

#[cfg(test)]
#[path = "duty_tests.rs"]
mod tests;
