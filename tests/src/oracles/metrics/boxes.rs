//! Sound event bounding boxes: change detection, merging, tuning, boxes turned back into frames.

use std::collections::BTreeMap;

use anyhow::{Context, Result, bail, ensure};
use eval::{
    BoundingBox, Boxes, ClipBoxes, Collars, MergeLimits, PsdsSettings, Scores, SebbSettings,
    TuningGrid, TuningMetric, bounding_boxes, change_segments, psds, segment_means, tune,
};
use scorefiles::{read_durations, read_tsv_scores};

use super::super::rows::{Part, Tolerance};
use super::expected::Node;
use super::psds::settings as psds_settings;
use super::{Folder, VALUES, by_class};

/// Times of boxes.
const TIMES: Tolerance = Tolerance {
    atol: 1e-7,
    rtol: 0.0,
};

/// Boxes with given settings, tuned ones, and frames made of boxes.
pub(super) fn compare(folder: &Folder<'_>, expected: Node<'_>) -> Result<()> {
    let scores = folder.scores()?;
    let durations = read_durations(&folder.path.join("durations.tsv"))?;
    for (name, wanted) in expected.get("predict").entries()? {
        predicted(folder, name, &scores, &durations, wanted).with_context(|| name.to_owned())?;
    }
    if expected.get("score_frames").exists() {
        let params = expected.get("predict").get("defaults").get("params");
        let boxes = bounding_boxes(&scores, &settings(params, scores.classes(), "")?)?;
        for (how, wanted) in expected.get("score_frames").entries()? {
            let none = BTreeMap::new();
            let durations = match how {
                "with_duration" => &durations,
                "without_duration" => &none,
                // it stays unread
                _ => continue,
            };
            frames(
                folder,
                how,
                &boxes.scores(durations, f64::NEG_INFINITY)?,
                wanted,
            )?;
        }
    }
    if expected.get("tune").exists() {
        for (name, wanted) in expected.get("tune").entries()? {
            tuned(folder, name, &scores, &durations, wanted).with_context(|| name.to_owned())?;
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
    let value = |name: &str, class: &str| of_class(params.get(&format!("{prefix}{name}")), class);
    (classes.iter())
        .map(|class| {
            Ok(SebbSettings {
                step_seconds: value("step_filter_length", class)?,
                merge: MergeLimits {
                    absolute: value("merge_threshold_abs", class)?,
                    relative: value("merge_threshold_rel", class)?,
                },
            })
        })
        .collect()
}

fn predicted(
    folder: &Folder<'_>,
    name: &str,
    scores: &Scores,
    durations: &BTreeMap<String, f64>,
    wanted: Node<'_>,
) -> Result<()> {
    let settings = settings(wanted.get("params"), scores.classes(), "")?;
    let boxes = bounding_boxes(scores, &settings)?;
    same_boxes(folder, name, &boxes, wanted.get("boxes"))?;
    if wanted.get("psds1").exists() {
        let frames = boxes.scores(durations, f64::NEG_INFINITY)?;
        same_psds(
            folder,
            &format!("{name}, PSDS1"),
            &frames,
            wanted.get("psds1"),
        )?;
    }
    if wanted.get("detections_above_0.5").exists() {
        let found = boxes.detections(&[0.5])?;
        let (mut classes, mut times): (_, Vec<Part<'_>>) = (Ok(()), Vec::new());
        for (clip, wanted) in wanted.get("detections_above_0.5").entries()? {
            let found = found
                .get(clip)
                .with_context(|| format!("there are no boxes of {clip}"))?;
            let wanted = events(wanted)?;
            let got: Vec<&str> = found
                .iter()
                .map(|found| found.event.class.as_str())
                .collect();
            if got != wanted.iter().map(|(class, _)| *class).collect::<Vec<_>>() {
                classes = Err(format!("{clip}: {got:?}"));
            }
            let got = found
                .iter()
                .flat_map(|found| [found.event.onset, found.event.offset]);
            times.push((
                clip,
                got.collect(),
                wanted
                    .iter()
                    .flat_map(|(_, numbers)| [numbers[0], numbers[1]])
                    .collect(),
            ));
        }
        folder
            .rows
            .check_text(&format!("{name}, classes of detections"), classes);
        folder
            .rows
            .check_parts(&format!("{name}, times of detections"), &times, TIMES);
    }
    if wanted.get("change_detection").exists() {
        changes(
            folder,
            name,
            scores,
            &settings,
            wanted.get("change_detection"),
        )?;
    }
    Ok(())
}

/// A list of (onset, offset, class, perhaps confidence), as class and numbers.
fn events(list: Node<'_>) -> Result<Vec<(&str, Vec<f64>)>> {
    let mut events = Vec::new();
    for event in list.items()? {
        let parts = event.items()?;
        ensure!(
            parts.len() > 2,
            "a box of {} parts, expected three or four",
            parts.len()
        );
        let numbers = parts.iter().enumerate().filter(|(place, _)| *place != 2);
        let numbers = numbers
            .map(|(_, part)| part.number())
            .collect::<Result<_>>()?;
        events.push((parts[2].text()?, numbers));
    }
    Ok(events)
}

fn same_boxes(folder: &Folder<'_>, name: &str, got: &Boxes, wanted: Node<'_>) -> Result<()> {
    let mut classes = Ok(());
    let (mut times, mut confidences): (Vec<Part<'_>>, Vec<Part<'_>>) = (Vec::new(), Vec::new());
    for clip in &got.clips {
        let wanted = events(wanted.get(&clip.clip)).with_context(|| clip.clip.clone())?;
        let found: Vec<(&str, &BoundingBox)> = (got.classes.iter().zip(&clip.by_class))
            .flat_map(|(class, boxes)| boxes.iter().map(|found| (class.as_str(), found)))
            .collect();
        if !found
            .iter()
            .map(|(class, _)| class)
            .eq(wanted.iter().map(|(class, _)| class))
        {
            classes = Err(format!(
                "{}: other classes of {} boxes",
                clip.clip,
                found.len()
            ));
        }
        let of = |places: &[usize]| -> Vec<f64> {
            wanted
                .iter()
                .flat_map(|(_, numbers)| {
                    places
                        .iter()
                        .filter_map(|&place| numbers.get(place).copied())
                })
                .collect()
        };
        let got = found
            .iter()
            .flat_map(|(_, found)| [found.onset, found.offset]);
        times.push((&clip.clip, got.collect(), of(&[0, 1])));
        let got = found.iter().map(|(_, found)| found.confidence);
        confidences.push((&clip.clip, got.collect(), of(&[2])));
    }
    folder
        .rows
        .check_text(&format!("{name}, classes of boxes"), classes);
    folder
        .rows
        .check_parts(&format!("{name}, times of boxes"), &times, TIMES);
    folder
        .rows
        .check_parts(&format!("{name}, confidences"), &confidences, VALUES);
    Ok(())
}

fn same_psds(folder: &Folder<'_>, name: &str, frames: &Scores, wanted: Node<'_>) -> Result<()> {
    let truth = folder.truth()?;
    let got = psds(frames, &truth, &psds_settings(wanted.get("params"))?)?;
    folder
        .rows
        .check_number(name, got.value, wanted.get("psds").number()?, VALUES);
    let classes = by_class(
        frames.classes(),
        wanted.get("single_class_psds"),
        Node::number,
    )?;
    folder
        .rows
        .check_numbers(&format!("{name}, classes"), &got.by_class, &classes, VALUES);
    Ok(())
}

/// Segments between changes, before they are merged.
fn changes(
    folder: &Folder<'_>,
    name: &str,
    scores: &Scores,
    settings: &[SebbSettings],
    wanted: Node<'_>,
) -> Result<()> {
    let mut parts: [Vec<Part<'_>>; 2] = Default::default();
    for (place, clip) in scores.clips().iter().enumerate() {
        for (column, class) in scores.classes().iter().enumerate() {
            let wanted = wanted.get(&clip.clip).get(class);
            if !wanted.has_entries() {
                continue;
            }
            let got = change_segments(scores, place, column, settings[column].step_seconds)?;
            let clip = clip.clip.as_str();
            parts[0].push((clip, got.bounds, wanted.get("seg_bounds").numbers()?));
            for (got, key) in [
                (got.mean, "mean_scores"),
                (got.min, "min_scores"),
                (got.max, "max_scores"),
            ] {
                parts[1].push((clip, got, wanted.get(key).numbers()?));
            }
        }
    }
    folder
        .rows
        .check_parts(&format!("{name}, bounds of segments"), &parts[0], TIMES);
    folder
        .rows
        .check_parts(&format!("{name}, scores of segments"), &parts[1], VALUES);
    Ok(())
}

fn frames(folder: &Folder<'_>, how: &str, got: &Scores, wanted: Node<'_>) -> Result<()> {
    let mut parts: [Vec<Part<'_>>; 2] = Default::default();
    for clip in got.clips() {
        let wanted = wanted.get(&clip.clip);
        let rows = wanted.get("scores").items()?.into_iter().map(Node::numbers);
        let rows: Vec<Vec<f64>> = rows.collect::<Result<_>>()?;
        parts[0].push((
            &clip.clip,
            clip.boundaries.clone(),
            wanted.get("timestamps").numbers()?,
        ));
        parts[1].push((&clip.clip, clip.values.clone(), rows.concat()));
    }
    folder
        .rows
        .check_parts(&format!("frames {how}, boundaries"), &parts[0], TIMES);
    folder
        .rows
        .check_parts(&format!("frames {how}, scores"), &parts[1], VALUES);
    Ok(())
}

fn tuned(
    folder: &Folder<'_>,
    name: &str,
    scores: &Scores,
    durations: &BTreeMap<String, f64>,
    wanted: Node<'_>,
) -> Result<()> {
    let truth = folder.truth()?;
    let classes = scores.classes();
    let params = wanted.get("params");
    let list = |key: &str| params.get(key).numbers();
    let (lengths, absolute, relative) = (
        list("step_filter_lengths")?,
        list("merge_thresholds_abs")?,
        list("merge_thresholds_rel")?,
    );
    let grid = match params.get("either_abs_or_rel_threshold").is_false() {
        true => TuningGrid::both(&lengths, &absolute, &relative),
        false => TuningGrid::either(&lengths, &absolute, &relative),
    };
    if name.starts_with("reference_grid") {
        folder.rows.check_equal(
            &format!("{name}, the house's own grid"),
            &TuningGrid::dcase_2024(),
            &grid,
        );
    }
    let metric = match params.get("selection").text()? {
        "psds1" => TuningMetric::Psds(PsdsSettings::PSDS1),
        "collar f1 0.2/0.2/0.2" => TuningMetric::CollarF1(Collars::DCASE),
        other => bail!("settings are chosen by {other}, which is not known here"),
    };
    let shared = params.get("classwise").is_false();
    let got = tune(scores, &truth, &grid, metric, shared)?;
    let chosen = settings(wanted, classes, "best_")?;
    folder
        .rows
        .check_equal(&format!("{name}, settings"), &got.settings, &chosen);
    // of settings that all classes share, the tool tells the mean
    let mean = got.values.iter().sum::<f64>() / got.values.len().max(1) as f64;
    let values = match shared {
        true => vec![mean; classes.len()],
        false => got.values,
    };
    let best = wanted.get("best_values");
    let best = classes
        .iter()
        .map(|class| of_class(best, class))
        .collect::<Result<Vec<_>>>()?;
    folder
        .rows
        .check_numbers(&format!("{name}, best values"), &values, &best, VALUES);
    if wanted.get("detection_threshold").exists() {
        let thresholds = by_class(classes, wanted.get("detection_threshold"), Node::number)?;
        let found = got.thresholds.context("the metric has no thresholds")?;
        folder
            .rows
            .check_numbers(&format!("{name}, thresholds"), &found, &thresholds, VALUES);
    }
    let boxes = bounding_boxes(scores, &got.settings)?;
    if wanted.get("boxes").exists() {
        same_boxes(folder, name, &boxes, wanted.get("boxes"))?;
    }
    if wanted.get("psds1_after").exists() {
        let frames = boxes.scores(durations, f64::NEG_INFINITY)?;
        same_psds(
            folder,
            &format!("{name}, PSDS1 after"),
            &frames,
            wanted.get("psds1_after"),
        )?;
    }
    let without = wanted.get("psds1_after_without_duration_padding");
    if without.exists() {
        let frames = boxes.scores(&BTreeMap::new(), f64::NEG_INFINITY)?;
        let value = psds(&frames, &truth, &PsdsSettings::PSDS1)?.value;
        let name = format!("{name}, PSDS1 after, clips not padded");
        folder
            .rows
            .check_number(&name, value, without.number()?, VALUES);
    }
    Ok(())
}

/// Boxes of the classes that have settings, means over seconds of the others, in one table for each clip.
pub(super) fn with_seconds(folder: &Folder<'_>, expected: Node<'_>) -> Result<()> {
    let all = folder.scores()?;
    let classes = all.classes();
    let params = expected.get("params");
    let boxed = |class: &String| params.get("step_filter_length").get(class).exists();
    let names: Vec<String> = classes
        .iter()
        .filter(|class| boxed(class))
        .cloned()
        .collect();
    let settings = settings(params, &names, "")?;
    let boxes = bounding_boxes(&all.select_classes(&names)?, &settings)?;
    let mut merged = Boxes {
        classes: classes.to_vec(),
        clips: Vec::new(),
    };
    let mut parts: [Vec<Part<'_>>; 2] = Default::default();
    for (clip, found) in all.clips().iter().zip(&boxes.clips) {
        let end = clip.boundaries.last().copied().unwrap_or(0.0);
        let means = segment_means(clip, classes.len(), end);
        let onsets: Vec<f64> = (0..end.ceil() as u32).map(f64::from).collect();
        let seconds = |column: usize| -> Vec<BoundingBox> {
            (onsets.iter().zip(means.chunks(classes.len())))
                .map(|(onset, means)| BoundingBox {
                    onset: *onset,
                    offset: (onset + 1.0).min(end),
                    confidence: means[column],
                })
                .collect()
        };
        let mut own = found.by_class.iter();
        let by_class = classes
            .iter()
            .enumerate()
            .map(|(column, class)| match boxed(class) {
                true => own.next().cloned().unwrap_or_default(),
                false => seconds(column),
            });
        merged.clips.push(ClipBoxes {
            clip: clip.clip.clone(),
            by_class: by_class.collect(),
        });
        let wanted = expected.get("segment_scores").get(&clip.clip);
        let times = onsets.iter().copied().chain([end]).collect();
        parts[0].push((&clip.clip, times, wanted.get("timestamps").numbers()?));
        let got = means.chunks(classes.len()).flat_map(|row| {
            row.iter()
                .zip(classes)
                .filter(|(_, class)| !boxed(class))
                .map(|(value, _)| *value)
        });
        let rows = wanted.get("scores").items()?.into_iter().map(Node::numbers);
        let rows: Vec<Vec<f64>> = rows.collect::<Result<_>>()?;
        parts[1].push((&clip.clip, got.collect(), rows.concat()));
    }
    folder.rows.check_parts("seconds", &parts[0], TIMES);
    folder
        .rows
        .check_parts("scores of seconds", &parts[1], VALUES);
    let (got, wanted) = (
        merged.scores(&BTreeMap::new(), 0.0)?,
        read_tsv_scores(&folder.path.join("expected_tsv"))?,
    );
    folder.rows.check_equal(
        "classes of the tables",
        &got.classes().to_vec(),
        &wanted.classes().to_vec(),
    );
    let clips = |scores: &Scores| -> Vec<String> {
        scores
            .clips()
            .iter()
            .map(|clip| clip.clip.clone())
            .collect()
    };
    folder
        .rows
        .check_equal("clips of the tables", &clips(&got), &clips(&wanted));
    let mut parts: [Vec<Part<'_>>; 2] = Default::default();
    for (got, wanted) in got.clips().iter().zip(wanted.clips()) {
        parts[0].push((&got.clip, got.boundaries.clone(), wanted.boundaries.clone()));
        parts[1].push((&got.clip, got.values.clone(), wanted.values.clone()));
    }
    folder
        .rows
        .check_parts("boundaries of the tables", &parts[0], TIMES);
    folder
        .rows
        .check_parts("scores of the tables", &parts[1], VALUES);
    Ok(())
}
