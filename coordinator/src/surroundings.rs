use std::io;
use std::sync::Arc;

use control::Action;
use types::{Digest, Fence, Incarnation, MetricPoint, Rank, TaskName, WorkerId};

use crate::clerk::World;
use crate::records::{RecordFiles, Records};
use crate::rendezvous::Rendezvous;

/// What a clerk reaches: the store, the rendezvous and the records as they are shipped, and whoever looks on.
pub struct Surroundings<F, O> {
    /// Artifacts.
    pub store: Arc<artifact::Store>,
    /// Where the ranks of an attempt meet.
    pub rendezvous: Arc<Rendezvous>,
    /// Curves and logs.
    pub records: Records<F>,
    /// Who hears of what happens.
    pub onlooker: O,
}

/// Who hears of what the clerk has done.
pub trait Onlooker {
    /// See [`World::taken`].
    fn taken(&mut self, _artifacts: &[Digest]) {}

    /// See [`World::notice`].
    fn notice(&mut self, action: Action);
}

impl<F: RecordFiles, O: Onlooker> World for Surroundings<F, O> {
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
        self.onlooker.taken(artifacts);
    }

    fn notice(&mut self, action: Action) {
        self.onlooker.notice(action);
    }
}
