//! The plan of the paper against the authors' commands, key by key.

use std::collections::BTreeMap;
use std::path::Path;

use plan::{Options, Plan, ReferenceValue, reference_settings};
use serde_json::Value;
use types::{Digest, TaskName, TaskSpec, TrainSpec};

fn repository() -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn specs() -> BTreeMap<String, TrainSpec> {
    let plan = Plan::load(
        &repository().join("configs/two_iterations.toml"),
        Options::default(),
    )
    .unwrap_or_else(|problems| panic!("{problems}"));
    let graph = plan.graph(Digest::of(b"manifest"));
    let mut specs = BTreeMap::new();
    for stage in [1, 2] {
        for (member, name) in [
            ("atst", "atst_frame"),
            ("fpasst", "fpasst"),
            ("beats", "beats"),
        ] {
            let task = TaskName::new(format!("i2.s{stage}.{member}.train")).expect("a name");
            let spec =
                serde_json::from_str(&graph.get(&task).expect("a task").spec).expect("a spec");
            let TaskSpec::Train(spec) = spec else {
                panic!("{task} trains")
            };
            specs.insert(format!("stage{stage}_{name}"), spec);
        }
    }
    specs
}

fn flat(path: &str, value: &Value, found: &mut BTreeMap<String, Value>) {
    match value {
        Value::Object(map) if !map.is_empty() => {
            for (key, value) in map {
                let key = if path.is_empty() {
                    key.clone()
                } else {
                    format!("{path}.{key}")
                };
                flat(&key, value, found);
            }
        }
        _ => {
            found.insert(path.to_owned(), value.clone());
        }
    }
}

#[test]
fn every_setting_of_all_six_commands_is_theirs() {
    let path = repository().join("tests/oracles/config/readme_commands.json");
    let commands: Value = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
    let commands = commands["commands"].as_object().unwrap();
    let specs = specs();
    assert_eq!(
        commands.keys().collect::<std::collections::BTreeSet<_>>(),
        specs.keys().collect()
    );
    let mut wrong = Vec::new();
    for (command, spec) in &specs {
        let ours = reference_settings(spec);
        let mut theirs = BTreeMap::new();
        flat("", &commands[command]["resolved"], &mut theirs);
        let mut compared = 0;
        for (key, theirs) in &theirs {
            match ours.get(key) {
                None => wrong.push(format!("{command}: nothing is said about {key} = {theirs}")),
                Some(ours) if !ours.agrees_with(theirs) => {
                    wrong.push(format!("{command}: {key} is {theirs}, ours {ours:?}"));
                }
                Some(ReferenceValue::Is(_)) => compared += 1,
                Some(ReferenceValue::Unused(why)) => assert!(!why.is_empty()),
            }
        }
        for (key, ours) in &ours {
            if let (ReferenceValue::Is(value), None) = (ours, theirs.get(key)) {
                wrong.push(format!("{command}: theirs has no {key}, ours {value}"));
            }
        }
        assert!(compared > 90, "{command}: {compared} keys compared");
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn another_value_is_noticed() {
    let mut spec = specs().remove("stage2_beats").unwrap();
    let before = reference_settings(&spec);
    spec.training.augmentation.warp_maestro = false;
    spec.training.microbatch.weak += 1;
    let after = reference_settings(&spec);
    let changed: Vec<&str> = before
        .iter()
        .filter(|(key, value)| after[*key] != **value)
        .map(|(key, _)| key.as_str())
        .collect();
    assert_eq!(
        changed,
        ["freq_warp.include_maestro", "training.batch_sizes"]
    );
}
