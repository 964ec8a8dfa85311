//! `coordinator gc`: frees what nothing in a run directory refers to, while no coordinator does so.

use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, Result};
use artifact::{Keeper, Store, Swept};
use journal::{Journal, JournalReader, SqliteJournal};
use types::{Bytes, Digest};

use crate::exit;
use crate::replay::replay;
use crate::run_dir::RunDir;
use crate::sweeper::Manifests;
use crate::terminal::say;

/// Lists what is of no use, and removes it unless `dry`; gives the exit code.
///
/// # Errors
/// When a coordinator has the run directory (which frees by itself as it goes), unless `dry`; when there is no journal, or files
/// cannot be read or removed.
pub(crate) fn run(run_dir: &Path, dry: bool) -> Result<u8> {
    let run_dir = RunDir::at(run_dir);
    let path = run_dir.journal();
    // a reader first: a mistyped folder must not get a journal
    let reader = JournalReader::open(&path).context("nothing is freed without a journal")?;
    let swept = if dry {
        let store = Store::look(run_dir.artifacts());
        sweep(&replay(reader.records())?, store, dry)?
    } else {
        let journal = SqliteJournal::open(&path)
            .context("nothing was freed: a coordinator at work frees by itself")?;
        let cluster = replay(journal.records()?)?;
        // the journal's lock is held: nobody else has the store open
        sweep(&cluster, Store::open(run_dir.artifacts())?, dry)?
    };
    tell(&swept, dry);
    Ok(exit::OK)
}

fn sweep(cluster: &control::Cluster, store: Store, dry: bool) -> Result<Swept> {
    let live = Manifests::default().live(cluster);
    let keeper = Arc::new(Keeper::new(Arc::new(store), &live)?);
    let sweep = keeper.sweep(live).context("another sweep is running")?;
    Ok(sweep.run(dry)?)
}

fn tell(swept: &Swept, dry: bool) {
    for (digest, bytes) in &swept.removed {
        say(&format!("{digest}  {}", Bytes(*bytes)));
    }
    let total = |artifacts: &[(Digest, u64)]| {
        let count = artifacts.len();
        let word = if count == 1 { "artifact" } else { "artifacts" };
        format!("{count} {word}, {}", Bytes(Swept::bytes(artifacts)))
    };
    let freed = if dry { "would be freed" } else { "freed" };
    say(&format!("{freed}: {}", total(&swept.removed)));
    say(&format!("in use: {}", total(&swept.kept)));
    if !swept.unreported.is_empty() {
        say(&format!(
            "kept, because attempts that go on may still report them: {}",
            total(&swept.unreported)
        ));
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::fs;

    use control::{DeviceKind, Input, RankReport, Record, Report, WorkerDescription};
    use types::{Fence, Incarnation, Rank, RunId, Step, Timestamp, WorkerId};

    use super::*;

    fn worker() -> (WorkerId, Incarnation) {
        (WorkerId::new("w").unwrap(), Incarnation(1))
    }

    fn report(what: RankReport) -> Input {
        let (worker, incarnation) = worker();
        Input::Report(Report {
            worker,
            incarnation,
            fence: Fence(1),
            rank: Rank(0),
            what,
        })
    }

    /// A run whose training has handed in four checkpoints and, if `done`, its result; the artifacts by name.
    fn scene(root: &Path, done: bool) -> BTreeMap<&'static str, Digest> {
        let run_dir = RunDir::create(root).unwrap();
        let store = Store::open(run_dir.artifacts()).unwrap();
        let names = ["file", "c1", "c2", "c3", "c4", "result", "leftover"];
        let artifacts: BTreeMap<_, _> = names
            .map(|name| (name, store.put_bytes(name.as_bytes()).unwrap()))
            .into();
        let (worker, incarnation) = worker();
        let mut inputs = vec![
            Input::CoordinatorStarted {
                settings: control::Settings::default(),
            },
            Input::Submit {
                run: RunId(1),
                name: "demo".to_owned(),
                graph: Arc::new(testkit::graph("train a.train pretrained=file:file").unwrap()),
            },
            Input::Hello {
                worker,
                incarnation,
                description: WorkerDescription {
                    host: "h".to_owned(),
                    device: DeviceKind::Cpu,
                    device_name: "cpu".to_owned(),
                },
                live: Vec::new(),
            },
        ];
        inputs.extend(
            ["c1", "c2", "c3", "c4"]
                .into_iter()
                .zip(1..)
                .map(|(name, step)| {
                    report(RankReport::Checkpoint {
                        step: Step(step),
                        digest: artifacts[name],
                    })
                }),
        );
        if done {
            let outputs = BTreeMap::from([("checkpoint".to_owned(), artifacts["result"])]);
            inputs.push(report(RankReport::Finished { outputs }));
        }
        let records: Vec<Record> = inputs
            .into_iter()
            .zip(1..)
            .map(|(input, at)| Record {
                at: Timestamp(at),
                input,
            })
            .collect();
        let mut journal = SqliteJournal::open(&run_dir.journal()).unwrap();
        journal.append(&records).unwrap();
        artifacts
    }

    fn left(root: &Path, artifacts: &BTreeMap<&'static str, Digest>) -> Vec<&'static str> {
        let store = Store::look(RunDir::at(root).artifacts());
        let there = artifacts.iter().filter(|(_, digest)| store.has(digest));
        there.map(|(name, _)| *name).collect()
    }

    #[test]
    fn of_a_finished_task_its_inputs_and_outputs_stay_alone() {
        let folder = tempfile::tempdir().unwrap();
        let artifacts = scene(folder.path(), true);
        let before = left(folder.path(), &artifacts).len();
        assert_eq!(run(folder.path(), true).unwrap(), exit::OK);
        assert_eq!(left(folder.path(), &artifacts).len(), before);
        assert_eq!(run(folder.path(), false).unwrap(), exit::OK);
        assert_eq!(left(folder.path(), &artifacts), ["file", "result"]);
    }

    #[test]
    fn while_an_attempt_may_still_report_what_nothing_refers_to_stays() {
        let folder = tempfile::tempdir().unwrap();
        let artifacts = scene(folder.path(), false);
        run(folder.path(), false).unwrap();
        assert_eq!(left(folder.path(), &artifacts).len(), 7);
    }

    #[test]
    fn beside_a_coordinator_and_without_a_journal_nothing_is_touched() {
        let folder = tempfile::tempdir().unwrap();
        let artifacts = scene(folder.path(), true);
        let held = SqliteJournal::open(&RunDir::at(folder.path()).journal()).unwrap();
        let error = format!("{:#}", run(folder.path(), false).unwrap_err());
        assert!(error.contains("in use by"), "{error}");
        run(folder.path(), true).unwrap();
        assert_eq!(left(folder.path(), &artifacts).len(), 7);
        drop(held);

        let empty = tempfile::tempdir().unwrap();
        let error = format!("{:#}", run(empty.path(), false).unwrap_err());
        assert!(error.contains("no journal there"), "{error}");
        assert_eq!(fs::read_dir(empty.path()).unwrap().count(), 0);
    }
}
