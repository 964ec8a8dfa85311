//! Losses, schedules, averaging, optimizer groups, and whole steps (recipe 5 and 7).

mod losses;
mod steps;

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context, Result, bail};
use model::Part;
use serde_json::Value;
use tch::Tensor;
use train::{Averager, averaging_factor, base_rate, learning_rate_factor};
use types::{OptimizerKind, OptimizerSettings, SelfSupervisedSettings};

use super::case::{
    Case, entries, items, number, number_after, numbers, sizes, switch, text, whole,
};
use super::network;
use super::rows::Tolerance;

pub(crate) fn run(case: &Case) -> Result<()> {
    let has = |key: &str| case.json.get(key).is_some();
    if has("expected_terms") {
        losses::run(case, stage(case)?)
    } else if case.json["config"].get("optimizer_steps").is_some() {
        steps::run(case, stage(case)?)
    } else if has("lr_schedules") || has("ema") {
        schedules(case)
    } else if has("stage1") && has("stage2") {
        groups(case)
    } else {
        bail!("neither loss terms nor a run of steps, schedules or optimizer groups")
    }
}

/// The stage that the case says it is of.
fn stage(case: &Case) -> Result<u32> {
    match number_after(text(&case.json, "what")?, "stage ") {
        Some(stage @ (1 | 2)) => Ok(stage),
        _ => bail!("the description names no stage, expected stage 1 or stage 2"),
    }
}

/// The switches of the consistency loss as the reference has them.
fn consistency(settings: &Value, stage: u32) -> Result<SelfSupervisedSettings> {
    let default = |key: &str, otherwise: bool| settings.get(key).map_or(otherwise, switch);
    Ok(SelfSupervisedSettings {
        warmup_steps: whole(settings, "ssl_loss_warmup_steps")?,
        max_factor: match settings.get("ssl_scale_max") {
            Some(_) => number(settings, "ssl_scale_max")?,
            None if stage == 1 => 2.0,
            None => 1.0,
        },
        no_class_mask: default("ssl_no_class_mask", false),
        exclude_maestro_weak: default("exclude_maestro_weak_ssl", false),
        include_maestro: default("include_maestro_ssl", true),
        interpolation_consistency: default("use_ict_loss", true),
    })
}

fn schedules(case: &Case) -> Result<()> {
    let tolerance = case.default_tolerance()?;
    for schedule in items(&case.json["lr_schedules"], "list")? {
        let (warmup, total) = (
            whole(schedule, "num_warmup_steps")?,
            whole(schedule, "num_training_steps")?,
        );
        let (mut got, mut want) = (Vec::new(), Vec::new());
        for pair in items(schedule, "multiplier")? {
            let step = pair[0].as_u64().context("a step of a schedule")?;
            got.push(learning_rate_factor(step, warmup, total));
            want.push(pair[1].as_f64().context("a multiplier of a schedule")?);
        }
        case.rows
            .check_numbers(text(schedule, "what")?, &got, &want, tolerance);
    }
    let ema = &case.json["ema"];
    if ema.is_object() {
        averaging(case, ema, tolerance)
    } else {
        Ok(())
    }
}

fn averaging(case: &Case, ema: &Value, tolerance: Tolerance) -> Result<()> {
    let limit = number(ema, "factor")?;
    let names: Vec<&str> = (case.with_role("input"))
        .filter_map(|name| name.strip_prefix("ema.start/"))
        .collect();
    // what the student has no values of is a buffer, which is never averaged (recipe T5)
    let (averaged, buffers): (Vec<&str>, Vec<&str>) =
        (names.into_iter()).partition(|name| case.has(&format!("ema.student0/{name}")));
    let mut pairs = Vec::new();
    for name in &averaged {
        let start = case.tensor(&format!("ema.start/{name}"))?;
        pairs.push((start.copy(), start.zeros_like()));
    }
    let shared =
        |(teacher, student): &(Tensor, Tensor)| (teacher.shallow_clone(), student.shallow_clone());
    let mut averager = Averager::of_pairs(pairs.iter().map(shared).collect(), limit);
    let mut factors = Vec::new();
    for (index, step) in sizes(ema, "global_steps")?.into_iter().enumerate() {
        let step = u64::from(step);
        factors.push(averaging_factor(step, limit));
        for (name, (_, student)) in averaged.iter().zip(&pairs) {
            let value = case.tensor(&format!("ema.student{index}/{name}"))?;
            student.shallow_clone().copy_(&value);
        }
        // a second micro-batch of the step changes nothing
        averager.update_once(step);
        averager.update_once(step);
        for (name, (teacher, _)) in averaged.iter().zip(&pairs) {
            case.check(&format!("ema.teacher{index}/{name}"), teacher)?;
        }
        for name in &buffers {
            let start = case.tensor(&format!("ema.start/{name}"))?;
            case.check(&format!("ema.teacher{index}/{name}"), &start)?;
        }
    }
    case.rows
        .check_numbers("ema.alpha", &factors, &numbers(ema, "alpha")?, tolerance);
    Ok(())
}

/// What one line of a list of parameters says.
struct Member {
    name: String,
    group: Option<usize>,
    rate: Option<f64>,
    trainable: bool,
}

fn members(of_stage: &Value) -> Result<Vec<Member>> {
    items(of_stage, "parameters")?
        .iter()
        .map(|entry| {
            Ok(Member {
                name: entry[0]
                    .as_str()
                    .context("a parameter without a name")?
                    .to_owned(),
                group: entry[1].as_u64().map(usize::try_from).transpose()?,
                rate: entry[2].as_f64(),
                trainable: switch(&entry[3]),
            })
        })
        .collect()
}

/// The reference's index of a part's group.
fn group_of(stage: u32, part: Part) -> Option<usize> {
    match (stage, part) {
        (1, Part::Cnn | Part::Rnn) => Some(0),
        (1, _) => None,
        (_, Part::Cnn) => Some(0),
        (_, Part::Rnn) => Some(1),
        (_, Part::Transformer(group)) => Some(2 + group),
        (_, Part::AudiosetHead | Part::Unused) => None,
    }
}

fn groups(case: &Case) -> Result<()> {
    let what = text(&case.json, "what")?;
    let name = (what.split_once("full-size "))
        .and_then(|(_, rest)| rest.split_whitespace().next())
        .context("the description names no full-size system")?;
    let model = network::build(&network::published(network::architecture(name)?))?;
    for (key, of_stage) in case.json.as_object().into_iter().flatten() {
        let Some(stage) = number_after(key, "stage") else {
            continue;
        };
        groups_of(case, &model, stage, of_stage)?;
    }
    Ok(())
}

fn groups_of(case: &Case, model: &model::SedModel, stage: u32, of_stage: &Value) -> Result<()> {
    let base = numbers(of_stage, "base_lr_per_group")?;
    let rate = |group: usize| base.get(group).copied();
    let first = rate(0).context("base_lr_per_group is empty")?;
    let settings = OptimizerSettings {
        kind: match text(of_stage, "optimizer")? {
            "AdamW" => OptimizerKind::Adamw,
            "Adam" => OptimizerKind::Adam,
            other => bail!("the optimizer is {other}, expected AdamW or Adam"),
        },
        lr_cnn: first,
        lr_rnn: rate(1).unwrap_or(first),
        lr_transformer: rate(2).unwrap_or(0.0),
        layer_factor: match (rate(2), rate(3)) {
            (Some(top), Some(next)) => next / top,
            _ => 1.0,
        },
        weight_decay: number(of_stage, "weight_decay")?,
        warmup_steps: 0,
    };
    let label = |what: &str| format!("stage {stage}: {what}");
    let members = members(of_stage)?;
    let want: BTreeSet<&str> = members.iter().map(|member| member.name.as_str()).collect();
    let got: BTreeSet<&str> = model.store().parameters().map(|(name, _)| name).collect();
    case.rows
        .check_equal(&label("names of parameters"), &got, &want);

    let (mut wrong_group, mut rates) = (Vec::new(), (Vec::new(), Vec::new()));
    for member in &members {
        let part = model.part(&member.name);
        let got = base_rate(&settings, stage, part);
        // A frozen parameter has a group in the reference and none here; one that no forward pass reads never has a gradient,
        // so that the reference's optimizer passes it by.
        let idle = !member.trainable || part == Part::Unused;
        let want = if idle { None } else { member.group };
        if group_of(stage, part) != want || got.is_some() != want.is_some() {
            wrong_group.push(format!("{}: {part:?}, expected {want:?}", member.name));
        }
        if let (Some(got), Some(_), Some(rate)) = (got, want, member.rate) {
            rates.0.push(got);
            rates.1.push(rate);
        }
    }
    case.rows
        .check_equal(&label("groups of parameters"), &wrong_group, &Vec::new());
    let tolerance = Tolerance {
        atol: 0.0,
        rtol: 1e-12,
    };
    case.rows.check_numbers(
        &label("base rates of parameters"),
        &rates.0,
        &rates.1,
        tolerance,
    );

    let mut counts: BTreeMap<usize, u64> = BTreeMap::new();
    for group in members.iter().filter_map(|member| member.group) {
        *counts.entry(group).or_default() += 1;
    }
    let got: Vec<f64> = (0..base.len())
        .map(|g| counts.get(&g).copied().unwrap_or(0) as f64)
        .collect();
    let want = numbers(of_stage, "params_per_group")?;
    case.rows.check_numbers(
        &label("parameters per group"),
        &got,
        &want,
        Tolerance::EXACT,
    );
    let frozen: BTreeSet<&str> = (items(of_stage, "frozen_in_group")?.iter())
        .filter_map(Value::as_str)
        .collect();
    let ours: BTreeSet<&str> = (model.store().parameters())
        .map(|(name, _)| name)
        .filter(|name| model.part(name) == Part::AudiosetHead)
        .collect();
    case.rows
        .check_equal(&label("frozen in a group"), &ours, &frozen);
    Ok(())
}

/// λ0 to λ5.
fn weights(settings: &Value) -> Result<types::LossWeights> {
    let list = numbers(settings, "loss_weights")?;
    let [maestro, strong, synth, weak, self_supervised, pseudo] = list[..] else {
        bail!("loss_weights has {} numbers, expected 6", list.len());
    };
    Ok(types::LossWeights {
        maestro,
        strong,
        synth,
        weak,
        self_supervised,
        pseudo,
    })
}

/// The sizes of a batch's parts.
fn microbatch(config: &Value) -> Result<types::MicrobatchSizes> {
    let sizes = &config["batch_sizes"];
    let _ = entries(config, "batch_sizes")?;
    let size = |key| super::case::size(sizes, key);
    Ok(types::MicrobatchSizes {
        maestro: size("maestro")?,
        strong: size("strong_real")?,
        synth: size("synth")?,
        weak: size("weak")?,
        unlabeled: size("unlabeled")?,
    })
}
