//! The CRNN with its fusion (recipe 4.1 to 4.3): probabilities, steps, training mode.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context, Result, bail, ensure};
use model::{Fused, Mode, Part, SedModel, pool_embeddings};
use tch::{Kind, Tensor};
use types::{Architecture, TransformerSettings};

use super::case::{Case, items, read_all, size};
use super::network;
use super::rows::Tolerance;

pub(crate) fn run(case: &Case) -> Result<()> {
    let mut modes: BTreeSet<&str> = BTreeSet::new();
    for name in case.expected() {
        let (mode, _) = name
            .split_once('.')
            .with_context(|| format!("{name} has no mode"))?;
        ensure!(
            mode.starts_with("eval") || mode == "train",
            "{name} begins with {mode}, expected eval or train"
        );
        modes.insert(mode);
    }
    let weights = weights(case)?;
    for mode in modes {
        let model = build(case, &weights)?;
        match mode {
            "train" => training(case, &model, &weights)?,
            _ => evaluation(case, &model, mode)?,
        }
    }
    Ok(())
}

/// The case's network. Its transformer is never run, so any will do.
fn build(case: &Case, weights: &BTreeMap<String, Tensor>) -> Result<SedModel> {
    let config = &case.json["config"];
    let mut settings = network::wrapped(config, network::published(Architecture::AtstFrame))?;
    settings.transformer = TransformerSettings {
        dim: size(config, "embedding_size")?,
        depth: 1,
        heads: 1,
        mlp_ratio: 1,
    };
    let transformer = match settings.audioset_head {
        Some(_) => "as_model.model.",
        None => "as_model.",
    };
    let model = network::build(&settings)?;
    network::load(model.store(), weights, |name| {
        (!name.starts_with(transformer)).then(|| name.to_owned())
    })?;
    Ok(model)
}

/// The name of a file in a sentence.
fn file_in(text: &str) -> Option<&str> {
    text.split_whitespace()
        .find(|word| word.ends_with(".safetensors"))
}

/// The state dict: the case's own, or another's (`uses`) with the case's own entries over it.
fn weights(case: &Case) -> Result<BTreeMap<String, Tensor>> {
    let Some(other) = case.json["uses"]["state_dict"].as_str() else {
        return case.state_dict();
    };
    let file = file_in(other).context("uses.state_dict names no file")?;
    let mut weights = read_all(&case.folder.join(file))?;
    if other.contains("without the as_model.* keys") {
        weights.retain(|name, _| !name.starts_with("as_model."));
    }
    if case.json["files"]["state_dict"].is_string() {
        weights.extend(case.state_dict()?);
    }
    Ok(weights)
}

/// An input, the case's own or another's.
fn input(case: &Case, name: &str) -> Result<Tensor> {
    if case.has(name) {
        return case.tensor(name);
    }
    let other = (case.json["uses"][name].as_str())
        .with_context(|| format!("the case neither has {name} nor uses another's"))?;
    let file = file_in(other).with_context(|| format!("uses.{name} names no file"))?;
    let mut tensors = read_all(&case.folder.join(file))?;
    tensors
        .remove(name)
        .with_context(|| format!("{file} has no {name}"))
}

/// What a mode is given: CRNN input, embeddings after the projection, class mask.
fn inputs(case: &Case, model: &SedModel, mode: &str) -> Result<(Tensor, Tensor, Tensor)> {
    let own = format!("{mode}.emb");
    let embeddings = match case.has(&own) {
        true => case.tensor(&own)?,
        false => input(case, "emb")?,
    };
    let clips = embeddings.size()[0];
    let first = |name: &str| -> Result<Tensor> { Ok(input(case, name)?.narrow(0, 0, clips)) };
    let mel = first("sed")?;
    let mask = first("class_mask")?;
    Ok((mel, model.embedding().project(&embeddings), mask))
}

/// Values that both modes have.
fn shared(name: &str, out: &Fused, mask: &Tensor) -> Option<Tensor> {
    let masked = || out.logits.predictions(Some(mask));
    let open = || out.logits.predictions(None);
    Some(match name {
        "cnn" => out.cnn.features.shallow_clone(),
        "cg0_corner" => out.cnn.first_gate.shallow_clone(),
        "fused" => out.fused.shallow_clone(),
        "rnn" => out.rnn.shallow_clone(),
        "strong_logits" => out.logits.strong.shallow_clone(),
        "strong_masked" => masked().strong,
        "weak_masked" => masked().weak,
        "strong" => open().strong,
        "weak" => open().weak,
        _ => return None,
    })
}

fn evaluation(case: &Case, model: &SedModel, mode: &str) -> Result<()> {
    let (mel, embeddings, mask) = inputs(case, model, mode)?;
    let out = model.forward(&mel, &embeddings, Mode::Eval);
    for name in case.expected() {
        let Some(step) = name
            .strip_prefix(mode)
            .and_then(|rest| rest.strip_prefix('.'))
        else {
            continue;
        };
        let value = match step {
            "embedding" => embeddings.shallow_clone(),
            "embedding_pooled" => {
                let pooling = network::pooling(&case.json["config"])?;
                pool_embeddings(&embeddings, pooling, out.fused.size()[1])
            }
            _ => match shared(step, &out, &mask) {
                Some(value) => value,
                None => bail!("{name} is no step of the CRNN"),
            },
        };
        let value = match step.ends_with("_corner") {
            true => case.kept(name, &value)?,
            false => value,
        };
        case.check(name, &value)?;
    }
    Ok(())
}

fn training(case: &Case, model: &SedModel, weights: &BTreeMap<String, Tensor>) -> Result<()> {
    model
        .store()
        .set_trainable(|name| !name.starts_with("as_model."));
    if let Some(frozen) = case.json["requires_grad_false"].as_array() {
        let want: BTreeSet<&str> = frozen.iter().filter_map(|name| name.as_str()).collect();
        ensure!(
            want.len() == items(&case.json, "requires_grad_false")?.len(),
            "requires_grad_false has other things than names"
        );
        let got: BTreeSet<&str> = (model.store().parameters())
            .map(|(name, _)| name)
            .filter(|name| model.part(name) == Part::AudiosetHead)
            .collect();
        case.rows.check_equal("requires_grad_false", &got, &want);
    }
    let (mel, embeddings, mask) = inputs(case, model, "train")?;
    let out = model.forward(&mel, &embeddings, Mode::Train { dropout: 0.0 });
    let mut scalar = None;
    if case.has("train.probe_strong") {
        let predictions = match case.has("train.strong_masked") {
            true => out.logits.predictions(Some(&mask)),
            false => out.logits.predictions(None),
        };
        let strong = predictions.strong * case.tensor("train.probe_strong")?;
        let weak = predictions.weak * case.tensor("train.probe_weak")?;
        let sum = strong.sum(Kind::Float) + weak.sum(Kind::Float);
        sum.backward();
        scalar = Some(sum);
    }
    let statistics = (out.cnn.statistics.as_ref()).context("training mode gave no statistics")?;
    model.fold_statistics(statistics);
    for name in case.expected() {
        let Some(step) = name.strip_prefix("train.") else {
            continue;
        };
        let value = if let Some(key) = step.strip_prefix("d/") {
            network::gradient(model.store(), key)?
        } else if let Some(key) = step.strip_prefix("after/") {
            network::find(model.store(), key)?.shallow_clone()
        } else if step == "scalar" {
            scalar
                .as_ref()
                .context("train.scalar without a probe")?
                .shallow_clone()
        } else {
            match shared(step, &out, &mask) {
                Some(value) => value,
                None => bail!("{name} is no step of the CRNN"),
            }
        };
        case.check(name, &value)?;
    }
    for (name, before) in weights
        .iter()
        .filter(|(name, _)| name.ends_with("num_batches_tracked"))
    {
        let after = network::find(model.store(), name)?.int64_value(&[]);
        let want = before.int64_value(&[]) + 1;
        case.rows
            .check_number(name, after as f64, want as f64, Tolerance::EXACT);
    }
    Ok(())
}
