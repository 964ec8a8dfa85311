//! What must hold for any scores.

#![expect(clippy::unwrap_used, reason = "helpers of tests may fail as tests do")]

use std::collections::BTreeMap;

use eval::{ClipScores, GroundTruth, PsdsSettings, Scores, SoundEvent, psds};
use proptest::prelude::*;

const CLASSES: [&str; 2] = ["one", "two"];

/// Onset and length of one event per class, in frames.
type Events = [(u8, u8); 2];

/// A few clips of ten frames with scores on a coarse grid (so that ties occur) and up to two events a class.
fn case() -> impl Strategy<Value = (Vec<Vec<u8>>, Vec<Events>)> {
    (1_usize..5).prop_flat_map(|clips| {
        (
            prop::collection::vec(prop::collection::vec(0_u8..12, 20), clips),
            prop::collection::vec([(0_u8..5, 1_u8..4), (0_u8..5, 1_u8..4)], clips),
        )
    })
}

fn build(values: &[Vec<u8>], events: &[Events], map: impl Fn(f64) -> f64) -> (Scores, GroundTruth) {
    let mut truth = GroundTruth::default();
    let mut clips = Vec::new();
    for (index, (values, events)) in values.iter().zip(events).enumerate() {
        let clip = format!("clip{index}");
        clips.push(ClipScores {
            clip: clip.clone(),
            boundaries: (0..=10).map(|frame| f64::from(frame) * 0.5).collect(),
            values: values
                .iter()
                .map(|value| map(f64::from(*value) / 11.0))
                .collect(),
        });
        let events = CLASSES
            .iter()
            .zip(events)
            .map(|(class, (onset, length))| SoundEvent {
                onset: f64::from(*onset) * 0.5,
                offset: f64::from(onset + length) * 0.5,
                class: (*class).to_owned(),
            });
        truth.events.insert(clip.clone(), events.collect());
        truth.durations.insert(clip, 5.0);
    }
    (
        Scores::new(CLASSES.map(str::to_owned).to_vec(), clips).unwrap(),
        truth,
    )
}

/// The score without any cleverness: every threshold on its own.
fn brute_force(scores: &Scores, truth: &GroundTruth) -> Vec<f64> {
    let settings = PsdsSettings::PSDS1;
    let total: f64 = truth.durations.values().sum();
    (0..CLASSES.len())
        .map(|class| {
            let mut thresholds: Vec<f64> = scores
                .clips()
                .iter()
                .flat_map(|clip| clip.values.iter().skip(class).step_by(2).copied())
                .collect();
            thresholds.sort_by(f64::total_cmp);
            thresholds.dedup();
            let mut best: BTreeMap<u64, f64> = BTreeMap::from([(0, 0.0)]);
            for threshold in thresholds {
                let (mut hits, mut misses) = (0_u32, 0_u64);
                for clip in scores.clips() {
                    let event = truth.events[&clip.clip]
                        .iter()
                        .find(|event| event.class == CLASSES[class])
                        .unwrap();
                    let active: Vec<bool> = clip
                        .values
                        .iter()
                        .skip(class)
                        .step_by(2)
                        .map(|value| *value >= threshold)
                        .collect();
                    let mut covered = 0.0;
                    let mut frame = 0;
                    while frame < active.len() {
                        let first = frame;
                        while frame < active.len() && active[frame] {
                            frame += 1;
                        }
                        if frame == first {
                            frame += 1;
                            continue;
                        }
                        let (onset, offset) = (first as f64 * 0.5, frame as f64 * 0.5);
                        let shared = (offset.min(event.offset) - onset.max(event.onset)).max(0.0);
                        if shared + 1e-9 >= 0.7 * (offset - onset) {
                            covered += shared
                        } else {
                            misses += 1
                        }
                    }
                    hits += u32::from(covered + 1e-9 >= 0.7 * (event.offset - event.onset));
                }
                let tpr = f64::from(hits) / scores.clips().len() as f64;
                let entry = best.entry(misses).or_insert(0.0);
                *entry = entry.max(tpr);
            }
            let mut area = 0.0;
            let (mut at, mut height) = (0.0_f64, 0.0_f64);
            for (misses, tpr) in best {
                let x = misses as f64 / total * 3600.0;
                if x > settings.max_efpr {
                    break;
                }
                area += height * (x - at);
                at = x;
                height = height.max(tpr);
            }
            (area + height * (settings.max_efpr - at)) / settings.max_efpr
        })
        .collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn only_the_order_of_scores_matters((values, events) in case()) {
        let (scores, truth) = build(&values, &events, |score| score);
        let (mapped, _) = build(&values, &events, |score| (3.0 * score).exp() - 7.0);
        let (one, two) = (psds(&scores, &truth, &PsdsSettings::PSDS1), psds(&mapped, &truth, &PsdsSettings::PSDS1));
        prop_assert_eq!(one.unwrap().value, two.unwrap().value);
    }

    #[test]
    fn every_threshold_on_its_own_gives_the_same_areas((values, events) in case()) {
        let (scores, truth) = build(&values, &events, |score| score);
        let got = psds(&scores, &truth, &PsdsSettings::PSDS1).unwrap();
        for (found, wanted) in got.by_class.iter().zip(brute_force(&scores, &truth)) {
            prop_assert!((found - wanted).abs() < 1e-12, "found {found}, expected {wanted}");
        }
    }
}
