//! Names, shapes and types of full-size state dicts (recipe 4.7).

use std::collections::BTreeSet;

use anyhow::{Context, Result, bail, ensure};
use model::Role;
use serde_json::Value;
use tch::Kind;
use types::{Architecture, BeatsSettings, ModelSettings};

use super::case::{Case, Tolerance, items, size, switch, text, whole};
use super::network;

pub(crate) fn run(case: &Case) -> Result<()> {
    if case.json.get("keys").is_some() {
        state_dict(case)
    } else {
        bail!("neither a list of keys nor rules for names")
    }
}

fn state_dict(case: &Case) -> Result<()> {
    let name = text(&case.json, "model")?;
    let (architecture, whole_system) = match name.strip_prefix("CRNN + ") {
        Some(name) => (network::architecture(name)?, true),
        None => (network::architecture(name)?, false),
    };
    let settings = settings(case, network::published(architecture))?;
    let model = network::build(&settings)?;
    let prefix = match (whole_system, settings.audioset_head) {
        (true, _) => "",
        (false, Some(_)) => "as_model.model.",
        (false, None) => "as_model.",
    };
    let line =
        |key: &str, shape: &Value, dtype: &str, kind: &str| format!("{key} {shape} {dtype} {kind}");
    let mut want = BTreeSet::new();
    for entry in items(&case.json, "keys")? {
        let (key, dtype, kind) = (
            text(entry, "key")?,
            text(entry, "dtype")?,
            text(entry, "kind")?,
        );
        let fresh = want.insert(line(key, &entry["shape"], dtype, kind));
        ensure!(fresh, "{key} is listed twice");
    }
    let mut got = BTreeSet::new();
    let mut parameters = 0;
    for (name, role, tensor) in model.store().iter() {
        let Some(key) = name.strip_prefix(prefix) else {
            continue;
        };
        let dtype = match tensor.kind() {
            Kind::Float => "float32",
            Kind::Int64 => "int64",
            _ => "another type",
        };
        let kind = match role {
            Role::Parameter => "parameter",
            Role::Buffer => "buffer",
            Role::Alias => "shared",
        };
        if role == Role::Parameter {
            parameters += tensor.numel();
        }
        got.insert(line(key, &serde_json::json!(tensor.size()), dtype, kind));
    }
    let difference = |a: &BTreeSet<String>, b: &BTreeSet<String>| -> Vec<String> {
        a.difference(b).cloned().collect()
    };
    case.check_equal("missing keys", &difference(&want, &got), &Vec::new());
    case.check_equal("surplus keys", &difference(&got, &want), &Vec::new());
    let exact = |name: &str, got: usize| -> Result<()> {
        let want = whole(&case.json, name)?;
        case.check_number(name, got as f64, want as f64, Tolerance::EXACT);
        Ok(())
    };
    exact("n_keys", got.len())?;
    exact("n_parameters", parameters)
}

/// The published sizes, or those that the case gives.
fn settings(case: &Case, mut settings: ModelSettings) -> Result<ModelSettings> {
    let wrapper = &case.json["wrapper"];
    if wrapper.is_object() {
        settings.embedding_pooling = network::pooling(wrapper)?;
        settings.audioset_head = match switch(&wrapper["no_wrapper"]) {
            true => None,
            false => Some(settings.audioset_head.context(
                "this architecture has no wrapper as published, so its outputs are not known",
            )?),
        };
    }
    let config = &case.json["config"];
    if settings.architecture == Architecture::Beats && config.is_object() {
        let number = |key| size(config, key);
        let dim = number("encoder_embed_dim")?;
        settings.transformer.dim = dim;
        settings.transformer.depth = number("encoder_layers")?;
        settings.transformer.heads = number("encoder_attention_heads")?;
        settings.transformer.mlp_ratio = number("encoder_ffn_embed_dim")? / dim;
        settings.beats = BeatsSettings {
            patch_dim: number("embed_dim")?,
            position_kernel: number("conv_pos")?,
            position_groups: number("conv_pos_groups")?,
            buckets: number("num_buckets")?,
            max_distance: number("max_distance")?,
            ..settings.beats
        };
    }
    Ok(settings)
}
