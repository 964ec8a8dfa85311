//! What must hold for any scores.

#![expect(clippy::unwrap_used, reason = "helpers of tests may fail as tests do")]

use eval::{
    ClipScores, GroundTruth, Intersection, Psds, PsdsSettings, Scores, SoundEvent, psds,
    psds_at_thresholds,
};
use proptest::prelude::*;

const CLASSES: [&str; 3] = ["one", "two", "three"];

/// A few short clips with frames of uneven length, scores on a coarse grid (so that ties occur) and some events of each class.
/// Times are whole hundredths of a second.
#[derive(Debug, Clone)]
struct Case {
    clips: Vec<Clip>,
    settings: PsdsSettings,
}

#[derive(Debug, Clone)]
struct Clip {
    /// Length of each frame, and its scores by class; 0 stands for minus infinity.
    frames: Vec<(u8, [u8; 3])>,
    /// By class: how long nothing sounds, then how long it sounds, and so on.
    events: [Vec<(u8, u8)>; 3],
    /// In seconds.
    duration: u16,
}

fn clip(least_events: usize) -> impl Strategy<Value = Clip> {
    let events = || prop::collection::vec((1_u8..100, 1_u8..120), least_events..4);
    let frame = (1_u8..60, [0_u8..12, 0_u8..12, 0_u8..12]);
    (
        prop::collection::vec(frame, 1..10),
        [events(), events(), events()],
        5_u16..60,
    )
        .prop_map(|(frames, events, duration)| Clip {
            frames,
            events,
            duration,
        })
}

fn settings() -> impl Strategy<Value = PsdsSettings> {
    let share = || prop::sample::select(vec![0.1, 0.3, 0.5, 0.7, 1.0]);
    (
        share(),
        share(),
        prop::option::of(share()),
        prop::sample::select(vec![0.0, 0.5, 1.0]),
        prop::sample::select(vec![100.0, 400.0, 3000.0]),
        any::<bool>(),
    )
        .prop_map(
            |(dtc, gtc, cttc, alpha_st, max_efpr, best_points_only)| PsdsSettings {
                intersection: Intersection { dtc, gtc, cttc },
                alpha_ct: if cttc.is_some() { 0.5 } else { 0.0 },
                alpha_st,
                unit_seconds: 3600.0,
                max_efpr,
                best_points_only,
            },
        )
}

fn case() -> impl Strategy<Value = Case> {
    // Every class sounds in the first clip at least.
    let clips = (clip(1), prop::collection::vec(clip(0), 0..3));
    (clips, settings()).prop_map(|((first, mut clips), settings)| {
        clips.insert(0, first);
        Case { clips, settings }
    })
}

fn score(value: u8) -> f64 {
    if value == 0 {
        f64::NEG_INFINITY
    } else {
        f64::from(value) / 11.0
    }
}

fn hundredths(time: u32) -> f64 {
    f64::from(time) / 100.0
}

/// Scores and truth, with the classes in this order and the clips called by these names.
fn build(
    clips: &[Clip],
    classes: [usize; 3],
    name: impl Fn(usize) -> String,
    map: impl Fn(f64) -> f64,
) -> (Scores, GroundTruth) {
    let mut truth = GroundTruth::default();
    let mut scored = Vec::new();
    for (index, clip) in clips.iter().enumerate() {
        let mut end = 0;
        let mut boundaries = vec![0.0];
        let mut values = Vec::new();
        for (length, scores) in &clip.frames {
            end += u32::from(*length);
            boundaries.push(hundredths(end));
            values.extend(classes.map(|class| map(score(scores[class]))));
        }
        let mut events = Vec::new();
        for (class, lengths) in CLASSES.iter().zip(&clip.events) {
            let mut end = 0;
            for (silence, sound) in lengths {
                let onset = end + u32::from(*silence);
                end = onset + u32::from(*sound);
                events.push(SoundEvent {
                    onset: hundredths(onset),
                    offset: hundredths(end),
                    class: (*class).to_owned(),
                });
            }
        }
        truth.events.insert(name(index), events);
        truth
            .durations
            .insert(name(index), f64::from(clip.duration));
        scored.push(ClipScores {
            clip: name(index),
            boundaries,
            values,
        });
    }
    let names = classes.map(|class| CLASSES[class].to_owned());
    (Scores::new(names.to_vec(), scored).unwrap(), truth)
}

const IN_ORDER: [usize; 3] = [0, 1, 2];

fn named(index: usize) -> String {
    format!("clip{index}")
}

/// The score without any cleverness: every threshold on its own, all counted anew. Returns it and each class's own.
fn brute_force(case: &Case) -> (f64, Vec<f64>) {
    let settings = &case.settings;
    let tolerances = settings.intersection;
    let units = case
        .clips
        .iter()
        .map(|clip| f64::from(clip.duration))
        .sum::<f64>()
        / settings.unit_seconds;
    // Onset and offset in hundredths, by clip and class.
    let events: Vec<Vec<Vec<(u32, u32)>>> = case
        .clips
        .iter()
        .map(|clip| {
            let of_class = |lengths: &Vec<(u8, u8)>| {
                let mut end = 0;
                let mut events = Vec::new();
                for (silence, sound) in lengths {
                    let onset = end + u32::from(*silence);
                    end = onset + u32::from(*sound);
                    events.push((onset, end));
                }
                events
            };
            clip.events.iter().map(of_class).collect()
        })
        .collect();
    let overlap = |one: (u32, u32), two: (u32, u32)| -> f64 {
        f64::from(one.1.min(two.1).saturating_sub(one.0.max(two.0)))
    };
    let enough = |shared: f64, share: f64, run: (u32, u32)| {
        shared + 1e-7 >= share * f64::from(run.1 - run.0)
    };

    // By class: effective false positive rate and true positive rate of each threshold.
    let mut curves: Vec<Vec<(f64, f64)>> = Vec::new();
    for class in 0..3 {
        let mut points = vec![(0.0, 0.0)];
        for threshold in 1..12 {
            let (mut hits, mut misses) = (0_u32, 0_u32);
            let mut crossed = [0_u32; 3];
            for (clip, events) in case.clips.iter().zip(&events) {
                let mut runs: Vec<(u32, u32)> = Vec::new();
                let (mut begin, mut active) = (0, false);
                for (length, scores) in &clip.frames {
                    let end = begin + u32::from(*length);
                    if scores[class] >= threshold {
                        if active {
                            runs.last_mut().unwrap().1 = end;
                        } else {
                            runs.push((begin, end));
                        }
                    }
                    active = scores[class] >= threshold;
                    begin = end;
                }
                let with = |run: (u32, u32), class: usize| -> f64 {
                    events[class].iter().map(|event| overlap(run, *event)).sum()
                };
                let (right, wrong): (Vec<_>, Vec<_>) = runs
                    .into_iter()
                    .partition(|run| enough(with(*run, class), tolerances.dtc, *run));
                misses += wrong.len() as u32;
                for run in wrong {
                    for other in 0..3 {
                        let crosses = tolerances.cttc.is_some_and(|share| {
                            !events[other].is_empty() && enough(with(run, other), share, run)
                        });
                        crossed[other] += u32::from(crosses && other != class);
                    }
                }
                for event in &events[class] {
                    let covered = right.iter().map(|run| overlap(*run, *event)).sum();
                    hits += u32::from(enough(covered, tolerances.gtc, *event));
                }
            }
            let mut efpr = f64::from(misses) / units;
            let mut number = 0;
            for other in 0..3 {
                let of_class = events.iter().flat_map(|clip| &clip[other]);
                let time: f64 = of_class
                    .clone()
                    .map(|(onset, offset)| hundredths(offset - onset))
                    .sum();
                if other == class {
                    number = of_class.count();
                } else {
                    let rate = f64::from(crossed[other]) / (time / settings.unit_seconds);
                    efpr += settings.alpha_ct * rate / 2.0;
                }
            }
            points.push((efpr, f64::from(hits) / number as f64));
        }
        curves.push(points);
    }

    // Height of a class's curve: the best point so far, or the best of the last ones.
    let height = |points: &[(f64, f64)], x: f64| -> f64 {
        let within = points.iter().filter(|point| point.0 <= x);
        let last = within.clone().map(|point| point.0).fold(0.0, f64::max);
        within
            .filter(|point| settings.best_points_only || point.0 == last)
            .map(|point| point.1)
            .fold(0.0, f64::max)
    };
    let area = |curves: &[Vec<(f64, f64)>]| -> f64 {
        let mut xs: Vec<f64> = curves.iter().flatten().map(|point| point.0).collect();
        xs.retain(|x| *x < settings.max_efpr);
        xs.push(settings.max_efpr);
        xs.sort_by(f64::total_cmp);
        let heights = xs.iter().map(|x| {
            let heights: Vec<f64> = curves.iter().map(|points| height(points, *x)).collect();
            let count = heights.len() as f64;
            let mean = heights.iter().sum::<f64>() / count;
            let squares = heights.iter().map(|height| (height - mean).powi(2));
            (mean - settings.alpha_st * (squares.sum::<f64>() / count).sqrt()).max(0.0)
        });
        let widths = xs.windows(2).map(|pair| pair[1] - pair[0]);
        heights
            .zip(widths)
            .map(|(height, width)| height * width)
            .sum::<f64>()
            / settings.max_efpr
    };
    let by_class = curves.chunks(1).map(area).collect();
    (area(&curves), by_class)
}

fn close(one: &[f64], two: &[f64]) -> bool {
    one.len() == two.len()
        && one
            .iter()
            .zip(two)
            .all(|(one, two)| (one - two).abs() < 1e-12)
}

fn of(case: &Case, map: impl Fn(f64) -> f64) -> Psds {
    let (scores, truth) = build(&case.clips, IN_ORDER, named, map);
    psds(&scores, &truth, &case.settings).unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(10_000))]

    #[test]
    fn only_the_order_of_scores_matters(case in case()) {
        let one = of(&case, |score| score);
        // Minus infinity, which is no detection, stays what it is.
        let two = of(&case, |score| (3.0 * score - 4.0).powi(3));
        prop_assert_eq!((one.value, &one.by_class, &one.combined), (two.value, &two.by_class, &two.combined));
    }

    #[test]
    fn the_order_of_clips_does_not_matter(case in case()) {
        let one = of(&case, |score| score);
        let (scores, truth) = build(&case.clips, IN_ORDER, |index| format!("clip{}", 9 - index), |score| score);
        prop_assert_eq!(one, psds(&scores, &truth, &case.settings).unwrap());
    }

    #[test]
    fn the_order_of_classes_does_not_matter(case in case()) {
        let one = of(&case, |score| score);
        let (scores, truth) = build(&case.clips, [2, 0, 1], named, |score| score);
        let two = psds(&scores, &truth, &case.settings).unwrap();
        prop_assert!(close(&[two.value], &[one.value]));
        prop_assert!(close(&two.by_class, &[one.by_class[2], one.by_class[0], one.by_class[1]]));
    }

    #[test]
    fn every_threshold_on_its_own_gives_the_same_areas(case in case()) {
        let found = of(&case, |score| score);
        let (value, by_class) = brute_force(&case);
        prop_assert!(close(&found.by_class, &by_class), "found {:?}, expected {by_class:?}", found.by_class);
        prop_assert!(close(&[found.value], &[value]), "found {}, expected {value}", found.value);
    }

    #[test]
    fn thresholds_between_all_scores_are_all_thresholds(case in case()) {
        let (scores, truth) = build(&case.clips, IN_ORDER, named, |score| score);
        let between: Vec<f64> = (0..12).map(|value| (f64::from(value) + 0.5) / 11.0).rev().collect();
        let found = psds_at_thresholds(&scores, &truth, &between, &case.settings).unwrap();
        prop_assert_eq!(found, psds(&scores, &truth, &case.settings).unwrap());
        // A frame with the threshold's own score is not active.
        let at = |value: f64| psds_at_thresholds(&scores, &truth, &[value / 11.0], &case.settings).unwrap();
        prop_assert_eq!(at(5.0), at(5.5));
    }
}
