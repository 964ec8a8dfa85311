//! Every plan in `configs/` loads, and has the tasks that it should have.

use std::path::{Path, PathBuf};

use plan::{Options, Plan};
use types::{Digest, MemberName};

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../configs")
}

fn load(name: &str) -> Plan {
    Plan::load(&folder().join(name), Options::default())
        .unwrap_or_else(|problems| panic!("{problems}"))
}

#[test]
fn every_plan_in_configs_is_valid() {
    let mut loaded = Vec::new();
    for entry in std::fs::read_dir(folder()).unwrap() {
        let path = entry.unwrap().path();
        assert_eq!(path.extension().unwrap(), "toml", "{}", path.display());
        let plan =
            Plan::load(&path, Options::default()).unwrap_or_else(|problems| panic!("{problems}"));
        loaded.push(plan.name().to_owned());
    }
    loaded.sort();
    assert_eq!(loaded, ["demo", "smoke", "two-iterations"]);
}

#[test]
fn the_data_folder_is_found_from_the_plan_file() {
    let root = load("demo.toml").data().root.clone();
    assert!(root.is_absolute());
    assert!(root.ends_with("data/demo"), "{}", root.display());
}

#[test]
fn every_input_stands_before_its_reader() {
    for name in ["demo.toml", "smoke.toml", "two_iterations.toml"] {
        let graph = load(name).graph(Digest::of(b"manifest"));
        for (at, task) in graph.tasks.iter().enumerate() {
            assert!(
                !task.world_sizes.is_empty() && task.world_sizes.is_sorted(),
                "{}",
                task.name
            );
            assert!(
                task.inputs.is_sorted_by(|a, b| a.role < b.role),
                "{}",
                task.name
            );
            assert!(
                !graph.tasks[..at]
                    .iter()
                    .any(|other| other.name == task.name),
                "{}",
                task.name
            );
            for input in &task.inputs {
                let maker = graph.tasks[..at]
                    .iter()
                    .find(|other| other.name == input.task);
                let maker = maker.unwrap_or_else(|| panic!("{} before {}", input.task, task.name));
                assert!(maker.outputs.contains(&input.output));
            }
        }
    }
}

/// One snapshot shows the published procedure in its effective form.
#[test]
fn effective_settings_of_the_paper() {
    let plan = load("two_iterations.toml");
    let atst = MemberName::new("atst").unwrap();
    let tables: Vec<String> = [(1, 1), (1, 2), (2, 1)]
        .map(|(iteration, stage)| plan.effective(iteration, stage, &atst).unwrap())
        .into();
    insta::assert_snapshot!(tables.join("\n"));
    assert!(plan.effective(3, 1, &atst).is_none() && plan.effective(0, 1, &atst).is_none());
}

#[test]
fn reference_of_all_keys() {
    insta::assert_snapshot!(plan::keys_reference());
}
