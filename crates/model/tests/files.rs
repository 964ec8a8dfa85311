//! Files of tensors: what is written is read back, and damage is named.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::collections::BTreeMap;
use std::fs;

use model::{Error, SedModel, TensorFile, TensorWriter, write_tensors};
use tch::{Device, Kind, Tensor};
use types::{
    Architecture, BeatsSettings, CrnnSettings, DecibelFloor, EmbeddingPooling, MelEdges,
    ModelSettings, TransformerSettings,
};

fn tensors() -> Vec<(String, Tensor)> {
    vec![
        (
            "b".to_owned(),
            Tensor::from_slice(&[1.0_f32, 2.0, 3.0]).view([3, 1]),
        ),
        ("a".to_owned(), Tensor::from_slice(&[7_i64])),
        ("c".to_owned(), Tensor::from_slice(&[true, false])),
    ]
}

fn metadata() -> BTreeMap<String, String> {
    BTreeMap::from([
        ("step".to_owned(), "3".to_owned()),
        ("x".to_owned(), "ü\"".to_owned()),
    ])
}

#[test]
fn what_is_written_is_read_back() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("t.safetensors");
    write_tensors(&path, &tensors(), &metadata()).unwrap();
    let file = TensorFile::open(&path).unwrap();
    for (name, want) in tensors() {
        let got = file.tensor(&name).unwrap();
        assert_eq!((got.size(), got.kind()), (want.size(), want.kind()));
        assert_eq!(got, want);
    }
    assert_eq!(file.metadata("x").unwrap(), "ü\"");
    assert_eq!(
        Vec::<f32>::try_from(file.rows("b", 1, 2).unwrap().view([-1])).unwrap(),
        [2.0, 3.0]
    );
    assert!(
        file.rows("b", 2, 2)
            .unwrap_err()
            .to_string()
            .contains("3 rows")
    );
    assert!(
        file.tensor("z")
            .unwrap_err()
            .to_string()
            .contains("no tensor \"z\"")
    );
    assert!(!folder.path().join("t.safetensors.part").exists());

    // other order, same bytes; and the crate of the format's authors reads it
    let other = folder.path().join("u.safetensors");
    let mut reversed = tensors();
    reversed.reverse();
    write_tensors(&other, &reversed, &metadata()).unwrap();
    let bytes = fs::read(&path).unwrap();
    assert_eq!(bytes, fs::read(&other).unwrap());
    assert_eq!(
        safetensors::SafeTensors::deserialize(&bytes).unwrap().len(),
        3
    );
}

#[test]
fn a_file_gets_its_name_when_it_is_complete() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("t.safetensors");
    let declared = [("logits".to_owned(), Kind::Float, vec![4, 2])];
    let mut writer = TensorWriter::create(&path, &declared, &BTreeMap::new()).unwrap();
    let half = Tensor::ones([2, 2], (Kind::Float, Device::Cpu));
    writer.append(&half).unwrap();
    assert!(!path.exists());
    let error = writer.finish().unwrap_err();
    assert!(error.to_string().contains("16 bytes too few"), "{error}");

    let mut writer = TensorWriter::create(&path, &declared, &BTreeMap::new()).unwrap();
    writer.append(&half).unwrap();
    writer.append(&half).unwrap();
    assert!(writer.append(&half).is_err());
    writer.finish().unwrap();
    assert_eq!(
        TensorFile::open(&path).unwrap().shape("logits").unwrap().0,
        [4, 2]
    );
}

/// Every byte of the header flipped, every length cut: an error or a file that reads, never a panic.
#[test]
fn damage_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("t.safetensors");
    write_tensors(&path, &tensors(), &metadata()).unwrap();
    let whole = fs::read(&path).unwrap();
    let read_all = |bytes: &[u8]| -> Result<(), Error> {
        fs::write(&path, bytes).unwrap();
        let file = TensorFile::open(&path)?;
        for name in file.names() {
            let _ = file.tensor(name)?;
        }
        Ok(())
    };
    for length in 0..whole.len() {
        let error = read_all(&whole[..length]).unwrap_err();
        assert!(
            matches!(error, Error::File(tensorfile::Error::Damaged { .. })),
            "{length}: {error}"
        );
        assert!(error.to_string().contains("t.safetensors"), "{error}");
    }
    for place in 0..whole.len() {
        for bit in [0, 3, 7] {
            let mut bytes = whole.clone();
            bytes[place] ^= 1 << bit;
            let _ = read_all(&bytes);
        }
    }
}

fn model(fusion_dim: u32) -> SedModel {
    let settings = ModelSettings {
        architecture: Architecture::AtstFrame,
        transformer: TransformerSettings {
            dim: 8,
            depth: 1,
            heads: 2,
            mlp_ratio: 2,
        },
        audioset_head: None,
        embedding_pooling: EmbeddingPooling::AdaptiveAverage,
        crnn: CrnnSettings {
            channels: [2; 7],
            fusion_dim,
            rnn_hidden: 4,
            rnn_layers: 1,
        },
        atst_floor: DecibelFloor::Clip,
        fpasst_mel: MelEdges::FIXED,
        beats: BeatsSettings::PUBLISHED,
        init_seed: 0,
    };
    SedModel::new(&settings, 1, Device::Cpu).unwrap()
}

#[test]
fn all_differences_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("c.safetensors");
    let mut tensors: Vec<(String, Tensor)> = model(4)
        .store()
        .iter()
        .filter(|(name, ..)| *name != "dense.bias")
        .map(|(name, _, tensor)| (format!("student.{name}"), tensor.copy()))
        .collect();
    tensors.push(("student.extra".to_owned(), Tensor::from_slice(&[1.0_f32])));
    tensors.push(("teacher.extra".to_owned(), Tensor::from_slice(&[1.0_f32])));
    write_tensors(&path, &tensors, &BTreeMap::new()).unwrap();
    let file = TensorFile::open(&path).unwrap();
    let error = model(6).store().load(&file, "student.").unwrap_err();
    let Error::Keys {
        missing,
        surplus,
        misshapen,
        ..
    } = &error
    else {
        panic!("{error}");
    };
    assert_eq!(missing, &["student.dense.bias"]);
    assert_eq!(surplus, &["student.extra"]);
    assert!(
        misshapen
            .iter()
            .any(|text| text.starts_with("student.cat_tf.weight: ")),
        "{error}"
    );
}
