//! Nothing that is referred to, read or about to be reported is ever removed; everything else is gone in the end.
#![expect(clippy::unwrap_used, reason = "helpers of tests may panic")]

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use artifact::{Disk as _, Keeper, Live, Reader, Store, Swept};
use proptest::prelude::*;
use testkit::Disk;
use types::{Digest, Fence};

const ROOT: &str = "/run/artifacts";

/// A coordinator in miniature: attempts that upload and report checkpoints of work, of which the newest two stay.
struct Scene {
    disk: Disk,
    keeper: Arc<Keeper>,
    newest: Fence,
    /// Live attempts: their work, and what they have sent but not reported.
    attempts: BTreeMap<Fence, (u8, Vec<Digest>)>,
    /// In the journal: work to its newest checkpoints.
    checkpoints: BTreeMap<u8, Vec<Digest>>,
    results: BTreeSet<Digest>,
    readers: Vec<(Reader, Vec<u8>)>,
}

#[derive(Debug, Clone)]
enum Deed {
    /// A new attempt at some work.
    Begin(u8),
    /// Some attempt sends a checkpoint, whose content is this.
    Send(usize, u8),
    /// Some attempt's oldest unreported artifact is reported.
    Report(usize),
    /// Some attempt finishes with what it sent last as its result.
    Finish(usize),
    /// Some attempt is lost with all that it had to say.
    Lose(usize),
    /// The newest checkpoint of some work turns out to be damaged.
    Damage(u8),
    /// Somebody begins to read something.
    Read(usize),
    Sweep,
    /// The coordinator's machine crashes; workers go on and report later.
    Crash,
}

fn deed() -> impl Strategy<Value = Deed> {
    prop_oneof![
        2 => (0..3_u8).prop_map(Deed::Begin),
        6 => (any::<usize>(), 0..12_u8).prop_map(|(attempt, content)| Deed::Send(attempt, content)),
        5 => any::<usize>().prop_map(Deed::Report),
        1 => any::<usize>().prop_map(Deed::Finish),
        1 => any::<usize>().prop_map(Deed::Lose),
        1 => (0..3_u8).prop_map(Deed::Damage),
        2 => any::<usize>().prop_map(Deed::Read),
        4 => Just(Deed::Sweep),
        1 => Just(Deed::Crash),
    ]
}

fn open(disk: &Disk) -> Arc<Store> {
    disk.create_folder(Path::new(ROOT)).unwrap();
    disk.sync_folder(Path::new("/")).unwrap();
    disk.sync_folder(Path::new("/run")).unwrap();
    Arc::new(Store::open_on(Arc::new(disk.clone()), ROOT).unwrap())
}

/// Contents of different work differ, as a checkpoint's do.
fn content(work: u8, number: u8) -> Vec<u8> {
    vec![work * 100 + number; 50 + usize::from(number)]
}

impl Scene {
    fn new(seed: u64) -> Self {
        let disk = Disk::new(seed);
        let keeper = Keeper::new(open(&disk), &Live::default()).unwrap();
        Self {
            disk,
            keeper: Arc::new(keeper),
            newest: Fence::default(),
            attempts: BTreeMap::new(),
            checkpoints: BTreeMap::new(),
            results: BTreeSet::new(),
            readers: Vec::new(),
        }
    }

    fn live(&self) -> Live {
        let kept = self.checkpoints.values().flatten();
        Live {
            referenced: kept.chain(&self.results).copied().collect(),
            newest: self.newest,
            oldest_live: self.attempts.keys().next().copied(),
        }
    }

    fn some_attempt(&self, number: usize) -> Option<Fence> {
        let count = self.attempts.len().max(1);
        self.attempts.keys().nth(number % count).copied()
    }

    fn perform(&mut self, deed: Deed) {
        match deed {
            Deed::Begin(work) => {
                if self.attempts.values().all(|(other, _)| *other != work) {
                    self.newest = self.newest.next();
                    self.keeper.began(self.newest);
                    self.attempts.insert(self.newest, (work, Vec::new()));
                }
            }
            Deed::Send(attempt, number) => {
                let Some(fence) = self.some_attempt(attempt) else {
                    return;
                };
                let (work, sent) = self.attempts.get_mut(&fence).unwrap();
                let bytes = content(*work, number);
                let digest = Digest::of(&bytes);
                if !self.keeper.has(&digest) {
                    self.keeper.arrives(digest);
                    self.keeper.store().put_bytes(&bytes).unwrap();
                }
                sent.push(digest);
            }
            Deed::Report(attempt) => {
                let Some(fence) = self.some_attempt(attempt) else {
                    return;
                };
                let (work, sent) = self.attempts.get_mut(&fence).unwrap();
                if !sent.is_empty() {
                    let digest = sent.remove(0);
                    let kept = self.checkpoints.entry(*work).or_default();
                    kept.retain(|other| *other != digest);
                    kept.push(digest);
                    kept.drain(..kept.len().saturating_sub(2));
                    // what was sent again later is to be reported again
                    if !sent.contains(&digest) {
                        self.keeper.reported(digest);
                    }
                }
            }
            Deed::Finish(attempt) => {
                let Some(fence) = self.some_attempt(attempt) else {
                    return;
                };
                let (work, sent) = self.attempts.remove(&fence).unwrap();
                if let Some(result) = sent.last() {
                    self.results.insert(*result);
                    self.checkpoints.remove(&work);
                    self.keeper.reported(*result);
                }
            }
            Deed::Lose(attempt) => {
                if let Some(fence) = self.some_attempt(attempt) {
                    self.attempts.remove(&fence);
                }
            }
            Deed::Damage(work) => {
                if let Some(kept) = self.checkpoints.get_mut(&work) {
                    kept.pop();
                }
            }
            Deed::Read(number) => {
                let listed = self.keeper.store().list().unwrap();
                if let Some((digest, _)) = listed.get(number % listed.len().max(1)) {
                    let mut reader = self.keeper.store().read(digest).unwrap();
                    let begun = reader.next_chunk(7).unwrap();
                    self.readers.push((reader, begun));
                }
            }
            Deed::Sweep => {
                self.sweep(false);
            }
            Deed::Crash => {
                self.disk.crash();
                self.keeper = Arc::new(Keeper::new(open(&self.disk), &self.live()).unwrap());
            }
        }
    }

    fn sweep(&self, dry: bool) -> Swept {
        self.keeper.sweep(self.live()).unwrap().run(dry).unwrap()
    }

    fn check(&self) {
        let store = self.keeper.store();
        let unreported = self.attempts.values().flat_map(|(_, sent)| sent);
        for digest in self.live().referenced.iter().chain(unreported) {
            store.verify(digest).unwrap();
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn what_is_needed_is_never_missing_and_the_rest_goes(seed: u64, deeds in proptest::collection::vec(deed(), 1..80)) {
        let mut scene = Scene::new(seed);
        for deed in deeds {
            scene.perform(deed);
            scene.check();
        }
        // readers get to the end of what they began, removed or not
        for (mut reader, mut bytes) in std::mem::take(&mut scene.readers) {
            loop {
                let chunk = reader.next_chunk(1000).unwrap();
                if chunk.is_empty() {
                    break;
                }
                bytes.extend(chunk);
            }
            prop_assert_eq!(Digest::of(&bytes), reader.digest());
        }
        scene.attempts.clear();
        let would = scene.sweep(true);
        let swept = scene.sweep(false);
        prop_assert_eq!(&would, &swept);
        let left: BTreeSet<Digest> = scene.keeper.store().list().unwrap().into_iter().map(|(digest, _)| digest).collect();
        prop_assert_eq!(left, scene.live().referenced);
        prop_assert!(swept.unreported.is_empty());
    }
}

#[test]
fn a_report_that_is_still_on_its_way_saves_its_artifact_over_a_restart() {
    let mut scene = Scene::new(1);
    scene.perform(Deed::Begin(0));
    scene.perform(Deed::Send(0, 1));
    scene.perform(Deed::Crash);
    scene.perform(Deed::Sweep);
    scene.check();
    // its lease has ended: nobody can report it any more
    scene.perform(Deed::Lose(0));
    scene.perform(Deed::Sweep);
    assert_eq!(scene.keeper.store().list().unwrap(), []);
}

#[test]
fn nothing_goes_while_somebody_is_about_to_refer_to_something() {
    let scene = Scene::new(1);
    let keeper = &scene.keeper;
    let digest = keeper.store().put_bytes(b"a plan's file").unwrap();
    let begun_before = keeper.sweep(scene.live()).unwrap();
    let hold = keeper.hold();
    assert!(keeper.sweep(scene.live()).is_none());
    drop(hold);
    let swept = begun_before.run(false).unwrap();
    assert_eq!(swept.unreported, [(digest, 13)], "it knows too little");
    let running = keeper.sweep(scene.live());
    assert!(keeper.sweep(scene.live()).is_none(), "one at a time");
    drop(running);
    let swept = scene.sweep(false);
    assert_eq!((swept.removed, swept.kept), (vec![(digest, 13)], vec![]));
}

/// Workers that ask, send and report as fast as they can, and a sweeper beside them, on real files.
#[test]
fn askers_senders_and_sweeps_at_once_lose_nothing() {
    const WORKERS: u64 = 4;
    let folder = tempfile::tempdir().unwrap();
    let store = Arc::new(Store::open(folder.path().join("artifacts")).unwrap());
    let keeper = Arc::new(Keeper::new(store, &Live::default()).unwrap());
    // the newest two of each worker, as a journal would have them
    let journal = std::sync::Mutex::new(BTreeMap::<u64, Vec<Digest>>::new());
    keeper.began(Fence(WORKERS));
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..WORKERS)
            .map(|worker| {
                let (keeper, journal) = (&keeper, &journal);
                scope.spawn(move || {
                    for round in 0..150_u64 {
                        // contents come again, so that what is being removed is asked for
                        let bytes = vec![(worker * 7 + round % 7) as u8; 64];
                        let digest = Digest::of(&bytes);
                        if !keeper.has(&digest) {
                            keeper.arrives(digest);
                            keeper.store().put_bytes(&bytes).unwrap();
                        }
                        std::thread::yield_now();
                        keeper.store().verify(&digest).unwrap();
                        let mut journal = journal.lock().unwrap();
                        let kept = journal.entry(worker).or_default();
                        kept.retain(|other| *other != digest);
                        kept.push(digest);
                        kept.drain(..kept.len().saturating_sub(2));
                        keeper.reported(digest);
                        for digest in kept {
                            keeper.store().verify(digest).unwrap();
                        }
                    }
                })
            })
            .collect();
        let sweeper = scope.spawn(|| {
            let mut removed = 0;
            while !done.load(Ordering::Relaxed) {
                let sweep = {
                    let journal = journal.lock().unwrap();
                    keeper.sweep(Live {
                        referenced: journal.values().flatten().copied().collect(),
                        newest: Fence(WORKERS),
                        oldest_live: Some(Fence(1)),
                    })
                };
                removed += sweep.unwrap().run(false).unwrap().removed.len();
            }
            removed
        });
        let ended: Vec<_> = workers.into_iter().map(|worker| worker.join()).collect();
        done.store(true, Ordering::Relaxed);
        assert!(
            sweeper.join().unwrap() > 0,
            "something was removed meanwhile"
        );
        assert!(ended.into_iter().all(|end| end.is_ok()));
    });
}
