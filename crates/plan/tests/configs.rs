//! Every plan in `configs/` loads, and has the tasks that it should have.

use std::path::{Path, PathBuf};

use plan::{Options, Plan};
use types::{Digest, EmbeddingPooling, MelEdges, OptimizerKind};

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

#[test]
fn settings_of_the_paper() {
    let table = load("two_iterations.toml").settings_table();
    assert_eq!(table.tasks.len(), 12);
    for width in [140, 80] {
        let shown = table.render(width);
        let widest = shown
            .lines()
            .max_by_key(|line| line.chars().count())
            .unwrap();
        assert!(widest.chars().count() <= width, "{width}: {widest}");
        insta::assert_snapshot!(format!("settings_of_the_paper_{width}"), shown);
    }
}

/// The values of recipe 10.2, whatever the plan says of iteration 2.
#[test]
fn one_word_gives_iteration_1_the_scripts_defaults() {
    let text = std::fs::read_to_string(folder().join("two_iterations.toml")).unwrap();
    let other = text.replace("preset = \"i1_like_i2\"", "preset = \"i1_default\"");
    let plan = |text: &str| {
        Plan::parse(text, Path::new("p.toml"), Options::default())
            .unwrap_or_else(|problems| panic!("{problems}"))
    };
    let (like, default) = (plan(&text), plan(&other));
    assert_eq!(like.iterations()[1], default.iterations()[1]);
    for member in default.members() {
        let [one, two] = &default.iterations()[0].stages;
        let (one, two) = (&one[&member.name], &two[&member.name]);
        assert_eq!(one.embedding_pooling, EmbeddingPooling::AdaptiveAverage);
        let loss = &one.training.loss;
        assert_eq!(
            [
                loss.maestro,
                loss.strong,
                loss.synth,
                loss.weak,
                loss.self_supervised,
                loss.pseudo
            ],
            [0.08, 0.05, 0.08, 0.21, 0.58, 0.0]
        );
        assert_eq!(one.training.optimizer.lr_cnn, 1e-3);
        assert_eq!(one.training.augmentation.mixstyle_probability, 0.5);
        assert_eq!(one.training.augmentation.filter_probability, 0.8);
        assert!(!one.training.self_supervised.no_class_mask);
        assert_eq!(one.fpasst_mel, MelEdges::FIXED);
        let loss = &two.training.loss;
        assert_eq!(
            [
                loss.maestro,
                loss.strong,
                loss.synth,
                loss.weak,
                loss.self_supervised,
                loss.pseudo
            ],
            [2.0, 1.0, 1.0, 1.0, 70.0, 0.0]
        );
        assert_eq!(two.training.optimizer.kind, OptimizerKind::Adam);
        assert_eq!(two.training.optimizer.lr_rnn, 1e-3);
        assert_eq!(two.training.optimizer.layer_factor, 1.0);
        assert_eq!(two.training.microbatches_per_step, 1);
        assert_eq!(two.training.augmentation.warp_probability, 0.5);
        assert!(!two.training.augmentation.warp_maestro);
        assert!(!two.training.self_supervised.exclude_maestro_weak);
        if member.name.as_str() == "fpasst" {
            assert_eq!(
                two.fpasst_mel,
                MelEdges {
                    low: 10,
                    high: 1000
                }
            );
        }
    }
}

/// What the file writes out is what a member has anyway.
#[test]
fn the_paper_in_full_is_what_a_plan_without_settings_inherits() {
    let full = load("two_iterations.toml");
    let text = full.text();
    let start = text.find("[data.exclude]").unwrap();
    let data = &text[text.find("[data]").unwrap()..start];
    let bare = format!(
        "name = \"bare\"\n{data}{}[[iteration]]\n[[iteration]]\npseudo_labels = \"previous\"\n",
        ["atst_frame", "fpasst", "beats"]
            .map(|arch| {
                let name = arch.trim_end_matches("_frame");
                format!("[[member]]\nname = \"{name}\"\narch = \"{arch}\"\n")
            })
            .concat()
    );
    let bare = Plan::parse(&bare, Path::new("p.toml"), Options::default()).unwrap();
    assert_eq!(full.iterations(), bare.iterations());
    for (full, bare) in full.members().iter().zip(bare.members()) {
        assert_eq!(full.model, bare.model);
    }
}

#[test]
fn reference_of_all_keys() {
    insta::assert_snapshot!(plan::keys_reference());
}
