//! F1 on small cases that can be counted by hand.

#![expect(clippy::unwrap_used, reason = "helpers of tests may fail as tests do")]

use std::collections::{BTreeMap, BTreeSet};

use eval::{
    ClassFScore, ClipScores, Collars, Counts, Error, FScore, GroundTruth, Intersection, Macro,
    Scores, SoundEvent, clip_changes, clip_counts, collar_counts, intersection_counts,
    segment_counts,
};

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
    let macro_f1 = (0.5 + 2.0 / 3.0 + 1.0) / 3.0;
    assert!((at_half.macro_average().f1 - macro_f1).abs() < 1e-15);
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

#[test]
fn round_off_decides_between_values_that_are_equal_on_paper() {
    // 9 of 15 detections and 9 of 12 events above 0.5, 12 of 24 and all 12 events above 0.1: both are 2/3.
    let frames = |score: f64, positive: usize, negative: usize| {
        let clip = move |kind: &str, place: usize| (format!("{kind}{score}{place}"), score);
        let positives = (0..positive).map(move |place| clip("event", place));
        positives.chain((0..negative).map(move |place| clip("noise", place)))
    };
    let clips: Vec<(String, f64)> = frames(0.6, 9, 6).chain(frames(0.2, 3, 6)).collect();
    let values: Vec<[f64; 1]> = clips.iter().map(|(_, score)| [*score]).collect();
    let listed: Vec<(&str, &[f64])> = (clips.iter().zip(&values))
        .map(|((clip, _), values)| (clip.as_str(), &values[..]))
        .collect();
    let tags = |clip: &str| -> &[&str] {
        if clip.starts_with("event") {
            &["cat"]
        } else {
            &[]
        }
    };
    let labelled: Vec<(&str, &[&str])> =
        listed.iter().map(|(clip, _)| (*clip, tags(clip))).collect();
    let counts = clip_counts(&seconds(&["cat"], &listed), &labels(&labelled)).unwrap();
    assert_eq!(counts[0].at(0.5).f1(), counts[0].at(0.1).f1());
    // The published tool takes the second.
    assert_eq!(counts[0].best().counts, counts_of(12, 12, 12));
}
