//! The published tools' numbers for PSDS, AUROC and the median filter.

mod support;

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use eval::{
    Area, ClipScores, Error, GroundTruth, Intersection, PsdsSettings, Scores, SoundEvent,
    intersection_statistics, maestro_auroc, median_filter, psds, recording_scores, segment_auroc,
};
use safetensors::SafeTensors;
use serde_json::Value;
use support::*;
use types::merge_touching;

#[test]
fn psds_with_every_parameter_set() {
    let mut checked = 0;
    for case in cases("ground_truth.tsv") {
        let (scores, truth, expected) = (scores(&case), truth(&case), expected(&case));
        for (name, wanted) in expected["psds"].as_object().unwrap() {
            let what = format!("{}, {name}", case.display());
            let got = psds(&scores, &truth, &settings(&wanted["params"])).unwrap();
            assert_close(&what, got.value, number(&wanted["psds"]), 1e-9);
            assert_all_close(
                &what,
                &got.combined.efpr,
                &numbers(&wanted["psd_roc"]["effective_fpr"]),
                1e-9,
            );
            assert_all_close(
                &what,
                &got.combined.etpr,
                &numbers(&wanted["psd_roc"]["effective_tpr"]),
                1e-9,
            );
            for (index, class) in scores.classes().iter().enumerate() {
                let what = format!("{what}, {class}");
                assert_close(
                    &what,
                    got.by_class[index],
                    number(&wanted["single_class_psds"][class]),
                    1e-9,
                );
                let curve = &wanted["single_class_psd_rocs"][class];
                let column = |value: fn(&eval::OperatingPoint) -> f64| -> Vec<f64> {
                    got.curves[index].iter().map(value).collect()
                };
                assert_all_close(&what, &column(|p| p.tpr), &numbers(&curve["tpr"]), 1e-9);
                assert_all_close(
                    &what,
                    &column(|p| p.efpr),
                    &numbers(&curve["effective_fpr"]),
                    1e-9,
                );
                assert_all_close(
                    &what,
                    &column(|p| p.score),
                    &numbers(&curve["score"]),
                    1e-12,
                );
            }
            checked += 1;
        }
    }
    assert!(checked >= 33, "only {checked} parameter sets found");
}

#[test]
fn counts_at_every_change_point() {
    let mut checked = 0;
    for case in cases("ground_truth.tsv") {
        let (scores, truth, expected) = (scores(&case), truth(&case), expected(&case));
        for wanted in expected["intersection_statistics"]
            .as_array()
            .into_iter()
            .flatten()
        {
            let got =
                intersection_statistics(&scores, &truth, intersection(&wanted["params"])).unwrap();
            for (index, class) in scores.classes().iter().enumerate() {
                let (got, wanted) = (&got[index], &wanted["classes"][class]);
                let what = format!("{}, {class}", case.display());
                assert_eq!(
                    got.num_reference,
                    wanted["n_ref"].as_u64().unwrap(),
                    "{what}"
                );
                assert_close(&what, got.reference_time, number(&wanted["t_ref"]), 1e-9);
                // From the lowest score up; the last one says that nothing is found above the highest score.
                let (listed, end) = {
                    let mut listed = numbers(&wanted["score"]);
                    let end = listed.pop();
                    (listed, end)
                };
                assert_eq!(end, Some(f64::INFINITY), "{what}");
                let column = |value: &dyn Fn(&eval::ChangePoint) -> f64| -> Vec<f64> {
                    got.points.iter().rev().map(value).collect()
                };
                assert_all_close(&what, &column(&|p| p.score), &listed, 1e-12);
                let head = |value: &Value| numbers(value)[..listed.len()].to_vec();
                assert_all_close(
                    &what,
                    &column(&|p| p.true_positives as f64),
                    &head(&wanted["tps"]),
                    0.0,
                );
                assert_all_close(
                    &what,
                    &column(&|p| p.false_positives as f64),
                    &head(&wanted["fps"]),
                    0.0,
                );
                for (other, crossed) in wanted["cts"].as_object().into_iter().flatten() {
                    let place = scores
                        .classes()
                        .iter()
                        .position(|name| name == other)
                        .unwrap();
                    assert_all_close(
                        &what,
                        &column(&|p| p.cross_triggers[place] as f64),
                        &head(crossed),
                        0.0,
                    );
                }
                checked += 1;
            }
        }
    }
    assert!(checked >= 4, "only {checked} classes found");
}

fn check_auroc(what: &str, got: &eval::SegmentAuroc, classes: &[String], wanted: &Value) {
    for (index, class) in classes.iter().enumerate() {
        let what = format!("{what}, {class}");
        assert_close(
            &what,
            got.by_class[index].value,
            number(&wanted["auroc"][class]),
            1e-9,
        );
        let curve = &wanted["roc"][class];
        if curve.is_object() {
            let column = |value: fn(&eval::RocPoint) -> f64| -> Vec<f64> {
                got.by_class[index].roc.iter().map(value).collect()
            };
            assert_all_close(&what, &column(|p| p.tpr), &numbers(&curve["tpr"]), 1e-9);
            assert_all_close(&what, &column(|p| p.fpr), &numbers(&curve["fpr"]), 1e-9);
            assert_all_close(
                &what,
                &column(|p| p.score),
                &numbers(&curve["score"]),
                1e-12,
            );
        }
    }
    assert_close(what, got.mean, number(&wanted["auroc"]["mean"]), 1e-9);
}

#[test]
fn segment_auroc_full_and_partial() {
    let mut checked = 0;
    for case in cases("ground_truth.tsv") {
        let (scores, truth, expected) = (scores(&case), truth(&case), expected(&case));
        for (name, wanted) in expected["segment_auroc"].as_object().into_iter().flatten() {
            let max_fpr = wanted["params"]["max_fpr"].as_f64().unwrap_or(1.0);
            let got = segment_auroc(&scores, &truth, 1.0, max_fpr, Area::Linear).unwrap();
            check_auroc(
                &format!("{}, {name}", case.display()),
                &got,
                scores.classes(),
                wanted,
            );
            checked += 1;
        }
    }
    assert!(checked >= 8, "only {checked} found");
}

#[test]
fn maestro_overlap_add() {
    let mut checked = 0;
    for case in cases("maestro.tsv") {
        let (all, expected) = (scores(&case), expected(&case));
        let classes: Vec<String> = expected["eval_classes"]
            .as_array()
            .unwrap()
            .iter()
            .map(|c| c.as_str().unwrap().to_owned())
            .collect();
        let durations = durations(&case);
        let mut labels: BTreeMap<String, Vec<SoundEvent>> =
            durations.keys().map(|r| (r.clone(), Vec::new())).collect();
        let mut active: Vec<String> = Vec::new();
        for row in rows(&case.join("maestro.tsv")) {
            let confidence: f64 = row[4].parse().unwrap();
            if confidence > 0.5 && classes.contains(&row[3]) {
                let clip = stem(&row[0]);
                let mut parts = clip.rsplitn(3, '-');
                let onset: f64 = parts.nth(1).unwrap().parse().unwrap();
                let recording = parts.next().unwrap().to_owned();
                let shift = (onset / 100.0).floor();
                labels.get_mut(&recording).unwrap().push(SoundEvent {
                    onset: row[1].parse::<f64>().unwrap() + shift,
                    offset: row[2].parse::<f64>().unwrap() + shift,
                    class: row[3].clone(),
                });
                active.push(clip);
            }
        }
        let truth = GroundTruth {
            events: labels
                .into_iter()
                .map(|(recording, events)| (recording, merge_touching(&events)))
                .collect(),
            durations,
        };
        for (recording, merged) in expected["merged_ground_truth"].as_object().unwrap() {
            assert_eq!(
                truth.events[recording].len(),
                merged.as_array().unwrap().len(),
                "{recording}"
            );
        }
        for (variant, wanted) in expected["variants"].as_object().unwrap() {
            let kept = |clip: &&ClipScores| variant == "all_clips" || active.contains(&clip.clip);
            // Columns in the order of the evaluated classes.
            let columns: Vec<usize> = classes
                .iter()
                .map(|class| all.classes().iter().position(|name| name == class).unwrap())
                .collect();
            let narrow = |clip: &ClipScores| ClipScores {
                clip: clip.clip.clone(),
                boundaries: clip.boundaries.clone(),
                values: clip
                    .values
                    .chunks_exact(all.classes().len())
                    .flat_map(|row| columns.iter().map(|column| row[*column]))
                    .collect(),
            };
            let clips = Scores::new(
                classes.clone(),
                all.clips().iter().filter(kept).map(narrow).collect(),
            )
            .unwrap();
            for recording in recording_scores(&clips, &truth.durations).unwrap().clips() {
                let wanted = &wanted["segment_scores"][&recording.clip];
                assert_all_close(
                    variant,
                    &recording.boundaries,
                    &numbers(&wanted["timestamps"]),
                    1e-9,
                );
                let wanted: Vec<f64> = wanted["scores"]
                    .as_array()
                    .unwrap()
                    .iter()
                    .flat_map(numbers)
                    .collect();
                assert_all_close(variant, &recording.values, &wanted, 1e-9);
            }
            for (name, wanted) in wanted["auroc"].as_object().unwrap() {
                let max_fpr = wanted["params"]["max_fpr"].as_f64().unwrap_or(1.0);
                let got = maestro_auroc(&clips, &truth, max_fpr, Area::Linear).unwrap();
                check_auroc(
                    &format!("{}, {variant}, {name}", case.display()),
                    &got,
                    &classes,
                    wanted,
                );
                checked += 1;
            }
        }
    }
    assert!(checked >= 8, "only {checked} found");
}

#[test]
fn median_filter_like_scipy() {
    let mut checked = 0;
    for case in cases("data.safetensors") {
        let bytes = fs::read(case.join("data.safetensors")).unwrap();
        let tensors = SafeTensors::deserialize(&bytes).unwrap();
        for name in tensors.names() {
            let Some((input, set)) = name
                .strip_prefix("out/")
                .and_then(|rest| rest.split_once('/'))
            else {
                continue;
            };
            let windows: Vec<usize> = numbers(&expected(&case)["windows"][set])
                .into_iter()
                .map(|window| window as usize)
                .collect();
            let got = median_filter(
                &floats(&tensors.tensor(&format!("in/{input}")).unwrap()),
                &windows,
            );
            assert_eq!(got, floats(&tensors.tensor(name).unwrap()), "{name}");
            checked += 1;
        }
    }
    assert!(checked >= 10, "only {checked} found");
}

#[test]
fn inputs_that_cannot_be_scored_are_refused_by_name() {
    let case =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/oracles/metrics/rejected_inputs");
    let scores = scores(&case);
    let expected = expected(&case);
    for (name, wanted) in expected["cases"].as_object().unwrap() {
        let mut truth = GroundTruth::default();
        for (clip, events) in wanted["ground_truth"].as_object().unwrap() {
            let events = events.as_array().unwrap().iter().map(|event| SoundEvent {
                onset: number(&event[0]),
                offset: number(&event[1]),
                class: event[2].as_str().unwrap().to_owned(),
            });
            truth.events.insert(clip.clone(), events.collect());
        }
        for (clip, duration) in wanted["durations"].as_object().unwrap() {
            truth.durations.insert(clip.clone(), number(duration));
        }
        match (
            psds(&scores, &truth, &PsdsSettings::PSDS1),
            wanted["psds1"].is_object(),
        ) {
            (Ok(got), false) => assert_close(name, got.value, number(&wanted["psds1"]), 1e-9),
            (Err(error), true) => assert!(
                error.to_string().contains('"'),
                "{name}: {error} names nothing"
            ),
            (got, _) => panic!("{name}: {got:?}"),
        }
    }
    let one = GroundTruth::default();
    for (cttc, alpha_ct) in [(Some(0.3), 0.0), (None, 0.5)] {
        let settings = PsdsSettings {
            intersection: Intersection {
                dtc: 0.7,
                gtc: 0.7,
                cttc,
            },
            alpha_ct,
            ..PsdsSettings::PSDS1
        };
        assert!(matches!(
            psds(&scores, &one, &settings),
            Err(Error::Settings(_))
        ));
    }
}
