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
    config
);

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
