//! `cargo xtask oracles` under test: everything in `tests/oracles` is within its tolerance, and what is wrong, unknown or missing
//! is said to be so.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use system_tests::oracles::{self, CaseReport, Detail, Outcome, Report};
use tempfile::TempDir;

fn shipped() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("oracles")
}

fn run(folder: &Path) -> Report {
    oracles::run(folder, |_, _| ()).unwrap()
}

/// A folder with one case, whose description `change` may change.
fn variant(kind: &str, name: &str, change: impl Fn(&mut Value)) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    let target = folder.path().join(kind);
    std::fs::create_dir(&target).unwrap();
    let source = shipped().join(kind);
    let mut description: Value =
        serde_json::from_slice(&std::fs::read(source.join(format!("{name}.json"))).unwrap())
            .unwrap();
    for file in description["files"].as_object().into_iter().flatten() {
        let file = file.1.as_str().unwrap();
        std::fs::copy(source.join(file), target.join(file)).unwrap();
    }
    change(&mut description);
    std::fs::write(target.join("another_name.json"), description.to_string()).unwrap();
    folder
}

fn case<'a>(report: &'a Report, kind: &str) -> &'a CaseReport {
    let (_, cases) = report.kinds.iter().find(|(name, _)| *name == kind).unwrap();
    let [case] = &cases[..] else {
        panic!("{} cases of {kind}, expected one", cases.len());
    };
    case
}

fn failures(case: &CaseReport) -> Vec<&str> {
    (case.rows.iter())
        .filter(|row| matches!(row.outcome, Outcome::Failed(_)))
        .map(|row| row.name.as_str())
        .collect()
}

/// Every kind, one after the other, so that a failure names its kind.
fn all_of(kind: &str) {
    let folder = tempfile::tempdir().unwrap();
    let source = shipped().join(kind);
    std::os::unix::fs::symlink(source, folder.path().join(kind)).unwrap();
    let report = oracles::run(folder.path(), |kind, case| {
        assert!(case.passed(), "{}", case.show(kind, Detail::Worst));
    })
    .unwrap();
    assert!(report.passed());
    // a kind without a case is absent, not passed
    for (other, cases) in &report.kinds {
        assert_eq!(cases.is_empty(), *other != kind, "{other}");
    }
    let table = report.to_string();
    let said = |name: &str| {
        table
            .lines()
            .find(|line| line.trim().starts_with(name))
            .unwrap()
    };
    assert!(said(kind).trim().ends_with("ok"), "{table}");
    let other = if kind == "labels" { "config" } else { "labels" };
    assert!(said(other).trim().ends_with("absent"), "{table}");
}

macro_rules! kinds {
    ($($kind:ident),*) => {$(
        #[test]
        fn $kind() {
            all_of(stringify!($kind));
        }
    )*};
}
kinds!(
    frontend,
    transformer,
    keys,
    crnn,
    training,
    augment,
    labels,
    config,
    metrics
);

/// A folder with a copy of one case of metrics.
fn copied(name: &str) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    let target = folder.path().join("metrics").join(name);
    std::fs::create_dir_all(&target).unwrap();
    for file in std::fs::read_dir(shipped().join("metrics").join(name)).unwrap() {
        let file = file.unwrap();
        std::fs::write(
            target.join(file.file_name()),
            std::fs::read(file.path()).unwrap(),
        )
        .unwrap();
    }
    folder
}

/// What fails when the expected values of a case of metrics are changed.
fn metrics_failures(name: &str, file: &str, change: impl Fn(&mut Value)) -> Vec<String> {
    let folder = copied(name);
    let path = folder.path().join("metrics").join(name).join(file);
    let mut expected: Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
    change(&mut expected);
    std::fs::write(&path, expected.to_string()).unwrap();
    let report = run(folder.path());
    let case = case(&report, "metrics");
    assert_eq!(case.name, name);
    failures(case).into_iter().map(str::to_owned).collect()
}

#[test]
fn a_part_of_expected_metrics_that_nobody_knows_fails_by_name() {
    let found = metrics_failures("mixed_durations", "expected.json", |expected| {
        expected["area_of_dreams"] = json!({"value": [1.0, 2.0]});
        expected["psds"]["psds1"]["single_class_psds"]["Yodel"] = json!(0.5);
        expected["segment_fscore"]["worst"] = json!({"f": 0.0});
    });
    assert_eq!(
        found,
        [
            "area_of_dreams",
            "psds/psds1/single_class_psds/Yodel",
            "segment_fscore/worst"
        ]
    );
    let folder = copied("mixed_durations");
    let case_folder = folder.path().join("metrics/mixed_durations");
    std::fs::write(
        case_folder.join("expected_miracles.json"),
        r#"{"a": {"b": 1}}"#,
    )
    .unwrap();
    assert_eq!(
        failures(case(&run(folder.path()), "metrics")),
        ["expected_miracles.json"]
    );
}

/// Every number below a value, in order, but for settings.
fn numbers_of<'a>(value: &'a mut Value, found: &mut Vec<&'a mut Value>) {
    match value {
        Value::Number(_) => found.push(value),
        Value::Array(list) => list.iter_mut().for_each(|part| numbers_of(part, found)),
        Value::Object(map) => {
            for (key, part) in map {
                if key != "params" && key != "median_windows" {
                    numbers_of(part, found);
                }
            }
        }
        _ => {}
    }
}

#[test]
fn every_expected_number_of_metrics_matters() {
    for (name, file) in [
        ("edge_clips", "expected.json"),
        ("maestro_ties", "expected.json"),
        ("csebbs_shapes", "expected_csebbs.json"),
    ] {
        let path = shipped().join("metrics").join(name).join(file);
        let mut expected: Value = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
        let mut numbers = Vec::new();
        numbers_of(&mut expected, &mut numbers);
        let count = numbers.len();
        let before = metrics_failures(name, file, |_| ());
        // a few hundred of them, and never the same ones of every list
        let step = (count / 150).max(1);
        let places = (0..count)
            .step_by(step)
            .map(|place| (place + place / 7 % step).min(count - 1));
        for place in places {
            let after = metrics_failures(name, file, |expected| {
                let mut numbers = Vec::new();
                numbers_of(expected, &mut numbers);
                let value = numbers[place].as_f64().unwrap();
                *numbers[place] = json!(value + 1e-3);
            });
            assert!(
                after.len() > before.len(),
                "number {place} of {count} in {name}"
            );
        }
    }
}

#[test]
fn a_broken_file_of_metrics_is_a_failure_of_its_case() {
    for (file, text) in [
        ("scores.safetensors", "{"),
        ("ground_truth.tsv", "nothing"),
        ("expected.json", "{"),
    ] {
        let folder = copied("mixed_durations");
        let path = folder.path().join("metrics/mixed_durations").join(file);
        std::fs::write(path, text).unwrap();
        let report = run(folder.path());
        let case = case(&report, "metrics");
        let shown = case.show("metrics", Detail::Worst);
        assert!(!case.passed() && shown.contains(file), "{shown}");
    }
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir_all(folder.path().join("metrics/empty")).unwrap();
    let report = run(folder.path());
    let error = case(&report, "metrics").error.clone().unwrap();
    assert!(error.contains("no case of metrics"), "{error}");
}

#[test]
fn an_empty_folder_proves_nothing() {
    let folder = tempfile::tempdir().unwrap();
    assert!(!run(folder.path()).passed());
}

#[test]
fn a_name_is_not_what_a_case_is_known_by() {
    let folder = variant("augment", "filter", |_| ());
    let report = run(folder.path());
    assert!(
        report.passed(),
        "{}",
        case(&report, "augment").show("augment", Detail::Tensors)
    );
}

#[test]
fn a_value_beyond_its_tolerance_fails() {
    let folder = variant("training", "schedules", |case| {
        let value = &mut case["lr_schedules"]["list"][0]["multiplier"][5][1];
        *value = json!(value.as_f64().unwrap() + 1e-6);
    });
    let report = run(folder.path());
    assert!(!report.passed());
    assert_eq!(failures(case(&report, "training")).len(), 1);
}

#[test]
fn a_tighter_tolerance_is_the_one_that_counts() {
    let folder = variant("augment", "mixstyle", |case| {
        case["tolerance"] = json!({"default": {"atol": 1e-30, "rtol": 0.0}, "per_tensor": {}});
    });
    let report = run(folder.path());
    assert_eq!(failures(case(&report, "augment")), ["out.features"]);
}

#[test]
fn a_corrupted_value_fails() {
    let folder = variant("augment", "mixstyle", |_| ());
    let file = folder.path().join("augment/mixstyle.safetensors");
    let mut bytes = std::fs::read(&file).unwrap();
    let header = u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
    let names: Value = serde_json::from_slice(&bytes[8..8 + header]).unwrap();
    let start = 8 + header + names["out.features"]["data_offsets"][0].as_u64().unwrap() as usize;
    for value in [f32::NAN, 1e3] {
        bytes[start..start + 4].copy_from_slice(&value.to_le_bytes());
        std::fs::write(&file, &bytes).unwrap();
        let report = run(folder.path());
        assert_eq!(
            failures(case(&report, "augment")),
            ["out.features"],
            "{value}"
        );
    }
}

#[test]
fn a_case_that_is_not_understood_fails() {
    let folder = variant("augment", "filter", |case| case["config"] = json!({}));
    let report = run(folder.path());
    assert!(!report.passed());
    let case = case(&report, "augment");
    assert!(
        case.error
            .as_ref()
            .unwrap()
            .contains("no augmentation that is known"),
        "{case:?}"
    );
    assert_eq!(
        failures(case).len(),
        3,
        "and none of its outputs is compared"
    );
}

#[test]
fn a_tensor_that_nothing_is_compared_with_fails() {
    let folder = variant("training", "schedules", |case| {
        case["tensors"]["ema.teacher0/forgotten"] = json!({"role": "output", "shape": [1]});
    });
    let report = run(folder.path());
    let case = case(&report, "training");
    assert_eq!(failures(case), ["ema.teacher0/forgotten"]);
    assert!(
        case.show("training", Detail::Worst)
            .contains("not compared: ema.teacher0/forgotten")
    );
}

#[test]
fn a_kind_that_is_not_known_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir(folder.path().join("poetry")).unwrap();
    let error = oracles::run(folder.path(), |_, _| ())
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("poetry") && error.contains("frontend"),
        "{error}"
    );
}

#[test]
fn a_broken_description_is_a_failure_of_its_case() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir(folder.path().join("labels")).unwrap();
    std::fs::write(folder.path().join("labels/broken.json"), "{").unwrap();
    let report = run(folder.path());
    assert!(!report.passed());
    assert!(
        case(&report, "labels")
            .error
            .as_ref()
            .unwrap()
            .contains("no JSON")
    );
}
