//! Label encoding, aliases, masks and decoding (recipe 2, 9.1).

use std::path::PathBuf;

use anyhow::{Context, Result, bail, ensure};
use dataset::{
    Annotation, CLASSES, Clip, LabeledEvent, MAESTRO_EVALUATED, NUM_CLASSES, NUM_DESED_CLASSES,
    Purpose, class_index, class_mask, frame_boundaries, offset_frame, onset_frame,
};
use eval::{detections, median_filter};
use serde_json::Value;
use tch::{Kind, Tensor};
use types::Split;

use super::case::{Case, entries, items, number, numbers, sizes, text, whole};
use super::rows::Tolerance;

/// Times in float64.
const TIMES: Tolerance = Tolerance {
    atol: 1e-12,
    rtol: 0.0,
};

pub(crate) fn run(case: &Case) -> Result<()> {
    ensure!(
        case.json.get("strong_annotations").is_some(),
        "no annotations to encode: no case of labels that is known here"
    );
    let list = |key: &str| -> Result<Vec<&str>> {
        Ok(items(&case.json, key)?
            .iter()
            .filter_map(Value::as_str)
            .collect())
    };
    case.rows
        .check_equal("classes", &CLASSES.to_vec(), &list("classes")?);
    let evaluated = list("maestro_eval_classes")?;
    case.rows.check_equal(
        "maestro_eval_classes",
        &MAESTRO_EVALUATED.to_vec(),
        &evaluated,
    );
    strong(case)?;
    maestro(case)?;
    desed(case)?;
    weak(case)?;
    masks(case)?;
    times(case)?;
    decoding(case)?;
    let (values, windows) = (
        case.tensor("median.input")?,
        sizes(&case.json, "median_window")?,
    );
    let windows: Vec<usize> = windows.into_iter().map(|window| window as usize).collect();
    let shape = values.size();
    let values = Vec::<f64>::try_from(values.to_kind(Kind::Double).flatten(0, -1))?;
    let filtered = Tensor::from_slice(&median_filter(&values, &windows)).view(shape.as_slice());
    case.check("median.output", &filtered)
}

fn class(value: &Value) -> Result<usize> {
    let name = value.as_str().context("a class without a name")?;
    class_index(name).with_context(|| format!("{name} is no class"))
}

fn clip(split: Split, annotation: Annotation) -> Clip {
    Clip {
        split,
        stem: "a".to_owned(),
        path: PathBuf::from("a.wav"),
        annotation,
        purpose: Purpose::Evaluation,
    }
}

fn grid(values: &[f32]) -> Tensor {
    Tensor::from_slice(values).view([NUM_CLASSES as i64, -1])
}

/// Rows of (filename, onset, offset, class[, confidence]).
fn table(case: &Case, key: &str) -> Result<Vec<LabeledEvent>> {
    items(&case.json, key)?
        .iter()
        .map(|row| {
            Ok(LabeledEvent {
                onset: row[1].as_f64().context("an onset")?,
                offset: row[2].as_f64().context("an offset")?,
                class: class(&row[3])?,
                confidence: row[4].as_f64().unwrap_or(1.0),
            })
        })
        .collect()
}

fn strong(case: &Case) -> Result<()> {
    for (name, entry) in entries(&case.json, "strong_annotations")? {
        let mut events = Vec::new();
        for row in items(entry, "rows")? {
            events.push(LabeledEvent {
                onset: row[1].as_f64().context("an onset")?,
                offset: row[2].as_f64().context("an offset")?,
                class: class(&row[0])?,
                confidence: 1.0,
            });
        }
        let crop = number(entry, "crop_onset")?;
        let labels = clip(Split::DesedValidation, Annotation::Strong(events)).labels(crop);
        case.check(&format!("strong.{name}"), &grid(labels.values()))?;
    }
    Ok(())
}

fn maestro(case: &Case) -> Result<()> {
    let plain = clip(
        Split::MaestroTrain,
        Annotation::Strong(table(case, "maestro_rows")?),
    );
    case.check("maestro.soft", &grid(plain.labels(0.0).values()))?;
    let aliased = plain.with_aliases();
    let want = Annotation::Strong(table(case, "maestro_rows_after_alias")?);
    case.rows
        .check_equal("maestro_rows_after_alias", &aliased.annotation, &want);
    case.check("maestro.soft_alias", &grid(aliased.labels(0.0).values()))
}

fn desed(case: &Case) -> Result<()> {
    let plain = clip(
        Split::SynthTrain,
        Annotation::Strong(table(case, "desed_rows")?),
    );
    let aliased = plain.with_aliases();
    let want = Annotation::Strong(table(case, "desed_rows_after_alias")?);
    case.rows
        .check_equal("desed_rows_after_alias", &aliased.annotation, &want);
    case.check("desed.strong_alias", &grid(aliased.labels(0.0).values()))
}

fn weak(case: &Case) -> Result<()> {
    let classes = |row: &Value, key: &str| -> Result<Vec<usize>> {
        (text(row, key)?.split(','))
            .map(|name| class_index(name).with_context(|| format!("{name} is no class")))
            .collect()
    };
    let (mut plain, mut aliased) = (Vec::new(), Vec::new());
    for row in items(&case.json, "weak_annotations")? {
        let labels = classes(row, "labels")?;
        let clip = clip(Split::WeakTrain, Annotation::Weak(labels));
        plain.extend(clip.labels(0.0).to_weak());
        let clip = clip.with_aliases();
        let Annotation::Weak(mut got) = clip.annotation.clone() else {
            bail!("a weak label became a strong one");
        };
        let mut want = classes(row, "with_alias")?;
        got.sort_unstable();
        want.sort_unstable();
        case.rows
            .check_equal(&format!("aliases of {}", text(row, "labels")?), &got, &want);
        aliased.extend(clip.labels(0.0).to_weak());
    }
    let by_clip = |values: &[f32]| Tensor::from_slice(values).view([-1, NUM_CLASSES as i64]);
    case.check("weak.plain", &by_clip(&plain))?;
    case.check("weak.alias", &by_clip(&aliased))
}

fn masks(case: &Case) -> Result<()> {
    for name in case.expected().filter(|name| name.starts_with("mask.")) {
        let mask: Vec<f32> = match &name["mask.".len()..] {
            "desed" => class_mask(Split::SynthTrain, Purpose::Training).to_vec(),
            "maestro" => class_mask(Split::MaestroTrain, Purpose::Training).to_vec(),
            "desed_plain" => class_mask(Split::DesedValidation, Purpose::Evaluation).to_vec(),
            // the data sets give MAESTRO clips the aliased mask in validation too (recipe 2.5), so this one is nobody's
            "maestro_plain" => (0..NUM_CLASSES)
                .map(|class| f32::from(u8::from(class >= NUM_DESED_CLASSES)))
                .collect(),
            other => bail!("{other} is no kind of mask"),
        };
        case.check(name, &Tensor::from_slice(&mask))?;
    }
    Ok(())
}

fn times(case: &Case) -> Result<()> {
    for entry in items(&case.json, "time_to_frame")? {
        let time = number(entry, "time")?;
        let got = (onset_frame(time) as u64, offset_frame(time) as u64);
        let want = (whole(entry, "onset_frame")?, whole(entry, "offset_frame")?);
        case.rows
            .check_equal(&format!("frames of {time} s"), &got, &want);
    }
    let boundaries = frame_boundaries();
    let frames = whole(&case.json, "n_frames")?;
    case.rows
        .check_equal("n_frames", &(boundaries.len() as u64 - 1), &frames);
    let times = &case.json["frame_to_time"];
    let (first, last) = (numbers(times, "first")?, numbers(times, "last")?);
    let tail = boundaries.len().saturating_sub(last.len());
    let head = &boundaries[..first.len().min(boundaries.len())];
    case.rows
        .check_numbers("frame_to_time, first", head, &first, TIMES);
    case.rows
        .check_numbers("frame_to_time, last", &boundaries[tail..], &last, TIMES);
    Ok(())
}

/// `decode_of_strong_X`: the events that targets `strong.X` are decoded into.
fn decoding(case: &Case) -> Result<()> {
    for key in case
        .json
        .as_object()
        .into_iter()
        .flatten()
        .map(|(key, _)| key)
    {
        let Some(name) = key.strip_prefix("decode_of_strong_") else {
            continue;
        };
        let targets = case
            .tensor(&format!("strong.{name}"))?
            .tr()
            .to_kind(Kind::Double);
        let values = Vec::<f64>::try_from(targets.contiguous().flatten(0, -1))?;
        let mut got: Vec<(String, f64, f64)> =
            detections(&frame_boundaries(), &values, &CLASSES, &[0.5; NUM_CLASSES])
                .into_iter()
                .map(|found| (found.event.class, found.event.onset, found.event.offset))
                .collect();
        let mut want = Vec::new();
        for row in items(&case.json, key)? {
            let class = row[0]
                .as_str()
                .context("a class without a name")?
                .to_owned();
            let onset = row[1].as_f64().context("an onset")?;
            want.push((class, onset, row[2].as_f64().context("an offset")?));
        }
        let order = |a: &(String, f64, f64), b: &(String, f64, f64)| {
            a.0.cmp(&b.0).then(a.1.total_cmp(&b.1))
        };
        got.sort_by(order);
        want.sort_by(order);
        let classes = |events: &[(String, f64, f64)]| -> Vec<String> {
            events.iter().map(|event| event.0.clone()).collect()
        };
        let times = |events: &[(String, f64, f64)]| -> Vec<f64> {
            events.iter().flat_map(|event| [event.1, event.2]).collect()
        };
        case.rows
            .check_equal(&format!("{key}, classes"), &classes(&got), &classes(&want));
        case.rows
            .check_numbers(&format!("{key}, times"), &times(&got), &times(&want), TIMES);
    }
    Ok(())
}
