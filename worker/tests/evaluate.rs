//! `worker evaluate` and `worker tune` as they are called.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

/// A clip with a bark from 2 to 4 s, and scores that hear it.
fn write_files(folder: &Path) {
    let scores = folder.join("scores");
    fs::create_dir(&scores).unwrap();
    let mut table = "onset\toffset\tDog\n".to_owned();
    for frame in 0..100 {
        let score = if (20..40).contains(&frame) { 0.8 } else { 0.1 };
        let (onset, offset) = (f64::from(frame) / 10.0, f64::from(frame + 1) / 10.0);
        table.push_str(&format!("{onset}\t{offset}\t{score}\n"));
    }
    fs::write(scores.join("a.tsv"), table).unwrap();
    let truth = "filename\tonset\toffset\tevent_label\na.wav\t2.0\t4.0\tDog\n";
    fs::write(folder.join("truth.tsv"), truth).unwrap();
    fs::write(
        folder.join("durations.tsv"),
        "filename\tduration\na.wav\t10.0\n",
    )
    .unwrap();
}

fn run(folder: &Path, words: &[&str]) -> (i32, String, String) {
    let files = [
        "--scores",
        "scores",
        "--ground-truth",
        "truth.tsv",
        "--durations",
        "durations.tsv",
    ];
    let (command, more) = words.split_first().unwrap();
    let Output {
        status,
        stdout,
        stderr,
    } = Command::new(env!("CARGO_BIN_EXE_worker"))
        .arg(command)
        .args(files)
        .args(more)
        .env("OMP_NUM_THREADS", "1")
        .current_dir(folder)
        .output()
        .unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (status.code().unwrap(), text(stdout), text(stderr))
}

#[test]
fn a_system_is_tuned_and_scored() {
    let folder = tempfile::tempdir().unwrap();
    write_files(folder.path());
    let (code, said, errors) = run(folder.path(), &["tune", "-o", "boxes.json"]);
    assert_eq!((code, errors.as_str()), (0, ""), "{said}");
    let (code, said, errors) = run(
        folder.path(),
        &["evaluate", "--boxes", "boxes.json", "--json"],
    );
    assert_eq!((code, errors.as_str()), (0, ""), "{said}");
    let found: serde_json::Value = serde_json::from_str(&said).unwrap();
    assert_eq!(found["values"]["PSDS1"]["value"], 1.0);
}

#[test]
fn what_is_wrong_is_told_with_the_exit_code() {
    let folder = tempfile::tempdir().unwrap();
    write_files(folder.path());
    fs::remove_file(folder.path().join("truth.tsv")).unwrap();
    let (code, said, error) = run(folder.path(), &["evaluate"]);
    assert_eq!((code, said.as_str()), (1, ""));
    assert!(
        error.starts_with("error: ") && error.contains("truth.tsv"),
        "{error}"
    );
    assert_eq!(error.lines().count(), 1, "{error}");
    let (code, _, error) = run(folder.path(), &["evaluate", "--median", "4"]);
    assert_eq!(code, 2);
    assert!(error.contains("expected an odd number"), "{error}");
}
