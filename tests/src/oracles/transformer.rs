//! Transformers (recipe 4.4 to 4.6): outputs, what comes before them, gradients.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context, Result, bail, ensure};
use model::{SedModel, Transformer, TransformerMode};
use tch::{Kind, Tensor};
use types::{Architecture, BeatsSettings, ModelSettings, TransformerSettings};

use super::case::{Case, size};
use super::network;

pub(crate) fn run(case: &Case) -> Result<()> {
    let settings = settings(case)?;
    let weights = case.state_dict()?;
    let prefix = match settings.audioset_head {
        Some(_) => "as_model.model.",
        None => "as_model.",
    };
    let model = |gradient_decay: f64| -> Result<SedModel> {
        let mut settings = settings.clone();
        settings.beats.gradient_decay = gradient_decay;
        let model = network::build(&settings)?;
        network::load(model.store(), &weights, |name| {
            name.strip_prefix(prefix).map(str::to_owned)
        })?;
        Ok(model)
    };
    let inputs: BTreeSet<&str> = (case.with_role("input"))
        .filter_map(|name| name.strip_suffix(".input"))
        .collect();
    let mut steps = BTreeMap::new();
    let plain = model(settings.beats.gradient_decay)?;
    for input in inputs {
        let x = case.tensor(&format!("{input}.input"))?;
        let output = forward(&plain, &x, |step, value| {
            steps.insert(format!("{input}.{step}"), value.shallow_clone());
        });
        if let Transformer::Beats(beats) = plain.embedding().transformer() {
            let buckets = beats.relative_buckets(output.size()[1]);
            steps.insert(format!("{input}.relative_bucket"), buckets);
        }
        steps.insert(format!("{input}.output"), output);
    }

    // (input, variant) of every run that needs gradients
    let mut runs: BTreeSet<(String, String)> = BTreeSet::new();
    for name in case.expected() {
        match name.split_once(".grad").and_then(|(input, rest)| {
            let end = rest.find(".d/").or_else(|| rest.find(".scalar"))?;
            Some((input.to_owned(), rest[..end].to_owned()))
        }) {
            Some(run) => drop(runs.insert(run)),
            None => {
                let value = (steps.get(name))
                    .with_context(|| format!("{name} is no step of this transformer"))?;
                case.check(name, &case.kept(name, value)?)?;
            }
        }
    }
    for (input, variant) in runs {
        let decay = match variant.as_str() {
            "" => settings.beats.gradient_decay,
            other => (other
                .strip_prefix("_decay")
                .and_then(|decay| decay.parse().ok()))
            .with_context(|| format!("{input}.grad{other} is no kind of gradient"))?,
        };
        gradients(case, &model(decay)?, prefix, &input, &variant)?;
    }
    Ok(())
}

fn gradients(
    case: &Case,
    model: &SedModel,
    prefix: &str,
    input: &str,
    variant: &str,
) -> Result<()> {
    model.store().set_trainable(|_| true);
    let x = case.tensor(&format!("{input}.input"))?;
    let probe = case.tensor(&format!("{input}.grad.probe"))?;
    let output = forward(model, &x, |_, _| ());
    let scalar = (output * probe).sum(Kind::Float);
    scalar.backward();
    let run = format!("{input}.grad{variant}.");
    for name in case.expected() {
        let Some(value) = name.strip_prefix(&run) else {
            continue;
        };
        match value.strip_prefix("d/") {
            Some(key) => {
                let gradient = network::gradient(model.store(), &format!("{prefix}{key}"))?;
                case.check(name, &gradient)?;
            }
            None if value == "scalar" => case.check(name, &scalar)?,
            None => bail!("{name} is no gradient"),
        }
    }
    Ok(())
}

fn forward(model: &SedModel, x: &Tensor, see: impl FnMut(&str, &Tensor)) -> Tensor {
    match model.embedding().transformer() {
        Transformer::AtstFrame(transformer) => transformer.forward_with(x, see),
        Transformer::Fpasst(transformer) => transformer.forward_with(x, see),
        Transformer::Beats(transformer) => transformer.forward_with(x, TransformerMode::Eval, see),
    }
}

fn settings(case: &Case) -> Result<ModelSettings> {
    let config = &case.json["config"];
    let has = |key: &str| config.get(key).is_some();
    let number = |key| size(config, key);
    let architecture = if has("encoder_layers") {
        Architecture::Beats
    } else if has("pos_embed_length") {
        Architecture::Fpasst
    } else if has("spec_w") {
        Architecture::AtstFrame
    } else {
        bail!("no transformer that is known here has such a config")
    };
    let mut settings = network::published(architecture);
    // the CRNN around it is never run
    settings.crnn = network::ONE_UNIT;
    if architecture == Architecture::Beats {
        let (dim, wide) = (
            number("encoder_embed_dim")?,
            number("encoder_ffn_embed_dim")?,
        );
        ensure!(
            wide.is_multiple_of(dim),
            "encoder_ffn_embed_dim is {wide}, expected a multiple of encoder_embed_dim = {dim}"
        );
        settings.transformer = TransformerSettings {
            dim,
            depth: number("encoder_layers")?,
            heads: number("encoder_attention_heads")?,
            mlp_ratio: wide / dim,
        };
        settings.beats = BeatsSettings {
            patch_dim: number("embed_dim")?,
            position_kernel: number("conv_pos")?,
            position_groups: number("conv_pos_groups")?,
            buckets: number("num_buckets")?,
            max_distance: number("max_distance")?,
            gradient_decay: super::case::number(config, "layer_wise_gradient_decay_ratio")?,
            ..settings.beats
        };
    } else {
        settings.transformer = TransformerSettings {
            dim: number("embed_dim")?,
            depth: number("depth")?,
            heads: number("num_heads")?,
            mlp_ratio: number("mlp_ratio")?,
        };
    }
    Ok(settings)
}
