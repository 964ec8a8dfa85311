//! What a person is told about a plan that is wrong: one plan per file in `broken/`, one snapshot for each.

use std::path::{Path, PathBuf};

use plan::{Options, Plan};

fn broken_plans() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/broken");
    let mut paths: Vec<PathBuf> = std::fs::read_dir(folder)
        .expect("the folder is here")
        .map(|entry| entry.expect("it can be listed").path())
        .collect();
    paths.sort();
    paths
}

#[test]
fn broken_plans_get_all_their_problems_at_once() {
    let paths = broken_plans();
    assert!(paths.len() >= 25);
    for path in paths {
        let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
        let text = std::fs::read_to_string(&path).unwrap();
        let shown = PathBuf::from(format!("{name}.toml"));
        let problems = Plan::parse(&text, &shown, Options::default()).expect_err(&name);
        assert_eq!(problems.iter().len(), problems.len());
        let mut settings = insta::Settings::clone_current();
        settings.set_snapshot_path("snapshots/broken");
        settings.set_prepend_module_to_snapshot(false);
        settings.set_omit_expression(true);
        settings.bind(|| insta::assert_snapshot!(name, problems.render(false)));
    }
}

#[test]
fn colours_change_nothing_but_colours() {
    for path in broken_plans() {
        let text = std::fs::read_to_string(&path).unwrap();
        let problems = Plan::parse(&text, Path::new("p.toml"), Options::default()).unwrap_err();
        let coloured = problems.render(true);
        assert!(coloured.contains("\u{1b}["));
        let mut plain = String::new();
        let mut rest = coloured.as_str();
        while let Some((before, after)) = rest.split_once("\u{1b}[") {
            plain.push_str(before);
            rest = after.split_once('m').unwrap().1;
        }
        plain.push_str(rest);
        assert_eq!(plain, problems.render(false), "{}", path.display());
    }
}

#[test]
fn files_that_are_missing_are_named_at_the_place_that_asks_for_them() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    for audio in [
        "audio/maestro_real_train_16k",
        "audio/train/weak_16k",
        "audio/train/unlabel_in_domain_16k",
    ] {
        std::fs::create_dir_all(root.join("data").join(audio)).unwrap();
    }
    let text = r#"name = "files"

[data]
root = "data"
splits = ["maestro_train", "weak_train", "unlabeled_train"]
files.weak_train.metadata = "my_weak.tsv"
exclude.weak_train = "leave_out.tsv"

[evaluation]
desed = "none"
maestro = "none"

[validation]
every_epochs = 0

[defaults]
stage1.microbatch = { strong = 0, synth = 0 }
stage2.microbatch = { strong = 0, synth = 0 }

[[member]]
name = "atst"
arch = "atst_frame"
init = "weights.ckpt"

[[iteration]]
pseudo_labels = { maestro_train = "a.hdf5", weak_train = "there.hdf5", unlabeled_train = "b.hdf5" }
"#;
    std::fs::write(root.join("there.hdf5"), "").unwrap();
    let path = root.join("plan.toml");
    std::fs::write(&path, text).unwrap();
    assert!(Plan::load(&path, Options::default()).is_ok());
    let problems = Plan::load(&path, Options { check_files: true }).unwrap_err();
    let shown = problems
        .to_string()
        .replace(root.to_str().unwrap(), "FOLDER");
    insta::assert_snapshot!(shown);

    let elsewhere = text.replace("root = \"data\"", "root = \"dta\"");
    let problems = Plan::parse(&elsewhere, &path, Options { check_files: true }).unwrap_err();
    assert_eq!(
        problems.len(),
        4,
        "the folder, and three files beside the plan"
    );
    let first = problems.iter().next().unwrap();
    assert_eq!(problems.position(first), Some((4, 8)));
    assert!(
        first.message.contains("there is no folder"),
        "{}",
        first.message
    );
}

#[test]
fn a_plan_that_cannot_be_read_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let missing = folder.path().join("missing.toml");
    let shown = Plan::load(&missing, Options::default())
        .unwrap_err()
        .to_string();
    assert!(
        shown.contains("cannot read the plan") && shown.contains("missing.toml"),
        "{shown}"
    );

    let latin1 = folder.path().join("latin1.toml");
    std::fs::write(&latin1, b"name = \"x\"\nseed = 1 # caf\xe9\n").unwrap();
    let shown = Plan::load(&latin1, Options::default())
        .unwrap_err()
        .to_string();
    assert!(shown.contains("byte 25 (line 2)"), "{shown}");
}
