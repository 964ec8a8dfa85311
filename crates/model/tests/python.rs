//! Files exchanged with PyTorch itself: what it writes is read here, what is written here it reads, and a pickle that would run
//! code does not. Needs the Python of the libtorch wheel, pip with a way to PyPI, and cc.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

#[path = "python/environment.rs"]
mod environment;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use model::{Error, SedModel, TensorFile, write_tensors};
use tch::{Device, Tensor};
use types::{
    Architecture, BeatsSettings, CrnnSettings, DecibelFloor, EmbeddingPooling, MelEdges,
    ModelSettings, TransformerSettings,
};

/// Files of a folder with this ending, sorted, without it.
fn files(folder: &Path, ending: &str) -> Vec<PathBuf> {
    let mut files: Vec<_> = fs::read_dir(folder)
        .unwrap()
        .filter_map(|entry| {
            let path = entry.unwrap().path();
            Some(PathBuf::from(path.to_str()?.strip_suffix(ending)?))
        })
        .collect();
    files.sort();
    files
}

/// The values' bytes in memory, row by row.
fn bits(tensor: &Tensor) -> Vec<u8> {
    let tensor = tensor.contiguous();
    let mut bytes = vec![0; tensor.numel() * tensor.kind().elt_size_in_bytes()];
    tensor.copy_data_u8(&mut bytes, tensor.numel());
    bytes
}

/// Both hold the same names; types, shapes and bits agree.
fn assert_same(got: &TensorFile, want: &TensorFile) {
    let path = got.path().display();
    let names: Vec<_> = want.names().collect();
    assert_eq!(got.names().collect::<Vec<_>>(), names, "{path}");
    assert!(!names.is_empty(), "{path}");
    for name in names {
        assert_eq!(got.shape(name), want.shape(name), "{path}: {name}");
        let (got, want) = (got.tensor(name).unwrap(), want.tensor(name).unwrap());
        assert_eq!(bits(&got), bits(&want), "{path}: {name}");
    }
}

#[test]
fn what_torch_saves_is_read_bit_by_bit() {
    let folder = tempfile::tempdir().unwrap();
    environment::run("checkpoints.py", folder.path());
    let checkpoints = files(folder.path(), ".expected");
    assert_eq!(checkpoints.len(), 15);
    let mut plain_values = 0;
    for checkpoint in checkpoints {
        let mut expected = checkpoint.clone().into_os_string();
        expected.push(".expected");
        let got = TensorFile::open(&checkpoint).unwrap();
        assert_same(&got, &TensorFile::open(expected.as_ref()).unwrap());
        for (key, value) in tensorfile::TensorFile::open(expected.as_ref())
            .unwrap()
            .values()
        {
            assert_eq!(
                got.metadata(key).unwrap(),
                value,
                "{}: {key}",
                checkpoint.display()
            );
            plain_values += 1;
        }
    }
    assert_eq!(plain_values, 2 * 10 + 2 * 7 + 8 * 10);
}

#[test]
fn what_would_run_code_is_refused_by_its_name() {
    let folder = tempfile::tempdir().unwrap();
    environment::run("malicious.py", folder.path());
    let asked = fs::read_to_string(folder.path().join("asked.txt")).unwrap();
    let mut refused = 0;
    for line in asked.lines() {
        let (file, function) = line.split_once('\t').unwrap();
        let error = TensorFile::open(&folder.path().join(file)).unwrap_err();
        let Error::File(tensorfile::Error::Refused { asked, .. }) = &error else {
            panic!("{file}: {error}");
        };
        assert_eq!(asked, function, "{file}");
        assert!(
            error.to_string().contains(function) && error.to_string().contains(file),
            "{error}"
        );
        assert!(!folder.path().join("canary").exists(), "{file} ran code");
        refused += 1;
    }
    assert_eq!(refused, 4 * 11 + 2);
}

fn settings(architecture: Architecture) -> ModelSettings {
    ModelSettings {
        architecture,
        transformer: TransformerSettings {
            dim: 16,
            depth: 2,
            heads: 2,
            mlp_ratio: 2,
        },
        audioset_head: Some(5),
        embedding_pooling: EmbeddingPooling::AdaptiveAverage,
        crnn: CrnnSettings {
            channels: [2; 7],
            fusion_dim: 6,
            rnn_hidden: 4,
            rnn_layers: 2,
        },
        atst_floor: DecibelFloor::Clip,
        fpasst_mel: MelEdges::FIXED,
        beats: BeatsSettings {
            patch_dim: 8,
            position_kernel: 4,
            position_groups: 2,
            buckets: 16,
            max_distance: 20,
            ..BeatsSettings::PUBLISHED
        },
        init_seed: 0,
    }
}

/// Our file of a network, into Python by the format's authors' reader, out of it as a trainer's checkpoint, into another network.
#[test]
fn python_reads_our_checkpoints_and_we_its_copies() {
    let folder = tempfile::tempdir().unwrap();
    let place = |architecture: Architecture, ending: &str| {
        folder.path().join(format!("{architecture:?}.{ending}"))
    };
    for architecture in Architecture::ALL {
        let network = SedModel::new(&settings(architecture), 1, Device::Cpu).unwrap();
        let tensors: Vec<(String, Tensor)> = network
            .store()
            .iter()
            .map(|(name, _, tensor)| (format!("student.{name}"), tensor.shallow_clone()))
            .collect();
        let metadata = BTreeMap::from([("written by".to_owned(), "Tutti \"ü\"".to_owned())]);
        write_tensors(&place(architecture, "safetensors"), &tensors, &metadata).unwrap();
        let mut listed = Vec::new();
        let mut values = Vec::new();
        for (name, tensor) in &tensors {
            listed.push(serde_json::json!([
                name,
                format!("{:?}", tensor.kind()),
                tensor.size()
            ]));
            values.extend(bits(tensor));
        }
        fs::write(
            place(architecture, "json"),
            serde_json::to_vec(&listed).unwrap(),
        )
        .unwrap();
        fs::write(place(architecture, "bytes"), values).unwrap();
    }

    environment::run("read_back.py", folder.path());

    for architecture in Architecture::ALL {
        let ours = SedModel::new(&settings(architecture), 1, Device::Cpu).unwrap();
        let file = TensorFile::open(&place(architecture, "ckpt")).unwrap();
        for part in ["student", "teacher"] {
            let other = SedModel::new(&settings(architecture), 2, Device::Cpu).unwrap();
            other
                .store()
                .load(&file, &format!("state_dict/{part}."))
                .unwrap();
            for ((name, _, want), (_, _, got)) in ours.store().iter().zip(other.store().iter()) {
                assert_eq!(bits(got), bits(want), "{architecture:?}: {name}");
            }
        }
    }
}
