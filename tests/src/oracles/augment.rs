//! Augmentations with given draws (recipe 6).

use std::collections::BTreeSet;

use anyhow::{Context, Result, bail};
use serde_json::Value;
use tch::{Kind, Tensor};
use train::{
    Filter, FrequencyWarp, Mixing, TimeMask, TimeShift, amplify, convolve, mix_labels,
    mix_recordings, mixstyle,
};

use super::case::{Case, entries, items, number, numbers};

pub(crate) fn run(case: &Case) -> Result<()> {
    let config = &case.json["config"];
    if case.json.get("mix_draw").is_some() {
        waveform(case)
    } else if case.json.get("time_mask_draw").is_some() {
        time(case)
    } else if config.get("db_range").is_some() {
        filter(case)
    } else if config.get("freq_scale").is_some() {
        warp(case)
    } else if case.has("draw.beta") {
        style(case)
    } else if case.has("in.targets") && config.get("beta").is_some() {
        mixup(case)
    } else {
        bail!("no augmentation that is known here has such a config")
    }
}

fn unknown(name: &str) -> Result<()> {
    bail!("{name} is no value of this augmentation")
}

fn mixup(case: &Case) -> Result<()> {
    let variants: BTreeSet<&str> = (case.with_role("draw"))
        .filter_map(|name| name.strip_suffix(".coef"))
        .collect();
    for variant in variants {
        let mixing = Mixing::new(
            &case.tensor(&format!("{variant}.coef"))?,
            &case.tensor(&format!("{variant}.perm"))?,
        );
        // hard labels are the union of both clips'
        let hard = variant.starts_with("hard");
        for name in case.expected() {
            let Some(value) = name
                .strip_prefix(variant)
                .and_then(|rest| rest.strip_prefix('.'))
            else {
                continue;
            };
            let input = match (variant, value) {
                ("weak", "targets") => "weak_targets",
                _ => value,
            };
            let x = case.tensor(&format!("in.{input}"))?;
            let mixed = match value {
                "targets" if hard => mixing.join_targets(&x),
                "targets" => mixing.mix_targets(&x),
                "features" | "embeddings" | "pseudo" => mixing.mix(&x),
                "valid_class_mask" => {
                    let mask = x.to_kind(Kind::Bool);
                    mixing.enlarge_mask(&mask, &case.tensor("in.targets")?)
                }
                _ => return unknown(name),
            };
            case.check(name, &mixed)?;
        }
    }
    Ok(())
}

fn style(case: &Case) -> Result<()> {
    let beta = case.tensor("draw.beta")?.flatten(0, -1);
    let share = beta.maximum(&(1.0 - &beta));
    let mixing = Mixing::new(&share, &case.tensor("draw.perm")?);
    for name in case.expected() {
        let Some(value) = name.strip_prefix("out.") else {
            return unknown(name);
        };
        case.check(
            name,
            &mixstyle(&case.tensor(&format!("in.{value}"))?, &mixing),
        )?;
    }
    Ok(())
}

fn filter(case: &Case) -> Result<()> {
    let range = numbers(&case.json["config"], "db_range")?;
    let [low, high] = range[..] else {
        bail!("db_range has {} numbers, expected 2", range.len());
    };
    for name in case.expected() {
        let Some(set) = name.strip_suffix(".out") else {
            return unknown(name);
        };
        let draws = case.tensor(&format!("{set}.draw.rand"))?;
        let decibels = draws.to_kind(Kind::Double) * (high - low) + low;
        let filter = Filter {
            edges: Vec::<i64>::try_from(case.tensor(&format!("{set}.draw.edges"))?)?,
            decibels: Vec::<Vec<f64>>::try_from(decibels)?,
        };
        case.check(name, &filter.apply(&case.tensor(&format!("{set}.in"))?))?;
    }
    Ok(())
}

fn warp(case: &Case) -> Result<()> {
    for (set, draw) in entries(&case.json, "draws")? {
        let whole = |key| number(draw, key).map(|number| number as i64);
        let warp = FrequencyWarp {
            first: whole("first_mel")?,
            bins: whole("n_mel")?,
        };
        let x = case.tensor(&format!("{set}.in"))?;
        let all = (whole("first_frame")?, whole("n_frame")?);
        case.rows
            .check_equal(&format!("{set}: frames"), &(0, x.size()[2]), &all);
        let warped = warp.apply(&x.unsqueeze(1)).squeeze_dim(1);
        case.check(&format!("{set}.out"), &warped)?;
    }
    Ok(())
}

fn time(case: &Case) -> Result<()> {
    let draw = &case.json["time_mask_draw"];
    let whole = |key| number(draw, key).map(|number| number as i64);
    let mask = TimeMask {
        start: whole("low")?,
        width: whole("width")?,
    };
    let gauss = numbers(&case.json["shift_draw"], "gauss")?;
    let shift = TimeShift(gauss.iter().map(|draw| draw.trunc() as i64).collect());
    let want: Vec<i64> = list(&case.json["shift_draw"]["feature_shift"])?;
    case.rows
        .check_equal("shift_draw.feature_shift", &shift.0, &want);

    let [features, embeddings, labels, pseudo] = ["features", "embeddings", "labels", "pseudo"]
        .map(|name| case.tensor(&format!("in.{name}")));
    let (features, embeddings, labels, pseudo) = (features?, embeddings?, labels?, pseudo?);
    let frames = |x: &Tensor| x.size().last().copied().unwrap_or(0);
    let masked = [&features, &embeddings, &labels, &pseudo].map(Tensor::copy);
    mask.crnn_features(&masked[0]);
    mask.transformer_features(&masked[1], frames(&labels));
    mask.labels(&masked[2]);
    for (name, value) in ["features", "embeddings", "labels", "pseudo"]
        .into_iter()
        .zip(&masked)
    {
        // nothing in the house masks pseudo-labels (recipe T16)
        case.check(&format!("mask.{name}"), value)?;
    }
    case.check("shift.features", &shift.crnn_features(&features))?;
    let shifted = shift.transformer_features(&embeddings, frames(&features));
    case.check("shift.embeddings", &shifted)?;
    case.check("shift.labels", &shift.labels(&labels))?;
    case.check("shift.pseudo", &shift.labels(&pseudo))?;
    rounding(case, frames(&labels))
}

/// Shifts in frames of the mel, and what they are in label frames.
fn rounding(case: &Case, frames: i64) -> Result<()> {
    let (mut got, mut want) = (Vec::new(), Vec::new());
    for pair in items(&case.json, "label_shift_rounding")? {
        let pair = list(pair)?;
        let [shift, rounded] = pair[..] else {
            bail!("label_shift_rounding has other things than pairs");
        };
        let ramp = Tensor::arange(frames, (Kind::Int64, tch::Device::Cpu)).view([1, frames]);
        let first = TimeShift(vec![shift]).labels(&ramp).int64_value(&[0, 0]);
        got.push(first);
        want.push((-rounded).rem_euclid(frames));
    }
    case.rows.check_equal("label_shift_rounding", &got, &want);
    Ok(())
}

fn list(value: &Value) -> Result<Vec<i64>> {
    (value.as_array().into_iter().flatten())
        .map(|item| {
            item.as_i64()
                .with_context(|| format!("{item} is no whole number"))
        })
        .collect()
}

fn waveform(case: &Case) -> Result<()> {
    let draw = &case.json["mix_draw"];
    let (weight, partner) = (number(draw, "weight")?, number(draw, "partner")? as i64);
    let gains = numbers(&case.json["gain_draw"], "db")?;
    let waves = case.tensor("mix.in.waves")?;
    let pair = |name: &str| -> Result<(Tensor, Tensor)> {
        let all = case.tensor(&format!("mix.in.{name}"))?;
        Ok((all.get(0), all.get(partner)))
    };
    for name in case.expected() {
        let value = match name {
            "mix.out.wave" => {
                let (own, other) = pair("waves")?;
                mix_recordings(&own, &other, weight)
            }
            "mix.out.labels" | "mix.out.pseudo" => {
                let (own, other) = pair(&name["mix.out.".len()..])?;
                mix_labels(&own, &other, weight)
            }
            // both masks are equal here, and so is any mixture of them
            "mix.out.valid_class_mask" => {
                let mask = case.tensor(name)?;
                mix_labels(&mask, &mask, weight)
            }
            "gain.out" => {
                let rows: Vec<Tensor> = (0..)
                    .zip(&gains)
                    .map(|(row, gain)| amplify(&waves.get(row), *gain))
                    .collect();
                Tensor::stack(&rows, 0)
            }
            _ => match name
                .strip_prefix("dir.")
                .and_then(|rest| rest.strip_suffix(".out"))
            {
                Some(set) => convolve(&waves.get(0), &case.tensor(&format!("dir.{set}.response"))?),
                None => return unknown(name),
            },
        };
        case.check(name, &value)?;
    }
    Ok(())
}
