//! What the reference's values do not show; those are compared by `cargo xtask oracles`.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

use model::{HeadLogits, SedModel, pool_embeddings};
use tch::{Device, Kind, Tensor};
use types::{
    Architecture, BeatsSettings, CrnnSettings, DecibelFloor, EmbeddingPooling, MelEdges,
    ModelSettings, TransformerSettings,
};

fn settings() -> ModelSettings {
    ModelSettings {
        architecture: Architecture::AtstFrame,
        transformer: TransformerSettings {
            dim: 768,
            depth: 12,
            heads: 12,
            mlp_ratio: 4,
        },
        audioset_head: Some(527),
        embedding_pooling: EmbeddingPooling::AdaptiveAverage,
        crnn: CrnnSettings {
            channels: [16, 32, 64, 128, 128, 128, 128],
            fusion_dim: 256,
            rnn_hidden: 256,
            rnn_layers: 2,
        },
        atst_floor: DecibelFloor::Batch,
        fpasst_mel: MelEdges::FIXED,
        beats: BeatsSettings::PUBLISHED,
        init_seed: 0,
    }
}

#[test]
fn nearest_exact_takes_the_reference_s_tokens() {
    let first = [0, 2, 4, 5, 7, 8, 10, 12, 13, 15, 16, 18];
    let tokens = Tensor::arange(250, (Kind::Float, Device::Cpu)).view([1, 250, 1]);
    let pooled = pool_embeddings(&tokens, EmbeddingPooling::NearestExact, 156).view([156]);
    for (frame, want) in (0..).zip(first) {
        assert_eq!(
            pooled.double_value(&[frame]),
            f64::from(want),
            "frame {frame}"
        );
    }
    assert_eq!(pooled.double_value(&[155]), 249.0);
}

#[test]
fn a_masked_class_says_nothing() {
    let logits = HeadLogits {
        strong: Tensor::randn([2, 156, 27], (Kind::Float, Device::Cpu)),
        attention: Tensor::randn([2, 156, 27], (Kind::Float, Device::Cpu)),
    };
    let mask = Tensor::ones([2, 27], (Kind::Bool, Device::Cpu));
    let _ = mask.narrow(1, 3, 1).fill_(0.0);
    let predictions = logits.predictions(Some(&mask));
    assert_eq!(
        predictions
            .strong
            .narrow(1, 3, 1)
            .abs()
            .max()
            .double_value(&[]),
        0.0
    );
    assert_eq!(
        predictions
            .weak
            .narrow(1, 3, 1)
            .abs()
            .max()
            .double_value(&[]),
        0.0
    );
}

#[test]
fn weights_are_a_function_of_the_seed() {
    let mut small = settings();
    small.transformer.dim = 24;
    small.transformer.depth = 1;
    let model = |seed| SedModel::new(&small, seed, Device::Cpu).unwrap();
    let weight = |model: &SedModel| model.store().get("cat_tf.weight").unwrap().copy();
    assert_eq!(weight(&model(5)), weight(&model(5)));
    assert_ne!(weight(&model(5)), weight(&model(6)));
    let heads = SedModel::new(
        &{
            let mut broken = small.clone();
            broken.transformer.heads = 7;
            broken
        },
        1,
        Device::Cpu,
    );
    assert!(
        heads
            .unwrap_err()
            .to_string()
            .contains("a multiple of transformer.heads = 7")
    );
}
