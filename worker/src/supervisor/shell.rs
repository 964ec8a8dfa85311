use std::collections::{BTreeMap, VecDeque};
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::{Duration, Instant};

use duty::protocol::{Command, Message, StoreAnswer, StoreAsk};
use duty::{Action, Deed, Duty, Exit, Happening, Input, ProgressNote};
use tokio::sync::mpsc;
use tokio::time::MissedTickBehavior;
use types::{Failure, FailureClass, Fence};

use super::clock::Clock;
use super::coordinator::{Asker, Coordinator, Downlink, Opening, Uplink};
use super::folder::{LogOf, WorkFolder};
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

/// Batches of a rank's log on their way.
const LOG_WINDOW: usize = 4;
/// So long a worker that could go waits for its last log lines to be written down; what is left then, its next life sends.
const LAST_LOGS: Duration = Duration::from_secs(5);
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
    /// What waits for room, and why.
    waits: BTreeMap<Fence, String>,
    /// Logs that are not yet delivered, those of former lives among them.
    logs: BTreeMap<LogOf, LogBook>,
    /// When the journal of the coordinator of the last connection began: what its fences count in.
    journal: u64,
    /// Since when nothing but logs has been in the way of leaving.
    only_logs_left: Option<Instant>,
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
        let mut logs = BTreeMap::new();
        for of in folder.logs_left() {
            match LogBook::left(&folder.log(of)) {
                Ok(log) => {
                    logs.insert(of, log);
                }
                Err(error) => {
                    let path = folder.log(of);
                    tracing::warn!("the log {} is lost: {error}", path.display());
                }
            }
        }
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
            waits: BTreeMap::new(),
            logs,
            journal: 0,
            only_logs_left: None,
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
                    Action::Quarantined(reason) => {
                        tracing::error!("restart this worker to use its device again: {reason}");
                        self.send(Uplink::Quarantined { reason });
                    }
                    Action::Draining => {
                        tracing::info!(
                            "leaving: ranks are asked for a checkpoint (again: at once)"
                        );
                        self.send(Uplink::Draining);
                    }
                    Action::Exit { connected } => {
                        if connected && self.waits_for_logs() {
                            continue; // the next tick asks again
                        }
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
                let log_tail = self.log_of(fence).map(|log| {
                    log.complete();
                    log.tail()
                });
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
            Downlink::Welcome {
                lost_after,
                journal,
            } => {
                self.attached = true;
                if self.journal != 0 && self.journal != journal {
                    tracing::warn!(
                        "this coordinator is another one than before: what was going on for that one is ended"
                    );
                    // it asks for nothing
                    self.duty.apply(self.clock.now(), Input::OtherJournal);
                }
                self.journal = journal;
                for log in self.logs.values_mut() {
                    log.rewind();
                }
                for (fence, reason) in self.waits.clone() {
                    self.tell_waits(fence, Some(reason));
                }
                Input::Attached { lost_after }
            }
            Downlink::Heard { sent_at } => Input::Heard { sent_at },
            Downlink::Acknowledged { up_to } => Input::Acknowledged { up_to },
            Downlink::LogsAcknowledged { fence, lines } => {
                if let Some(log) = self.log_of(fence)
                    && let Err(error) = log.acknowledge(lines)
                {
                    tracing::warn!(
                        "what is known of the log of attempt {fence} is not kept: {error}"
                    );
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
        let of = LogOf {
            journal: self.journal,
            fence,
            rank: rank.assignment().rank,
        };
        let folder = self.folder.rank(fence, of.rank).map_err(cannot)?;
        let (log, writer) = LogBook::create(&self.folder.log(of)).map_err(cannot)?;
        self.logs.insert(of, log);
        rank.launch(
            &*self.starter,
            (folder, writer),
            &self.settings,
            &self.teller,
        )
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

    fn log_of(&mut self, fence: Fence) -> Option<&mut LogBook> {
        let journal = self.journal;
        let found = self
            .logs
            .iter_mut()
            .find(|(of, _)| of.journal == journal && of.fence == fence);
        found.map(|(_, log)| log)
    }

    fn log(&mut self, fence: Fence, line: &str) {
        if let Some(log) = self.log_of(fence)
            && let Err(error) = log.push(line)
        {
            tracing::warn!("a log line of attempt {fence} is lost: {error}");
        }
    }

    /// Whether a worker that could go should still wait for its logs.
    fn waits_for_logs(&mut self) -> bool {
        let journal = self.journal;
        let undelivered =
            |(of, log): (&LogOf, &LogBook)| of.journal == journal && !log.is_delivered();
        let since = *self.only_logs_left.get_or_insert_with(Instant::now);
        self.logs.iter().any(undelivered) && since.elapsed() < LAST_LOGS
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
        let mut batches = Vec::new();
        for (of, log) in &mut self.logs {
            if let Err(error) = log.drop_what_is_too_much() {
                tracing::warn!(
                    "no room is made in the log of attempt {}: {error}",
                    of.fence
                );
            }
            let is_wanted = self.attached && of.journal == self.journal;
            while is_wanted && log.batches_on_their_way() < LOG_WINDOW {
                match log.next_batch() {
                    Ok(Some(batch)) => batches.push(Uplink::Logs {
                        fence: of.fence,
                        rank: of.rank,
                        batch,
                    }),
                    Ok(None) => break,
                    Err(error) => {
                        tracing::warn!("the log of attempt {} cannot be read: {error}", of.fence);
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
        for (of, log) in &mut self.logs {
            if of.journal != self.journal || duty.assignment(of.fence).is_none() {
                log.complete_if_left_alone();
            }
        }
        let delivered = self.logs.extract_if(.., |_, log| log.is_delivered());
        for (_, log) in delivered {
            log.remove();
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
