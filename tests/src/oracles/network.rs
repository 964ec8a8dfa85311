//! Networks of a case's sizes, with a case's weights.

use std::collections::BTreeMap;

use anyhow::{Context, Result, bail, ensure};
use model::{ParameterStore, SedModel};
use serde_json::Value;
use tch::{Device, Tensor};
use types::{
    Architecture, BeatsSettings, CrnnSettings, DecibelFloor, EmbeddingPooling, MelEdges,
    ModelSettings, TransformerSettings,
};

use super::case::{sizes, switch, text};

/// The published network of an architecture.
pub(crate) fn published(architecture: Architecture) -> ModelSettings {
    ModelSettings {
        architecture,
        transformer: TransformerSettings::PUBLISHED,
        beats: BeatsSettings::PUBLISHED,
        audioset_head: (architecture != Architecture::Beats).then_some(527),
        embedding_pooling: match architecture {
            Architecture::AtstFrame => EmbeddingPooling::AdaptiveAverage,
            Architecture::Fpasst | Architecture::Beats => EmbeddingPooling::NearestExact,
        },
        crnn: CrnnSettings::PUBLISHED,
        atst_floor: DecibelFloor::Batch,
        fpasst_mel: MelEdges::FIXED,
        init_seed: 0,
    }
}

/// A small network of an architecture, for names alone.
pub(crate) fn reduced(architecture: Architecture) -> ModelSettings {
    let published = published(architecture);
    ModelSettings {
        transformer: TransformerSettings {
            dim: 48,
            depth: 2,
            heads: 2,
            mlp_ratio: 1,
        },
        crnn: ONE_UNIT,
        ..published
    }
}

/// The smallest CRNN, where it is not run.
pub(crate) const ONE_UNIT: CrnnSettings = CrnnSettings {
    channels: [1; 7],
    fusion_dim: 1,
    rnn_hidden: 1,
    rnn_layers: 1,
};

/// An architecture by the name that descriptions use.
pub(crate) fn architecture(name: &str) -> Result<Architecture> {
    match Architecture::ALL
        .into_iter()
        .find(|known| known.as_str() == name)
    {
        Some(architecture) => Ok(architecture),
        None => bail!("{name} is no architecture, expected atst_frame, fpasst or beats"),
    }
}

/// A network with weights that do not matter.
pub(crate) fn build(settings: &ModelSettings) -> Result<SedModel> {
    Ok(SedModel::new(settings, 1, Device::Cpu)?)
}

/// The fusion settings of a wrapper's description.
pub(crate) fn pooling(wrapper: &Value) -> Result<EmbeddingPooling> {
    match (
        text(wrapper, "embed_pool")?,
        text(wrapper, "interpolation_mode")?,
    ) {
        ("aap", _) => Ok(EmbeddingPooling::AdaptiveAverage),
        ("int", "nearest-exact") => Ok(EmbeddingPooling::NearestExact),
        ("int", "nearest") => Ok(EmbeddingPooling::Nearest),
        (pool, mode) => bail!(
            "embed_pool {pool} with interpolation_mode {mode}, expected aap, or int with nearest or nearest-exact"
        ),
    }
}

/// CRNN, projection and fusion as a wrapper's description has them.
pub(crate) fn wrapped(wrapper: &Value, settings: ModelSettings) -> Result<ModelSettings> {
    let number = |key| super::case::size(wrapper, key);
    let channels = sizes(wrapper, "nb_filters")?;
    let count = channels.len();
    let Ok(channels) = channels.try_into() else {
        bail!("nb_filters has {count} numbers, expected 7");
    };
    Ok(ModelSettings {
        audioset_head: match switch(&wrapper["no_wrapper"]) {
            true => None,
            false => Some(number("audioset_classes")?),
        },
        embedding_pooling: pooling(wrapper)?,
        crnn: CrnnSettings {
            channels,
            fusion_dim: number("n_RNN_cell")?,
            rnn_hidden: number("n_RNN_cell")?,
            rnn_layers: number("n_layers_RNN")?,
        },
        ..settings
    })
}

/// Copies weights into the part of a network whose names `key` translates into those of `weights`; both have to hold the same
/// names with the same shapes.
pub(crate) fn load(
    store: &ParameterStore,
    weights: &BTreeMap<String, Tensor>,
    key: impl Fn(&str) -> Option<String>,
) -> Result<()> {
    let mut left: Vec<&str> = weights.keys().map(String::as_str).collect();
    for (name, _, tensor) in store.iter() {
        let Some(key) = key(name) else { continue };
        let stored = (weights.get(&key)).with_context(|| format!("the state dict has no {key}"))?;
        ensure!(
            stored.size() == tensor.size(),
            "{key} has the shape {:?}, expected {:?}",
            stored.size(),
            tensor.size()
        );
        tch::no_grad(|| tensor.shallow_clone().copy_(stored));
        left.retain(|name| *name != key);
    }
    ensure!(
        left.is_empty(),
        "the state dict has {left:?}, which the network has not"
    );
    Ok(())
}

/// A tensor of a network.
pub(crate) fn find<'a>(store: &'a ParameterStore, name: &str) -> Result<&'a Tensor> {
    store
        .get(name)
        .with_context(|| format!("the network has no {name}"))
}

/// The gradient of a tensor of a network.
pub(crate) fn gradient(store: &ParameterStore, name: &str) -> Result<Tensor> {
    let gradient = find(store, name)?.grad();
    ensure!(gradient.defined(), "{name} has no gradient");
    Ok(gradient)
}
