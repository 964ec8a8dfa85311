//! Broken data and artifacts: a clear error that names file and place, an exit code that is not 0, nothing half-written.

use std::fs;
use std::path::{Path, PathBuf};

use system_tests::house::{Finished, House, RUN_LIMIT};

/// Runs to the end with something broken; gives everything that was said.
fn fails(house: &House) -> Finished {
    let end = house.run(1).wait(RUN_LIMIT);
    assert!(!end.status.success(), "it went through\n{}", end.all());
    end
}

fn assert_says(end: &Finished, words: &[&str]) {
    for word in words {
        assert!(
            end.all().contains(word),
            "nothing is said about {word:?}\n{}",
            end.all()
        );
    }
}

/// The first file below a folder that ends like this, by name.
fn first_file(folder: &Path, ending: &str) -> PathBuf {
    let mut files: Vec<PathBuf> = fs::read_dir(folder)
        .unwrap_or_else(|error| panic!("{}: {error}", folder.display()))
        .map(|entry| entry.expect("an entry").path())
        .filter(|path| path.to_string_lossy().ends_with(ending))
        .collect();
    files.sort();
    files
        .into_iter()
        .next()
        .unwrap_or_else(|| panic!("{}: no {ending}", folder.display()))
}

#[test]
fn a_truncated_wav_is_named() {
    let house = House::new();
    let wav = first_file(
        &house.data().join("audio/train/strong_label_real_16k"),
        ".wav",
    );
    let bytes = fs::read(&wav).expect("a clip");
    fs::write(&wav, &bytes[..bytes.len() / 2]).expect("cut");
    let end = fails(&house);
    let name = wav
        .file_name()
        .expect("a name")
        .to_string_lossy()
        .into_owned();
    assert_says(&end, &[&name, "data"]);
    let failed = house.history().task("i1.s1.a.train");
    assert!(
        failed.outputs.is_empty(),
        "nothing half-written is handed in"
    );
}

#[test]
fn a_broken_row_and_an_unknown_class_are_named_by_line() {
    let house = House::new();
    let table = house.data().join("metadata/train/audioset_strong.tsv");
    let good = fs::read_to_string(&table).expect("the table");
    let first_row = good.lines().nth(1).expect("a row");

    fs::write(
        &table,
        good.replacen(first_row, &first_row.replace('\t', " "), 1),
    )
    .expect("broken");
    assert_says(&fails(&house), &["audioset_strong.tsv", "2"]);

    let class = first_row.rsplit('\t').next().expect("a class");
    fs::write(
        &table,
        good.replacen(&format!("\t{class}"), "\tDidgeridoo", 1),
    )
    .expect("broken");
    assert_says(&fails(&house), &["audioset_strong.tsv", "Didgeridoo"]);
}

#[test]
fn a_missing_file_is_named() {
    let house = House::new();
    let wav = first_file(
        &house.data().join("audio/train/strong_label_real_16k"),
        ".wav",
    );
    fs::remove_file(&wav).expect("removed");
    let name = wav
        .file_name()
        .expect("a name")
        .to_string_lossy()
        .into_owned();
    assert_says(&fails(&house), &[&name]);
}

#[test]
fn a_flipped_byte_in_a_checkpoint_is_found_and_the_next_call_makes_it_again() {
    let house = House::new();
    let first = house.run(1).wait(RUN_LIMIT);
    assert!(first.status.success(), "{}", first.all());
    let digest = house.history().task("i1.s1.b.train").outputs["checkpoint"].to_string();
    let artifact =
        find(&house.run_dir().join("artifacts"), &digest).expect("the checkpoint's file");
    let mut bytes = fs::read(&artifact).expect("the checkpoint");
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    // Artifacts are read-only; a fault of the disk does not ask.
    fs::remove_file(&artifact).expect("replaced");
    fs::write(&artifact, bytes).expect("replaced");
    // What the worker has cached is out of the way, as on another host.
    fs::remove_dir_all(house.run_dir().join("workers")).expect("removed");

    house.edit_plan("seed = 2\n", "seed = 2\nstage2.optimizer.lr_rnn = 2e-4\n");
    let end = fails(&house);
    assert_says(&end, &[&digest[..10], "i1.s2.b.train"]);
    let again = house.run(1).wait(RUN_LIMIT);
    assert!(again.status.success(), "{}", again.all());
    assert_eq!(
        house
            .history()
            .executed()
            .iter()
            .filter(|name| *name == "i1.s1.b.train")
            .count(),
        2,
        "what was damaged was made again"
    );
}

fn find(folder: &Path, name: &str) -> Option<PathBuf> {
    for entry in fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            if let Some(found) = find(&path, name) {
                return Some(found);
            }
        } else if path.to_string_lossy().replace('/', "").ends_with(name)
            || path
                .file_name()
                .is_some_and(|own| own.to_string_lossy() == name)
        {
            return Some(path);
        }
    }
    None
}
