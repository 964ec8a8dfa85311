//! Ranks as processes: a test starts its own binary once per rank, with a store in a folder and a time limit.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use collective::{FolderStore, GlooOptions, ProcessGroup, Store};

const RANK: &str = "COLLECTIVE_TEST_RANK";
const FOLDER: &str = "COLLECTIVE_TEST_FOLDER";

/// All ranks of a test together, process starts included.
const LIMIT: Duration = Duration::from_secs(60);

/// One rank, as its process sees it.
pub(crate) struct Rank {
    pub(crate) rank: usize,
    pub(crate) size: usize,
    folder: PathBuf,
}

impl Rank {
    /// A store that the ranks share; `name` tells stores of one test apart.
    pub(crate) fn store(&self, name: &str) -> Store {
        let keys = FolderStore::new(self.folder.join(name)).unwrap();
        Store::new(Arc::new(keys)).unwrap()
    }

    /// Joins all ranks of the test.
    pub(crate) fn group(&self, name: &str, timeout: Duration) -> ProcessGroup {
        let options = GlooOptions {
            timeout,
            ..GlooOptions::default()
        };
        ProcessGroup::gloo(&self.store(name), self.rank, self.size, &options).unwrap()
    }
}

/// Runs `body` in `size` processes. `test` is the path of the calling test. The rank `doomed` must end by a signal, all
/// others well.
pub(crate) fn ranks(test: &str, size: usize, doomed: Option<usize>, body: impl FnOnce(&Rank)) {
    if let Ok(rank) = std::env::var(RANK) {
        collective::runtime::set_threads(1);
        body(&Rank {
            rank: rank.parse().unwrap(),
            size,
            folder: std::env::var_os(FOLDER).unwrap().into(),
        });
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let mut children: Vec<Child> = (0..size)
        .map(|rank| start(test, rank, folder.path()))
        .collect();
    let started = Instant::now();
    let mut ends = vec![None; size];
    while ends.iter().any(Option::is_none) && started.elapsed() < LIMIT {
        for (end, child) in ends.iter_mut().zip(&mut children) {
            if end.is_none() {
                *end = child.try_wait().unwrap();
            }
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    for child in &mut children {
        let _ = child.kill();
        let _ = child.wait();
    }
    for (rank, end) in ends.iter().enumerate() {
        let log = fs::read_to_string(folder.path().join(format!("{rank}.log"))).unwrap_or_default();
        let end =
            end.unwrap_or_else(|| panic!("rank {rank} was still running after {LIMIT:?}:\n{log}"));
        if doomed == Some(rank) {
            assert!(
                end.code().is_none(),
                "rank {rank} should be killed, ended with {end}:\n{log}"
            );
        } else {
            assert!(end.success(), "rank {rank} ended with {end}:\n{log}");
        }
    }
}

fn start(test: &str, rank: usize, folder: &Path) -> Child {
    let log = fs::File::create(folder.join(format!("{rank}.log"))).unwrap();
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", test, "--nocapture", "--test-threads", "1"])
        .env(RANK, rank.to_string())
        .env(FOLDER, folder)
        .stdin(Stdio::null())
        .stdout(log.try_clone().unwrap())
        .stderr(log)
        .spawn()
        .unwrap()
}
