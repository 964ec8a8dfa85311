//! F1 against the published tools' numbers.

#![expect(clippy::unwrap_used, reason = "helpers of tests may fail as tests do")]

mod support;

use std::collections::{BTreeMap, BTreeSet};

use eval::{
    ClassFScore, ClipScores, Collars, Counts, CountsByThreshold, Error, FScore, GroundTruth,
    Intersection, Macro, Rates, Scores, SoundEvent, clip_changes, clip_counts, collar_counts,
    intersection_counts, segment_counts,
};
use serde_json::Value;
use support::*;

const KINDS: [&str; 3] = ["intersection_fscore", "collar_fscore", "segment_fscore"];

/// Counts of one kind, with the parameters that the file names.
fn counts(
    kind: &str,
    scores: &Scores,
    truth: &GroundTruth,
    params: &Value,
) -> Vec<CountsByThreshold> {
    match kind {
        "intersection_fscore" => intersection_counts(scores, truth, intersection(params)),
        "collar_fscore" => {
            let collars = Collars {
                onset: number(&params["onset_collar"]),
                offset: number(&params["offset_collar"]),
                offset_rate: number(&params["offset_collar_rate"]),
            };
            collar_counts(scores, truth, collars)
        }
        "segment_fscore" => segment_counts(scores, truth, number(&params["segment_length"])),
        other => panic!("{other}"),
    }
    .unwrap()
}

fn assert_rates(what: &str, name: &str, found: Rates, wanted: &Value) {
    let what = format!("{what}, {name}");
    assert_close(&what, found.f1, number(&wanted["f"][name]), 1e-9);
    assert_close(
        &what,
        found.precision,
        number(&wanted["precision"][name]),
        1e-9,
    );
    assert_close(&what, found.recall, number(&wanted["recall"][name]), 1e-9);
}

fn check(what: &str, classes: &[String], got: &FScore, wanted: &Value) {
    for (class, got) in classes.iter().zip(&got.by_class) {
        let what = format!("{what}, {class}");
        let counts = &wanted["counts"][class];
        let listed = [&counts["tps"], &counts["fps"], &counts["n_ref"]].map(number);
        let found = got.counts;
        assert_eq!(
            [
                found.true_positives,
                found.false_positives,
                found.num_reference
            ]
            .map(|count| count as f64),
            listed,
            "{what}"
        );
        if wanted["threshold"].is_object() {
            let threshold = number(&wanted["threshold"][class]);
            assert_close(&what, got.threshold, threshold, 1e-12);
        }
        let rates = Rates {
            precision: found.precision(),
            recall: found.recall(),
            f1: found.f1(),
        };
        assert_rates(&what, class, rates, wanted);
    }
    assert_eq!(classes.len(), got.by_class.len(), "{what}");
    assert_rates(what, "macro_average", got.macro_average(), wanted);
    assert_rates(what, "micro_average", got.micro_average(), wanted);
    assert_eq!(
        got.macro_f1(Macro::AllClasses),
        Some(got.macro_average().f1)
    );
}

#[test]
fn counts_rates_and_averages_at_and_best() {
    let mut checked = BTreeMap::from(KINDS.map(|kind| (kind, (0, 0))));
    for case in cases("ground_truth.tsv") {
        let (scores, truth, expected) = (scores(&case), truth(&case), expected(&case));
        for kind in KINDS {
            let Some(wanted) = expected[kind].as_object() else {
                continue;
            };
            let counts = counts(kind, &scores, &truth, &wanted["params"]);
            let tally = checked.get_mut(kind).unwrap();
            for (name, wanted) in wanted {
                let what = format!("{}, {kind}, {name}", case.display());
                if let Some(threshold) = name.strip_prefix("at_") {
                    let threshold: f64 = threshold.parse().unwrap();
                    let got = FScore::at(&counts, &[threshold]).unwrap();
                    check(&what, scores.classes(), &got, wanted);
                    let each = vec![threshold; scores.classes().len()];
                    assert_eq!(FScore::at(&counts, &each).unwrap(), got, "{what}");
                    tally.0 += 1;
                } else if name == "best" {
                    let best = FScore::best(&counts);
                    check(&what, scores.classes(), &best, wanted);
                    let thresholds: Vec<f64> =
                        best.by_class.iter().map(|class| class.threshold).collect();
                    assert_eq!(FScore::at(&counts, &thresholds).unwrap(), best, "{what}");
                    tally.1 += 1;
                }
            }
        }
    }
    for (kind, (at, best)) in checked {
        assert!(at >= 10 && best >= 5, "{kind}: only {at} and {best} found");
    }
}

#[test]
fn the_macro_averages_of_psds_eval_and_sed_eval() {
    for case in cases("expected_operating_points.json") {
        let (scores, truth) = (scores(&case), truth(&case));
        let wanted = json(&case.join("expected_operating_points.json"));
        let at_half = |counts: Vec<CountsByThreshold>| FScore::at(&counts, &[0.5]).unwrap();
        let by_intersection =
            at_half(intersection_counts(&scores, &truth, Intersection::F1).unwrap());
        let by_collars = at_half(collar_counts(&scores, &truth, Collars::DCASE).unwrap());
        let by_segments = at_half(segment_counts(&scores, &truth, 1.0).unwrap());
        let sed_eval = &wanted["sed_eval_at_0.5"];
        for (what, found, wanted) in [
            (
                "psds_eval, macro",
                by_intersection.macro_f1(Macro::Found),
                &wanted["intersection_f1_macro_at_0.5"],
            ),
            (
                "sed_eval, events, macro",
                by_collars.macro_f1(Macro::AllClasses),
                &sed_eval["event_macro_f1"],
            ),
            (
                "sed_eval, events, micro",
                Some(by_collars.micro_average().f1),
                &sed_eval["event_micro_f1"],
            ),
            (
                "sed_eval, segments, macro",
                by_segments.macro_f1(Macro::Detected),
                &sed_eval["segment_macro_f1"],
            ),
            (
                "sed_eval, segments, micro",
                Some(by_segments.micro_average().f1),
                &sed_eval["segment_micro_f1"],
            ),
        ] {
            assert_close(what, found.unwrap(), number(wanted), 1e-9);
        }
    }
}

/// Clips with one frame a second.
fn seconds(classes: &[&str], clips: &[(&str, &[f64])]) -> Scores {
    let clips = clips.iter().map(|(clip, values)| ClipScores {
        clip: (*clip).to_owned(),
        boundaries: (0..=values.len() / classes.len())
            .map(|frame| frame as f64)
            .collect(),
        values: values.to_vec(),
    });
    let classes = classes.iter().map(|class| (*class).to_owned());
    Scores::new(classes.collect(), clips.collect()).unwrap()
}

fn labels(clips: &[(&str, &[&str])]) -> BTreeMap<String, BTreeSet<String>> {
    let owned = |classes: &[&str]| classes.iter().map(|class| (*class).to_owned()).collect();
    clips
        .iter()
        .map(|(clip, classes)| ((*clip).to_owned(), owned(classes)))
        .collect()
}

fn counts_of(true_positives: u64, false_positives: u64, num_reference: u64) -> Counts {
    Counts {
        true_positives,
        false_positives,
        num_reference,
    }
}

#[test]
fn a_clip_is_tagged_by_its_highest_frame() {
    const NONE: f64 = f64::NEG_INFINITY;
    let classes = ["cat", "dog", "hum"];
    let frames = seconds(
        &classes,
        &[
            ("a", &[0.1, 0.7, NONE, 0.9, 0.2, NONE]),
            ("b", &[0.5, 0.6, NONE]),
            ("c", &[0.6, 0.1, NONE, 0.2, 0.3, NONE]),
        ],
    );
    let labels = labels(&[("a", &["cat", "dog"]), ("b", &["cat"]), ("c", &[])]);
    let counts = clip_counts(&frames, &labels).unwrap();
    // b's cat scores 0.5, which is not above the threshold.
    let at_half = FScore::at(&counts, &[0.5]).unwrap();
    let found: Vec<Counts> = at_half.by_class.iter().map(|class| class.counts).collect();
    assert_eq!(
        found,
        [counts_of(1, 1, 2), counts_of(1, 1, 1), counts_of(0, 0, 0)]
    );
    let f1: Vec<f64> = found.iter().map(Counts::f1).collect();
    assert_eq!(f1, [0.5, 2.0 / 3.0, 1.0]);
    assert_close(
        "macro",
        at_half.macro_average().f1,
        (0.5 + 2.0 / 3.0 + 1.0) / 3.0,
        1e-15,
    );
    // Scores given per clip: the same with one frame each.
    let given = seconds(
        &classes,
        &[
            ("a", &[0.9, 0.7, NONE]),
            ("b", &[0.5, 0.6, NONE]),
            ("c", &[0.6, 0.3, NONE]),
        ],
    );
    assert_eq!(clip_counts(&given, &labels).unwrap(), counts);
    // Minus infinity is no tag at any threshold.
    assert_eq!(counts[2].at(NONE), counts_of(0, 0, 0));
    assert_eq!(counts[0].at(NONE), counts_of(2, 1, 2));
}

#[test]
fn weak_labels_that_do_not_fit_are_refused_by_name() {
    let scores = seconds(&["cat"], &[("a", &[0.1]), ("b", &[0.2])]);
    for (labels, wanted) in [
        (
            labels(&[("a", &[])]),
            "clip \"b\" has scores but no weak labels",
        ),
        (
            labels(&[("a", &[]), ("b", &[]), ("c", &[])]),
            "clip \"c\" has weak labels but no scores",
        ),
        (
            labels(&[("a", &[]), ("b", &["dog"])]),
            "weak labels of clip \"b\": class \"dog\" is not among the scored classes",
        ),
    ] {
        let error = clip_counts(&scores, &labels).unwrap_err();
        assert_eq!(error.to_string(), wanted);
    }
}

#[test]
fn settings_that_make_no_sense_are_refused() {
    let scores = seconds(&["cat", "dog", "hum"], &[("a", &[0.1, 0.2, 0.3])]);
    let truth = GroundTruth {
        events: BTreeMap::from([("a".to_owned(), Vec::new())]),
        durations: BTreeMap::from([("a".to_owned(), 1.0)]),
    };
    let counts = collar_counts(&scores, &truth, Collars::DCASE).unwrap();
    let refused = |result: Result<(), Error>| {
        assert!(matches!(result, Err(Error::Settings(_))), "{result:?}");
    };
    for thresholds in [&[][..], &[0.5, 0.5], &[f64::NAN]] {
        refused(FScore::at(&counts, thresholds).map(drop));
    }
    for collar in [-0.1, f64::NAN, f64::INFINITY] {
        for collars in [
            Collars {
                onset: collar,
                ..Collars::DCASE
            },
            Collars {
                offset: collar,
                ..Collars::DCASE
            },
            Collars {
                offset_rate: collar,
                ..Collars::DCASE
            },
        ] {
            refused(collar_counts(&scores, &truth, collars).map(drop));
        }
    }
    for length in [0.0, -1.0, f64::NAN, f64::INFINITY] {
        refused(segment_counts(&scores, &truth, length).map(drop));
    }
    let tags = clip_changes(&scores, &labels(&[("a", &[])])).unwrap();
    refused(tags[0].weighted_counts(&[1, 1]).map(drop));
}

#[test]
fn the_three_macro_averages_differ_in_what_they_leave_out() {
    let f1 = |counts: &[Counts]| {
        let by_class = counts.iter().map(|counts| ClassFScore {
            threshold: 0.5,
            counts: *counts,
        });
        let score = FScore {
            by_class: by_class.collect(),
        };
        [Macro::AllClasses, Macro::Detected, Macro::Found].map(|over| score.macro_f1(over))
    };
    let (half, wrong) = (counts_of(1, 1, 2), counts_of(0, 2, 2));
    let (silent, alone) = (counts_of(0, 0, 2), counts_of(0, 2, 0));
    assert_eq!(
        f1(&[half, wrong, silent, alone]),
        [Some(0.125), Some(0.25), Some(0.5)]
    );
    assert_eq!(f1(&[wrong, silent]), [Some(0.0), Some(0.0), None]);
    assert_eq!(f1(&[silent, alone]), [Some(0.0), None, None]);
    assert_eq!(f1(&[]), [None, None, None]);
}

#[test]
fn the_best_threshold_gives_its_counts_where_scores_have_no_middle() {
    let next = |score: f64| f64::from_bits(score.to_bits() + 1);
    let labels = labels(&[("a", &["cat"]), ("b", &[])]);
    for (high, low) in [
        (next(0.5), 0.5),
        (next(next(0.5)), next(0.5)),
        (f64::INFINITY, 0.5),
    ] {
        let scores = seconds(&["cat"], &[("a", &[high]), ("b", &[low])]);
        let counts = clip_counts(&scores, &labels).unwrap().remove(0);
        let best = counts.best();
        assert_eq!((best.threshold, best.counts), (low, counts_of(1, 0, 1)));
        assert_eq!(counts.at(best.threshold), best.counts);
    }
    // Everything must be active; nothing must.
    let scores = seconds(&["cat"], &[("a", &[0.1]), ("b", &[0.2])]);
    let best = clip_counts(&scores, &labels).unwrap()[0].best();
    assert_eq!(
        (best.threshold, best.counts),
        (f64::NEG_INFINITY, counts_of(1, 1, 1))
    );
    let truth = GroundTruth {
        events: ["a", "b"].map(|clip| (clip.to_owned(), Vec::new())).into(),
        durations: ["a", "b"].map(|clip| (clip.to_owned(), 1.0)).into(),
    };
    let best = segment_counts(&scores, &truth, 1.0).unwrap()[0].best();
    assert_eq!(
        (best.threshold, best.counts),
        (f64::INFINITY, counts_of(0, 0, 0))
    );
}

fn one_clip(events: &[(f64, f64, &str)], duration: f64) -> GroundTruth {
    let events = events.iter().map(|(onset, offset, class)| SoundEvent {
        onset: *onset,
        offset: *offset,
        class: (*class).to_owned(),
    });
    GroundTruth {
        events: BTreeMap::from([("a".to_owned(), events.collect())]),
        durations: BTreeMap::from([("a".to_owned(), duration)]),
    }
}

#[test]
fn cross_triggers_do_not_move_the_best_threshold() {
    // At 0.4 the false cat of the first second grows into the dog's, and nothing else happens.
    let frames = [0.9, 0.0, 0.4, 0.0, 0.0, 0.0, 0.8, 0.0].map(|score: f64| {
        if score > 0.0 {
            score
        } else {
            f64::NEG_INFINITY
        }
    });
    let scores = seconds(&["cat", "dog"], &[("a", &frames)]);
    let truth = one_clip(&[(3.0, 4.0, "cat"), (1.0, 2.0, "dog")], 4.0);
    for cttc in [None, Some(0.3)] {
        let settings = Intersection {
            cttc,
            ..Intersection::F1
        };
        let best = intersection_counts(&scores, &truth, settings).unwrap()[0].best();
        assert_eq!(
            (best.threshold, best.counts),
            (f64::NEG_INFINITY, counts_of(1, 1, 1))
        );
    }
}

#[test]
fn a_collar_met_exactly_holds_whatever_the_last_bit_says() {
    // 0.7 + 0.2 is less than 0.9 in binary, and 0.9 - 0.2 more than 0.7.
    for (onset, event) in [(0.7, 0.9), (0.9, 0.7)] {
        let clip = ClipScores {
            clip: "a".to_owned(),
            boundaries: vec![0.0, onset, 2.0],
            values: vec![0.0, 1.0],
        };
        let scores = Scores::new(vec!["cat".to_owned()], vec![clip]).unwrap();
        for (off, found) in [(0.0, 1), (4e-7, 1), (1e-6, 0)] {
            let event = if event > onset {
                event + off
            } else {
                event - off
            };
            let truth = one_clip(&[(event, 2.0, "cat")], 2.0);
            let counts = collar_counts(&scores, &truth, Collars::DCASE).unwrap();
            assert_eq!(counts[0].at(0.5), counts_of(found, 1 - found, 1), "{event}");
        }
    }
}

#[test]
fn minus_infinity_is_no_detection_of_any_kind() {
    let scores = seconds(
        &["cat"],
        &[("a", &[f64::NEG_INFINITY, 0.5, f64::NEG_INFINITY])],
    );
    let truth = one_clip(&[(1.0, 2.0, "cat")], 3.0);
    for counts in [
        intersection_counts(&scores, &truth, Intersection::F1),
        collar_counts(&scores, &truth, Collars::DCASE),
        segment_counts(&scores, &truth, 1.0),
    ] {
        let best = counts.unwrap()[0].best();
        assert_eq!(
            (best.threshold, best.counts),
            (f64::NEG_INFINITY, counts_of(1, 0, 1))
        );
    }
}
