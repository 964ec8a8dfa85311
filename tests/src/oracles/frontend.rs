//! Front-ends (recipe 3): every step on every input.

use anyhow::{Context, Result, bail};
use model::{AtstMel, BeatsFbank, CrnnMel, FpasstMel, evaluation_edges, training_edges};
use serde_json::Value;
use tch::{Device, Tensor};
use types::{DecibelFloor, MelEdges};

use super::case::{Case, number, number_after, size};
use super::rows::Tolerance;

const NYQUIST: u32 = 8000;

pub(crate) fn run(case: &Case) -> Result<()> {
    let config = &case.json["config"];
    let has = |key: &str| config.get(key).is_some();
    if has("scaler") {
        crnn(case)
    } else if has("top_db") {
        atst(case)
    } else if has("fmax_aug_range") {
        fpasst(case)
    } else if has("num_mel_bins") {
        beats(case)
    } else {
        bail!("no front-end that is known here has such a config")
    }
}

/// The part of a value's name before its last dot, and after it.
fn split(name: &str) -> Result<(&str, &str)> {
    name.rsplit_once('.')
        .with_context(|| format!("{name} is no step of a front-end"))
}

fn unknown(name: &str) -> Result<()> {
    bail!("{name} is no step of this front-end")
}

/// Recordings of the folder's input files. `INPUT_clipN_alone` is one clip of INPUT.
fn waveforms(case: &Case, input: &str) -> Result<Tensor> {
    let stored = |name: &str| -> Result<Tensor> {
        for path in super::listing(&case.folder)? {
            if path.extension().is_none_or(|extension| extension != "json") {
                continue;
            }
            let other = Case::open(&path)?;
            if other.is_input() && other.has(name) {
                return other.tensor(name);
            }
        }
        bail!("no input file beside the case holds the recordings {name}")
    };
    match input
        .strip_suffix("_alone")
        .and_then(|rest| rest.rsplit_once("_clip"))
    {
        Some((whole, clip)) => {
            let clip = clip
                .parse()
                .with_context(|| format!("{input} names no clip"))?;
            Ok(stored(whole)?.narrow(0, clip, 1))
        }
        None => stored(input),
    }
}

/// As many of the first clips as the case has values for.
fn first_waveforms(case: &Case, input: &str, name: &str) -> Result<Tensor> {
    let clips = case.tensor(name)?.size()[0];
    Ok(waveforms(case, input)?.narrow(0, 0, clips))
}

/// Kaldi's banks are stored as (band, bin) without the last bin, whose weight is 0.
fn check_bank(case: &Case, name: &str, filters: &Tensor) -> Result<()> {
    let last = filters.size()[0] - 1;
    case.check(name, &filters.narrow(0, 0, last).tr())?;
    let rest = filters.narrow(0, last, 1).abs().max().double_value(&[]);
    case.rows
        .check_number(&format!("{name}, last bin"), rest, 0.0, Tolerance::EXACT);
    Ok(())
}

fn crnn(case: &Case) -> Result<()> {
    let front_end = CrnnMel::new(Device::Cpu);
    for name in case.expected() {
        if name == "mel_filterbank" {
            case.check(name, front_end.filters())?;
            continue;
        }
        let (input, step) = split(name)?;
        let mel = front_end.forward(&waveforms(case, input)?);
        match step {
            "mel_mag" => case.check(name, &mel)?,
            "db" => case.check(name, &CrnnMel::decibels(&mel))?,
            "scaled" => case.check(name, &CrnnMel::scale(&mel))?,
            _ => unknown(name)?,
        }
    }
    Ok(())
}

fn atst(case: &Case) -> Result<()> {
    let front_end = AtstMel::new(DecibelFloor::Batch, Device::Cpu);
    for name in case.expected() {
        if name == "mel_filterbank" {
            case.check(name, front_end.filters())?;
            continue;
        }
        let (input, step) = split(name)?;
        let recordings = waveforms(case, input)?;
        let steps = front_end.steps(&recordings);
        match step {
            "mel_power" => case.check(name, &steps.power)?,
            "db" => case.check(name, &steps.decibels)?,
            "normalised" => {
                case.check(name, &steps.normalised)?;
                // the part that can be kept per clip and the rest make the same whole
                let whole = front_end.finish(&front_end.by_clip(&recordings));
                case.check_as(&format!("{name}, in two parts"), name, &whole)?;
                if input.ends_with("_alone") {
                    coupling(case, input, &steps.normalised)?;
                }
            }
            _ => unknown(name)?,
        }
    }
    Ok(())
}

/// How far a clip's features depend on its neighbours.
fn coupling(case: &Case, input: &str, alone: &Tensor) -> Result<()> {
    let Some(want) = case.json["batch_coupling_max_abs"].as_f64() else {
        return Ok(());
    };
    let (whole, clip) = (input.strip_suffix("_alone"))
        .and_then(|rest| rest.rsplit_once("_clip"))
        .context("a clip of its own")?;
    let (recordings, clip) = (waveforms(case, whole)?, clip.parse()?);
    let shared = AtstMel::new(DecibelFloor::Batch, Device::Cpu).forward(&recordings);
    // the switch makes a clip's features its own
    let own = AtstMel::new(DecibelFloor::Clip, Device::Cpu).forward(&recordings);
    let name = format!("{input}.normalised");
    let label = format!("{name}, floor per clip");
    case.check_as(&label, &name, &own.narrow(0, clip, 1))?;
    let got = (shared.narrow(0, clip, 1) - alone)
        .abs()
        .max()
        .double_value(&[]);
    case.rows.check_number(
        "batch_coupling_max_abs",
        got,
        want,
        case.default_tolerance()?,
    );
    Ok(())
}

fn fpasst(case: &Case) -> Result<()> {
    let config = &case.json["config"];
    let edges = MelEdges {
        low: size(config, "fmin_aug_range")?,
        high: size(config, "fmax_aug_range")?,
    };
    let with_range = |high: u32| MelEdges { high, ..edges };
    for (text, top) in case.json["fmax_in_eval"].as_object().into_iter().flatten() {
        let high = number_after(text, "fmax_aug_range=").context("a range in fmax_in_eval")?;
        let (low, got) = evaluation_edges(with_range(high));
        let want = top.as_f64().context("an edge in fmax_in_eval")?;
        case.rows.check_number(
            &format!("fmax_in_eval, {text}"),
            got,
            want,
            Tolerance::EXACT,
        );
        case.rows
            .check_number(&format!("fmin_in_eval, {text}"), low, 0.0, Tolerance::EXACT);
    }
    for name in case.expected() {
        if let Some(top) = number_after(name, "mel_banks_fmax") {
            let high = (NYQUIST.saturating_sub(top) * 2).max(1);
            let front_end = FpasstMel::new(with_range(high), Device::Cpu);
            check_bank(case, name, front_end.filters())?;
            continue;
        }
        let (input, step) = split(name)?;
        let recordings = first_waveforms(case, input, name)?;
        let front_end = FpasstMel::new(edges, Device::Cpu);
        let steps = front_end.steps(&recordings);
        match step {
            "mel_power" => case.check(name, &steps.power)?,
            "log" => case.check(name, &steps.log)?,
            "normalised" => case.check(name, &steps.normalised)?,
            "normalised_augrange_train" => {
                let drawn = drawn_edges(case, name)?;
                case.check(name, &front_end.forward_between(&recordings, drawn))?;
            }
            _ => match number_after(step, "normalised_augrange") {
                Some(high) if step.ends_with("_eval") => {
                    let front_end = FpasstMel::new(with_range(high), Device::Cpu);
                    case.check(name, &front_end.forward(&recordings))?;
                }
                _ => unknown(name)?,
            },
        }
    }
    Ok(())
}

/// The mel bank's edges of a training step, from the case's draws and the ranges in the value's description.
fn drawn_edges(case: &Case, name: &str) -> Result<(f64, f64)> {
    let what = case.json["tensors"][name]["what"]
        .as_str()
        .unwrap_or_default();
    let range = |key: &str| {
        number_after(what, &format!("{key}="))
            .with_context(|| format!("the description of {name} has no {key}"))
    };
    let edges = MelEdges {
        low: range("fmin_aug_range")?,
        high: range("fmax_aug_range")?,
    };
    let draw: &Value = &case.json["train_draw"];
    let got = training_edges(
        edges,
        size(draw, "randint_fmin")?,
        size(draw, "randint_fmax")?,
    );
    case.rows.check_number(
        "train_draw.fmin",
        got.0,
        number(draw, "fmin")?,
        Tolerance::EXACT,
    );
    case.rows.check_number(
        "train_draw.fmax",
        got.1,
        number(draw, "fmax")?,
        Tolerance::EXACT,
    );
    Ok(got)
}

fn beats(case: &Case) -> Result<()> {
    let front_end = BeatsFbank::new(Device::Cpu);
    for name in case.expected() {
        if name == "mel_banks" {
            check_bank(case, name, front_end.filters())?;
            continue;
        }
        let (input, step) = split(name)?;
        let steps = front_end.steps(&first_waveforms(case, input, name)?);
        match step {
            "fbank" => case.check(name, &steps.fbank)?,
            "normalised" => case.check(name, &steps.normalised)?,
            _ => unknown(name)?,
        }
    }
    Ok(())
}
