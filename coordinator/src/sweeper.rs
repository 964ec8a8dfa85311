//! Frees superseded artifacts while a run goes on.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use artifact::{Keeper, Live, Swept};
use control::{Action, Cluster};
use tokio::task::JoinHandle;
use tokio::time::Instant;
use types::{Bytes, Digest, RunId};

/// Time between two sweeps, at least.
const PAUSE: Duration = Duration::from_secs(2);

/// Sweeps after what may have made artifacts useless.
pub(crate) struct Sweeper {
    keeper: Arc<Keeper>,
    manifests: Manifests,
    wanted: bool,
    not_before: Instant,
    running: Option<JoinHandle<()>>,
}

impl Sweeper {
    /// The first sweep is due at once: it removes what an earlier life has left.
    pub(crate) fn new(keeper: Arc<Keeper>) -> Self {
        Self {
            keeper,
            manifests: Manifests::default(),
            wanted: true,
            not_before: Instant::now(),
            running: None,
        }
    }

    /// Artifacts of a report that was taken and is in the journal.
    pub(crate) fn reported(&mut self, artifacts: &[Digest]) {
        for digest in artifacts {
            self.keeper.reported(*digest);
        }
        self.wanted |= !artifacts.is_empty();
    }

    /// What follows from an action for artifacts.
    pub(crate) fn perform(&mut self, action: &Action) {
        match action {
            Action::AttemptBegan { fence, .. } => self.keeper.began(*fence),
            Action::AttemptEnded { .. } | Action::TaskDone { .. } => self.wanted = true,
            _ => {}
        }
    }

    /// When to look again.
    pub(crate) fn due(&self) -> Option<Instant> {
        self.wanted.then_some(self.not_before)
    }

    /// Begins a sweep if one is due. The cluster must be as the journal has it.
    pub(crate) fn sweep_if_due(&mut self, cluster: &Cluster) {
        let now = Instant::now();
        if !self.wanted || now < self.not_before {
            return;
        }
        self.not_before = now + PAUSE;
        let busy = self.running.as_ref().is_some_and(|job| !job.is_finished());
        if busy {
            return;
        }
        if let Some(sweep) = self.keeper.sweep(self.manifests.live(cluster)) {
            self.wanted = false;
            let job = tokio::task::spawn_blocking(move || match sweep.run(false) {
                Ok(swept) => tell(&swept),
                Err(error) => tracing::warn!("superseded artifacts cannot be removed: {error}"),
            });
            self.running = Some(job);
        }
    }
}

/// Says what a sweep has done.
pub(crate) fn tell(swept: &Swept) {
    if !swept.removed.is_empty() {
        tracing::info!(
            "freed {} of {} artifacts that nothing refers to any more",
            Bytes(Swept::bytes(&swept.removed)),
            swept.removed.len()
        );
    }
}

/// The data manifests of the runs: artifacts that tasks name in what the core carries unopened.
#[derive(Debug, Default)]
pub(crate) struct Manifests(BTreeMap<RunId, BTreeSet<Digest>>);

impl Manifests {
    /// What the cluster knows of artifacts now.
    pub(crate) fn live(&mut self, cluster: &Cluster) -> Live {
        let mut referenced = cluster.referenced();
        for run in cluster.runs() {
            let known = self.0.entry(run.run).or_insert_with(|| {
                let tasks = cluster.graph(run.run).map(|graph| graph.tasks.as_slice());
                let tasks = tasks.unwrap_or_default().iter();
                tasks
                    .filter_map(|node| crate::shell::manifest(&node.spec))
                    .collect()
            });
            referenced.extend(known.iter());
        }
        Live {
            referenced,
            newest: cluster.newest_fence(),
            oldest_live: cluster.oldest_live_fence(),
        }
    }
}
