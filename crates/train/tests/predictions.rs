//! What the reference's values do not show; those are compared by `cargo xtask oracles`.

use model::{HeadLogits, Predictions};
use tch::{Device, Kind, Tensor};

#[test]
fn predictions_have_no_graph_after_detach() {
    let logits = Tensor::zeros([1, 4, 27], (Kind::Float, Device::Cpu)).set_requires_grad(true);
    let heads = HeadLogits {
        attention: logits.shallow_clone(),
        strong: logits,
    };
    let Predictions { strong, weak } = heads.predictions(None).detach();
    assert!(!strong.requires_grad() && !weak.requires_grad());
}
