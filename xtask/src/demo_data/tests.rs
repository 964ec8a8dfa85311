//! The set in small, from made-up recordings: same bytes again, and read by the crate that reads the real thing.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use dataset::{MAESTRO_EVALUATED, Purpose};
use types::Split;

use super::bank::{Bank, LIST, Part, sha256, sources};
use super::build::{Sizes, build};
use super::event;
use super::random::Random;
use super::{MARKER, ensure, publish};

const SMALL: Sizes = Sizes {
    synth: 5,
    strong: 5,
    weak: 5,
    unlabeled: 2,
    synth_validation: 2,
    validation: 5,
    maestro_train_seconds: 12,
    maestro_validation_seconds: 20,
};

/// A recording of half a second for everything on the list.
fn bank() -> Bank {
    let mut bank = Bank::empty();
    for (index, source) in sources(LIST).unwrap().iter().enumerate() {
        let step = 0.05 + 0.01 * index as f32;
        let sound = (0..8_000).map(|n| (n as f32 * step).sin()).collect();
        bank.insert(&source.used_for, source.part, sound);
    }
    bank
}

/// Every file below `root` with its digest.
fn contents(root: &Path) -> BTreeSet<(String, String)> {
    let mut found = BTreeSet::new();
    let mut folders = vec![root.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else {
                let name = path.strip_prefix(root).unwrap().display().to_string();
                found.insert((name, sha256(&fs::read(&path).unwrap())));
            }
        }
    }
    found
}

#[test]
fn the_same_bytes_come_again_and_the_data_room_reads_them() {
    let (one, two) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    build(&bank(), one.path(), &SMALL).unwrap();
    build(&bank(), two.path(), &SMALL).unwrap();
    assert_eq!(contents(one.path()), contents(two.path()));

    let splits = [
        (Split::MaestroTrain, 8 * 3),
        (Split::StrongTrain, 5),
        (Split::SynthTrain, 5),
        (Split::WeakTrain, 5),
        (Split::UnlabeledTrain, 2),
        (Split::DesedValidation, 5),
        (Split::MaestroValidation, 4 * 3),
    ];
    let data = dataset::layout::standard(one.path(), &splits.map(|(split, _)| split));
    for (split, count) in splits {
        assert_eq!(
            dataset::clips(&data, split, Purpose::Evaluation)
                .unwrap()
                .len(),
            count,
            "{split}"
        );
    }
    let names = event::DESED.map(|recipe| recipe.class.to_owned()).into();
    let truth = dataset::desed_truth(&data, Split::DesedValidation, &names).unwrap();
    assert_eq!(truth.durations.len(), 5);
    let names = MAESTRO_EVALUATED.map(str::to_owned).into();
    dataset::maestro_truth(&data, Split::MaestroValidation, &names).unwrap();
    // Copies for other classes need their source (recipe 2.2).
    let table = |split: Split| {
        fs::read_to_string(one.path().join(split.standard_files().metadata.unwrap())).unwrap()
    };
    for class in [
        "people talking",
        "children voices",
        "announcement",
        "cutlery and dishes",
    ] {
        assert!(table(Split::MaestroTrain).contains(class), "{class}");
    }
    for split in [Split::SynthTrain, Split::StrongTrain, Split::WeakTrain] {
        for class in ["Dishes", "Speech"] {
            assert!(table(split).contains(class), "{class} in {split}");
        }
    }
    let evaluated = MAESTRO_EVALUATED
        .iter()
        .filter(|class| table(Split::MaestroValidation).contains(**class))
        .count();
    assert!(evaluated >= 8, "{evaluated}");
}

#[test]
fn every_event_has_recordings_in_both_parts_and_lasts_as_long_as_it_should() {
    let bank = bank();
    for recipe in event::DESED.iter().chain(&event::MAESTRO) {
        for part in [Part::Train, Part::Validation] {
            for index in 0..5 {
                let mut random = Random::new(recipe.class, index);
                let event = recipe.event(&bank, part, &mut random).unwrap();
                let seconds = event.len() as f64 / 16_000.0;
                assert!(
                    (0.4..8.0).contains(&seconds),
                    "{}: {seconds} s",
                    recipe.class
                );
                assert!(event.iter().all(|x| x.is_finite()));
            }
        }
    }
}

#[test]
fn another_persons_folder_is_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("demo");
    fs::create_dir(&out).unwrap();
    fs::write(out.join("thesis.txt"), "mine").unwrap();
    let error = ensure(&out, dir.path(), true).unwrap_err().to_string();
    assert!(error.contains("was not made by this command"), "{error}");
    assert!(out.join("thesis.txt").exists());
}

#[test]
fn a_finished_set_replaces_an_older_one() {
    let dir = tempfile::tempdir().unwrap();
    let (out, aside) = (dir.path().join("demo"), dir.path().join("demo.part"));
    for folder in [&out, &aside] {
        fs::create_dir(folder).unwrap();
    }
    fs::write(out.join(MARKER), "old").unwrap();
    fs::write(aside.join(MARKER), "new").unwrap();
    publish(&aside, &out).unwrap();
    assert_eq!(fs::read_to_string(out.join(MARKER)).unwrap(), "new");
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
}
