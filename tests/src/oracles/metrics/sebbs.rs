//! Boxes by change detection: found with given settings, tuned, and turned into frames.

use std::collections::BTreeMap;

use anyhow::{Context, Result, bail, ensure};
use eval::{
    BoundingBox, Boxes, ClipBoxes, Collars, GroundTruth, MergeLimits, PsdsSettings, Scores,
    SebbSettings, TuningGrid, TuningMetric, bounding_boxes, change_segments, psds, segment_means,
    tune,
};

use super::super::rows::{Part, Tolerance};
use super::expected::Node;
use super::{Folder, VALUES, by_class, psds as curves};

/// Times of boxes.
const TIMES: Tolerance = Tolerance {
    atol: 1e-7,
    rtol: 0.0,
};

type Durations = BTreeMap<String, f64>;

/// A file about boxes alone.
pub(super) fn compare(folder: &Folder<'_>, expected: Node<'_>) -> Result<()> {
    let scores = folder.scores()?;
    let durations = scorefiles::read_durations(&folder.path.join("durations.tsv"))?;
    let predicted = expected.get("predict");
    for (name, wanted) in predicted.entries()? {
        let found = with_settings(folder, &scores, &durations, name, wanted);
        found.with_context(|| name.to_owned())?;
    }
    let tuned = expected.get("tune");
    if tuned.exists() {
        for (name, wanted) in tuned.entries()? {
            tuning(folder, &durations, name, wanted).with_context(|| name.to_owned())?;
        }
    }
    let frames = expected.get("score_frames");
    if frames.exists() {
        let params = predicted.get("defaults").get("params");
        let settings = settings(params, scores.classes(), "")?;
        let boxes = bounding_boxes(&scores, &settings)?;
        for (how, wanted) in frames.entries()? {
            let durations = match how {
                "with_duration" => durations.clone(),
                "without_duration" => Durations::new(),
                other => bail!("{other} is no way to make frames"),
            };
            as_frames(
                folder,
                how,
                &boxes.scores(&durations, f64::NEG_INFINITY)?,
                wanted,
            )?;
        }
    }
    Ok(())
}

/// One value for all classes, or one per class.
fn of_class(value: Node<'_>, class: &str) -> Result<f64> {
    match value.has_entries() {
        true => value.get(class).number(),
        false => value.number(),
    }
}

fn settings(params: Node<'_>, classes: &[String], prefix: &str) -> Result<Vec<SebbSettings>> {
    let keys = [
        "step_filter_length",
        "merge_threshold_abs",
        "merge_threshold_rel",
    ]
    .map(|key| format!("{prefix}{key}"));
    let [length, absolute, relative] = [0, 1, 2].map(|key| params.get(&keys[key]));
    classes
        .iter()
        .map(|class| {
            Ok(SebbSettings {
                step_seconds: of_class(length, class)?,
                merge: MergeLimits {
                    absolute: of_class(absolute, class)?,
                    relative: of_class(relative, class)?,
                },
            })
        })
        .collect()
}

fn with_settings(
    folder: &Folder<'_>,
    scores: &Scores,
    durations: &Durations,
    name: &str,
    wanted: Node<'_>,
) -> Result<()> {
    let settings = settings(wanted.get("params"), scores.classes(), "")?;
    let boxes = bounding_boxes(scores, &settings)?;
    check_boxes(folder, name, &boxes, wanted.get("boxes"))?;
    if wanted.get("psds1").exists() {
        let frames = boxes.scores(durations, f64::NEG_INFINITY)?;
        let (_, truth) = folder.scored()?;
        check_psds(folder, name, &frames, &truth, wanted.get("psds1"))?;
    }
    let decided = wanted.get("detections_above_0.5");
    if decided.exists() {
        let found = boxes.detections(&[0.5])?;
        let (mut times, mut classes) = (Vec::new(), (Vec::new(), Vec::new()));
        for (clip, wanted) in decided.entries()? {
            let found = found
                .get(clip)
                .with_context(|| format!("no boxes of {clip}"))?;
            for found in found {
                times.push((found.event.onset, found.event.offset));
                classes.0.push(format!("{clip}: {}", found.event.class));
            }
            for wanted in wanted.items()? {
                classes
                    .1
                    .push(format!("{clip}: {}", wanted.items()?[2].text()?));
            }
        }
        let mut wanted = Vec::new();
        for (_, clip) in decided.entries()? {
            for event in clip.items()? {
                let event = event.items()?;
                wanted.push((event[0].number()?, event[1].number()?));
            }
        }
        let rows = folder.rows;
        rows.check_equal(&format!("{name}, decided classes"), &classes.0, &classes.1);
        let flat = |times: &[(f64, f64)]| -> Vec<f64> {
            times
                .iter()
                .flat_map(|(onset, offset)| [*onset, *offset])
                .collect()
        };
        rows.check_numbers(
            &format!("{name}, decided times"),
            &flat(&times),
            &flat(&wanted),
            TIMES,
        );
    }
    let changes = wanted.get("change_detection");
    if changes.exists() {
        check_segments(folder, name, scores, &settings, changes)?;
    }
    Ok(())
}

fn check_segments(
    folder: &Folder<'_>,
    name: &str,
    scores: &Scores,
    settings: &[SebbSettings],
    wanted: Node<'_>,
) -> Result<()> {
    let mut parts: [(&str, Vec<Part<'_>>, Tolerance); 4] = [
        ("segment bounds", Vec::new(), TIMES),
        ("segment means", Vec::new(), VALUES),
        ("segment minima", Vec::new(), VALUES),
        ("segment maxima", Vec::new(), VALUES),
    ];
    for (place, clip) in scores.clips().iter().enumerate() {
        for (column, class) in scores.classes().iter().enumerate() {
            let wanted = wanted.get(&clip.clip).get(class);
            let step = settings[column].step_seconds;
            let got = change_segments(scores, place, column, step)?;
            let keys = ["seg_bounds", "mean_scores", "min_scores", "max_scores"];
            let values = [got.bounds, got.mean, got.min, got.max];
            for ((part, key), got) in parts.iter_mut().zip(keys).zip(values) {
                part.1.push((&clip.clip, got, wanted.get(key).numbers()?));
            }
        }
    }
    for (part, columns, tolerance) in &parts {
        folder
            .rows
            .check_parts(&format!("{name}, {part}"), columns, *tolerance);
    }
    Ok(())
}

fn check_boxes(folder: &Folder<'_>, name: &str, got: &Boxes, wanted: Node<'_>) -> Result<()> {
    let (mut classes, mut times, mut confidences) = Default::default();
    let pair = |lists: &mut (Vec<f64>, Vec<f64>), got: &[f64], wanted: &[f64]| {
        lists.0.extend(got);
        lists.1.extend(wanted);
    };
    let labels: &mut (Vec<String>, Vec<String>) = &mut classes;
    for clip in &got.clips {
        for (class, boxes) in got.classes.iter().zip(&clip.by_class) {
            for found in boxes {
                labels.0.push(format!("{}: {class}", clip.clip));
                pair(&mut times, &[found.onset, found.offset], &[]);
                pair(&mut confidences, &[found.confidence], &[]);
            }
        }
        for wanted in wanted.get(&clip.clip).items()? {
            let wanted = wanted.items()?;
            ensure!(wanted.len() == 4, "a box of {} is no quadruple", clip.clip);
            labels
                .1
                .push(format!("{}: {}", clip.clip, wanted[2].text()?));
            pair(&mut times, &[], &[wanted[0].number()?, wanted[1].number()?]);
            pair(&mut confidences, &[], &[wanted[3].number()?]);
        }
    }
    let rows = folder.rows;
    rows.check_equal(&format!("{name}, classes of boxes"), &labels.0, &labels.1);
    rows.check_numbers(
        &format!("{name}, times of boxes"),
        &times.0,
        &times.1,
        TIMES,
    );
    rows.check_numbers(
        &format!("{name}, confidences"),
        &confidences.0,
        &confidences.1,
        VALUES,
    );
    Ok(())
}

fn check_psds(
    folder: &Folder<'_>,
    name: &str,
    frames: &Scores,
    truth: &GroundTruth,
    wanted: Node<'_>,
) -> Result<()> {
    let got = psds(frames, truth, &curves::settings(wanted.get("params"))?)?;
    let rows = folder.rows;
    rows.check_number(
        &format!("{name}, PSDS1"),
        got.value,
        wanted.get("psds").number()?,
        VALUES,
    );
    let classes = by_class(
        frames.classes(),
        wanted.get("single_class_psds"),
        Node::number,
    )?;
    rows.check_numbers(
        &format!("{name}, PSDS1 of classes"),
        &got.by_class,
        &classes,
        VALUES,
    );
    Ok(())
}

fn tuning(folder: &Folder<'_>, durations: &Durations, name: &str, wanted: Node<'_>) -> Result<()> {
    let (scores, truth) = folder.scored()?;
    let params = wanted.get("params");
    let list = |key: &str| params.get(key).numbers();
    let (lengths, absolute, relative) = (
        list("step_filter_lengths")?,
        list("merge_thresholds_abs")?,
        list("merge_thresholds_rel")?,
    );
    let either = params.get("either_abs_or_rel_threshold");
    let grid = match either.exists() && !either.is_true() {
        true => TuningGrid::both(&lengths, &absolute, &relative),
        false => TuningGrid::either(&lengths, &absolute, &relative),
    };
    let metric = match params.get("selection").text()? {
        "psds1" => TuningMetric::Psds(PsdsSettings::PSDS1),
        "collar f1 0.2/0.2/0.2" => TuningMetric::CollarF1(Collars::DCASE),
        other => bail!("{other} is no metric to tune by"),
    };
    let shared = !params.get("classwise").is_true();
    let got = tune(&scores, &truth, &grid, metric, shared)?;
    let classes = scores.classes();
    let chosen = settings(wanted, classes, "best_")?;
    let rows = folder.rows;
    rows.check_equal(&format!("{name}, chosen"), &got.settings, &chosen);
    // of settings that all classes share, the tool tells the mean
    let mean = got.values.iter().sum::<f64>() / got.values.len() as f64;
    let values = match shared {
        true => vec![mean; classes.len()],
        false => got.values.clone(),
    };
    let best = by_class(classes, wanted.get("best_values"), Node::number)?;
    rows.check_numbers(&format!("{name}, best values"), &values, &best, VALUES);
    let thresholds = wanted.get("detection_threshold");
    if thresholds.exists() {
        let thresholds = by_class(classes, thresholds, Node::number)?;
        let found = got.thresholds.clone().unwrap_or_default();
        rows.check_numbers(&format!("{name}, thresholds"), &found, &thresholds, VALUES);
    }
    let boxes = bounding_boxes(&scores, &got.settings)?;
    if wanted.get("boxes").exists() {
        check_boxes(folder, name, &boxes, wanted.get("boxes"))?;
    }
    let after = wanted.get("psds1_after");
    if after.exists() {
        let name = format!("{name}, tuned");
        let frames = boxes.scores(durations, f64::NEG_INFINITY)?;
        check_psds(folder, &name, &frames, &truth, after)?;
        let frames = boxes.scores(&Durations::new(), f64::NEG_INFINITY)?;
        rows.check_number(
            &format!("{name}, without durations"),
            psds(&frames, &truth, &PsdsSettings::PSDS1)?.value,
            wanted
                .get("psds1_after_without_duration_padding")
                .number()?,
            VALUES,
        );
    }
    Ok(())
}

fn as_frames(folder: &Folder<'_>, how: &str, got: &Scores, wanted: Node<'_>) -> Result<()> {
    let (mut times, mut values): (Vec<Part<'_>>, Vec<Part<'_>>) = Default::default();
    for clip in got.clips() {
        let wanted = wanted.get(&clip.clip);
        let name = clip.clip.as_str();
        times.push((
            name,
            clip.boundaries.clone(),
            wanted.get("timestamps").numbers()?,
        ));
        values.push((name, clip.values.clone(), rows_of(wanted.get("scores"))?));
    }
    let rows = folder.rows;
    rows.check_parts(&format!("frames {how}, boundaries"), &times, TIMES);
    rows.check_parts(&format!("frames {how}, scores"), &values, VALUES);
    Ok(())
}

fn rows_of(table: Node<'_>) -> Result<Vec<f64>> {
    let rows: Vec<Vec<f64>> = table
        .items()?
        .into_iter()
        .map(Node::numbers)
        .collect::<Result<_>>()?;
    Ok(rows.concat())
}

/// Boxes of some classes and means over seconds of the others, in one table.
pub(super) fn one_table(folder: &Folder<'_>, expected: Node<'_>) -> Result<()> {
    let scores = folder.scores()?;
    let classes = scores.classes().to_vec();
    let params = expected.get("params");
    let boxed = |class: &String| params.get("step_filter_length").get(class).exists();
    let names: Vec<String> = classes
        .iter()
        .filter(|class| boxed(class))
        .cloned()
        .collect();
    let boxes = bounding_boxes(
        &scores.select_classes(&names)?,
        &settings(params, &names, "")?,
    )?;
    let (mut seconds, mut bounds): (Vec<Part<'_>>, Vec<Part<'_>>) = Default::default();
    let mut merged = Vec::new();
    for (clip, found) in scores.clips().iter().zip(&boxes.clips) {
        let end = clip.boundaries.last().copied().unwrap_or(0.0);
        let means = segment_means(clip, classes.len(), end);
        let onsets = || (0..means.len() / classes.len()).map(|second| second as f64);
        let mut own = found.by_class.iter();
        let by_class = (classes.iter().enumerate()).map(|(column, class)| match boxed(class) {
            true => own.next().cloned().unwrap_or_default(),
            false => onsets()
                .zip(means.chunks(classes.len()))
                .map(|(onset, means)| BoundingBox {
                    onset,
                    offset: (onset + 1.0).min(end),
                    confidence: means[column],
                })
                .collect(),
        });
        merged.push(ClipBoxes {
            clip: clip.clip.clone(),
            by_class: by_class.collect(),
        });
        let wanted = expected.get("segment_scores").get(&clip.clip);
        let mut times: Vec<f64> = onsets().collect();
        times.push(end);
        bounds.push((&clip.clip, times, wanted.get("timestamps").numbers()?));
        let others = means.chunks(classes.len()).flat_map(|row| {
            let row = row.iter().zip(&classes);
            row.filter(|(_, class)| !boxed(class))
                .map(|(mean, _)| *mean)
        });
        seconds.push((&clip.clip, others.collect(), rows_of(wanted.get("scores"))?));
    }
    let rows = folder.rows;
    rows.check_parts("seconds, boundaries", &bounds, TIMES);
    rows.check_parts("seconds, means", &seconds, VALUES);

    let merged = Boxes {
        classes,
        clips: merged,
    };
    let got = merged.scores(&Durations::new(), 0.0)?;
    let wanted = scorefiles::read_tsv_scores(&folder.path.join("expected_tsv"))?;
    rows.check_equal(
        "table, classes",
        &got.classes().to_vec(),
        &wanted.classes().to_vec(),
    );
    let (mut times, mut values): (Vec<Part<'_>>, Vec<Part<'_>>) = Default::default();
    ensure!(
        got.clips().len() == wanted.clips().len(),
        "{} tables, expected {}",
        got.clips().len(),
        wanted.clips().len()
    );
    for (got, wanted) in got.clips().iter().zip(wanted.clips()) {
        let name = got.clip.as_str();
        times.push((name, got.boundaries.clone(), wanted.boundaries.clone()));
        values.push((name, got.values.clone(), wanted.values.clone()));
    }
    rows.check_parts("table, boundaries", &times, TIMES);
    rows.check_parts("table, scores", &values, VALUES);
    Ok(())
}
