//! A whole small run whose coordinator dies at each write of its journal in turn: before the write, and between the write and what
//! follows from it. The worker lives on.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use control::{AttemptOutcome, Record, TaskState};
use journal::{Error, Journal, JournalReader, Records, SqliteJournal};
use plan::{Options, Plan};
use types::Digest;

use crate::exit;
use crate::fake_worker::{FakeWorker, Manners};
use crate::replay::replay;
use crate::run::{RunOptions, run_over};
use crate::small_plan;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Moment {
    BeforeTheWrite,
    AfterTheWrite,
}

/// A journal whose process dies at one of its writes.
struct Mortal {
    journal: SqliteJournal,
    writes: usize,
    dies: Option<(usize, Moment)>,
    died: Arc<AtomicBool>,
}

impl Mortal {
    fn die(&self) -> Result<(), Error> {
        self.died.store(true, Ordering::Relaxed);
        Err(Error::Damaged {
            path: PathBuf::new(),
            detail: "the process dies here".to_owned(),
        })
    }
}

impl Journal for Mortal {
    fn append(&mut self, records: &[Record]) -> Result<(), Error> {
        self.writes += 1;
        match self.dies {
            Some((write, Moment::BeforeTheWrite)) if write == self.writes => self.die(),
            Some((write, Moment::AfterTheWrite)) if write == self.writes => {
                self.journal.append(records)?;
                self.die()
            }
            _ => self.journal.append(records),
        }
    }

    fn records(&self) -> Result<Records<'_>, Error> {
        self.journal.records()
    }
}

/// One life of the coordinator, with a runtime that ends with it. Its exit code, or none if it died.
fn live(plan: &Path, run_dir: &Path, dies: Option<(usize, Moment)>) -> Option<u8> {
    // a dead coordinator's port must not be taken for this one's
    let _ = std::fs::remove_file(run_dir.join("address"));
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap();
    let options = RunOptions {
        run_dir: Some(run_dir.to_owned()),
        listen: "127.0.0.1:0".parse().unwrap(),
        local_workers: 0,
        worker_binary: None,
        lost_after: Duration::from_secs(120),
    };
    let plan = Plan::load(plan, Options { check_files: true }).unwrap();
    let died = Arc::new(AtomicBool::new(false));
    let known = Arc::clone(&died);
    let life = run_over(options, plan, |journal| {
        Box::new(Mortal {
            journal,
            writes: 0,
            dies,
            died,
        })
    });
    let end = runtime.block_on(async { tokio::time::timeout(Duration::from_secs(60), life).await });
    runtime.shutdown_timeout(Duration::from_secs(10));
    match end.expect("it ends") {
        Ok(code) => Some(code),
        Err(error) if known.load(Ordering::Relaxed) => {
            // in the middle of a run somebody else may be the first to notice, and say that the loop is gone
            let told = format!("{error:#}").contains("the process dies here");
            assert!(told || dies.is_none_or(|(write, _)| write > 1), "{error:#}");
            None
        }
        Err(error) => panic!("{error:#}"),
    }
}

/// What a run gave: outputs by task, each made by one attempt.
type Outcome = BTreeMap<String, BTreeMap<String, Digest>>;

/// A run from its beginning to its end; its outcome, and whether the coordinator died.
fn run(folder: &Path, name: &str, dies: Option<(usize, Moment)>) -> (Outcome, bool) {
    let (plan, run_dir) = (folder.join("plan.toml"), folder.join(name));
    let workers = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .unwrap();
    let worker = {
        let _inside = workers.enter();
        FakeWorker::start(&run_dir, "one", Manners::default())
    };
    let first = live(&plan, &run_dir, dies);
    let died = first.is_none();
    let code = first.or_else(|| live(&plan, &run_dir, None));
    assert_eq!(code, Some(exit::OK), "{dies:?}");
    let starts = worker.starts();
    drop(worker);
    workers.shutdown_timeout(Duration::from_secs(10));

    let journal = JournalReader::open(&run_dir.join("journal.sqlite")).unwrap();
    let cluster = replay(journal.records()).unwrap();
    let tasks = cluster.tasks(cluster.runs().pop().unwrap().run);
    let mut outcome = Outcome::new();
    for task in &tasks {
        assert_eq!(task.state, TaskState::Done, "{dies:?}: {}", task.task);
        assert_eq!(task.attempts.len(), 1, "{dies:?}: {:#?}", task.attempts);
        let ended = task.attempts[0].ended.as_ref().map(|(_, outcome)| outcome);
        assert_eq!(ended, Some(&AttemptOutcome::Finished), "{dies:?}");
        outcome.insert(task.task.name.to_string(), task.outputs.clone());
    }
    assert_eq!(starts.len(), tasks.len(), "{dies:?}: {starts:?}");
    (outcome, died)
}

fn dies_at_each_write(moment: Moment) {
    let folder = tempfile::tempdir().unwrap();
    small_plan::write_data(folder.path());
    let text =
        small_plan::text("").replace("gpus = { min = 1, max = 2 }", "gpus = { min = 1, max = 1 }");
    std::fs::write(folder.path().join("plan.toml"), text).unwrap();
    let (calm, _) = run(folder.path(), "calm", None);
    let mut write = 1;
    loop {
        let name = format!("write-{write}");
        let (outcome, died) = run(folder.path(), &name, Some((write, moment)));
        assert_eq!(outcome, calm, "died at write {write}");
        if !died {
            break;
        }
        std::fs::remove_dir_all(folder.path().join(name)).unwrap();
        write += 1;
    }
    assert!(write > calm.len(), "only {write} writes");
}

#[test]
fn a_coordinator_may_die_before_any_write() {
    dies_at_each_write(Moment::BeforeTheWrite);
}

#[test]
fn a_coordinator_may_die_between_any_write_and_what_follows() {
    dies_at_each_write(Moment::AfterTheWrite);
}
