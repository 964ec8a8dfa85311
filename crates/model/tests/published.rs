//! Checkpoints of others, played by files with their names (recipe 4.4 to 4.7).
#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use model::published::{Network, load_transformer, settings_of};
use model::{SedModel, TensorFile, write_tensors};
use tch::{Device, Tensor};
use types::{
    Architecture, BeatsSettings, CrnnSettings, DecibelFloor, EmbeddingPooling, MelEdges,
    ModelSettings, TransformerSettings,
};

fn settings(architecture: Architecture) -> ModelSettings {
    let beats = architecture == Architecture::Beats;
    ModelSettings {
        architecture,
        transformer: TransformerSettings {
            dim: 64,
            depth: 2,
            heads: 1,
            mlp_ratio: 2,
        },
        beats: match architecture {
            Architecture::Beats => BeatsSettings {
                patch_dim: 8,
                position_kernel: 6,
                position_groups: 2,
                buckets: 8,
                ..BeatsSettings::PUBLISHED
            },
            _ => BeatsSettings::PUBLISHED,
        },
        audioset_head: (!beats).then_some(12),
        embedding_pooling: match architecture {
            Architecture::AtstFrame => EmbeddingPooling::AdaptiveAverage,
            _ => EmbeddingPooling::NearestExact,
        },
        crnn: CrnnSettings {
            channels: [2, 3, 4, 4, 4, 4, 5],
            fusion_dim: 8,
            rnn_hidden: 6,
            rnn_layers: 2,
        },
        atst_floor: DecibelFloor::Batch,
        fpasst_mel: match architecture {
            Architecture::Fpasst => MelEdges { low: 1, high: 2000 },
            _ => MelEdges::FIXED,
        },
        init_seed: 0,
    }
}

fn model(architecture: Architecture, seed: u64) -> SedModel {
    SedModel::new(&settings(architecture), seed, Device::Cpu).unwrap()
}

/// A file of the transformer's tensors under other names; what `name` gives no name to stays out.
fn file(folder: &Path, model: &SedModel, name: impl Fn(&str) -> Option<String>) -> PathBuf {
    let tensors: Vec<(String, Tensor)> = model
        .store()
        .iter()
        .filter_map(|(own, _, tensor)| Some((name(own)?, tensor.shallow_clone())))
        .collect();
    assert!(!tensors.is_empty());
    let path = folder.join("checkpoint");
    write_tensors(&path, &tensors, &BTreeMap::new()).unwrap();
    path
}

fn assert_same(a: &SedModel, b: &SedModel, below: &str) {
    for (name, _, tensor) in a.store().iter() {
        let same = tensor == b.store().get(name).unwrap();
        if name.starts_with(below) {
            assert!(same, "{name}");
        }
    }
}

#[test]
fn every_kind_of_atst_checkpoint_is_read() {
    let folder = tempfile::tempdir().unwrap();
    let theirs = model(Architecture::AtstFrame, 1);
    let atst = |own: &str| own.strip_prefix("as_model.model.atst.").map(str::to_owned);
    let kinds: [(&str, bool); 4] = [
        ("state_dict/model.teacher.encoder.", true),
        ("state_dict/encoder.encoder.", false),
        ("encoder.encoder.frame_encoder.", false),
        ("state_dict/net_strong.model.atst.", false),
    ];
    for (prefix, renames_the_norm) in kinds {
        let path = file(folder.path(), &theirs, |own| {
            let inside = atst(own)?;
            let inside = match renames_the_norm {
                true => inside.replace("norm_frame.", "norm."),
                false => inside,
            };
            Some(format!("{prefix}{inside}"))
        });
        let ours = model(Architecture::AtstFrame, 2);
        let loaded = load_transformer(&ours, &TensorFile::open(&path).unwrap()).unwrap();
        assert_same(&theirs, &ours, "as_model.model.");
        let head = ["weight", "bias"].map(|name| format!("as_model.head_linear_layer.{name}"));
        assert_eq!(loaded.left_random, head);
    }
}

#[test]
fn fpasst_is_read_with_and_without_its_wrapper() {
    let folder = tempfile::tempdir().unwrap();
    let theirs = model(Architecture::Fpasst, 1);
    let path = file(folder.path(), &theirs, |own| {
        let inside = own.strip_prefix("as_model.model.")?;
        Some(format!("state_dict/net_strong.model.{inside}"))
    });
    let ours = model(Architecture::Fpasst, 2);
    let loaded = load_transformer(&ours, &TensorFile::open(&path).unwrap()).unwrap();
    assert_same(&theirs, &ours, "as_model.model.");
    assert_eq!(loaded.left_random.len(), 2);

    let path = file(folder.path(), &theirs, |own| {
        let inside = own.strip_prefix("as_model.")?;
        Some(format!("state_dict/net_strong.model.{inside}"))
    });
    let ours = model(Architecture::Fpasst, 2);
    let loaded = load_transformer(&ours, &TensorFile::open(&path).unwrap()).unwrap();
    assert_same(&theirs, &ours, "as_model.");
    assert!(loaded.left_random.is_empty());
}

#[test]
fn beats_is_read_under_the_older_names_of_its_weight_norm() {
    let folder = tempfile::tempdir().unwrap();
    let theirs = model(Architecture::Beats, 1);
    for newer in [true, false] {
        let path = file(folder.path(), &theirs, |own| {
            let inside = own.strip_prefix("as_model.model.")?;
            let inside = match newer {
                true => inside.to_owned(),
                false => inside
                    .replace(".parametrizations.weight.original0", ".weight_g")
                    .replace(".parametrizations.weight.original1", ".weight_v"),
            };
            Some(format!("model/{inside}"))
        });
        let ours = model(Architecture::Beats, 2);
        load_transformer(&ours, &TensorFile::open(&path).unwrap()).unwrap();
        assert_same(&theirs, &ours, "as_model.");
    }
}

#[test]
fn a_whole_network_tells_its_sizes() {
    let folder = tempfile::tempdir().unwrap();
    for architecture in Architecture::ALL {
        let theirs = model(architecture, 1);
        for prefix in ["student.", "student/", "state_dict/student."] {
            let path = file(folder.path(), &theirs, |own| Some(format!("{prefix}{own}")));
            let file = TensorFile::open(&path).unwrap();
            let found = settings_of(&file, Network::Student).unwrap();
            assert_eq!(found, settings(architecture));
            let ours = SedModel::new(&found, 2, Device::Cpu).unwrap();
            let prefix = Network::Student.prefix(&file).unwrap();
            ours.store().load(&file, &prefix).unwrap();
            assert_same(&theirs, &ours, "");

            let ours = model(architecture, 3);
            load_transformer(&ours, &file).unwrap();
            assert_same(&theirs, &ours, "as_model.");
            let error = settings_of(&file, Network::Teacher).unwrap_err();
            assert!(error.to_string().contains("no teacher"), "{error}");
        }
    }
}

#[test]
fn what_does_not_fit_is_named_together_and_changes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let theirs = model(Architecture::AtstFrame, 1);
    let path = file(folder.path(), &theirs, |own| {
        let inside = own.strip_prefix("as_model.model.atst.")?;
        match inside {
            "pos_embed" => None,
            "mask_embed" => Some("encoder.encoder.blocks.0.norm1.weight".to_owned()),
            "blocks.0.norm1.weight" => Some("encoder.encoder.extra".to_owned()),
            _ => Some(format!("encoder.encoder.{inside}")),
        }
    });
    let ours = model(Architecture::AtstFrame, 2);
    let before = model(Architecture::AtstFrame, 2);
    let error = load_transformer(&ours, &TensorFile::open(&path).unwrap()).unwrap_err();
    let text = error.to_string();
    for word in ["atst.pos_embed", "extra", "[1, 1, 64], expected [64]"] {
        assert!(text.contains(word), "{word}: {text}");
    }
    assert_same(&before, &ours, "");
    // a file of another architecture has nothing that fits
    let ours = model(Architecture::Fpasst, 2);
    let error = load_transformer(&ours, &TensorFile::open(&path).unwrap()).unwrap_err();
    assert!(
        error
            .to_string()
            .contains("missing: as_model.model.cls_token"),
        "{error}"
    );
}
