//! Any three texts are a split's table, its durations and its exclude list, or an error. What is accepted becomes clips, label
//! grids, training sets and ground truth, can be scored, and is read back equal when it is written.
//!
//! Input: a byte for the split, then the three texts with a zero byte between them.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use dataset::{LabelGrid, LabeledEvent, Purpose, StrongRow};
use types::{DataSettings, Split, SplitFiles};

#[path = "scratch.rs"]
mod scratch;

thread_local! {
    static SCRATCH: scratch::Scratch = with_audio();
}

/// The tables are about these files.
const FILES: [&str; 5] = [
    "a.wav",
    "b.flac",
    "cafe_restaurant_00-000000-001000.wav",
    "cafe_restaurant_00-000500-001500.wav",
    "city_center_01-000000-000700.wav",
];

fn with_audio() -> scratch::Scratch {
    let scratch = scratch::Scratch::new();
    std::fs::create_dir(scratch.path().join("audio")).expect("a folder can be made");
    for name in FILES {
        // Listing clips looks at names alone.
        scratch.write(&format!("audio/{name}"), b"");
    }
    scratch
}

pub(crate) fn check(input: &[u8]) {
    let Some((&first, text)) = input.split_first() else {
        return;
    };
    let split = Split::ALL[usize::from(first) % Split::ALL.len()];
    let mut texts = text.splitn(3, |byte| *byte == 0);
    SCRATCH.with(|scratch| {
        let root = scratch.path();
        let mut next = |name| scratch.write(name, texts.next().unwrap_or_default());
        let table = next("table.tsv");
        let durations = next("durations.tsv");
        let exclude = next("exclude.tsv");
        let aside = root.join("again.tsv");
        if split == Split::WeakTrain {
            weak(&table, &aside, split);
        } else if split != Split::UnlabeledTrain {
            strong(&table, &aside, split);
        }
        times(&durations, split);
        if let Ok(names) = dataset::read_exclude(&exclude, split) {
            assert!(names.iter().all(|name| !name.contains('/')));
        }
        let data = DataSettings {
            root: root.to_owned(),
            sources: BTreeMap::from([(
                split,
                SplitFiles {
                    audio: "audio".into(),
                    metadata: Some("table.tsv".into()),
                    durations: Some("durations.tsv".into()),
                },
            )]),
            exclude: BTreeMap::from([(split, "exclude.tsv".into())]),
            impulse_responses: None,
            manifest: None,
        };
        used(&data, split);
    });
}

fn strong(table: &Path, aside: &Path, split: Split) {
    let Ok(rows) = dataset::read_strong(table, split) else {
        return;
    };
    assert!(!rows.is_empty());
    for row in &rows {
        assert!(row.onset <= row.offset && (0.0..=1.0).contains(&row.confidence));
    }
    grids(&rows);
    dataset::write_strong(aside, &rows, split.is_maestro()).expect("a table can be written");
    let again = dataset::read_strong(aside, split).expect("what was written can be read");
    let plain = |rows: &[StrongRow]| -> Vec<StrongRow> {
        let without_line = |row: &StrongRow| StrongRow {
            line: 0,
            ..row.clone()
        };
        rows.iter().map(without_line).collect()
    };
    assert_eq!(plain(&rows), plain(&again));
}

/// Label grids of all rows as if they were one clip's.
fn grids(rows: &[StrongRow]) {
    let events: Vec<LabeledEvent> = rows
        .iter()
        .map(|row| LabeledEvent {
            onset: row.onset,
            offset: row.offset,
            class: row.class,
            confidence: row.confidence,
        })
        .collect();
    for crop_onset in [0.0, 3.217] {
        let grid = LabelGrid::strong(&events, crop_onset);
        assert!(
            grid.values()
                .iter()
                .all(|value| (0.0..=1.0).contains(value))
        );
    }
}

fn weak(table: &Path, aside: &Path, split: Split) {
    let Ok(rows) = dataset::read_weak(table, split) else {
        return;
    };
    for row in &rows {
        let heard = LabelGrid::weak(&row.classes).to_weak();
        assert!(row.classes.iter().all(|class| heard[*class] == 1.0));
    }
    dataset::write_weak(aside, &rows).expect("a table can be written");
    let again = dataset::read_weak(aside, split).expect("what was written can be read");
    assert_eq!(rows.len(), again.len());
    for (one, other) in rows.iter().zip(&again) {
        assert_eq!(
            (&one.filename, &one.classes),
            (&other.filename, &other.classes)
        );
    }
}

fn times(durations: &Path, split: Split) {
    let Ok(durations) = dataset::read_durations(durations, split) else {
        return;
    };
    for duration in durations.values() {
        assert!(!dataset::maestro_windows(*duration, dataset::TRAIN_HOP).is_empty());
    }
}

/// What training and scoring make of the tables.
fn used(data: &DataSettings, split: Split) {
    for purpose in [Purpose::Training, Purpose::Evaluation] {
        if let Ok(clips) = dataset::clips(data, split, purpose) {
            for clip in clips {
                let grid = clip.labels(0.0);
                assert!(
                    grid.values()
                        .iter()
                        .all(|value| (0.0..=1.0).contains(value))
                );
            }
        }
    }
    if split.is_train() {
        let _ = dataset::TrainSet::open(data);
    }
    let all: BTreeSet<String> = dataset::CLASSES
        .iter()
        .map(|class| (*class).to_owned())
        .collect();
    if split.is_maestro() {
        if let Ok(truth) = dataset::maestro_truth(data, split, &all) {
            let truth = reference(truth.recordings);
            // No clip was predicted: every second of every recording scores 0.
            let scores = eval::Scores::new(heard(&truth), Vec::new()).expect("no clip is wrong");
            let _ = eval::maestro_auroc(&scores, &truth, 0.1, eval::Area::Staircase);
        }
    } else if let Ok(truth) = dataset::desed_truth(data, split, &all) {
        let truth = reference(truth);
        let classes = heard(&truth);
        let clips = truth
            .durations
            .iter()
            .map(|(clip, duration)| eval::ClipScores {
                clip: clip.clone(),
                boundaries: vec![0.0, duration / 2.0, *duration],
                values: (0..2 * classes.len())
                    .map(|at| (at % 7) as f64 / 7.0)
                    .collect(),
            });
        let clips = clips.collect();
        if let Ok(scores) = eval::Scores::new(classes, clips) {
            let _ = eval::psds(&scores, &truth, &eval::PsdsSettings::PSDS1);
        }
    }
}

fn reference(truth: dataset::Truth) -> eval::GroundTruth {
    eval::GroundTruth {
        events: truth.events,
        durations: truth.durations,
    }
}

/// The classes that occur; a metric has no value for others.
fn heard(truth: &eval::GroundTruth) -> Vec<String> {
    let events = truth.events.values().flatten();
    let classes: BTreeSet<String> = events.map(|event| event.class.clone()).collect();
    classes.into_iter().collect()
}
