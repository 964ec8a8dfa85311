//! The shell around the pure core: one task owns the clerk, hears of everything through one channel, and has it write down what
//! changed the cluster before it replies and gives commands.

mod command;
mod handle;
mod world;

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use control::{Action, Cluster};
use journal::Journal;
use tokio::sync::{mpsc, watch};
use types::Bytes;

use crate::board::Snapshot;
use crate::clerk::Clerk;
use crate::clock::Clock;
use crate::records::{OpenFiles, Records};
use crate::rendezvous::Rendezvous;
use crate::sweeper::Sweeper;
use crate::words::Greeting;

pub(crate) use command::manifest;
pub(crate) use handle::{Handle, ShellError, ToWorkerSender, View};
use handle::{Reply, Request};
use world::{ShellWorld, Watchers};

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
    pub(crate) keeper: Arc<artifact::Keeper>,
    pub(crate) rendezvous: Arc<Rendezvous>,
    pub(crate) records: Records<OpenFiles>,
    pub(crate) greeting: Greeting,
}

/// What the shell tells the rest of the program.
pub(crate) struct Outputs {
    pub(crate) handle: Handle,
    pub(crate) snapshots: watch::Receiver<Option<Arc<Snapshot>>>,
    pub(crate) notices: mpsc::UnboundedReceiver<Arc<Action>>,
    /// Says so when the stop in order is complete.
    pub(crate) drained: watch::Receiver<bool>,
}

pub(crate) struct Shell {
    clerk: Clerk<ToWorkerSender, ShellWorld>,
    clock: Clock,
    requests: mpsc::Receiver<Request>,
    /// What came while the journal could not be written, and has to wait for it.
    held_back: VecDeque<Request>,
    snapshots: watch::Sender<Option<Arc<Snapshot>>>,
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
        let clock = Clock::start(parts.cluster.clock());
        let world = ShellWorld {
            store: Arc::clone(parts.keeper.store()),
            rendezvous: parts.rendezvous,
            records: parts.records,
            onlooker: Watchers {
                sweeper: Sweeper::new(parts.keeper),
                notices,
                drained,
            },
        };
        let shell = Self {
            clerk: Clerk::new(parts.cluster, parts.journal, world, parts.greeting),
            clock,
            requests,
            held_back: VecDeque::new(),
            snapshots,
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
                .clerk
                .cluster()
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
                () = sleep_until(self.clerk.world().onlooker.sweeper.due()) => {}
                () = std::future::ready(()), if !self.held_back.is_empty() => {}
            }
            for request in self
                .held_back
                .drain(..)
                .chain(batch.drain(..))
                .collect::<Vec<_>>()
            {
                self.take(request);
            }
            self.clerk.pass_time(self.clock.now());
            self.commit().await?;
            let (cluster, world) = self.clerk.cluster_and_world();
            world.onlooker.sweeper.sweep_if_due(cluster);
            self.show();
        }
    }

    fn take(&mut self, request: Request) {
        let now = self.clock.now();
        match request {
            Request::Input(input, reply) => {
                let answer = self.clerk.input(now, input).map_err(ShellError::from);
                self.reply(reply, answer);
            }
            Request::Attach {
                hello,
                worker,
                incarnation,
                to_worker,
                reply,
            } => {
                let answer = self
                    .clerk
                    .attach(now, hello, worker, incarnation, to_worker)
                    .map_err(ShellError::from);
                self.reply(reply, answer);
            }
            Request::Said {
                worker,
                connection,
                said,
            } => self.clerk.said(now, worker, connection, said),
            Request::Detached { worker, connection } => self.clerk.detached(&worker, connection),
            Request::Query(look) => {
                look(&View {
                    cluster: self.clerk.cluster(),
                    progress: self.clerk.progress(),
                    pauses: self.clerk.pauses(),
                });
            }
            Request::LeaveLocal(workers) => {
                for worker in workers {
                    self.clerk.tell_to_leave(worker);
                }
            }
        }
    }

    fn reply<T: Send + 'static>(&mut self, reply: Reply<T>, answer: Result<T, ShellError>) {
        self.clerk.then(move || {
            // Whoever asked may have gone.
            let _ = reply.send(answer);
        });
    }

    /// Writes the journal, and waits for room where there is none: what changes the cluster waits, too, but workers are heard and
    /// people answered.
    async fn commit(&mut self) -> Result<()> {
        loop {
            match tokio::task::block_in_place(|| self.clerk.commit()) {
                Ok(()) => {
                    if self.clerk.pauses().own().is_some() {
                        tracing::info!("there is room again");
                        self.clerk.pause(None);
                    }
                    return Ok(());
                }
                Err(error) if error.may_pass() => {
                    let reason = self.said_of(&error);
                    if self.clerk.pauses().own().is_none() {
                        tracing::error!("paused: {reason}");
                    }
                    self.clerk.pause(Some(reason));
                    self.show();
                    self.wait_a_little().await;
                }
                Err(error) => {
                    return Err(error)
                        .context("the journal cannot be written, so nothing may go on");
                }
            }
        }
    }

    fn said_of(&self, error: &journal::Error) -> String {
        let store = &self.clerk.world().store;
        match store.free() {
            Ok(free) => format!("{error} ({} free)", Bytes(free)),
            Err(_) => error.to_string(),
        }
    }

    async fn wait_a_little(&mut self) {
        let until = tokio::time::Instant::now() + JOURNAL_PAUSE;
        while let Ok(Some(request)) = tokio::time::timeout_at(until, self.requests.recv()).await {
            match request {
                Request::Said {
                    worker,
                    connection,
                    said,
                } if said.is_volatile() => {
                    let now = self.clock.now();
                    self.clerk.said_meanwhile(now, worker, connection, said);
                }
                request @ Request::Query(_) => self.take(request),
                request => self.held_back.push_back(request),
            }
        }
        // without a handle left there is nobody to ask, and the next round says so
        tokio::time::sleep_until(until).await;
    }

    fn show(&mut self) {
        self.dirty |= self.clerk.take_dirty();
        let now = tokio::time::Instant::now();
        if !self.dirty || now < self.snapshot_due {
            return;
        }
        self.dirty = false;
        self.snapshot_due = now + SNAPSHOT_EVERY;
        let cluster = self.clerk.cluster();
        if let Some(run) = cluster.runs().pop() {
            let snapshot = Snapshot {
                tasks: cluster.tasks(run.run),
                workers: cluster.workers(),
                progress: self.clerk.progress().clone(),
                paused: self.clerk.pauses().lines(),
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
