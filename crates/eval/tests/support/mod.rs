//! Reading the published tools' inputs and numbers: every folder under `tests/oracles/metrics`, by what it holds. `real_*` cases are
//! other people's data; they run where they lie beside the project.
#![allow(
    dead_code,
    clippy::unwrap_used,
    reason = "each test file uses a part of this, and a test may panic"
)]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use eval::{ClipScores, GroundTruth, Intersection, PsdsSettings, Scores, SoundEvent};
use safetensors::{Dtype, SafeTensors};
use serde_json::Value;

pub(crate) fn cases(holding: &str) -> Vec<PathBuf> {
    let own = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/oracles/metrics");
    let beside = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/oracles/metrics");
    let mut found: Vec<PathBuf> = fs::read_dir(own)
        .expect("tests/oracles/metrics")
        .flatten()
        .map(|e| e.path())
        .collect();
    found.extend(
        fs::read_dir(beside)
            .into_iter()
            .flatten()
            .flatten()
            .filter(|entry| entry.file_name().to_string_lossy().starts_with("real_"))
            .map(|entry| entry.path()),
    );
    found.retain(|case| case.join(holding).exists());
    found.sort();
    found
}

pub(crate) fn expected(case: &Path) -> Value {
    json(&case.join("expected.json"))
}

pub(crate) fn json(path: &Path) -> Value {
    serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap()
}

pub(crate) fn floats(view: &safetensors::tensor::TensorView<'_>) -> Vec<f64> {
    match view.dtype() {
        Dtype::F32 => view
            .data()
            .chunks_exact(4)
            .map(|b| f64::from(f32::from_le_bytes(b.try_into().unwrap())))
            .collect(),
        Dtype::F64 => view
            .data()
            .chunks_exact(8)
            .map(|b| f64::from_le_bytes(b.try_into().unwrap()))
            .collect(),
        other => panic!("{other:?}"),
    }
}

pub(crate) fn scores(case: &Path) -> Scores {
    let file = case.join("scores.safetensors");
    if !file.exists() {
        return tsv_scores(&case.join("scores"));
    }
    let bytes = fs::read(file).unwrap();
    let tensors = SafeTensors::deserialize(&bytes).unwrap();
    let (_, metadata) = SafeTensors::read_metadata(&bytes).unwrap();
    let classes: Vec<String> =
        serde_json::from_str(&metadata.metadata().as_ref().unwrap()["classes"])
            .expect("the class list");
    let clips = tensors
        .names()
        .into_iter()
        .filter_map(|name| name.strip_prefix("scores/"))
        .map(|clip| {
            let boundaries = tensors
                .tensor(&format!("timestamps/{clip}"))
                .or_else(|_| tensors.tensor("timestamps"))
                .expect("boundaries");
            ClipScores {
                clip: clip.to_owned(),
                boundaries: floats(&boundaries),
                values: floats(&tensors.tensor(&format!("scores/{clip}")).unwrap()),
            }
        })
        .collect();
    Scores::new(classes, clips).unwrap()
}

fn tsv_scores(folder: &Path) -> Scores {
    let mut classes = Vec::new();
    let mut clips = Vec::new();
    for entry in fs::read_dir(folder).unwrap().flatten() {
        let mut reader = csv::ReaderBuilder::new()
            .delimiter(b'\t')
            .from_path(entry.path())
            .unwrap();
        classes = reader
            .headers()
            .unwrap()
            .iter()
            .skip(2)
            .map(str::to_owned)
            .collect();
        let (mut boundaries, mut values) = (Vec::new(), Vec::new());
        for row in reader.records().map(Result::unwrap) {
            let numbers: Vec<f64> = row.iter().map(|cell| cell.parse().unwrap()).collect();
            if boundaries.is_empty() {
                boundaries.push(numbers[0]);
            }
            boundaries.push(numbers[1]);
            values.extend_from_slice(&numbers[2..]);
        }
        let clip = entry
            .path()
            .file_stem()
            .unwrap()
            .to_string_lossy()
            .into_owned();
        clips.push(ClipScores {
            clip,
            boundaries,
            values,
        });
    }
    Scores::new(classes, clips).unwrap()
}

pub(crate) fn stem(file: &str) -> String {
    file.rsplit_once('.')
        .map_or(file, |(stem, _)| stem)
        .to_owned()
}

pub(crate) fn rows(path: &Path) -> Vec<Vec<String>> {
    csv::ReaderBuilder::new()
        .delimiter(b'\t')
        .from_path(path)
        .unwrap()
        .records()
        .map(|row| row.unwrap().iter().map(str::to_owned).collect())
        .collect()
}

pub(crate) fn durations(case: &Path) -> BTreeMap<String, f64> {
    rows(&case.join("durations.tsv"))
        .into_iter()
        .map(|row| (stem(&row[0]), row[1].parse().unwrap()))
        .collect()
}

pub(crate) fn truth(case: &Path) -> GroundTruth {
    let mut events: BTreeMap<String, Vec<SoundEvent>> = BTreeMap::new();
    for row in rows(&case.join("ground_truth.tsv")) {
        let clip = events.entry(stem(&row[0])).or_default();
        if !row[3].is_empty() {
            clip.push(SoundEvent {
                onset: row[1].parse().unwrap(),
                offset: row[2].parse().unwrap(),
                class: row[3].clone(),
            });
        }
    }
    GroundTruth {
        events,
        durations: durations(case),
    }
}

pub(crate) fn settings(params: &Value) -> PsdsSettings {
    PsdsSettings {
        intersection: intersection(params),
        alpha_ct: params["alpha_ct"].as_f64().unwrap(),
        alpha_st: params["alpha_st"].as_f64().unwrap(),
        unit_seconds: match params["unit_of_time"].as_str().unwrap() {
            "hour" => 3600.0,
            "minute" => 60.0,
            "second" => 1.0,
            other => panic!("{other}"),
        },
        max_efpr: params["max_efpr"].as_f64().unwrap(),
        best_points_only: params["non_oracle"] != Value::Bool(true),
    }
}

pub(crate) fn intersection(params: &Value) -> Intersection {
    Intersection {
        dtc: params["dtc_threshold"].as_f64().unwrap(),
        gtc: params["gtc_threshold"].as_f64().unwrap(),
        cttc: params["cttc_threshold"].as_f64(),
    }
}

/// Numbers, with infinities as text.
pub(crate) fn number(value: &Value) -> f64 {
    match value.as_str() {
        Some("inf") => f64::INFINITY,
        Some("-inf") => f64::NEG_INFINITY,
        Some(other) => panic!("{other}"),
        None => value.as_f64().unwrap(),
    }
}

pub(crate) fn numbers(value: &Value) -> Vec<f64> {
    value.as_array().unwrap().iter().map(number).collect()
}

pub(crate) fn assert_close(what: &str, found: f64, wanted: f64, tolerance: f64) {
    assert!(
        found == wanted || (found - wanted).abs() <= tolerance,
        "{what}: found {found}, expected {wanted}"
    );
}

pub(crate) fn assert_all_close(what: &str, found: &[f64], wanted: &[f64], tolerance: f64) {
    assert_eq!(
        found.len(),
        wanted.len(),
        "{what}: found {:?}, expected {:?}",
        &found[..found.len().min(12)],
        &wanted[..wanted.len().min(12)]
    );
    for (found, wanted) in found.iter().zip(wanted) {
        assert_close(what, *found, *wanted, tolerance);
    }
}
