//! The coordinator's loop without its loop: no clock, no thread, no socket.

use std::collections::BTreeMap;
use std::io;

use control::{Action, Cluster, Input, RankReport, Record, Rejection, Report};
use journal::Journal;
use types::{
    Bug, Digest, Failure, FailureClass, Fence, Incarnation, MetricPoint, Progress, Rank, TaskId,
    TaskName, Timestamp, WorkerId, planted,
};

use crate::pauses::Pauses;
use crate::words::{Greeting, Said, SaidReport, Told};

/// The way to a connected worker.
pub trait Line {
    /// Sends; whether there was room for it. A line that takes nothing is dropped.
    fn tell(&self, told: Told) -> bool;
}

/// Everything else that the clerk reaches of the world, beside the journal.
pub trait World {
    /// Whether the artifact store has this.
    fn has(&self, digest: &Digest) -> bool;

    /// The ranks of an attempt may meet. An attempt that is open already stays as it is.
    fn open_rendezvous(&mut self, fence: Fence, ranks: Vec<(Rank, WorkerId, Incarnation)>);

    /// An attempt is over: whoever still waits for its keys is told so.
    fn close_rendezvous(&mut self, fence: Fence);

    /// Adds a point to a task's curve, unless it is there.
    ///
    /// # Errors
    /// When it could not be written.
    fn metric(&mut self, task: &TaskName, fence: Fence, point: MetricPoint) -> io::Result<()>;

    /// Adds consecutive lines to a rank's log, those that are missing; gives how many are there now.
    ///
    /// # Errors
    /// When they could not be written.
    fn log(
        &mut self,
        task: &TaskName,
        fence: Fence,
        rank: Rank,
        first: u64,
        lines: &[String],
    ) -> io::Result<u64>;

    /// Makes sure that the points and lines taken since the last time are on the disk; whether they are. What is not on the
    /// disk is not acknowledged.
    fn sync_records(&mut self) -> bool;

    /// An attempt is over: its curve and its logs grow no more, or hardly.
    fn close_records(&mut self, task: &TaskName, fence: Fence);

    /// A report of these artifacts has been taken, and what refers to them is in the journal.
    fn taken(&mut self, _artifacts: &[Digest]) {}

    /// Something that people may want to know; what it asks for has been done.
    fn notice(&mut self, action: Action);
}

struct Connection<L> {
    number: u64,
    line: L,
}

/// What follows from inputs once they are in the journal, in order.
enum Effect<L> {
    Act(Action),
    Tell(WorkerId, Told),
    /// From here on the worker is spoken to on this connection.
    Connect(WorkerId, Connection<L>),
    HangUp(WorkerId, u64),
    Taken(Vec<Digest>),
    Then(Box<dyn FnOnce() + Send>),
}

/// Owns the cluster and its journal. It takes what happens, and on [`Clerk::commit`] writes down what changed the cluster and only
/// then replies and gives commands.
pub struct Clerk<L, W> {
    cluster: Cluster,
    journal: Box<dyn Journal + Send>,
    world: W,
    greeting: Greeting,
    /// The number of each worker's newest connection: what comes on older ones is not listened to.
    current: BTreeMap<WorkerId, u64>,
    /// Where effects go. They are performed later than inputs are taken, so this lags behind `current`.
    connections: BTreeMap<WorkerId, Connection<L>>,
    last_connection: u64,
    /// The newest report of each worker's current life.
    sequences: BTreeMap<WorkerId, (Incarnation, u64)>,
    /// What each attempt was about, also after its end: late lines of its log still come.
    tasks: BTreeMap<Fence, TaskId>,
    progress: BTreeMap<TaskId, Progress>,
    pauses: Pauses,
    records: Vec<Record>,
    effects: Vec<Effect<L>>,
    /// Curves or logs have grown since they were last brought to the disk.
    unsynced: bool,
    /// What they have grown by since the last commit is on the disk for good.
    on_disk: bool,
    dirty: bool,
}

impl<L: Line, W: World> Clerk<L, W> {
    /// A clerk of a cluster that was rebuilt from this journal.
    pub fn new(
        cluster: Cluster,
        journal: Box<dyn Journal + Send>,
        world: W,
        greeting: Greeting,
    ) -> Self {
        let tasks = cluster
            .runs()
            .iter()
            .flat_map(|run| cluster.tasks(run.run))
            .flat_map(|task| {
                task.attempts
                    .into_iter()
                    .map(move |attempt| (attempt.fence, task.task.clone()))
            })
            .collect();
        Self {
            cluster,
            journal,
            world,
            greeting,
            current: BTreeMap::new(),
            connections: BTreeMap::new(),
            last_connection: 0,
            sequences: BTreeMap::new(),
            tasks,
            progress: BTreeMap::new(),
            pauses: Pauses::default(),
            records: Vec::new(),
            effects: Vec::new(),
            unsynced: false,
            on_disk: true,
            dirty: true,
        }
    }

    /// The state.
    pub fn cluster(&self) -> &Cluster {
        &self.cluster
    }

    /// The world around it.
    pub(crate) fn world(&self) -> &W {
        &self.world
    }

    /// The state, and the world to act on by it.
    pub(crate) fn cluster_and_world(&mut self) -> (&Cluster, &mut W) {
        (&self.cluster, &mut self.world)
    }

    /// How far running tasks are.
    pub fn progress(&self) -> &BTreeMap<TaskId, Progress> {
        &self.progress
    }

    /// What waits for room on a disk.
    pub fn pauses(&self) -> &Pauses {
        &self.pauses
    }

    /// The journal cannot be written for now, or can again.
    pub(crate) fn pause(&mut self, reason: Option<String>) {
        self.pauses.set_own(reason);
        self.dirty = true;
    }

    /// Whether something that people look at has changed since the last call.
    pub fn take_dirty(&mut self) -> bool {
        std::mem::take(&mut self.dirty)
    }

    /// Applies one input; what follows waits for the journal.
    ///
    /// # Errors
    /// The core's rejection; nothing has changed then.
    pub fn input(&mut self, now: Timestamp, input: Input) -> Result<(), Rejection> {
        let record = input.is_durable().then(|| Record {
            at: now,
            input: input.clone(),
        });
        match self.cluster.apply(now, input) {
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

    /// Applies what time alone brings.
    pub fn pass_time(&mut self, now: Timestamp) {
        for input in self.cluster.due(now) {
            if let Err(rejection) = self.input(now, input) {
                tracing::debug!("what was due is not any more: {rejection}");
            }
        }
    }

    /// Introduces a worker's new connection; gives its number.
    ///
    /// # Errors
    /// The core's rejection of the hello.
    pub fn attach(
        &mut self,
        now: Timestamp,
        hello: Input,
        worker: WorkerId,
        incarnation: Incarnation,
        line: L,
    ) -> Result<u64, Rejection> {
        let effects_before = self.effects.len();
        self.input(now, hello)?;
        self.last_connection += 1;
        let number = self.last_connection;
        self.current.insert(worker.clone(), number);
        if self
            .sequences
            .get(&worker)
            .is_none_or(|(known, _)| *known != incarnation)
        {
            self.sequences.insert(worker.clone(), (incarnation, 0));
        }
        // Welcome comes first, whatever commands follow from the hello; what was meant for an older connection went before.
        // The stream of that one ends as its line goes.
        let connect = Effect::Connect(worker.clone(), Connection { number, line });
        let greeting = Greeting {
            journal: self.cluster.began().unwrap_or_default(),
            ..self.greeting
        };
        let welcome = Effect::Tell(worker, Told::Welcome(greeting));
        if planted(Bug::WelcomeNotFirst) {
            self.effects.insert(0, connect);
            self.effects.push(welcome);
            return Ok(number);
        }
        self.effects
            .splice(effects_before..effects_before, [connect, welcome]);
        Ok(number)
    }

    /// A connection is gone.
    pub fn detached(&mut self, worker: &WorkerId, connection: u64) {
        if self.is_current(worker, connection) {
            self.hang_up(worker);
            tracing::debug!("the connection of worker {worker} is gone");
        }
    }

    /// A worker has said something. What comes on an older connection than its newest is not listened to.
    pub fn said(&mut self, now: Timestamp, worker: WorkerId, connection: u64, said: Said) {
        if self.is_current(&worker, connection) {
            self.hear(now, worker, said);
        }
    }

    /// The same for what is [volatile](Said::is_volatile), while a [`Clerk::commit`] waits for room: it is answered at once, and
    /// what waits goes on waiting. So a full disk here ends no lease.
    pub(crate) fn said_meanwhile(
        &mut self,
        now: Timestamp,
        worker: WorkerId,
        connection: u64,
        said: Said,
    ) {
        let waiting = std::mem::take(&mut self.effects);
        self.said(now, worker, connection, said);
        let at_once = std::mem::replace(&mut self.effects, waiting);
        // nothing of a log or a curve is among it
        self.perform_all(at_once, true);
    }

    /// Tells a worker that it may leave.
    pub fn tell_to_leave(&mut self, worker: WorkerId) {
        self.effects.push(Effect::Tell(worker, Told::Leave));
    }

    /// Does this once everything taken so far is in the journal.
    pub fn then(&mut self, act: impl FnOnce() + Send + 'static) {
        self.effects.push(Effect::Then(Box::new(act)));
    }

    /// Writes the journal, then does what waited for that.
    ///
    /// # Errors
    /// When the journal could not be written: nothing was done. If [`journal::Error::may_pass`], call again later; nothing may
    /// be taken meanwhile that must not wait.
    pub fn commit(&mut self) -> Result<(), journal::Error> {
        if planted(Bug::EffectsBeforeJournal) {
            self.follow_up();
        }
        // First the points and lines that came before a checkpoint, then the checkpoint from which nobody makes them again.
        if self.unsynced && !planted(Bug::RecordsNotSynced) {
            self.on_disk &= self.world.sync_records();
        }
        self.unsynced = false;
        if !self.records.is_empty() {
            self.journal.append(&self.records)?;
            self.records.clear();
        }
        self.follow_up();
        self.on_disk = true;
        Ok(())
    }

    fn follow_up(&mut self) {
        let effects = std::mem::take(&mut self.effects);
        self.perform_all(effects, self.on_disk);
    }

    /// `on_disk`: whether what was taken of logs and curves is there for good.
    fn perform_all(&mut self, effects: Vec<Effect<L>>, on_disk: bool) {
        for effect in effects {
            match effect {
                Effect::Act(action) => self.perform(action),
                Effect::Tell(worker, Told::LogsTaken { .. } | Told::ReportsTaken { .. })
                    if !on_disk =>
                {
                    self.let_say_again(&worker);
                }
                Effect::Tell(worker, told) => self.tell(&worker, told),
                Effect::Connect(worker, connection) => {
                    self.connections.insert(worker, connection);
                }
                Effect::HangUp(worker, number) => self.forget_line(&worker, number),
                Effect::Taken(artifacts) => self.world.taken(&artifacts),
                Effect::Then(act) => act(),
            }
        }
    }

    /// Listens to this worker no more until it comes back on a new connection, which it does at once if it lives.
    fn hang_up(&mut self, worker: &WorkerId) {
        if let Some(number) = self.current.remove(worker) {
            self.effects.push(Effect::HangUp(worker.clone(), number));
        }
    }

    fn forget_line(&mut self, worker: &WorkerId, number: u64) {
        if self
            .connections
            .get(worker)
            .is_some_and(|connection| connection.number == number)
        {
            self.connections.remove(worker);
        }
    }

    /// Whether this is the connection on which a worker is listened to.
    pub fn is_current(&self, worker: &WorkerId, connection: u64) -> bool {
        self.current.get(worker) == Some(&connection)
    }

    fn hear(&mut self, now: Timestamp, worker: WorkerId, said: Said) {
        let Some(&(incarnation, last)) = self.sequences.get(&worker) else {
            return;
        };
        match said {
            Said::Heartbeat { sent_at } => {
                let heard = Input::Heard {
                    worker: worker.clone(),
                    incarnation,
                };
                match self.input(now, heard) {
                    Ok(()) => {
                        let heard = Effect::Tell(worker, Told::Heard { sent_at });
                        self.effects.push(heard);
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
                let is_new = sequence > last;
                match what {
                    SaidReport::Metrics(point) => {
                        if is_new
                            && let Err(error) = self.metric(fence, rank, point)
                            && !planted(Bug::LostPointAcknowledged)
                        {
                            tracing::warn!("a point of attempt {fence} cannot be written: {error}");
                            self.let_say_again(&worker);
                            return;
                        }
                    }
                    // An end counts again where the worker has named that rank in a hello since: only this frees its slot.
                    SaidReport::Rank(what) => {
                        if is_new || what.is_end() {
                            self.report(now, (&worker, incarnation), fence, rank, what);
                        }
                    }
                }
                if is_new {
                    self.sequences
                        .insert(worker.clone(), (incarnation, sequence));
                }
                let up_to = sequence.max(last);
                if planted(Bug::AckBeforeJournal) {
                    self.tell(&worker, Told::ReportsTaken { up_to });
                }
                self.effects
                    .push(Effect::Tell(worker, Told::ReportsTaken { up_to }));
            }
            Said::Progress {
                fence,
                rank,
                progress,
            } => {
                if rank == Rank(0)
                    && let Some((task, _)) = self.cluster.live_attempt(fence)
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
            Said::Waits {
                fence,
                rank,
                reason,
            } => {
                if let Some((task, _)) = self.cluster.live_attempt(fence) {
                    self.pauses.set((fence, rank), task, worker, reason);
                    self.dirty = true;
                }
            }
            Said::Draining => {
                if let Err(rejection) = self.input(now, Input::Drain { worker }) {
                    tracing::debug!("{rejection}");
                }
            }
            Said::Quarantined { reason } => {
                let quarantine = Input::Quarantine {
                    worker,
                    incarnation,
                    reason,
                };
                if let Err(rejection) = self.input(now, quarantine) {
                    tracing::debug!("{rejection}");
                }
            }
            Said::Goodbye => {
                let goodbye = Input::Goodbye {
                    worker: worker.clone(),
                    incarnation,
                };
                if let Err(rejection) = self.input(now, goodbye) {
                    tracing::debug!("{rejection}");
                }
                self.hang_up(&worker);
            }
        }
    }

    /// A worker that the core does not know (any more) has to say hello again, on a new connection.
    fn drop_connection(&mut self, worker: &WorkerId, rejection: &Rejection) {
        tracing::info!("{rejection}");
        self.hang_up(worker);
    }

    /// What a worker said is not on the disk: it keeps that, and says it again on its next connection, for this one ends. What was
    /// taken already is taken again without any effect.
    fn let_say_again(&mut self, worker: &WorkerId) {
        if let Some((_, sequence)) = self.sequences.get_mut(worker) {
            *sequence = 0;
        }
        if let Some(number) = self.current.remove(worker) {
            self.forget_line(worker, number);
        }
    }

    fn report(
        &mut self,
        now: Timestamp,
        (worker, incarnation): (&WorkerId, Incarnation),
        fence: Fence,
        rank: Rank,
        what: RankReport,
    ) {
        let handed_in: Vec<Digest> = match &what {
            RankReport::Checkpoint { digest, .. } => vec![*digest],
            RankReport::Finished { outputs } => outputs.values().copied().collect(),
            _ => Vec::new(),
        };
        let what = match handed_in.iter().find(|digest| !self.world.has(digest)) {
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
        match self.input(now, Input::Report(report)) {
            Ok(()) => self.effects.push(Effect::Taken(handed_in)),
            // An ordinary answer: the attempt was over, and the worker is told to stop that rank.
            Err(rejection) => tracing::debug!("{rejection}"),
        }
    }

    fn metric(&mut self, fence: Fence, rank: Rank, point: MetricPoint) -> io::Result<()> {
        let Some(task) = self.tasks.get(&fence).filter(|_| rank == Rank(0)) else {
            return Ok(());
        };
        self.unsynced = true;
        self.world.metric(&task.name, fence, point)
    }

    fn logs(&mut self, worker: WorkerId, fence: Fence, rank: Rank, first: u64, lines: &[String]) {
        // Lines of an attempt that this journal does not know have no place: they are taken as read.
        let known = match self.tasks.get(&fence) {
            None => Ok(first + lines.len() as u64),
            Some(task) => {
                self.unsynced = true;
                self.world.log(&task.name, fence, rank, first, lines)
            }
        };
        match known {
            Ok(lines) => {
                let taken = Told::LogsTaken { fence, rank, lines };
                self.effects.push(Effect::Tell(worker, taken));
            }
            Err(_) if planted(Bug::LostLinesNotRepeated) => {}
            Err(error) => {
                tracing::warn!("log lines of attempt {fence} cannot be written: {error}");
                self.let_say_again(&worker);
            }
        }
    }

    fn perform(&mut self, action: Action) {
        match &action {
            Action::AttemptBegan { task, fence, gang } => {
                self.tasks.insert(*fence, task.clone());
                let ranks = gang
                    .iter()
                    .map(|seat| (seat.rank, seat.worker.clone(), seat.incarnation))
                    .collect();
                self.world.open_rendezvous(*fence, ranks);
            }
            Action::StartRank(start) => {
                self.tell(&start.worker, Told::Start(Box::new(start.clone())));
            }
            Action::StopRank {
                worker,
                fence,
                mode,
                reason,
                ..
            } => {
                let stop = Told::Stop {
                    fence: *fence,
                    mode: *mode,
                    reason: reason.to_string(),
                };
                self.tell(worker, stop);
            }
            Action::AttemptEnded { task, fence, .. } => {
                self.world.close_rendezvous(*fence);
                self.world.close_records(&task.name, *fence);
                self.progress.remove(task);
                self.pauses.end(*fence);
            }
            Action::WorkerDrained { worker, .. } => self.tell(worker, Told::Leave),
            Action::Drained
            | Action::TaskDone { .. }
            | Action::TaskRetried { .. }
            | Action::TaskFailed { .. }
            | Action::WorkerChanged { .. }
            | Action::RunFinished { .. } => {}
        }
        self.world.notice(action);
    }

    /// Sends to a worker that is connected. What is lost with a connection is repaired by the worker's next hello.
    fn tell(&mut self, worker: &WorkerId, told: Told) {
        let Some(connection) = self.connections.get(worker) else {
            return;
        };
        if !connection.line.tell(told) {
            tracing::warn!("worker {worker} takes nothing: its connection is dropped");
            let number = connection.number;
            self.forget_line(worker, number);
            if self.is_current(worker, number) {
                self.current.remove(worker);
            }
        }
    }
}

#[cfg(test)]
#[path = "clerk_tests.rs"]
mod tests;
