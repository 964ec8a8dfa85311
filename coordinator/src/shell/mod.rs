//! The shell around the pure core: one task owns the cluster, hears of everything through one channel, writes what changed the
//! cluster to the journal, and only then replies and gives commands.

mod command;
mod handle;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use control::{Action, Cluster, Input, RankReport, Record, Rejection, Report};
use journal::Journal;
use proto::v1::{self, to_worker};
use tokio::sync::{mpsc, watch};
use types::{
    Digest, Failure, FailureClass, Fence, Incarnation, MetricPoint, Progress, Rank, TaskId,
    WorkerId,
};

use crate::board::Snapshot;
use crate::clock::Clock;
use crate::records::Records;
use crate::rendezvous::Rendezvous;

pub(crate) use handle::{Handle, Said, SaidReport, ShellError, ToWorkerSender, View};
use handle::{Reply, Request};

/// Inputs taken together, so that a burst costs one write of the journal.
const BATCH: usize = 256;
/// Snapshots are for people.
const SNAPSHOT_EVERY: Duration = Duration::from_millis(100);
/// How soon a journal that could not be written (no space left) is tried again.
const JOURNAL_PAUSE: Duration = Duration::from_secs(2);

/// What the shell works with.
pub(crate) struct Parts {
    pub(crate) cluster: Cluster,
    pub(crate) journal: Box<dyn Journal + Send>,
    pub(crate) store: Arc<artifact::Store>,
    pub(crate) rendezvous: Arc<Rendezvous>,
    pub(crate) records: Records,
    pub(crate) welcome: v1::Welcome,
}

/// What the shell tells the rest of the program.
pub(crate) struct Outputs {
    pub(crate) handle: Handle,
    pub(crate) snapshots: watch::Receiver<Option<Arc<Snapshot>>>,
    pub(crate) notices: mpsc::UnboundedReceiver<Arc<Action>>,
    /// Says so when the stop in order is complete.
    pub(crate) drained: watch::Receiver<bool>,
}

struct Connection {
    number: u64,
    to_worker: ToWorkerSender,
}

/// What follows from inputs once they are in the journal, in order.
enum Effect {
    Act(Action),
    Tell(WorkerId, to_worker::Body),
    Reply(Box<dyn FnOnce() + Send>),
}

pub(crate) struct Shell {
    parts: Parts,
    clock: Clock,
    requests: mpsc::Receiver<Request>,
    notices: mpsc::UnboundedSender<Arc<Action>>,
    snapshots: watch::Sender<Option<Arc<Snapshot>>>,
    drained: watch::Sender<bool>,
    connections: BTreeMap<WorkerId, Connection>,
    last_connection: u64,
    /// The newest report of each worker's current life.
    sequences: BTreeMap<WorkerId, (Incarnation, u64)>,
    /// What each attempt was about, also after its end: late lines of its log still come.
    tasks: BTreeMap<Fence, TaskId>,
    progress: BTreeMap<TaskId, Progress>,
    records: Vec<Record>,
    effects: Vec<Effect>,
    dirty: bool,
    snapshot_due: tokio::time::Instant,
}

impl Shell {
    /// A shell around a cluster that was rebuilt from its journal.
    pub(crate) fn new(parts: Parts) -> (Self, Outputs) {
        let (requests_in, requests) = mpsc::channel(1024);
        let (notices, notices_out) = mpsc::unbounded_channel();
        let (snapshots, snapshots_out) = watch::channel(None);
        let (drained, drained_out) = watch::channel(false);
        let tasks = parts
            .cluster
            .runs()
            .iter()
            .flat_map(|run| parts.cluster.tasks(run.run))
            .flat_map(|task| {
                task.attempts
                    .into_iter()
                    .map(move |attempt| (attempt.fence, task.task.clone()))
            })
            .collect();
        let shell = Self {
            clock: Clock::start(parts.cluster.clock()),
            parts,
            requests,
            notices,
            snapshots,
            drained,
            connections: BTreeMap::new(),
            last_connection: 0,
            sequences: BTreeMap::new(),
            tasks,
            progress: BTreeMap::new(),
            records: Vec::new(),
            effects: Vec::new(),
            dirty: true,
            snapshot_due: tokio::time::Instant::now(),
        };
        let outputs = Outputs {
            handle: Handle(requests_in),
            snapshots: snapshots_out,
            notices: notices_out,
            drained: drained_out,
        };
        (shell, outputs)
    }

    /// Runs until every handle is gone.
    ///
    /// # Errors
    /// When the journal cannot be written for good: nothing may go on then.
    pub(crate) async fn run(mut self) -> Result<()> {
        let mut batch = Vec::with_capacity(BATCH);
        loop {
            let deadline = self
                .parts
                .cluster
                .next_deadline()
                .map(|at| tokio::time::Instant::from_std(self.clock.instant(at)));
            tokio::select! {
                taken = self.requests.recv_many(&mut batch, BATCH) => {
                    if taken == 0 {
                        return Ok(());
                    }
                }
                () = sleep_until(deadline) => {}
                () = tokio::time::sleep_until(self.snapshot_due), if self.dirty => {}
            }
            for request in batch.drain(..) {
                self.take(request);
            }
            let now = self.clock.now();
            for input in self.parts.cluster.due(now) {
                if let Err(rejection) = self.apply(input) {
                    tracing::debug!("what was due is not any more: {rejection}");
                }
            }
            self.commit().await?;
            self.show();
        }
    }

    fn take(&mut self, request: Request) {
        match request {
            Request::Input(input, reply) => {
                let answer = self.apply(input).map_err(ShellError::from);
                self.reply(reply, answer);
            }
            Request::Attach {
                hello,
                worker,
                incarnation,
                to_worker,
                reply,
            } => {
                let answer = self.attach(hello, worker, incarnation, to_worker);
                self.reply(reply, answer);
            }
            Request::Said {
                worker,
                connection,
                said,
            } => {
                if self
                    .connections
                    .get(&worker)
                    .is_some_and(|current| current.number == connection)
                {
                    self.hear(worker, said);
                }
            }
            Request::Detached { worker, connection } => {
                if self
                    .connections
                    .get(&worker)
                    .is_some_and(|current| current.number == connection)
                {
                    self.connections.remove(&worker);
                    tracing::debug!("the connection of worker {worker} is gone");
                }
            }
            Request::Query(look) => {
                look(&View {
                    cluster: &self.parts.cluster,
                    progress: &self.progress,
                });
            }
            Request::LeaveLocal(workers) => {
                for worker in workers {
                    self.effects
                        .push(Effect::Tell(worker, to_worker::Body::Leave(v1::Leave {})));
                }
            }
        }
    }

    fn reply<T: Send + 'static>(&mut self, reply: Reply<T>, answer: Result<T, ShellError>) {
        self.effects.push(Effect::Reply(Box::new(move || {
            // Whoever asked may have gone.
            let _ = reply.send(answer);
        })));
    }

    /// Applies one input; what follows waits for the journal.
    fn apply(&mut self, input: Input) -> Result<(), Rejection> {
        let now = self.clock.now();
        let record = input.is_durable().then(|| Record {
            at: now,
            input: input.clone(),
        });
        match self.parts.cluster.apply(now, input) {
            Ok(actions) => {
                self.dirty |= record.is_some();
                self.records.extend(record);
                self.effects.extend(actions.into_iter().map(Effect::Act));
                Ok(())
            }
            Err(rejection) => {
                self.effects.extend(rejection.action().map(Effect::Act));
                Err(rejection)
            }
        }
    }

    fn attach(
        &mut self,
        hello: Input,
        worker: WorkerId,
        incarnation: Incarnation,
        to_worker: ToWorkerSender,
    ) -> Result<u64, ShellError> {
        let effects_before = self.effects.len();
        self.apply(hello)?;
        self.last_connection += 1;
        let number = self.last_connection;
        // The stream of an older connection ends as its sender goes.
        self.connections
            .insert(worker.clone(), Connection { number, to_worker });
        if self
            .sequences
            .get(&worker)
            .is_none_or(|(known, _)| *known != incarnation)
        {
            self.sequences.insert(worker.clone(), (incarnation, 0));
        }
        // Welcome comes first, whatever commands follow from the hello.
        let welcome = Effect::Tell(worker, to_worker::Body::Welcome(self.parts.welcome));
        self.effects.insert(effects_before, welcome);
        Ok(number)
    }

    fn hear(&mut self, worker: WorkerId, said: Said) {
        let Some(&(incarnation, last)) = self.sequences.get(&worker) else {
            return;
        };
        match said {
            Said::Heartbeat { sent_at } => {
                match self.apply(Input::Heard {
                    worker: worker.clone(),
                    incarnation,
                }) {
                    Ok(()) => {
                        let ack = v1::HeartbeatAck { sent_at };
                        self.effects
                            .push(Effect::Tell(worker, to_worker::Body::HeartbeatAck(ack)));
                    }
                    Err(rejection) => self.drop_connection(&worker, &rejection),
                }
            }
            Said::Report {
                sequence,
                fence,
                rank,
                what,
            } => {
                if sequence > last {
                    self.sequences
                        .insert(worker.clone(), (incarnation, sequence));
                    match what {
                        SaidReport::Metrics(point) => self.metric(fence, rank, point),
                        SaidReport::Rank(what) => {
                            self.report(&worker, incarnation, fence, rank, what)
                        }
                    }
                }
                let ack = v1::ReportAck {
                    up_to: sequence.max(last),
                };
                self.effects
                    .push(Effect::Tell(worker, to_worker::Body::ReportAck(ack)));
            }
            Said::Progress {
                fence,
                rank,
                progress,
            } => {
                if rank == Rank(0)
                    && let Some((task, _)) = self.parts.cluster.live_attempt(fence)
                {
                    self.progress.insert(task, progress);
                    self.dirty = true;
                }
            }
            Said::Logs {
                fence,
                rank,
                first,
                lines,
            } => self.logs(worker, fence, rank, first, &lines),
            Said::Draining => {
                if let Err(rejection) = self.apply(Input::Drain { worker }) {
                    tracing::debug!("{rejection}");
                }
            }
            Said::Goodbye => {
                if let Err(rejection) = self.apply(Input::Goodbye {
                    worker: worker.clone(),
                    incarnation,
                }) {
                    tracing::debug!("{rejection}");
                }
                self.connections.remove(&worker);
            }
        }
    }

    /// A worker that the core does not know (any more) has to say hello again, on a new connection.
    fn drop_connection(&mut self, worker: &WorkerId, rejection: &Rejection) {
        tracing::info!("{rejection}");
        self.connections.remove(worker);
    }

    fn report(
        &mut self,
        worker: &WorkerId,
        incarnation: Incarnation,
        fence: Fence,
        rank: Rank,
        what: RankReport,
    ) {
        let missing: Vec<Digest> = match &what {
            RankReport::Checkpoint { digest, .. } => vec![*digest],
            RankReport::Finished { outputs } => outputs.values().copied().collect(),
            _ => Vec::new(),
        };
        let what = match missing
            .into_iter()
            .find(|digest| !self.parts.store.has(digest))
        {
            None => what,
            Some(digest) => RankReport::Failed {
                failure: Failure {
                    rank: Some(rank),
                    ..Failure::new(
                        FailureClass::TransientIo,
                        format!("artifact {digest} was handed in but is not in the store"),
                    )
                },
            },
        };
        let report = Report {
            worker: worker.clone(),
            incarnation,
            fence,
            rank,
            what,
        };
        if let Err(rejection) = self.apply(Input::Report(report)) {
            // An ordinary answer: the attempt was over, and the worker is told to stop that rank.
            tracing::debug!("{rejection}");
        }
    }

    fn metric(&mut self, fence: Fence, rank: Rank, point: MetricPoint) {
        let Some(task) = self.tasks.get(&fence).filter(|_| rank == Rank(0)) else {
            return;
        };
        if let Err(error) = self.parts.records.metric(&task.name, fence, point) {
            tracing::warn!("a point of the curves of {task} is lost: {error}");
        }
    }

    fn logs(&mut self, worker: WorkerId, fence: Fence, rank: Rank, first: u64, lines: &[String]) {
        // Lines of an attempt that this journal does not know have no place: they are taken as read.
        let known = match self.tasks.get(&fence) {
            None => Ok(first + lines.len() as u64),
            Some(task) => self
                .parts
                .records
                .log(&task.name, fence, rank, first, lines),
        };
        match known {
            Ok(lines) => {
                let ack = v1::LogAck {
                    fence: fence.0,
                    rank: rank.0,
                    lines,
                };
                self.effects
                    .push(Effect::Tell(worker, to_worker::Body::LogAck(ack)));
            }
            // Not acknowledged: the worker keeps them and sends them again on its next connection.
            Err(error) => tracing::warn!("log lines of attempt {fence} cannot be written: {error}"),
        }
    }

    /// Writes the journal, then does what waited for that.
    async fn commit(&mut self) -> Result<()> {
        while !self.records.is_empty() {
            let written = tokio::task::block_in_place(|| self.parts.journal.append(&self.records));
            match written {
                Ok(()) => self.records.clear(),
                Err(error) if error.may_pass() => {
                    tracing::error!("paused: {error}");
                    tokio::time::sleep(JOURNAL_PAUSE).await;
                }
                Err(error) => {
                    return Err(error)
                        .context("the journal cannot be written, so nothing may go on");
                }
            }
        }
        for effect in std::mem::take(&mut self.effects) {
            match effect {
                Effect::Act(action) => self.perform(action),
                Effect::Tell(worker, body) => self.tell(&worker, body),
                Effect::Reply(reply) => reply(),
            }
        }
        Ok(())
    }

    fn perform(&mut self, action: Action) {
        match &action {
            Action::AttemptBegan { task, fence, gang } => {
                self.tasks.insert(*fence, task.clone());
                let ranks = gang
                    .iter()
                    .map(|seat| (seat.rank, seat.worker.clone(), seat.incarnation))
                    .collect();
                self.parts.rendezvous.open(*fence, ranks);
            }
            Action::StartRank(start) => self.tell(
                &start.worker.clone(),
                to_worker::Body::StartRank(command::start_rank(start)),
            ),
            Action::StopRank {
                worker,
                fence,
                mode,
                reason,
                ..
            } => {
                let mode = match mode {
                    control::StopMode::Checkpoint => v1::StopMode::Checkpoint,
                    control::StopMode::Now => v1::StopMode::Now,
                };
                let stop = v1::StopRank {
                    fence: fence.0,
                    mode: mode.into(),
                    reason: reason.to_string(),
                };
                self.tell(&worker.clone(), to_worker::Body::StopRank(stop));
            }
            Action::AttemptEnded { task, fence, .. } => {
                self.parts.rendezvous.close(*fence);
                self.parts.records.close(&task.name, *fence);
                self.progress.remove(task);
            }
            Action::WorkerDrained { worker, .. } => {
                self.tell(&worker.clone(), to_worker::Body::Leave(v1::Leave {}));
            }
            Action::Drained => {
                self.drained.send_replace(true);
            }
            Action::TaskDone { .. }
            | Action::TaskRetried { .. }
            | Action::TaskFailed { .. }
            | Action::WorkerChanged { .. }
            | Action::RunFinished { .. } => {}
        }
        // The terminal may have ended before the shell.
        let _ = self.notices.send(Arc::new(action));
    }

    /// Sends to a worker that is connected. What is lost with a connection is repaired by the worker's next hello.
    fn tell(&mut self, worker: &WorkerId, body: to_worker::Body) {
        let Some(connection) = self.connections.get(worker) else {
            return;
        };
        let message = v1::ToWorker { body: Some(body) };
        if connection.to_worker.try_send(Ok(message)).is_err() {
            tracing::warn!("worker {worker} takes nothing: its connection is dropped");
            self.connections.remove(worker);
        }
    }

    fn show(&mut self) {
        let now = tokio::time::Instant::now();
        if !self.dirty || now < self.snapshot_due {
            return;
        }
        self.dirty = false;
        self.snapshot_due = now + SNAPSHOT_EVERY;
        let cluster = &self.parts.cluster;
        if let Some(run) = cluster.runs().pop() {
            let snapshot = Snapshot {
                tasks: cluster.tasks(run.run),
                workers: cluster.workers(),
                progress: self.progress.clone(),
                now: self.clock.now(),
                run,
            };
            self.snapshots.send_replace(Some(Arc::new(snapshot)));
        }
    }
}

async fn sleep_until(deadline: Option<tokio::time::Instant>) {
    match deadline {
        Some(deadline) => tokio::time::sleep_until(deadline).await,
        None => std::future::pending().await,
    }
}
