//! Checkpoints are written beside the training, and what the disk does to them does nothing to it.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod support;

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::atomic::AtomicU32;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use support::{Ran, Shelf, data, run_solo, run_with_shelf, scratch, train_spec};
use testkit::SmallDisk;
use train::Outcome;
use types::{DataSettings, MemberName, PredictSpec, Split, TaskSpec};

/// libtorch's random numbers belong to the process: who compares bytes is alone in it.
static ALONE: Mutex<()> = Mutex::new(());

fn alone() -> MutexGuard<'static, ()> {
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Eight steps with a checkpoint after each.
fn spec(data: &DataSettings) -> TaskSpec {
    let mut spec = train_spec(data, 1, 4);
    spec.runtime.checkpoint_every_steps = 1;
    TaskSpec::Train(spec)
}

/// Everything handed over, and the result.
fn bytes(ran: &Ran) -> BTreeMap<u64, Vec<u8>> {
    let handed_over = ran.host.checkpoints.iter();
    let mut files: BTreeMap<_, _> = handed_over
        .map(|(step, path)| (*step, fs::read(path).unwrap()))
        .collect();
    files.insert(u64::MAX, fs::read(ran.output("checkpoint")).unwrap());
    files
}

fn undisturbed(spec: &TaskSpec, folder: &Path) -> BTreeMap<u64, Vec<u8>> {
    let ran = run_solo(spec, folder, &BTreeMap::new(), None, None);
    let files = bytes(&ran);
    let steps: Vec<u64> = files.keys().copied().collect();
    assert_eq!(steps, [1, 2, 3, 4, 5, 6, 7, u64::MAX]);
    assert_ne!(files[&1], files[&2]);
    files
}

#[test]
fn a_disk_without_room_holds_up_no_step_and_changes_no_byte() {
    let _alone = alone();
    let folder = tempfile::tempdir().unwrap();
    let spec = spec(&data(folder.path()));
    let expected = undisturbed(&spec, &folder.path().join("one"));

    let place = folder.path().join("two");
    fs::create_dir_all(scratch(&place)).unwrap();
    Shelf::fill(&scratch(&place).join("checkpoint.safetensors"));
    let shelf = Shelf {
        full: AtomicU32::new(1),
        ..Shelf::in_folder(&place)
    };
    let ran = run_with_shelf(&spec, shelf, None);
    let files = bytes(&ran);
    assert_eq!(ran.host.losses().len(), 8);
    for (step, bytes) in &files {
        assert!(bytes == &expected[step], "step {step}");
    }
    // it was full twice, then there was room, or the training came to its end first and wanted it no more
    let (full, goes_on) = *ran.host.depot.heard.lock().unwrap();
    assert!((1..=3).contains(&full), "said {full} times");
    assert!(goes_on >= 1);
    assert!(
        fs::read_dir(scratch(&place)).unwrap().count() == 1,
        "the result alone"
    );
}

#[test]
fn before_a_stop_the_newest_state_takes_the_place_of_what_waits_for_room() {
    let _alone = alone();
    let folder = tempfile::tempdir().unwrap();
    let spec = spec(&data(folder.path()));
    let expected = undisturbed(&spec, &folder.path().join("one"));
    let place = folder.path().join("two");
    fs::create_dir_all(scratch(&place)).unwrap();
    Shelf::fill(&scratch(&place).join("checkpoint.safetensors"));
    let ran = run_with_shelf(&spec, Shelf::in_folder(&place), Some(3));
    assert_eq!(ran.outcome.as_ref().unwrap(), &Outcome::Stopped);
    let (step, last) = ran.host.checkpoints.last().unwrap();
    assert_eq!(*step, 3);
    assert!(fs::read(last).unwrap() == expected[&3]);
}

#[test]
fn a_checkpoint_that_is_not_taken_is_lost_and_the_next_is_made() {
    let _alone = alone();
    let folder = tempfile::tempdir().unwrap();
    let spec = spec(&data(folder.path()));
    let expected = undisturbed(&spec, &folder.path().join("one"));
    let shelf = Shelf {
        refused: Some(2),
        ..Shelf::in_folder(&folder.path().join("two"))
    };
    let mut files = bytes(&run_with_shelf(&spec, shelf, None));
    assert!(!files.contains_key(&2));
    files.insert(2, expected[&2].clone());
    assert!(files == expected);
}

/// A prediction with an untrained network on a disk that is full; what becomes of it when that is over after a while, or when it is to stop.
#[test]
fn a_prediction_waits_for_room_and_ends_when_it_is_to_stop() {
    let _alone = alone();
    let folder = tempfile::tempdir().unwrap();
    let data = data(folder.path());
    let spec = TaskSpec::Predict(PredictSpec {
        seed: 7,
        iteration: 0,
        stage: 0,
        member: MemberName::new("tiny").unwrap(),
        model: support::model(),
        data,
        split: Split::WeakTrain,
        shard: 0,
        num_shards: 1,
        batch_size: 4,
        runtime: testkit::training().runtime,
    });
    let place = folder.path().join("small");
    let Some(disk) = SmallDisk::mount(&place, 4) else {
        return;
    };
    fs::create_dir_all(scratch(&place)).unwrap();
    let ballast = disk.fill();
    // whenever it is asked
    let ran = run_with_shelf(&spec, Shelf::in_folder(&place), Some(0));
    assert_eq!(ran.outcome.unwrap(), Outcome::Stopped);
    assert_eq!(ran.host.depot.heard.lock().unwrap().0, 1);

    let later = std::thread::spawn(move || {
        std::thread::sleep(Duration::from_millis(1500));
        fs::remove_file(ballast).unwrap();
    });
    let ran = run_with_shelf(&spec, Shelf::in_folder(&place), None);
    later.join().unwrap();
    assert!(ran.output("logits").exists());
    let (full, goes_on) = *ran.host.depot.heard.lock().unwrap();
    assert!(full >= 1 && goes_on == 1, "{full} {goes_on}");
}
