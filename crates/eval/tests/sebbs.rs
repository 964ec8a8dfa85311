//! Change-detection boxes: what must hold for any.

#![expect(clippy::unwrap_used, reason = "helpers of tests may fail as tests do")]

use eval::{BoundingBox, ClipScores, Error, MergeLimits, Scores, SebbSettings, bounding_boxes};
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
