use std::io;
use std::sync::Arc;

use control::Action;
use tokio::sync::{mpsc, watch};
use types::{Digest, Fence, Incarnation, MetricPoint, Rank, TaskName, WorkerId};

use super::ToWorkerSender;
use super::command::to_wire;
use crate::clerk::{Line, World};
use crate::records::{OpenFiles, Records};
use crate::rendezvous::Rendezvous;
use crate::sweeper::Sweeper;
use crate::words::Told;

/// What the clerk reaches in a real coordinator.
pub(super) struct ShellWorld {
    pub(super) store: Arc<artifact::Store>,
    pub(super) sweeper: Sweeper,
    pub(super) rendezvous: Arc<Rendezvous>,
    pub(super) records: Records<OpenFiles>,
    pub(super) notices: mpsc::UnboundedSender<Arc<Action>>,
    pub(super) drained: watch::Sender<bool>,
}

impl World for ShellWorld {
    fn has(&self, digest: &Digest) -> bool {
        self.store.has(digest)
    }

    fn open_rendezvous(&mut self, fence: Fence, ranks: Vec<(Rank, WorkerId, Incarnation)>) {
        self.rendezvous.open(fence, ranks);
    }

    fn close_rendezvous(&mut self, fence: Fence) {
        self.rendezvous.close(fence);
    }

    fn metric(&mut self, task: &TaskName, fence: Fence, point: MetricPoint) -> io::Result<()> {
        self.records.metric(task, fence, point)
    }

    fn log(
        &mut self,
        task: &TaskName,
        fence: Fence,
        rank: Rank,
        first: u64,
        lines: &[String],
    ) -> io::Result<u64> {
        self.records.log(task, fence, rank, first, lines)
    }

    fn sync_records(&mut self) -> bool {
        self.records.sync()
    }

    fn close_records(&mut self, task: &TaskName, fence: Fence) {
        self.records.close(task, fence);
    }

    fn taken(&mut self, artifacts: &[Digest]) {
        self.sweeper.reported(artifacts);
    }

    fn notice(&mut self, action: Action) {
        self.sweeper.perform(&action);
        if matches!(action, Action::Drained) {
            self.drained.send_replace(true);
        }
        // The terminal may have ended before the shell.
        let _ = self.notices.send(Arc::new(action));
    }
}

impl Line for ToWorkerSender {
    fn tell(&self, told: Told) -> bool {
        self.try_send(Ok(to_wire(told))).is_ok()
    }
}
