//! Names, shapes and types of full-size state dicts (recipe 4.7).

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context, Result, bail, ensure};
use model::published::{Network, transformer_name};
use model::{Role, TensorFile, write_tensors};
use serde_json::Value;
use tch::{Kind, Tensor};
use types::{Architecture, BeatsSettings, ModelSettings};

use super::case::{Case, items, size, switch, text, whole};
use super::network;
use super::rows::Tolerance;

pub(crate) fn run(case: &Case) -> Result<()> {
    if case.json.get("keys").is_some() {
        state_dict(case)
    } else if case.json.get("rules").is_some() {
        for rule in items(&case.json, "rules")? {
            names(case, rule).with_context(|| format!("rule {}", rule["checkpoint"]))?;
        }
        Ok(())
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
    case.rows
        .check_equal("missing keys", &difference(&want, &got), &Vec::new());
    case.rows
        .check_equal("surplus keys", &difference(&got, &want), &Vec::new());
    let exact = |name: &str, got: usize| -> Result<()> {
        let want = whole(&case.json, name)?;
        case.rows
            .check_number(name, got as f64, want as f64, Tolerance::EXACT);
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

/// One kind of checkpoint: what its names become, which are ignored, and what keeps its random values.
fn names(case: &Case, rule: &Value) -> Result<()> {
    let kind = text(rule, "checkpoint")?;
    let mut map = Vec::new();
    for pair in items(rule, "map")? {
        let (Some(from), Some(to)) = (pair[0].as_str(), pair[1].as_str()) else {
            bail!("{pair} is no pair of names");
        };
        map.push((from, to));
    }
    if kind.starts_with("stage checkpoint") {
        return entries_of_a_stage(case, kind, &map);
    }
    let architecture = [
        ("fPaSST", Architecture::Fpasst),
        ("BEATs", Architecture::Beats),
        ("ATST", Architecture::AtstFrame),
        ("cluster-to-frame", Architecture::AtstFrame),
    ]
    .into_iter()
    .find(|(word, _)| kind.contains(word))
    .map(|(_, architecture)| architecture)
    .context("no kind of checkpoint that is known here")?;
    let model = network::build(&network::reduced(architecture))?;
    // where names are given from the whole system on, they begin with the wrapper's
    let wrapper = match model.settings().audioset_head {
        Some(_) => "as_model.model.",
        None => "as_model.",
    };
    let bare = map
        .iter()
        .any(|(from, _)| *from == "net_strong.model.cls_token");
    for (from, to) in &map {
        let want = to.strip_prefix(wrapper).unwrap_or(to);
        let got = transformer_name(architecture, from, bare);
        case.rows
            .check_equal(&format!("{kind}: {from}"), &got.as_deref(), &Some(want));
        let name = format!("{wrapper}{want}");
        ensure!(
            model.store().get(&name).is_some(),
            "the network has no {name}"
        );
    }
    for name in rule["ignored"].as_array().into_iter().flatten() {
        let name = name
            .as_str()
            .context("ignored has something without a name")?;
        let got = transformer_name(architecture, name, bare);
        case.rows
            .check_equal(&format!("{kind}: {name}"), &got, &None);
    }
    if rule.get("left_random").is_some() {
        let want: BTreeSet<&str> = items(rule, "left_random")?
            .iter()
            .filter_map(Value::as_str)
            .collect();
        let got: BTreeSet<&str> = (model.store().parameters())
            .map(|(name, _)| name)
            .filter(|name| name.starts_with("as_model.") && !name.starts_with(wrapper))
            .collect();
        case.rows
            .check_equal(&format!("{kind}: left random"), &got, &want);
    }
    Ok(())
}

/// Both networks of a whole system, each under the name of its entry.
fn entries_of_a_stage(case: &Case, kind: &str, map: &[(&str, &str)]) -> Result<()> {
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("checkpoint");
    let tensors: Vec<(String, Tensor)> = (map.iter())
        .map(|(entry, _)| {
            (
                format!("{entry}/dense.bias"),
                Tensor::from_slice(&[0.0_f32]),
            )
        })
        .collect();
    write_tensors(&path, &tensors, &BTreeMap::new())?;
    let file = TensorFile::open(&path)?;
    for (entry, what) in map {
        let network = match *what {
            "state dict of the student" => Network::Student,
            "state dict of the teacher" => Network::Teacher,
            other => bail!("{other} is no part of a stage checkpoint that is known here"),
        };
        let want = Some(format!("{entry}/"));
        case.rows
            .check_equal(&format!("{kind}: {entry}"), &network.prefix(&file), &want);
    }
    Ok(())
}
