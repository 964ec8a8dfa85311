use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use types::{Digest, Fence};

use crate::{Error, Store};

/// Removes from a store what nothing refers to any more, while others read, write and report.
///
/// An artifact stays while the cluster refers to it. Between its arrival and its report nobody does: so whatever arrives, or is
/// asked for and found, stays until a report of it has been taken, or until every attempt that was live when it arrived is over.
/// The report may lie with a worker for as long as the coordinator is away; that is why, after a start, everything that is there
/// counts as having arrived just now. An attempt whose lease has ended can report nothing any more.
///
/// Who reads an artifact while it is removed reads on: its file goes when the last reader does.
#[derive(Debug)]
pub struct Keeper {
    store: Arc<Store>,
    arrivals: Mutex<Arrivals>,
}

#[derive(Debug)]
struct Arrivals {
    /// The newest attempt.
    newest: Fence,
    /// What arrived and was not reported, with the newest attempt at that time.
    unreported: BTreeMap<Digest, Fence>,
    /// Reported since the last sweep began, and not asked for or sent again since. Only the next sweep knows whether they are
    /// referred to.
    reported: BTreeSet<Digest>,
    /// While one is held, nothing is removed,
    holds: usize,
    /// and what a sweep knew before it is out of date after it.
    holds_ever: u64,
    /// There is a sweep.
    sweeping: bool,
}

/// What a cluster knows at one moment, all of it in its journal.
#[derive(Debug, Clone, Default)]
pub struct Live {
    /// Every artifact that it refers to.
    pub referenced: BTreeSet<Digest>,
    /// The fence of the newest attempt.
    pub newest: Fence,
    /// The fence of the oldest attempt that is live, if there is one.
    pub oldest_live: Option<Fence>,
}

/// What a sweep does, or would do.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Swept {
    /// Artifacts of no use, with their bytes.
    pub removed: Vec<(Digest, u64)>,
    /// Artifacts that nothing refers to but that a live attempt may still report, with their bytes.
    pub unreported: Vec<(Digest, u64)>,
    /// What is referred to.
    pub kept: Vec<(Digest, u64)>,
}

impl Keeper {
    /// A keeper of a store that has just been opened.
    ///
    /// # Errors
    /// When the store's folder cannot be read.
    pub fn new(store: Arc<Store>, live: &Live) -> Result<Self, Error> {
        let listed = store.list()?.into_iter();
        let unreported = listed.map(|(digest, _)| (digest, live.newest)).collect();
        Ok(Self {
            store,
            arrivals: Mutex::new(Arrivals {
                newest: live.newest,
                unreported,
                reported: BTreeSet::new(),
                holds: 0,
                holds_ever: 0,
                sweeping: false,
            }),
        })
    }

    /// The store.
    #[must_use]
    pub fn store(&self) -> &Arc<Store> {
        &self.store
    }

    /// An attempt begins. Comes before anything of it can arrive.
    pub fn began(&self, fence: Fence) {
        let mut arrivals = self.arrivals();
        arrivals.newest = arrivals.newest.max(fence);
    }

    /// An artifact arrives. Comes before it is in the store.
    pub fn arrives(&self, digest: Digest) {
        self.arrivals().note(digest);
    }

    /// Whether an artifact is there; if so it stays, as if it arrived now.
    #[must_use]
    pub fn has(&self, digest: &Digest) -> bool {
        let mut arrivals = self.arrivals();
        let has = self.store.has(digest);
        if has {
            arrivals.note(*digest);
        }
        has
    }

    /// A report of an artifact has been taken, and whatever refers to it is in the journal.
    pub fn reported(&self, digest: Digest) {
        self.arrivals().reported.insert(digest);
    }

    /// Nothing is removed while the guard lives: for artifacts that are about to be referred to.
    #[must_use]
    pub fn hold(self: &Arc<Self>) -> Hold {
        let mut arrivals = self.arrivals();
        arrivals.holds += 1;
        arrivals.holds_ever += 1;
        drop(arrivals);
        Hold(Arc::clone(self))
    }

    /// Takes note of what the cluster refers to; [`Sweep::run`] may take its time, on another thread. One at a time: `None` while
    /// there is another, or a hold.
    #[must_use]
    pub fn sweep(self: &Arc<Self>, live: Live) -> Option<Sweep> {
        let mut arrivals = self.arrivals();
        if arrivals.holds > 0 || std::mem::replace(&mut arrivals.sweeping, true) {
            return None;
        }
        arrivals.newest = arrivals.newest.max(live.newest);
        for digest in std::mem::take(&mut arrivals.reported) {
            arrivals.unreported.remove(&digest);
        }
        arrivals
            .unreported
            .retain(|_, newest| live.oldest_live.is_some_and(|oldest| oldest <= *newest));
        Some(Sweep {
            keeper: Arc::clone(self),
            referenced: live.referenced,
            holds_ever: arrivals.holds_ever,
        })
    }

    fn arrivals(&self) -> MutexGuard<'_, Arrivals> {
        // changed in single steps, so that a panic leaves it whole
        self.arrivals.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Arrivals {
    fn note(&mut self, digest: Digest) {
        self.unreported.insert(digest, self.newest);
        self.reported.remove(&digest);
    }
}

/// See [`Keeper::hold`].
#[derive(Debug)]
pub struct Hold(Arc<Keeper>);

impl Drop for Hold {
    fn drop(&mut self) {
        self.0.arrivals().holds -= 1;
    }
}

/// Removal of what nothing referred to at one moment.
#[derive(Debug)]
pub struct Sweep {
    keeper: Arc<Keeper>,
    referenced: BTreeSet<Digest>,
    holds_ever: u64,
}

impl Sweep {
    /// Removes what is of no use; with `dry` it only says so.
    ///
    /// # Errors
    /// When the store's folder cannot be read, or the disk refuses. What was removed until then is gone.
    pub fn run(self, dry: bool) -> Result<Swept, Error> {
        let mut swept = Swept::default();
        for (digest, bytes) in self.keeper.store.list()? {
            if self.referenced.contains(&digest) {
                swept.kept.push((digest, bytes));
                continue;
            }
            // held meanwhile: what is asked for now is either gone or stays
            let arrivals = self.keeper.arrivals();
            let held = arrivals.holds_ever != self.holds_ever;
            if held || arrivals.unreported.contains_key(&digest) {
                swept.unreported.push((digest, bytes));
                continue;
            }
            if !dry {
                self.keeper.store.remove(&digest)?;
            }
            swept.removed.push((digest, bytes));
        }
        Ok(swept)
    }
}

impl Drop for Sweep {
    fn drop(&mut self) {
        self.keeper.arrivals().sweeping = false;
    }
}

impl Swept {
    /// Bytes of artifacts.
    #[must_use]
    pub fn bytes(artifacts: &[(Digest, u64)]) -> u64 {
        artifacts.iter().map(|(_, bytes)| bytes).sum()
    }
}
