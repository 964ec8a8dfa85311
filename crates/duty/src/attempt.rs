use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use types::{Digest, Failure, FailureClass, Progress, Step, TaskKind, Timestamp};

use crate::assignment::{Assignment, Report, StopMode};
use crate::ending::{SIGTERM, account_for};
use crate::exit::Exit;
use crate::pace::{HangLimits, Pace};
use crate::protocol::{Command, Message};

/// How long things may take before the worker helps.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// From the order to stop with a checkpoint to SIGTERM.
    pub stop: Duration,
    /// From SIGTERM to SIGKILL.
    pub terminate: Duration,
    /// From a rank's last word to its end, before it is killed.
    pub farewell: Duration,
    /// How long the report of a failure waits for a checkpoint that is on its way to the store.
    pub settle: Duration,
    /// How long a section of the rank's work may take.
    pub hang: HangLimits,
    /// From SIGKILL to the verdict that the device cannot be freed.
    pub unkillable: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            stop: Duration::from_secs(60),
            terminate: Duration::from_secs(5),
            farewell: Duration::from_secs(15),
            settle: Duration::from_secs(10),
            hang: HangLimits::default(),
            unkillable: Duration::from_secs(30),
        }
    }
}

/// What happens to an attempt's rank on this worker.
#[derive(Debug, Clone)]
pub enum Happening {
    /// Its input artifacts are here, or never will be.
    Fetched(Result<(), Failure>),
    /// Its process runs, or could not be started.
    Launched(Result<(), Failure>),
    /// It said something (questions to the store are answered elsewhere).
    Said(Message),
    /// Its process is gone, all it had said has been heard.
    Exited {
        /// How.
        exit: Exit,
        /// Last lines of its log, oldest first.
        log_tail: Vec<String>,
    },
    /// A file of it is in the coordinator's store, or could not be read.
    Uploaded {
        /// Which.
        what: Upload,
        /// Its name there.
        result: Result<Digest, Failure>,
    },
    /// The coordinator, or a user, wants it to end.
    Stop(StopMode),
    /// The worker's lease is over.
    LeaseOver,
    /// Time has passed.
    Tick,
}

/// A file on its way to the coordinator's store.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Upload {
    /// A checkpoint.
    Checkpoint(Step),
    /// A declared output.
    Output(String),
}

/// What comes of a happening.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Effect {
    /// Something has to be done.
    Do(Deed),
    /// Tell the coordinator, reliably.
    Report(Report),
    /// Tell the coordinator if it happens to listen.
    Progress(Progress),
    /// The device cannot be freed.
    Quarantine(String),
}

/// What has to be done for an attempt.
#[derive(Debug, Clone, PartialEq)]
pub enum Deed {
    /// Get the input artifacts, make a folder.
    Fetch,
    /// Stop getting them.
    AbortFetch,
    /// Start the process and tell it what to do.
    Launch,
    /// Tell the process something.
    Tell(Command),
    /// SIGTERM.
    Terminate,
    /// SIGKILL, to it and everything below it.
    Kill,
    /// Send a file to the coordinator's store, for as long as it takes.
    Upload {
        /// What it is.
        what: Upload,
        /// Where it is.
        file: PathBuf,
    },
    /// Give up what is being sent.
    AbortUploads,
    /// Remove a file that nobody needs.
    Discard(PathBuf),
}

impl From<Deed> for Effect {
    fn from(deed: Deed) -> Self {
        Self::Do(deed)
    }
}

/// The life of one rank on this worker: fetch, launch, run, upload, report. Pure; a shell performs the effects.
#[derive(Debug)]
pub(crate) struct Attempt {
    assignment: Arc<Assignment>,
    limits: Limits,
    phase: Phase,
    /// Since its process runs.
    pace: Option<Pace>,
    stop: Option<StopMode>,
    /// It was sent SIGTERM.
    terminated: bool,
    /// Whether its gang has met: before, there is nothing to make a checkpoint of.
    met: bool,
    /// Why the worker itself ended the rank, if not by an order.
    cause: Option<Failure>,
    last_word: Option<LastWord>,
    last_step: Option<Step>,
    uploading: BTreeSet<Upload>,
    /// Handed over while an older one is on its way.
    next_checkpoint: Option<(Step, PathBuf)>,
    outputs: BTreeMap<String, Digest>,
    upload_failure: Option<Failure>,
}

#[derive(Debug)]
enum Phase {
    Fetching,
    Running {
        patience: Option<Patience>,
    },
    /// The process is gone; files may still be on their way.
    Settling {
        end: End,
        until: Option<Timestamp>,
    },
    Ended,
}

/// What the worker does when the rank takes too long to end.
#[derive(Debug, Clone, Copy)]
enum Patience {
    TerminateAt(Timestamp),
    KillAt(Timestamp),
    /// Since then there should be no process any more.
    Killed(Timestamp),
    /// It cannot be killed, and that was said.
    Unkillable,
}

#[derive(Debug)]
enum LastWord {
    Finished,
    Stopped,
    Failed(FailureClass, String),
}

#[derive(Debug)]
enum End {
    Finished,
    Stopped,
    Failed(Failure),
}

impl Attempt {
    pub(crate) fn new(assignment: Arc<Assignment>, limits: Limits) -> (Self, Vec<Effect>) {
        let attempt = Self {
            assignment,
            limits,
            phase: Phase::Fetching,
            pace: None,
            stop: None,
            terminated: false,
            met: false,
            cause: None,
            last_word: None,
            last_step: None,
            uploading: BTreeSet::new(),
            next_checkpoint: None,
            outputs: BTreeMap::new(),
            upload_failure: None,
        };
        (attempt, vec![Deed::Fetch.into()])
    }

    pub(crate) fn assignment(&self) -> &Arc<Assignment> {
        &self.assignment
    }

    /// Its process runs, as far as known.
    pub(crate) fn is_running(&self) -> bool {
        matches!(self.phase, Phase::Running { .. })
    }

    /// Its end has been reported; nothing of it is left.
    pub(crate) fn is_over(&self) -> bool {
        matches!(self.phase, Phase::Ended)
    }

    pub(crate) fn apply(&mut self, now: Timestamp, happening: Happening) -> Vec<Effect> {
        let mut effects = Vec::new();
        match happening {
            Happening::Fetched(result) => self.fetched(result, &mut effects),
            Happening::Launched(result) => self.launched(now, result, &mut effects),
            Happening::Said(message) => self.said(now, message, &mut effects),
            Happening::Exited { exit, log_tail } => {
                self.exited(now, exit, log_tail, &mut effects);
            }
            Happening::Uploaded { what, result } => self.uploaded(what, result, &mut effects),
            Happening::Stop(mode) => self.stop(now, mode, &mut effects),
            Happening::LeaseOver => self.lease_over(now, &mut effects),
            Happening::Tick => self.end_if_hung(now, &mut effects),
        }
        self.lose_patience(now, &mut effects);
        self.settle(now, &mut effects);
        effects
    }

    fn fetched(&mut self, result: Result<(), Failure>, effects: &mut Vec<Effect>) {
        if !matches!(self.phase, Phase::Fetching) {
            return;
        }
        match result {
            Ok(()) => effects.push(Deed::Launch.into()),
            Err(failure) => self.end(End::Failed(failure), effects),
        }
    }

    fn launched(&mut self, now: Timestamp, result: Result<(), Failure>, effects: &mut Vec<Effect>) {
        match result {
            Ok(()) => {
                self.pace = Some(Pace::new(now, self.limits.hang));
                self.phase = Phase::Running { patience: None };
            }
            Err(failure) => self.end(End::Failed(failure), effects),
        }
    }

    fn said(&mut self, now: Timestamp, message: Message, effects: &mut Vec<Effect>) {
        let is_first = self.assignment.rank.0 == 0;
        match message {
            Message::Met => {
                self.met = true;
                effects.push(Effect::Report(Report::Started));
            }
            Message::Store { .. } | Message::Waits { .. } => {}
            Message::Section { section } => {
                if let Some(pace) = &mut self.pace {
                    pace.enter(now, section);
                }
            }
            Message::Pulse { waits } => {
                if let Some(pace) = &mut self.pace {
                    pace.pulse(now, waits);
                }
            }
            Message::Progress(progress) => effects.push(Effect::Progress(progress)),
            Message::Metrics(point) => {
                self.last_step = self.last_step.max(Some(point.step));
                effects.push(Effect::Report(Report::Metrics(point)));
            }
            Message::Checkpoint { step, file } if is_first => {
                self.last_step = self.last_step.max(Some(step));
                self.take_checkpoint(step, file, effects);
            }
            Message::Checkpoint { file, .. } => effects.push(Deed::Discard(file).into()),
            Message::Finished { outputs } => {
                self.last_word = Some(LastWord::Finished);
                if is_first {
                    self.take_outputs(outputs, effects);
                }
                self.expect_exit(now);
            }
            Message::Stopped => {
                self.last_word = Some(LastWord::Stopped);
                self.expect_exit(now);
            }
            Message::Failed { class, message } => {
                self.last_word = Some(LastWord::Failed(class, message));
                self.expect_exit(now);
            }
        }
    }

    /// One checkpoint travels at a time; if more are handed over meanwhile, only the newest is worth sending.
    fn take_checkpoint(&mut self, step: Step, file: PathBuf, effects: &mut Vec<Effect>) {
        let busy = self
            .uploading
            .iter()
            .any(|upload| matches!(upload, Upload::Checkpoint(_)));
        if busy {
            if let Some((_, older)) = self.next_checkpoint.replace((step, file)) {
                effects.push(Deed::Discard(older).into());
            }
        } else {
            self.upload(Upload::Checkpoint(step), file, effects);
        }
    }

    fn take_outputs(&mut self, mut outputs: BTreeMap<String, PathBuf>, effects: &mut Vec<Effect>) {
        let assignment = Arc::clone(&self.assignment);
        for name in &assignment.outputs {
            match outputs.remove(name) {
                Some(file) => self.upload(Upload::Output(name.clone()), file, effects),
                None => self.upload_failed(Failure::new(
                    FailureClass::Crash,
                    format!("the rank process finished without the output {name:?} of its task"),
                )),
            }
        }
    }

    fn upload(&mut self, what: Upload, file: PathBuf, effects: &mut Vec<Effect>) {
        self.uploading.insert(what.clone());
        effects.push(Deed::Upload { what, file }.into());
    }

    fn upload_failed(&mut self, failure: Failure) {
        self.upload_failure.get_or_insert(failure);
    }

    fn uploaded(
        &mut self,
        what: Upload,
        result: Result<Digest, Failure>,
        effects: &mut Vec<Effect>,
    ) {
        if !self.uploading.remove(&what) {
            return; // given up meanwhile
        }
        match (what, result) {
            (Upload::Checkpoint(step), Ok(digest)) => {
                effects.push(Effect::Report(Report::Checkpoint { step, digest }));
            }
            (Upload::Checkpoint(step), Err(failure)) => {
                // the work is not at risk: the one before stays, the next one comes
                tracing::warn!("checkpoint of step {step} is lost: {failure}");
            }
            (Upload::Output(name), Ok(digest)) => {
                self.outputs.insert(name, digest);
            }
            (Upload::Output(_), Err(failure)) => self.upload_failed(failure),
        }
        let checkpoint_on_its_way = self
            .uploading
            .iter()
            .any(|upload| matches!(upload, Upload::Checkpoint(_)));
        if !checkpoint_on_its_way && let Some((step, file)) = self.next_checkpoint.take() {
            self.upload(Upload::Checkpoint(step), file, effects);
        }
    }

    fn stop(&mut self, now: Timestamp, mode: StopMode, effects: &mut Vec<Effect>) {
        if self.stop >= Some(mode) {
            return;
        }
        self.stop = Some(mode);
        match (&self.phase, mode) {
            (Phase::Fetching, _) => {
                effects.push(Deed::AbortFetch.into());
                self.end(End::Stopped, effects);
            }
            (Phase::Running { .. }, StopMode::Now) => self.kill(now, effects),
            (Phase::Running { patience: None }, StopMode::Checkpoint)
                if !self.has_something_to_save() =>
            {
                self.kill(now, effects);
            }
            (Phase::Running { patience: None }, StopMode::Checkpoint) => {
                effects.push(Deed::Tell(Command::Stop).into());
                self.phase = Phase::Running {
                    patience: Some(Patience::TerminateAt(now.after(self.limits.stop))),
                };
            }
            (Phase::Settling { .. }, StopMode::Now) => {
                effects.push(Deed::AbortUploads.into());
                self.uploading.clear();
                self.next_checkpoint = None;
                self.phase = Phase::Settling {
                    end: End::Stopped,
                    until: None,
                };
            }
            (
                Phase::Running { .. } | Phase::Settling { .. } | Phase::Ended,
                StopMode::Checkpoint,
            )
            | (Phase::Ended, StopMode::Now) => {}
        }
    }

    /// Other tasks than training begin anew in any case.
    fn has_something_to_save(&self) -> bool {
        self.met && self.assignment.spec.kind() == TaskKind::Train
    }

    fn lease_over(&mut self, now: Timestamp, effects: &mut Vec<Effect>) {
        let failure = || {
            Failure::new(
                FailureClass::WorkerLost,
                "the coordinator was out of reach for the whole lease, so the worker ended the rank",
            )
        };
        match self.phase {
            Phase::Fetching => {
                effects.push(Deed::AbortFetch.into());
                self.end(End::Failed(failure()), effects);
            }
            Phase::Running {
                patience: Some(Patience::Killed(_) | Patience::Unkillable),
            } => {}
            Phase::Running { .. } => {
                self.cause.get_or_insert_with(failure);
                self.kill(now, effects);
            }
            // no process, no tensors: what is done stays done, and the fence decides whether it still counts
            Phase::Settling { .. } | Phase::Ended => {}
        }
    }

    fn kill(&mut self, now: Timestamp, effects: &mut Vec<Effect>) {
        let since = match self.phase {
            Phase::Running {
                patience: Some(Patience::Unkillable),
            } => return,
            // said again, it is not later
            Phase::Running {
                patience: Some(Patience::Killed(since)),
            } => since,
            _ => now,
        };
        effects.push(Deed::Kill.into());
        self.phase = Phase::Running {
            patience: Some(Patience::Killed(since)),
        };
    }

    /// A rank whose section takes too long, and that does not wait for a peer, ends: SIGTERM, and soon SIGKILL.
    fn end_if_hung(&mut self, now: Timestamp, effects: &mut Vec<Effect>) {
        /// A process that hangs seldom hears a SIGTERM.
        const SOON: Duration = Duration::from_secs(1);
        let overdue = self.pace.as_mut().and_then(|pace| pace.overdue(now));
        let (Some(overdue), Phase::Running { patience: None }) = (overdue, &self.phase) else {
            return;
        };
        let step = self.last_step.map_or(String::new(), |step| {
            format!("; the last step that it reported is {step}")
        });
        self.cause.get_or_insert_with(|| {
            Failure::new(
                FailureClass::Hang,
                format!("the rank process does not go on: {overdue}{step}"),
            )
        });
        self.terminated = true;
        effects.push(Deed::Terminate.into());
        self.phase = Phase::Running {
            patience: Some(Patience::KillAt(now.after(SOON.min(self.limits.terminate)))),
        };
    }

    /// Its process does not end, whatever is done.
    pub(crate) fn is_stuck(&self) -> bool {
        matches!(
            self.phase,
            Phase::Running {
                patience: Some(Patience::Unkillable)
            }
        )
    }

    /// After its last word a rank has only to go.
    fn expect_exit(&mut self, now: Timestamp) {
        if let Phase::Running { patience } = &mut self.phase
            && !matches!(patience, Some(Patience::Killed(_) | Patience::Unkillable))
        {
            *patience = Some(Patience::KillAt(now.after(self.limits.farewell)));
        }
    }

    fn lose_patience(&mut self, now: Timestamp, effects: &mut Vec<Effect>) {
        match self.phase {
            Phase::Running {
                patience: Some(Patience::TerminateAt(at)),
            } if now >= at => {
                self.terminated = true;
                effects.push(Deed::Terminate.into());
                self.phase = Phase::Running {
                    patience: Some(Patience::KillAt(now.after(self.limits.terminate))),
                };
            }
            Phase::Running {
                patience: Some(Patience::KillAt(at)),
            } if now >= at => self.kill(now, effects),
            Phase::Running {
                patience: Some(Patience::Killed(since)),
            } if now.since(since) >= self.limits.unkillable => {
                self.phase = Phase::Running {
                    patience: Some(Patience::Unkillable),
                };
                effects.push(Effect::Quarantine(format!(
                    "the process of attempt {} has not ended {} s after it was killed",
                    self.assignment.fence,
                    self.limits.unkillable.as_secs()
                )));
            }
            _ => {}
        }
    }

    fn exited(
        &mut self,
        now: Timestamp,
        exit: Exit,
        log_tail: Vec<String>,
        effects: &mut Vec<Effect>,
    ) {
        if !matches!(self.phase, Phase::Running { .. }) {
            return;
        }
        let with_evidence = |failure: Failure| Failure {
            rank: Some(self.assignment.rank),
            signal: exit.signal,
            exit_code: exit.code,
            peak_memory: exit.peak_memory,
            last_step: self.last_step,
            log_tail,
            ..failure
        };
        let end = match self.last_word.take() {
            // a result that is complete is not lost because its maker stumbled on the way out
            Some(LastWord::Finished) => End::Finished,
            Some(LastWord::Stopped) => End::Stopped,
            Some(LastWord::Failed(class, message)) => {
                // what it said after it was ended is a consequence
                let cause = self.cause.take();
                End::Failed(with_evidence(
                    cause.unwrap_or_else(|| Failure::new(class, message)),
                ))
            }
            None => match self.cause.take() {
                Some(cause) => End::Failed(with_evidence(cause)),
                None if self.stop.is_some() && !self.was_ended_from_elsewhere(exit) => End::Stopped,
                None => End::Failed(with_evidence(account_for(exit))),
            },
        };
        if self.stop == Some(StopMode::Now) && !matches!(end, End::Finished) {
            effects.push(Deed::AbortUploads.into());
            self.uploading.clear();
            self.next_checkpoint = None;
        }
        let until = matches!(end, End::Failed(_)).then(|| now.after(self.limits.settle));
        self.phase = Phase::Settling { end, until };
    }

    /// A signal ended it that this worker has not sent. It may have come before the order to stop, and be the very reason of that.
    fn was_ended_from_elsewhere(&self, exit: Exit) -> bool {
        let is_our_term = self.terminated && exit.signal == Some(SIGTERM);
        exit.signal.is_some() && !exit.by_order && !is_our_term
    }

    /// Reports the end once nothing is on its way any more.
    fn settle(&mut self, now: Timestamp, effects: &mut Vec<Effect>) {
        let Phase::Settling { until, .. } = &self.phase else {
            return;
        };
        let waited_enough = until.is_some_and(|until| now >= until);
        if !self.uploading.is_empty() && !waited_enough {
            return;
        }
        if let Phase::Settling { end, .. } = std::mem::replace(&mut self.phase, Phase::Ended) {
            if !self.uploading.is_empty() {
                effects.push(Deed::AbortUploads.into());
            }
            self.end(end, effects);
        }
    }

    fn end(&mut self, end: End, effects: &mut Vec<Effect>) {
        self.phase = Phase::Ended;
        effects.push(Effect::Report(match (end, self.upload_failure.take()) {
            (End::Finished, Some(failure)) => Report::Failed(Failure {
                rank: Some(self.assignment.rank),
                last_step: self.last_step,
                ..failure
            }),
            (End::Finished, None) => Report::Finished {
                outputs: std::mem::take(&mut self.outputs),
            },
            (End::Stopped, _) => Report::Stopped,
            (End::Failed(failure), _) => Report::Failed(Failure {
                rank: Some(self.assignment.rank),
                ..failure
            }),
        }));
    }
}

#[cfg(test)]
#[path = "attempt_tests.rs"]
mod tests;
