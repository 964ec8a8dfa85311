use std::collections::{BTreeMap, VecDeque};
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Duration;

use duty::protocol::{Command, Message, StoreAnswer, StoreAsk};
use duty::{Action, Deed, Duty, Exit, Happening, Input, ProgressNote};
use tokio::sync::mpsc;
use tokio::time::MissedTickBehavior;
use types::{Failure, FailureClass, Fence, Rank};

use super::clock::Clock;
use super::coordinator::{Asker, Coordinator, Downlink, Opening, Uplink};
use super::folder::WorkFolder;
use super::logs::LogBook;
use super::process::RankStarter;
use super::rank_handle::{Fetched, RankHandle};
use super::settings::Settings;
use super::transfer::Transfer;
use crate::exit;

/// What the shell's own tasks tell it.
#[derive(Debug)]
pub(crate) enum Occurrence {
    /// The link is on the way to a new connection and needs to know what to say first.
    Opened(Opening),
    /// The coordinator said something.
    Coordinator(Downlink),
    /// The connection is gone.
    Closed,
    /// The coordinator has never wanted this worker, and says why.
    Refused(String),
    /// An attempt's artifacts are here, or cannot be had.
    Fetched(Fence, Result<Fetched, Failure>),
    /// A rank said something.
    Said(Fence, Message),
    /// A rank logged a line.
    Logged(Fence, String),
    /// A rank is gone.
    Exited(Fence, Exit),
    /// A file is in the store.
    Uploaded(Fence, duty::Upload, Result<types::Digest, Failure>),
    /// Something of an attempt waits for room, for this reason, or goes on.
    Waits(Fence, Option<String>),
    /// The answer to a rank's question.
    StoreAnswered(Fence, u64, StoreAnswer),
    /// A signal.
    Interrupt,
}

/// Lines per batch, and batches of a rank on their way.
const LOG_BATCH: usize = 500;
const LOG_WINDOW: usize = 4;
/// How often deadlines are looked at.
const TICK: Duration = Duration::from_millis(100);

/// The hands of [`Duty`]: one task that owns everything, hears of everything through one channel, and does what it is told.
pub(crate) struct Shell {
    settings: Settings,
    clock: Clock,
    duty: Duty,
    starter: Arc<dyn RankStarter>,
    folder: WorkFolder,
    transfer: Arc<Transfer>,
    coordinator: Arc<dyn Coordinator>,
    /// To the coordinator, while there is a connection.
    uplink: Option<mpsc::Sender<Uplink>>,
    attached: bool,
    ranks: BTreeMap<Fence, RankHandle>,
    logs: BTreeMap<Fence, (Rank, LogBook)>,
    /// What waits for room, and why.
    waits: BTreeMap<Fence, String>,
    occurrences: mpsc::Receiver<Occurrence>,
    teller: mpsc::Sender<Occurrence>,
}

impl Shell {
    pub(crate) fn new(
        settings: Settings,
        clock: Clock,
        starter: Arc<dyn RankStarter>,
        folder: WorkFolder,
        transfer: Arc<Transfer>,
        coordinator: Arc<dyn Coordinator>,
        (teller, occurrences): (mpsc::Sender<Occurrence>, mpsc::Receiver<Occurrence>),
    ) -> Self {
        let duty = Duty::new(clock.now(), settings.lost_after, settings.limits);
        Self {
            settings,
            clock,
            duty,
            starter,
            folder,
            transfer,
            coordinator,
            uplink: None,
            attached: false,
            ranks: BTreeMap::new(),
            logs: BTreeMap::new(),
            waits: BTreeMap::new(),
            occurrences,
            teller,
        }
    }

    /// Runs until the worker has to end; gives its exit code.
    pub(crate) async fn run(mut self) -> u8 {
        let mut ticks = tokio::time::interval(TICK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let actions = tokio::select! {
                Some(occurrence) = self.occurrences.recv() => match self.take(occurrence) {
                    ControlFlow::Continue(actions) => actions,
                    ControlFlow::Break(code) => return code,
                },
                _ = ticks.tick() => self.duty.apply(self.clock.now(), Input::Tick),
            };
            let mut actions = VecDeque::from(actions);
            while let Some(action) = actions.pop_front() {
                match action {
                    Action::Rank { fence, deed } => actions.extend(self.perform(fence, deed)),
                    Action::Send(report) => self.send(Uplink::Report(report)),
                    Action::Progress(note) => self.send_progress(note),
                    Action::Draining => {
                        tracing::info!(
                            "leaving: ranks are asked for a checkpoint (again: at once)"
                        );
                        self.send(Uplink::Draining);
                    }
                    Action::Exit { connected } => {
                        if connected {
                            self.say_goodbye().await;
                        }
                        tracing::info!("left in order");
                        return exit::OK;
                    }
                    Action::ExitNow => {
                        tracing::warn!("leaving at once");
                        for rank in self.ranks.values() {
                            rank.kill();
                        }
                        self.say_goodbye().await;
                        return exit::INTERRUPTED;
                    }
                }
            }
            self.tidy();
            self.send_logs();
        }
    }

    /// Turns what happened into input for `duty`, and performs what came of it at once where order matters.
    fn take(&mut self, occurrence: Occurrence) -> ControlFlow<u8, Vec<Action>> {
        let now = self.clock.now();
        let input = match occurrence {
            Occurrence::Opened(opening) => {
                self.uplink = Some(opening.uplink);
                let _ = opening.held.send(self.duty.held()); // the connection may be gone again
                return ControlFlow::Continue(Vec::new());
            }
            Occurrence::Closed => {
                self.uplink = None;
                self.attached = false;
                Input::Detached
            }
            Occurrence::Coordinator(said) => match self.hear(said) {
                Some(input) => input,
                None => return ControlFlow::Continue(Vec::new()),
            },
            Occurrence::Refused(reason) => {
                tracing::error!("the coordinator refuses this worker: {reason}");
                return ControlFlow::Break(exit::FAILED);
            }
            Occurrence::Interrupt => Input::Interrupt,
            Occurrence::Fetched(fence, result) => {
                let happening = Happening::Fetched(match result {
                    Ok(fetched) => {
                        if let Some(rank) = self.ranks.get_mut(&fence) {
                            rank.set_fetched(fetched);
                        }
                        Ok(())
                    }
                    Err(failure) => Err(failure),
                });
                Input::Rank { fence, happening }
            }
            Occurrence::Said(fence, Message::Store { request, ask }) => {
                self.ask_store(fence, request, ask);
                return ControlFlow::Continue(Vec::new());
            }
            Occurrence::Waits(fence, reason) => {
                self.waits_for_room(fence, reason);
                return ControlFlow::Continue(Vec::new());
            }
            Occurrence::Said(fence, Message::Waits { reason }) => {
                self.waits_for_room(fence, reason.clone());
                Input::Rank {
                    fence,
                    happening: Happening::Said(Message::Waits { reason }),
                }
            }
            Occurrence::Said(fence, message) => Input::Rank {
                fence,
                happening: Happening::Said(message),
            },
            Occurrence::Logged(fence, line) => {
                self.log(fence, &line);
                return ControlFlow::Continue(Vec::new());
            }
            Occurrence::Exited(fence, exit) => {
                let log_tail = self.logs.get(&fence).map(|(_, log)| log.tail());
                Input::Rank {
                    fence,
                    happening: Happening::Exited {
                        exit,
                        log_tail: log_tail.unwrap_or_default(),
                    },
                }
            }
            Occurrence::Uploaded(fence, what, result) => Input::Rank {
                fence,
                happening: Happening::Uploaded { what, result },
            },
            Occurrence::StoreAnswered(fence, request, answer) => {
                let deed = Deed::Tell(Command::StoreReply { request, answer });
                return ControlFlow::Continue(vec![Action::Rank { fence, deed }]);
            }
        };
        ControlFlow::Continue(self.duty.apply(now, input))
    }

    fn hear(&mut self, said: Downlink) -> Option<Input> {
        Some(match said {
            Downlink::Welcome { lost_after } => {
                self.attached = true;
                for (_, log) in self.logs.values_mut() {
                    if let Err(error) = log.rewind() {
                        tracing::warn!("a rank's log cannot be read again: {error}");
                    }
                }
                for (fence, reason) in self.waits.clone() {
                    self.tell_waits(fence, Some(reason));
                }
                Input::Attached { lost_after }
            }
            Downlink::Heard { sent_at } => Input::Heard { sent_at },
            Downlink::Acknowledged { up_to } => Input::Acknowledged { up_to },
            Downlink::LogsAcknowledged { fence, lines } => {
                if let Some((_, log)) = self.logs.get_mut(&fence) {
                    log.acknowledge(lines);
                }
                return None;
            }
            Downlink::Start(assignment) => {
                tracing::info!(
                    "attempt {}: {}, rank {} of {}",
                    assignment.fence,
                    assignment.task,
                    assignment.rank,
                    assignment.world_size
                );
                Input::Start(assignment)
            }
            Downlink::Unstartable {
                fence,
                rank,
                failure,
            } => {
                tracing::error!("attempt {fence}: {failure}");
                Input::Refuse {
                    fence,
                    rank,
                    failure,
                }
            }
            Downlink::Stop {
                fence,
                mode,
                reason,
            } => {
                tracing::info!("attempt {fence}: told to stop: {reason}");
                Input::Stop { fence, mode }
            }
            Downlink::Leave => Input::Leave,
        })
    }

    /// Does one thing for a rank; gives what follows from it at once.
    fn perform(&mut self, fence: Fence, deed: Deed) -> Vec<Action> {
        match deed {
            Deed::Fetch => self.fetch(fence),
            Deed::Launch => {
                let happening = Happening::Launched(self.launch(fence));
                let input = Input::Rank { fence, happening };
                return self.duty.apply(self.clock.now(), input);
            }
            deed => match self.ranks.get_mut(&fence) {
                Some(rank) => rank.perform(deed, &self.transfer, &self.teller),
                None => tracing::debug!("attempt {fence} is over: nothing to {deed:?}"),
            },
        }
        Vec::new()
    }

    fn fetch(&mut self, fence: Fence) {
        let Some(assignment) = self.duty.assignment(fence) else {
            return;
        };
        let path = self.folder.log(fence, assignment.rank);
        match LogBook::create(&path) {
            Ok(log) => {
                self.logs.insert(fence, (assignment.rank, log));
            }
            Err(error) => tracing::warn!("no log is kept: {}: {error}", path.display()),
        }
        let rank = RankHandle::fetch(assignment, &self.transfer, &self.teller);
        self.ranks.insert(fence, rank);
    }

    fn launch(&mut self, fence: Fence) -> Result<(), Failure> {
        let cannot = |error: std::io::Error| {
            Failure::new(
                FailureClass::TransientIo,
                format!("the worker cannot start a rank process: {error}"),
            )
        };
        let rank = self
            .ranks
            .get_mut(&fence)
            .ok_or_else(|| cannot(std::io::Error::other("its attempt is over")))?;
        let folder = self
            .folder
            .rank(fence, rank.assignment().rank)
            .map_err(cannot)?;
        rank.launch(&*self.starter, folder, &self.settings, &self.teller)
            .map_err(cannot)
    }

    fn ask_store(&self, fence: Fence, request: u64, ask: StoreAsk) {
        let Some(assignment) = self.duty.assignment(fence) else {
            return;
        };
        let asker = Asker {
            fence,
            rank: assignment.rank,
            request,
        };
        let limit = self.settings.collective_timeout;
        let question = self.coordinator.ask_store(asker, ask, limit);
        let teller = self.teller.clone();
        tokio::spawn(async move {
            let answer = question.await;
            // fails only when the worker is ending
            let _ = teller
                .send(Occurrence::StoreAnswered(fence, request, answer))
                .await;
        });
    }

    /// For people, here and at the coordinator's.
    fn waits_for_room(&mut self, fence: Fence, reason: Option<String>) {
        let before = self.waits.get(&fence);
        if before == reason.as_ref() || self.duty.assignment(fence).is_none() {
            return;
        }
        match (before, &reason) {
            (None, Some(reason)) => tracing::warn!("attempt {fence}: paused: {reason}"),
            (_, None) => tracing::info!("attempt {fence}: there is room again"),
            _ => {}
        }
        match &reason {
            Some(reason) => self.waits.insert(fence, reason.clone()),
            None => self.waits.remove(&fence),
        };
        self.tell_waits(fence, reason);
    }

    fn tell_waits(&self, fence: Fence, reason: Option<String>) {
        if let Some(assignment) = self.duty.assignment(fence) {
            let rank = assignment.rank;
            self.send(Uplink::Waits {
                fence,
                rank,
                reason,
            });
        }
    }

    fn log(&mut self, fence: Fence, line: &str) {
        if let Some((rank, log)) = self.logs.get_mut(&fence) {
            tracing::debug!("attempt {fence} rank {rank}: {line}");
            if let Err(error) = log.push(line) {
                tracing::warn!("a log line of attempt {fence} is lost: {error}");
            }
        }
    }

    /// The window of the outbox and of the logs is smaller than the channel, so it is never full while the connection lives.
    fn send(&self, message: Uplink) {
        if let Some(uplink) = &self.uplink
            && let Err(mpsc::error::TrySendError::Full(message)) = uplink.try_send(message)
        {
            tracing::warn!("the connection takes nothing; sent again on the next one: {message:?}");
        }
    }

    /// Progress is for people: it waits for nobody.
    fn send_progress(&self, note: ProgressNote) {
        if let Some(uplink) = &self.uplink
            && uplink.capacity() > uplink.max_capacity() / 2
        {
            self.send(Uplink::Progress(note));
        }
    }

    fn send_logs(&mut self) {
        if !self.attached {
            return;
        }
        let mut batches = Vec::new();
        for (&fence, (rank, log)) in &mut self.logs {
            while log.batches_on_their_way() < LOG_WINDOW {
                match log.next_batch(LOG_BATCH) {
                    Ok(Some(batch)) => batches.push(Uplink::Logs {
                        fence,
                        rank: *rank,
                        batch,
                    }),
                    Ok(None) => break,
                    Err(error) => {
                        tracing::warn!("the log of attempt {fence} cannot be read: {error}");
                        break;
                    }
                }
            }
        }
        for batch in batches {
            self.send(batch);
        }
    }

    /// Drops what belongs to attempts that are over.
    fn tidy(&mut self) {
        let duty = &self.duty;
        self.ranks
            .retain(|&fence, _| duty.assignment(fence).is_some());
        self.waits
            .retain(|&fence, _| duty.assignment(fence).is_some());
        let done: Vec<Fence> = self
            .logs
            .iter()
            .filter(|(fence, (_, log))| duty.assignment(**fence).is_none() && log.is_delivered())
            .map(|(&fence, _)| fence)
            .collect();
        for fence in done {
            if let Some((_, log)) = self.logs.remove(&fence) {
                log.remove();
            }
        }
    }

    async fn say_goodbye(&mut self) {
        /// A coordinator that does not listen learns of it by the lease.
        const LIMIT: Duration = Duration::from_secs(2);
        if let Some(uplink) = self.uplink.take() {
            let _ = uplink.send_timeout(Uplink::Goodbye, LIMIT).await;
            drop(uplink);
            let _ = tokio::time::timeout(LIMIT, self.coordinator.closed()).await;
        }
    }
}

#[cfg(test)]
#[path = "shell_tests.rs"]
mod tests;
