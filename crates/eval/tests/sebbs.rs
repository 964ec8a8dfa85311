//! Change-detection boxes: what must hold for any.

#![expect(clippy::unwrap_used, reason = "helpers of tests may fail as tests do")]

use eval::{
    BoundingBox, ClipScores, Error, GroundTruth, MergeLimits, PsdsSettings, Scores, SebbSettings,
    TuningGrid, TuningMetric, bounding_boxes, change_segments, tune,
};
use proptest::prelude::*;

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

#[test]
fn scores_that_have_no_mean_or_begin_late_are_refused() {
    let settings = SebbSettings {
        step_seconds: 0.5,
        merge: MergeLimits::NONE,
    };
    let grid = TuningGrid::either(&[0.5], &[0.2], &[]);
    let refused = |boundaries: [f64; 4], value: f64| {
        let clip = ClipScores {
            clip: "a".to_owned(),
            boundaries: boundaries.to_vec(),
            values: vec![0.1, value, 0.2],
        };
        let scores = Scores::new(vec!["one".to_owned()], vec![clip]).unwrap();
        let error = bounding_boxes(&scores, &[settings]).unwrap_err();
        let segments = change_segments(&scores, 0, 0, 0.5).unwrap_err();
        let metric = TuningMetric::Psds(PsdsSettings::PSDS1);
        let tuned = tune(&scores, &GroundTruth::default(), &grid, metric, false).unwrap_err();
        assert_eq!((&segments, &tuned), (&error, &error));
        error.to_string()
    };
    for value in [f64::INFINITY, f64::NEG_INFINITY] {
        assert_eq!(
            refused([0.0, 1.0, 2.0, 3.0], value),
            "scores of clip \"a\", class \"one\", frame 1: infinite, expected a finite score"
        );
    }
    for onset in [1.0, -1.0] {
        assert_eq!(
            refused([onset, 2.0, 3.0, 4.0], 0.5),
            format!("scores of clip \"a\" begin at {onset} s, expected 0 s")
        );
    }
}

#[test]
fn clips_with_other_frames_keep_to_their_own() {
    // twice as long frames, in turns
    let clip = |place: usize| ClipScores {
        clip: format!("clip{place}"),
        boundaries: [0.0, 1.0, 2.0, 3.0]
            .map(|time| time * (1 + place % 2) as f64)
            .to_vec(),
        values: vec![0.1, 0.9, 0.1],
    };
    let scores = Scores::new(vec!["one".to_owned()], (0..4).map(clip).collect()).unwrap();
    let settings = SebbSettings {
        step_seconds: 0.5,
        merge: MergeLimits {
            absolute: 0.2,
            ..MergeLimits::NONE
        },
    };
    let boxes = bounding_boxes(&scores, &[settings]).unwrap();
    for (place, clip) in boxes.clips.iter().enumerate() {
        let scale = (1 + place % 2) as f64;
        let loud: Vec<_> = (clip.by_class[0].iter())
            .filter(|found| found.confidence > 0.8)
            .map(|found| (found.onset, found.offset))
            .collect();
        assert_eq!(loud, [(scale, 2.0 * scale)], "{}", clip.clip);
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

#[test]
fn scores_without_a_class_or_a_start_are_refused() {
    assert!(Scores::new(Vec::new(), Vec::new()).is_err());
    assert!(clip(&[0.1], 1.0).select_classes::<&str>(&[]).is_err());
    let endless = ClipScores {
        clip: "a".to_owned(),
        boundaries: vec![f64::NEG_INFINITY, 1.0],
        values: vec![0.5],
    };
    assert!(Scores::new(vec!["one".to_owned()], vec![endless]).is_err());
}
