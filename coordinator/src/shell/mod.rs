//! The shell around the pure core: one task owns the clerk, hears of everything through one channel, and has it write down what
//! changed the cluster before it replies and gives commands.

mod command;
mod handle;
mod world;

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use control::{Action, Cluster};
use journal::Journal;
use tokio::sync::{mpsc, watch};

use crate::board::Snapshot;
use crate::clerk::{Clerk, Greeting};
use crate::clock::Clock;
use crate::records::Records;
use crate::rendezvous::Rendezvous;

pub(crate) use handle::{Handle, ShellError, ToWorkerSender, View};
use handle::{Reply, Request};
use world::ShellWorld;

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
            store: parts.store,
            rendezvous: parts.rendezvous,
            records: parts.records,
            notices,
            drained,
        };
        let shell = Self {
            clerk: Clerk::new(parts.cluster, parts.journal, world, parts.greeting),
            clock,
            requests,
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
            }
            for request in batch.drain(..) {
                self.take(request);
            }
            self.clerk.pass_time(self.clock.now());
            self.commit().await?;
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

    async fn commit(&mut self) -> Result<()> {
        loop {
            match tokio::task::block_in_place(|| self.clerk.commit()) {
                Ok(()) => return Ok(()),
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
