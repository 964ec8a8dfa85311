//! The rooms of the house and who may know whom (ARCHITECTURE.md): a new arrow deserves its own discussion, even when it
//! is one line of TOML.

use std::collections::{BTreeMap, BTreeSet};

use cargo_metadata::{DependencyKind, Metadata, MetadataCommand};

/// Each room and the rooms that it may depend on.
const ARROWS: &[(&str, &[&str])] = &[
    ("types", &[]),
    ("plan", &["types"]),
    ("control", &["types"]),
    ("duty", &["types"]),
    ("journal", &["control", "types"]),
    ("artifact", &["types"]),
    ("audio", &["types"]),
    ("dataset", &["audio", "types"]),
    ("eval", &["types"]),
    ("report", &["types"]),
    // `dataset` for its strict reading of tables
    ("scorefiles", &["dataset", "eval", "tensorfile", "types"]),
    ("collective", &[]),
    ("nccl-rs", &["collective"]),
    ("tensorfile", &[]),
    ("model", &["collective", "tensorfile", "types"]),
    (
        "train",
        &[
            "audio",
            "collective",
            "dataset",
            "eval",
            "model",
            "tensorfile",
            "types",
        ],
    ),
    ("proto", &["types"]),
    // `dataset` for the manifest alone: its digest is part of every task's key, and the coordinator makes the keys.
    (
        "coordinator",
        &[
            "artifact", "control", "dataset", "journal", "plan", "proto", "report", "types",
        ],
    ),
    // `collective` and `nccl-rs` for the rank entry point, which forms the gang's process group.
    (
        "worker",
        &[
            "artifact",
            "collective",
            "duty",
            "eval",
            "nccl-rs",
            "proto",
            "report",
            "scorefiles",
            "tensorfile",
            "train",
            "types",
        ],
    ),
    // `artifact` for the seam that the disk in memory stands behind
    ("testkit", &["artifact", "control", "types"]),
    // drives what is shipped under virtual time
    (
        "simulation",
        &[
            "artifact",
            "control",
            "coordinator",
            "duty",
            "journal",
            "proto",
            "testkit",
            "types",
        ],
    ),
    // for the comparison with the reference's values, which runs every room's own code, and for what a journal says
    (
        "system-tests",
        &[
            "collective",
            "control",
            "dataset",
            "eval",
            "journal",
            "model",
            "plan",
            "scorefiles",
            "tensorfile",
            "train",
            "types",
        ],
    ),
    ("xtask", &["audio", "dataset", "types"]),
];

/// Crates that only these rooms may use: the wire and the tensors stay where they are.
const CONFINED: &[(&str, &[&str])] = &[
    ("tonic", &["proto", "coordinator", "worker"]),
    ("prost", &["proto", "coordinator", "worker"]),
    (
        "tch",
        &[
            "collective",
            "nccl-rs",
            "model",
            "train",
            "worker",
            "system-tests",
        ],
    ),
    (
        "torch-sys",
        &["collective", "nccl-rs", "model", "train", "worker"],
    ),
    ("rusqlite", &["journal"]),
    ("tokio", &["proto", "coordinator", "worker"]),
];

/// Rooms that `cargo test` builds without libtorch.
const WITH_LIBTORCH: &[&str] = &[
    "collective",
    "nccl-rs",
    "model",
    "train",
    "worker",
    "system-tests",
];

fn metadata() -> Metadata {
    MetadataCommand::new()
        .manifest_path(concat!(env!("CARGO_MANIFEST_DIR"), "/../Cargo.toml"))
        .no_deps()
        .exec()
        .expect("cargo metadata works in a checkout")
}

#[test]
fn the_arrows_point_inward() {
    let metadata = metadata();
    let arrows: BTreeMap<&str, BTreeSet<&str>> = ARROWS
        .iter()
        .map(|(room, knows)| (*room, knows.iter().copied().collect()))
        .collect();
    let rooms: BTreeSet<&str> = metadata
        .packages
        .iter()
        .map(|package| package.name.as_str())
        .collect();
    assert_eq!(
        rooms,
        arrows.keys().copied().collect(),
        "every room is listed here, and only rooms"
    );

    let mut wrong = Vec::new();
    for package in &metadata.packages {
        let room = package.name.as_str();
        for dependency in &package.dependencies {
            let name = dependency.name.as_str();
            // A test may look at more than the room itself does, but only tests may use the test kit.
            if dependency.kind == DependencyKind::Development {
                continue;
            }
            if rooms.contains(name) && !arrows[room].contains(name) {
                wrong.push(format!("{room} -> {name}: no such arrow"));
            }
            for (confined, allowed) in CONFINED {
                let family = name == *confined
                    || name
                        .strip_prefix(confined)
                        .is_some_and(|rest| rest.starts_with('-'));
                if family && !rooms.contains(name) && !allowed.contains(&room) {
                    wrong.push(format!("{room} uses {name}, which stays in {allowed:?}"));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn what_needs_libtorch_is_not_built_by_default() {
    let metadata = metadata();
    let default: BTreeSet<_> = metadata
        .workspace_default_packages()
        .iter()
        .map(|package| package.name.to_string())
        .collect();
    let expected: BTreeSet<_> = metadata
        .packages
        .iter()
        .map(|package| package.name.to_string())
        .filter(|name| !WITH_LIBTORCH.contains(&name.as_str()))
        .collect();
    assert_eq!(default, expected);
}
