//! Journals from outside: what is written is read, by whom, and what is said about files that are none.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::fs;
use std::path::Path;

use control::{Input, Record, Settings};
use journal::{Error, Journal, JournalReader, MemoryJournal, SqliteJournal};
use types::{RunId, TaskGraph, Timestamp};

fn some_records() -> Vec<Record> {
    let inputs = [
        Input::CoordinatorStarted {
            settings: Settings::default(),
        },
        Input::Submit {
            run: RunId(1),
            name: "demo".to_owned(),
            graph: TaskGraph::default().into(),
        },
        Input::Shutdown,
    ];
    inputs
        .into_iter()
        .zip(1..)
        .map(|(input, at)| Record {
            at: Timestamp(at),
            input,
        })
        .collect()
}

fn read(journal: &impl Journal) -> Vec<Record> {
    journal.records().unwrap().map(Result::unwrap).collect()
}

#[test]
fn what_was_written_is_there_after_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("journal.sqlite");
    let mut memory = MemoryJournal::default();
    for part in some_records().chunks(2) {
        // Each opening is a new life of the coordinator.
        SqliteJournal::open(&path).unwrap().append(part).unwrap();
        memory.append(part).unwrap();
    }
    let journal = SqliteJournal::open(&path).unwrap();
    assert_eq!(read(&journal), some_records());
    assert_eq!(
        read(&memory),
        some_records(),
        "the twin in memory does the same"
    );
    assert_eq!(journal.len().unwrap(), 3);
}

#[test]
fn a_second_coordinator_is_told_who_has_it() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("journal.sqlite");
    let first = SqliteJournal::open(&path).unwrap();
    let error = SqliteJournal::open(&path).unwrap_err();
    assert!(
        error
            .to_string()
            .contains(&format!("in use by process {}", std::process::id())),
        "{error}"
    );
    drop(first);
    SqliteJournal::open(&path).unwrap();
}

#[test]
fn a_reader_sees_all_and_writes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("the run?/journal.sqlite");
    fs::create_dir(path.parent().unwrap()).unwrap();
    let mut journal = SqliteJournal::open(&path).unwrap();
    journal.append(&some_records()).unwrap();

    // A coordinator has it open, and what it has written is still in the log beside the file.
    let reader = JournalReader::open(&path).unwrap();
    assert_eq!(
        reader.records().map(Result::unwrap).collect::<Vec<_>>(),
        some_records()
    );
    drop(reader);

    // A coordinator died with it open.
    let crashed = folder.path().join("crashed");
    fs::create_dir(&crashed).unwrap();
    for entry in fs::read_dir(path.parent().unwrap()).unwrap() {
        let entry = entry.unwrap();
        fs::copy(entry.path(), crashed.join(entry.file_name())).unwrap();
    }
    let before = contents(&crashed);
    let reader = JournalReader::open(&crashed.join("journal.sqlite")).unwrap();
    assert_eq!(reader.records().count(), 3);
    drop(reader);
    let unchanged = |name: &str| {
        contents(&crashed)
            .iter()
            .find(|(found, _)| found == name)
            .cloned()
    };
    for (name, bytes) in before.iter().filter(|(name, _)| !name.ends_with("-shm")) {
        assert_eq!(
            unchanged(name).map(|(_, bytes)| bytes).as_ref(),
            Some(bytes),
            "{name}"
        );
    }
    assert_eq!(contents(&crashed).len(), before.len());

    // Nobody has it open.
    drop(journal);
    let before = contents(path.parent().unwrap());
    let reader = JournalReader::open(&path).unwrap();
    assert_eq!(reader.records().count(), 3);
    drop(reader);
    assert_eq!(contents(path.parent().unwrap()), before);
}

fn contents(folder: &Path) -> Vec<(String, Vec<u8>)> {
    let entries = fs::read_dir(folder).unwrap().map(Result::unwrap);
    let mut found: Vec<_> = entries
        .map(|entry| {
            (
                entry.file_name().into_string().unwrap(),
                fs::read(entry.path()).unwrap(),
            )
        })
        .collect();
    found.sort();
    found
}

#[test]
fn files_that_are_no_journals_are_named_and_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("journal.sqlite");

    assert!(matches!(
        JournalReader::open(&path),
        Err(Error::Missing { .. })
    ));

    fs::write(
        &path,
        b"a text of more than a few bytes, but certainly no database whatsoever",
    )
    .unwrap();
    let error = SqliteJournal::open(&path).unwrap_err();
    assert!(matches!(error, Error::NotAJournal { .. }), "{error}");
    assert!(fs::read(&path).unwrap().starts_with(b"a text"));
    fs::remove_file(&path).unwrap();

    let other = rusqlite::Connection::open(&path).unwrap();
    other
        .execute_batch("CREATE TABLE records (number, body); PRAGMA application_id = 7")
        .unwrap();
    let error = SqliteJournal::open(&path).unwrap_err();
    assert!(error.to_string().contains("another program"), "{error}");
    drop(other);
    fs::remove_file(&path).unwrap();

    drop(SqliteJournal::open(&path).unwrap());
    let newer = rusqlite::Connection::open(&path).unwrap();
    newer.execute_batch("PRAGMA user_version = 9").unwrap();
    drop(newer);
    let error = SqliteJournal::open(&path).unwrap_err();
    assert!(
        matches!(
            error,
            Error::Version {
                found: 9,
                expected: 1,
                ..
            }
        ),
        "{error}"
    );
}

#[test]
fn a_flipped_page_is_damage_and_a_foreign_record_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("journal.sqlite");
    let many: Vec<_> = (0..2000).flat_map(|_| some_records()).collect();
    SqliteJournal::open(&path).unwrap().append(&many).unwrap();
    let sound = fs::read(&path).unwrap();

    let mut bytes = sound.clone();
    let middle = bytes.len() / 2 / 4096 * 4096;
    bytes[middle..middle + 64].fill(0xa5);
    fs::write(&path, &bytes).unwrap();
    let error = SqliteJournal::open(&path).unwrap_err();
    assert!(matches!(error, Error::Damaged { .. }), "{error}");

    fs::write(&path, &sound).unwrap();
    let newer = rusqlite::Connection::open(&path).unwrap();
    newer
        .execute(
            "UPDATE records SET body = '{\"v\":99}' WHERE number = 2",
            [],
        )
        .unwrap();
    drop(newer);
    let journal = SqliteJournal::open(&path).unwrap();
    let read: Vec<_> = journal.records().unwrap().collect();
    assert_eq!(read.len(), 2);
    let error = read[1].as_ref().unwrap_err().to_string();
    assert!(
        error.contains("record 2") && error.contains("version 99"),
        "{error}"
    );
}
