//! The published code's label encoding (tests/oracles/labels), every case that belongs to this room; median filter and
//! decoding belong to `eval`.

#![expect(
    clippy::unwrap_used,
    reason = "helpers of tests, where a panic is the report"
)]

use std::path::PathBuf;

use dataset::{
    Annotation, CLASSES, Clip, LabelGrid, LabeledEvent, MAESTRO_EVALUATED, NUM_CLASSES,
    NUM_DESED_CLASSES, Purpose, class_index, class_mask, frame_boundaries, offset_frame,
    onset_frame,
};
use safetensors::SafeTensors;
use serde_json::Value;
use types::Split;

struct Oracle {
    json: Value,
    bytes: Vec<u8>,
}

impl Oracle {
    fn read() -> Self {
        let base = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../tests/oracles/labels");
        let json = std::fs::read(base.join("label_encoding.json")).unwrap();
        Self {
            json: serde_json::from_slice(&json).unwrap(),
            bytes: std::fs::read(base.join("label_encoding.safetensors")).unwrap(),
        }
    }

    fn floats(&self, name: &str) -> Vec<f32> {
        let tensors = SafeTensors::deserialize(&self.bytes).unwrap();
        let tensor = tensors.tensor(name).unwrap();
        let words = tensor.data().chunks_exact(4);
        words
            .map(|word| f32::from_le_bytes(word.try_into().unwrap()))
            .collect()
    }

    fn bits(&self, name: &str) -> Vec<f32> {
        let tensors = SafeTensors::deserialize(&self.bytes).unwrap();
        let tensor = tensors.tensor(name).unwrap();
        tensor.data().iter().map(|byte| f32::from(*byte)).collect()
    }
}

fn class(value: &Value) -> usize {
    class_index(value.as_str().unwrap()).unwrap()
}

fn clip(split: Split, annotation: Annotation) -> Clip {
    Clip {
        split,
        stem: "a".to_owned(),
        path: PathBuf::from("a.wav"),
        annotation,
        purpose: Purpose::Evaluation,
    }
}

/// Rows of (filename, onset, offset, class[, confidence]).
fn table(rows: &Value) -> Vec<LabeledEvent> {
    rows.as_array()
        .unwrap()
        .iter()
        .map(|row| LabeledEvent {
            onset: row[1].as_f64().unwrap(),
            offset: row[2].as_f64().unwrap(),
            class: class(&row[3]),
            confidence: row[4].as_f64().unwrap_or(1.0),
        })
        .collect()
}

#[test]
fn classes_and_order() {
    let oracle = Oracle::read();
    assert_eq!(serde_json::json!(CLASSES), oracle.json["classes"]);
    assert_eq!(
        serde_json::json!(MAESTRO_EVALUATED),
        oracle.json["maestro_eval_classes"]
    );
}

#[test]
fn strong_annotations() {
    let oracle = Oracle::read();
    let cases = oracle.json["strong_annotations"].as_object().unwrap();
    assert_eq!(cases.len(), 9);
    for (name, case) in cases {
        let rows = case["rows"].as_array().unwrap();
        let events: Vec<LabeledEvent> = rows
            .iter()
            .map(|row| LabeledEvent {
                onset: row[1].as_f64().unwrap(),
                offset: row[2].as_f64().unwrap(),
                class: class(&row[0]),
                confidence: 1.0,
            })
            .collect();
        let crop_onset = case["crop_onset"].as_f64().unwrap();
        let grid = clip(Split::DesedValidation, Annotation::Strong(events)).labels(crop_onset);
        assert_eq!(
            grid.values(),
            oracle.floats(&format!("strong.{name}")),
            "{name}"
        );
    }
}

#[test]
fn soft_labels_with_and_without_aliases() {
    let oracle = Oracle::read();
    let events = table(&oracle.json["maestro_rows"]);
    let plain = clip(Split::MaestroTrain, Annotation::Strong(events));
    assert_eq!(plain.labels(0.0).values(), oracle.floats("maestro.soft"));
    let aliased = plain.with_aliases();
    assert_eq!(
        aliased.annotation,
        Annotation::Strong(table(&oracle.json["maestro_rows_after_alias"]))
    );
    assert_eq!(
        aliased.labels(0.0).values(),
        oracle.floats("maestro.soft_alias")
    );
}

#[test]
fn desed_aliases() {
    let oracle = Oracle::read();
    let events = table(&oracle.json["desed_rows"]);
    let aliased = clip(Split::SynthTrain, Annotation::Strong(events)).with_aliases();
    assert_eq!(
        aliased.annotation,
        Annotation::Strong(table(&oracle.json["desed_rows_after_alias"]))
    );
    assert_eq!(
        aliased.labels(0.0).values(),
        oracle.floats("desed.strong_alias")
    );
}

#[test]
fn weak_labels() {
    let oracle = Oracle::read();
    let rows = oracle.json["weak_annotations"].as_array().unwrap();
    let classes_of = |text: &Value| -> Vec<usize> {
        let names = text.as_str().unwrap().split(',');
        names.map(|name| class_index(name).unwrap()).collect()
    };
    let (mut plain, mut aliased) = (Vec::new(), Vec::new());
    for row in rows {
        let clip = clip(
            Split::WeakTrain,
            Annotation::Weak(classes_of(&row["labels"])),
        );
        let grid = clip.labels(0.0);
        assert!(grid.values().iter().sum::<f32>() > 0.0);
        plain.extend(grid.to_weak());
        let clip = clip.with_aliases();
        let mut expected = classes_of(&row["with_alias"]);
        let Annotation::Weak(mut got) = clip.annotation.clone() else {
            panic!("a weak label stays one");
        };
        expected.sort_unstable();
        got.sort_unstable();
        assert_eq!(got, expected);
        aliased.extend(clip.labels(0.0).to_weak());
    }
    assert_eq!(plain, oracle.floats("weak.plain"));
    assert_eq!(aliased, oracle.floats("weak.alias"));
}

#[test]
fn masks() {
    let oracle = Oracle::read();
    let training = Purpose::Training;
    let evaluation = Purpose::Evaluation;
    assert_eq!(
        class_mask(Split::SynthTrain, training).as_slice(),
        oracle.bits("mask.desed")
    );
    assert_eq!(
        class_mask(Split::MaestroTrain, training).as_slice(),
        oracle.bits("mask.maestro")
    );
    assert_eq!(
        class_mask(Split::DesedValidation, evaluation).as_slice(),
        oracle.bits("mask.desed_plain")
    );
    // The data sets give MAESTRO clips the aliased mask in validation too (recipe 2.5); the plain one is MAESTRO's classes.
    let plain = oracle.bits("mask.maestro_plain");
    let expected: Vec<f32> = (0..NUM_CLASSES)
        .map(|class| f32::from(class >= NUM_DESED_CLASSES))
        .collect();
    assert_eq!(plain, expected);
}

#[test]
fn times_and_frames() {
    let oracle = Oracle::read();
    for case in oracle.json["time_to_frame"].as_array().unwrap() {
        let time = case["time"].as_f64().unwrap();
        assert_eq!(onset_frame(time) as u64, case["onset_frame"], "{time}");
        assert_eq!(offset_frame(time) as u64, case["offset_frame"], "{time}");
    }
    let boundaries = frame_boundaries();
    assert_eq!(boundaries.len(), 157);
    let first = oracle.json["frame_to_time"]["first"].as_array().unwrap();
    let last = oracle.json["frame_to_time"]["last"].as_array().unwrap();
    for (got, want) in boundaries.iter().zip(first) {
        assert!((got - want.as_f64().unwrap()).abs() < 1e-12);
    }
    for (got, want) in boundaries.iter().rev().zip(last.iter().rev()) {
        assert!((got - want.as_f64().unwrap()).abs() < 1e-12);
    }
}

#[test]
fn the_later_row_wins_on_a_shared_frame() {
    let event = |onset: f64, confidence| LabeledEvent {
        onset,
        offset: onset + 1.0,
        class: 17,
        confidence,
    };
    let grid = LabelGrid::strong(&[event(0.0, 0.3), event(1.0, 0.7)], 0.0);
    let car = grid.class(17);
    assert!(car[..15].iter().all(|x| *x == 0.3));
    assert!(car[15..32].iter().all(|x| *x == 0.7));
    assert!(car[32..].iter().all(|x| *x == 0.0));
}
