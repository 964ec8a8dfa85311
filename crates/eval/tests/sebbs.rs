//! Change-detection boxes: the published tool's, and what must hold for any.

#![expect(clippy::unwrap_used, reason = "helpers of tests may fail as tests do")]

mod support;

use std::collections::BTreeMap;

use eval::{
    BoundingBox, Boxes, ClipScores, Collars, Error, MergeLimits, PsdsSettings, Scores,
    SebbSettings, TuningGrid, TuningMetric, bounding_boxes, change_segments, psds, segment_means,
    tune,
};
use proptest::prelude::*;
use serde_json::Value;
use support::{
    assert_all_close, assert_close, cases, durations, expected, json, number, numbers, rows,
    scores, settings, truth,
};

/// One value for all classes, or one per class.
fn by_class(value: &Value, class: &str) -> f64 {
    number(value.get(class).unwrap_or(value))
}

fn sebb_settings(params: &Value, classes: &[String], prefix: &str) -> Vec<SebbSettings> {
    let value = |name: &str, class: &str| by_class(&params[format!("{prefix}{name}")], class);
    classes
        .iter()
        .map(|class| SebbSettings {
            step_seconds: value("step_filter_length", class),
            merge: MergeLimits {
                absolute: value("merge_threshold_abs", class),
                relative: value("merge_threshold_rel", class),
            },
        })
        .collect()
}

fn check_boxes(what: &str, got: &Boxes, wanted: &Value) {
    assert_eq!(got.clips.len(), wanted.as_object().unwrap().len());
    for clip in &got.clips {
        let what = format!("{what}, {}", clip.clip);
        let mut listed: Vec<(&str, &BoundingBox)> = Vec::new();
        for (class, boxes) in got.classes.iter().zip(&clip.by_class) {
            listed.extend(boxes.iter().map(|found| (class.as_str(), found)));
        }
        let wanted = wanted[&clip.clip].as_array().unwrap();
        assert_eq!(
            listed.len(),
            wanted.len(),
            "{what}: {listed:?}, expected {wanted:?}"
        );
        for ((class, found), wanted) in listed.into_iter().zip(wanted) {
            assert_eq!(class, wanted[2].as_str().unwrap(), "{what}");
            assert_close(&what, found.onset, number(&wanted[0]), 1e-7);
            assert_close(&what, found.offset, number(&wanted[1]), 1e-7);
            assert_close(&what, found.confidence, number(&wanted[3]), 1e-9);
        }
    }
}

fn check_psds(what: &str, frames: &Scores, truth: &eval::GroundTruth, wanted: &Value) {
    let got = psds(frames, truth, &settings(&wanted["params"])).unwrap();
    assert_close(what, got.value, number(&wanted["psds"]), 1e-9);
    for (class, value) in frames.classes().iter().zip(&got.by_class) {
        assert_close(
            what,
            *value,
            number(&wanted["single_class_psds"][class]),
            1e-9,
        );
    }
}

#[test]
fn boxes_with_given_settings() {
    let mut checked = 0;
    for case in cases("expected_csebbs.json") {
        let (scores, wanted) = (scores(&case), json(&case.join("expected_csebbs.json")));
        let durations = durations(&case);
        for (name, wanted) in wanted["predict"].as_object().unwrap() {
            let what = format!("{}, {name}", case.display());
            let settings = sebb_settings(&wanted["params"], scores.classes(), "");
            let boxes = bounding_boxes(&scores, &settings).unwrap();
            check_boxes(&what, &boxes, &wanted["boxes"]);
            if wanted["psds1"].is_object() {
                let frames = boxes.scores(&durations, f64::NEG_INFINITY).unwrap();
                check_psds(&what, &frames, &truth(&case), &wanted["psds1"]);
            }
            for (clip, wanted) in wanted["detections_above_0.5"]
                .as_object()
                .into_iter()
                .flatten()
            {
                let found: Vec<(f64, f64, String)> = boxes.detections(&[0.5]).unwrap()[clip]
                    .iter()
                    .map(|found| {
                        (
                            found.event.onset,
                            found.event.offset,
                            found.event.class.clone(),
                        )
                    })
                    .collect();
                let wanted = wanted.as_array().unwrap();
                assert_eq!(found.len(), wanted.len(), "{what}, {clip}: {found:?}");
                for (found, wanted) in found.iter().zip(wanted) {
                    assert_close(&what, found.0, number(&wanted[0]), 1e-7);
                    assert_close(&what, found.1, number(&wanted[1]), 1e-7);
                    assert_eq!(found.2, wanted[2].as_str().unwrap());
                }
            }
            for (place, clip) in scores.clips().iter().enumerate() {
                for (column, class) in scores.classes().iter().enumerate() {
                    let wanted = &wanted["change_detection"][&clip.clip][class];
                    if !wanted.is_object() {
                        continue;
                    }
                    let what = format!("{what}, {}, {class}", clip.clip);
                    let got =
                        change_segments(&scores, place, column, settings[column].step_seconds);
                    let got = got.unwrap();
                    assert_all_close(&what, &got.bounds, &numbers(&wanted["seg_bounds"]), 1e-7);
                    assert_all_close(&what, &got.mean, &numbers(&wanted["mean_scores"]), 1e-9);
                    assert_all_close(&what, &got.min, &numbers(&wanted["min_scores"]), 1e-9);
                    assert_all_close(&what, &got.max, &numbers(&wanted["max_scores"]), 1e-9);
                    checked += 1;
                }
            }
        }
    }
    assert!(checked >= 100, "only {checked} columns found");
}

#[test]
fn boxes_as_frames() {
    let mut checked = 0;
    for case in cases("expected_csebbs.json") {
        let wanted = json(&case.join("expected_csebbs.json"));
        let Some(wanted_frames) = wanted["score_frames"].as_object() else {
            continue;
        };
        let scores = scores(&case);
        let settings = sebb_settings(
            &wanted["predict"]["defaults"]["params"],
            scores.classes(),
            "",
        );
        let boxes = bounding_boxes(&scores, &settings).unwrap();
        for (how, wanted) in wanted_frames {
            let durations = match how.as_str() {
                "with_duration" => durations(&case),
                _ => BTreeMap::new(),
            };
            let frames = boxes.scores(&durations, f64::NEG_INFINITY).unwrap();
            for clip in frames.clips() {
                let what = format!("{how}, {}", clip.clip);
                let wanted = &wanted[&clip.clip];
                assert_all_close(
                    &what,
                    &clip.boundaries,
                    &numbers(&wanted["timestamps"]),
                    1e-7,
                );
                let rows = wanted["scores"].as_array().unwrap();
                let values: Vec<f64> = rows.iter().flat_map(numbers).collect();
                assert_all_close(&what, &clip.values, &values, 1e-9);
                checked += 1;
            }
        }
    }
    assert!(checked >= 10, "only {checked} clips found");
}

/// Boxes of some classes and means over seconds of the others, each with a tool of this room, in one table.
#[test]
fn boxes_and_seconds_in_one_table() {
    let mut checked = 0;
    for case in cases("expected_tsv") {
        let (all, wanted) = (scores(&case), expected(&case));
        let params = &wanted["params"];
        let classes = all.classes().to_vec();
        let boxed = |class: &String| params["step_filter_length"].get(class).is_some();
        let columns: Vec<usize> = (0..classes.len())
            .filter(|place| boxed(&classes[*place]))
            .collect();
        let of_columns = all
            .clips()
            .iter()
            .map(|clip| ClipScores {
                clip: clip.clip.clone(),
                boundaries: clip.boundaries.clone(),
                values: clip
                    .values
                    .chunks(classes.len())
                    .flat_map(|row| columns.iter().map(|column| row[*column]))
                    .collect(),
            })
            .collect();
        let names: Vec<String> = columns
            .iter()
            .map(|column| classes[*column].clone())
            .collect();
        let some = Scores::new(names.clone(), of_columns).unwrap();
        let boxes = bounding_boxes(&some, &sebb_settings(params, &names, "")).unwrap();
        let mut merged = Boxes {
            classes: classes.clone(),
            clips: Vec::new(),
        };
        for (clip, found) in all.clips().iter().zip(&boxes.clips) {
            let end = *clip.boundaries.last().unwrap();
            let means = segment_means(clip, classes.len(), end);
            let seconds = &wanted["segment_scores"][&clip.clip];
            let mut own = found.by_class.iter();
            let by_class = classes.iter().enumerate().map(|(column, class)| {
                if boxed(class) {
                    return own.next().unwrap().clone();
                }
                let onsets = (0..end.ceil() as u32).map(f64::from);
                onsets
                    .zip(means.chunks(classes.len()))
                    .map(|(onset, means)| BoundingBox {
                        onset,
                        offset: (onset + 1.0).min(end),
                        confidence: means[column],
                    })
                    .collect()
            });
            merged.clips.push(eval::ClipBoxes {
                clip: clip.clip.clone(),
                by_class: by_class.collect(),
            });
            let maestro: Vec<usize> = (0..classes.len())
                .filter(|place| !boxed(&classes[*place]))
                .collect();
            let wanted: Vec<f64> = (seconds["scores"].as_array().unwrap().iter())
                .flat_map(numbers)
                .collect();
            let got: Vec<f64> = means
                .chunks(classes.len())
                .flat_map(|row| maestro.iter().map(|column| row[*column]))
                .collect();
            assert_all_close(&clip.clip, &got, &wanted, 1e-9);
        }
        let frames = merged.scores(&BTreeMap::new(), 0.0).unwrap();
        for clip in frames.clips() {
            let table = rows(&case.join("expected_tsv").join(format!("{}.tsv", clip.clip)));
            assert_eq!(table.len(), clip.num_frames(), "{}", clip.clip);
            for (frame, row) in table.iter().enumerate() {
                let row: Vec<f64> = row.iter().map(|cell| cell.parse().unwrap()).collect();
                let what = format!("{}, frame {frame}", clip.clip);
                assert_close(&what, clip.boundaries[frame], row[0], 1e-7);
                assert_close(&what, clip.boundaries[frame + 1], row[1], 1e-7);
                let values = &clip.values[frame * classes.len()..][..classes.len()];
                assert_all_close(&what, values, &row[2..], 1e-9);
            }
            checked += 1;
        }
    }
    assert!(checked >= 4, "only {checked} tables found");
}

#[test]
fn tuned_settings() {
    let mut checked = 0;
    for case in cases("expected_csebbs.json") {
        let wanted = json(&case.join("expected_csebbs.json"));
        for (name, wanted) in wanted["tune"].as_object().into_iter().flatten() {
            let what = format!("{}, {name}", case.display());
            let (scores, truth) = (scores(&case), truth(&case));
            let params = &wanted["params"];
            let list = |name: &str| numbers(&params[name]);
            let (lengths, absolute, relative) = (
                list("step_filter_lengths"),
                list("merge_thresholds_abs"),
                list("merge_thresholds_rel"),
            );
            let grid = match params["either_abs_or_rel_threshold"] == Value::Bool(false) {
                true => TuningGrid::both(&lengths, &absolute, &relative),
                false => TuningGrid::either(&lengths, &absolute, &relative),
            };
            if name.starts_with("reference_grid") {
                assert_eq!(grid, TuningGrid::dcase_2024());
            }
            let metric = match params["selection"].as_str().unwrap() {
                "psds1" => TuningMetric::Psds(PsdsSettings::PSDS1),
                "collar f1 0.2/0.2/0.2" => TuningMetric::CollarF1(Collars::DCASE),
                other => panic!("{other}"),
            };
            let shared = params["classwise"] == Value::Bool(false);
            let got = tune(&scores, &truth, &grid, metric, shared).unwrap();
            let chosen = sebb_settings(wanted, scores.classes(), "best_");
            assert_eq!(got.settings, chosen, "{what}");
            // of settings that all classes share, the tool tells the mean
            let mean = got.values.iter().sum::<f64>() / got.values.len() as f64;
            for (place, class) in scores.classes().iter().enumerate() {
                let what = format!("{what}, {class}");
                assert_close(
                    &what,
                    if shared { mean } else { got.values[place] },
                    by_class(&wanted["best_values"], class),
                    1e-9,
                );
                if let Some(threshold) = wanted["detection_threshold"].get(class) {
                    let found = got.thresholds.as_ref().unwrap()[place];
                    assert_close(&what, found, number(threshold), 1e-9);
                }
            }
            let boxes = bounding_boxes(&scores, &got.settings).unwrap();
            if wanted["boxes"].is_object() {
                check_boxes(&what, &boxes, &wanted["boxes"]);
            }
            if wanted["psds1_after"].is_object() {
                let frames = boxes.scores(&durations(&case), f64::NEG_INFINITY).unwrap();
                check_psds(&what, &frames, &truth, &wanted["psds1_after"]);
                let frames = boxes.scores(&BTreeMap::new(), f64::NEG_INFINITY).unwrap();
                let value = psds(&frames, &truth, &PsdsSettings::PSDS1).unwrap().value;
                assert_close(
                    &what,
                    value,
                    number(&wanted["psds1_after_without_duration_padding"]),
                    1e-9,
                );
            }
            checked += 1;
        }
    }
    assert!(checked >= 3, "only {checked} tunings found");
}

#[test]
fn impossible_settings_are_refused() {
    let scores = clip(&[0.1, 0.2], 1.0);
    let settings = |step_seconds, absolute| SebbSettings {
        step_seconds,
        merge: MergeLimits {
            absolute,
            ..MergeLimits::NONE
        },
    };
    for wrong in [
        vec![],
        vec![settings(0.5, 1.0); 2],
        vec![settings(0.0, 1.0)],
        vec![settings(f64::NAN, 1.0)],
        vec![settings(0.5, f64::NAN)],
    ] {
        let refused = bounding_boxes(&scores, &wrong);
        assert!(matches!(refused, Err(Error::Settings(_))), "{wrong:?}");
    }
}

fn clip(values: &[f64], frame: f64) -> Scores {
    let clip = ClipScores {
        clip: "a".to_owned(),
        boundaries: (0..=values.len())
            .map(|place| place as f64 * frame)
            .collect(),
        values: values.to_vec(),
    };
    Scores::new(vec!["one".to_owned()], vec![clip]).unwrap()
}

fn found(values: &[f64], frame: f64, step_seconds: f64, merge: MergeLimits) -> Vec<BoundingBox> {
    let settings = SebbSettings {
        step_seconds,
        merge,
    };
    bounding_boxes(&clip(values, frame), &[settings])
        .unwrap()
        .clips[0]
        .by_class[0]
        .clone()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(5000))]

    #[test]
    fn boxes_are_apart_and_inside(
        values in prop::collection::vec(0_u8..=16, 1..40),
        (step, absolute, relative) in (1_u8..20, 0_u8..10, 0_u8..40),
    ) {
        let values: Vec<f64> = values.iter().map(|value| f64::from(*value) / 16.0).collect();
        // powers of two, so that twice as long is twice as long to the bit
        let (frame, step) = (0.0625, f64::from(step) / 16.0);
        let limit = |limit: u8, most: u8, part: f64| if limit == 0 { f64::INFINITY } else { f64::from(most.min(limit)) * part };
        let merge = MergeLimits { absolute: limit(absolute, 10, 0.1), relative: limit(relative, 40, 0.1) };
        let boxes = found(&values, frame, step, merge);
        let end = values.len() as f64 * frame;
        let (low, high) = values.iter().fold((1.0_f64, 0.0_f64), |(low, high), value| (low.min(*value), high.max(*value)));
        let mut last = 0.0;
        for found in &boxes {
            prop_assert!(found.onset >= last && found.offset >= found.onset && found.offset <= end, "{boxes:?}");
            if found.offset > found.onset {
                prop_assert!(found.confidence >= low * (1.0 - 1e-4) - 1e-12 && found.confidence <= high + 1e-12, "{boxes:?}");
            }
            last = found.offset;
        }
        let doubled = found_twice_as_long(&values, frame, step, merge);
        prop_assert_eq!(boxes.len(), doubled.len());
        for (one, two) in boxes.iter().zip(&doubled) {
            prop_assert!((two.onset - 2.0 * one.onset).abs() < 1e-9 && (two.offset - 2.0 * one.offset).abs() < 1e-9);
        }
    }
}

fn found_twice_as_long(
    values: &[f64],
    frame: f64,
    step: f64,
    merge: MergeLimits,
) -> Vec<BoundingBox> {
    found(values, 2.0 * frame, 2.0 * step, merge)
}
