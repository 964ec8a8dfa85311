//! One case of `tests/oracles`: inputs, expected values and their tolerances (see `tests/oracles/README.md`).
#![allow(
    dead_code,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "each test file uses a part of this, and a test may panic"
)]

use std::path::PathBuf;

use model::TensorFile;
use serde_json::Value;
use tch::{Kind, Tensor};

pub(crate) struct Case {
    pub(crate) json: Value,
    tensors: Option<TensorFile>,
    path: PathBuf,
}

impl Case {
    pub(crate) fn open(kind: &str, name: &str) -> Self {
        tch::set_num_threads(1);
        let path = PathBuf::from(env!("CARGO_MANIFEST_DIR"))
            .join("../../tests/oracles")
            .join(kind)
            .join(name);
        let text = std::fs::read_to_string(path.with_extension("json")).unwrap();
        let tensors = path.with_extension("safetensors");
        Self {
            json: serde_json::from_str(&text).unwrap(),
            tensors: tensors
                .exists()
                .then(|| TensorFile::open(&tensors).unwrap()),
            path,
        }
    }

    /// The state dict beside the case.
    pub(crate) fn weights(&self) -> TensorFile {
        TensorFile::open(&self.path.with_extension("weights.safetensors")).unwrap()
    }

    pub(crate) fn has(&self, name: &str) -> bool {
        self.json["tensors"].get(name).is_some()
    }

    pub(crate) fn tensor(&self, name: &str) -> Tensor {
        self.tensors.as_ref().unwrap().tensor(name).unwrap()
    }

    /// |got − want| ≤ atol + rtol·|want| for every element.
    pub(crate) fn check(&self, name: &str, got: &Tensor) {
        let want = self.tensor(name);
        let tolerance = &self.json["tolerance"];
        let rule = match tolerance["per_tensor"].get(name) {
            Some(rule) => rule,
            None => &tolerance["default"],
        };
        assert_eq!(
            got.size().iter().product::<i64>(),
            want.size().iter().product::<i64>(),
            "{name}: {:?}, expected {:?}",
            got.size(),
            want.size()
        );
        let want = want.to_kind(Kind::Double);
        let got = got.detach().to_kind(Kind::Double).reshape(want.size());
        let number = |key: &str| rule[key].as_f64().unwrap();
        let (atol, rtol) = (number("atol"), number("rtol"));
        let error = (&got - &want).abs();
        let excess = &error - (want.abs() * rtol + atol);
        let worst = error.max().double_value(&[]);
        println!("{name}: largest error {worst:.3e} (atol {atol:.0e}, rtol {rtol:.0e})");
        assert!(
            excess.max().double_value(&[]) <= 0.0,
            "{name}: largest error {worst:.3e} beyond atol {atol:.0e} + rtol {rtol:.0e}"
        );
    }
}

/// Settings of a network by the fields of a case's `config`.
pub(crate) fn list(value: &Value) -> Vec<u32> {
    value
        .as_array()
        .unwrap()
        .iter()
        .map(|x| u32::try_from(x.as_u64().unwrap()).unwrap())
        .collect()
}
