//! What must hold for any F1, on clips whose times are whole numbers of frames, so that a second way of counting needs no rounding.

#![expect(clippy::unwrap_used, reason = "helpers of tests may fail as tests do")]

use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};

use eval::{
    ClassChanges, ClipScores, Collars, Counts, CountsByThreshold, GroundTruth, Intersection,
    Scores, SoundEvent, clip_changes, collar_changes, collar_counts, detections,
    intersection_changes, intersection_counts, segment_changes, segment_counts,
};
use proptest::prelude::*;
use proptest::test_runner::TestRunner;

const FRAMES: usize = 24;
const FRAME: f64 = 0.25;
/// Two frames at the onset; at the offset two frames or a fifth of the event.
const COLLARS: Collars = Collars {
    onset: 2.0 * FRAME,
    offset: 2.0 * FRAME,
    offset_rate: 0.2,
};
/// Frames in a segment.
const SEGMENT: usize = 4;
const CASES: u32 = 10_000;

/// First frame and the one after the last.
type Stretch = (usize, usize);

/// Scores and events of one class in a clip.
#[derive(Debug, Clone)]
struct Clip {
    levels: Vec<u8>,
    events: Vec<Stretch>,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Kind {
    Intersection,
    Collar,
    Segment,
}

const KINDS: [Kind; 3] = [Kind::Intersection, Kind::Collar, Kind::Segment];

/// Levels up to 5 in pieces of a few frames (so that detections are long enough to be true), and events that do not touch.
fn clip() -> impl Strategy<Value = Clip> {
    let levels = prop::collection::vec((1_usize..5, 0_u8..6), FRAMES);
    let events = prop::collection::vec((1_usize..7, 1_usize..9), 0..5);
    (levels, events).prop_map(|(pieces, gaps)| {
        let levels = pieces
            .into_iter()
            .flat_map(|(length, level)| vec![level; length])
            .take(FRAMES)
            .collect();
        let mut events = Vec::new();
        let mut at = 0;
        for (gap, length) in gaps {
            let onset = at + gap - usize::from(at == 0);
            at = onset + length;
            if at <= FRAMES {
                events.push((onset, at));
            }
        }
        Clip { levels, events }
    })
}

fn clips() -> impl Strategy<Value = Vec<Clip>> {
    prop::collection::vec(clip(), 1..4)
}

fn seconds(frame: usize) -> f64 {
    frame as f64 * FRAME
}

fn build(clips: &[Clip]) -> (Scores, GroundTruth) {
    let mut truth = GroundTruth::default();
    let mut scored = Vec::new();
    for (place, clip) in clips.iter().enumerate() {
        let name = format!("clip{place}");
        scored.push(ClipScores {
            clip: name.clone(),
            boundaries: (0..=FRAMES).map(seconds).collect(),
            values: clip.levels.iter().copied().map(f64::from).collect(),
        });
        let events = clip.events.iter().map(|event| SoundEvent {
            onset: seconds(event.0),
            offset: seconds(event.1),
            class: "one".to_owned(),
        });
        truth.events.insert(name.clone(), events.collect());
        truth.durations.insert(name, seconds(FRAMES));
    }
    (Scores::new(vec!["one".to_owned()], scored).unwrap(), truth)
}

fn counts(kind: Kind, clips: &[Clip]) -> CountsByThreshold {
    let (scores, truth) = build(clips);
    match kind {
        Kind::Intersection => intersection_counts(&scores, &truth, Intersection::F1),
        Kind::Collar => collar_counts(&scores, &truth, COLLARS),
        Kind::Segment => segment_counts(&scores, &truth, seconds(SEGMENT)),
    }
    .unwrap()
    .remove(0)
}

/// Runs above a threshold, by way of the room's own decoder.
fn runs(levels: &[u8], threshold: f64) -> Vec<Stretch> {
    let boundaries: Vec<f64> = (0..=levels.len()).map(|frame| frame as f64).collect();
    let values: Vec<f64> = levels.iter().copied().map(f64::from).collect();
    detections(&boundaries, &values, &["one"], &[threshold])
        .into_iter()
        .map(|found| (found.event.onset as usize, found.event.offset as usize))
        .collect()
}

fn shared(one: Stretch, two: Stretch) -> usize {
    one.1.min(two.1).saturating_sub(one.0.max(two.0))
}

fn all_shared(one: Stretch, others: &[Stretch]) -> usize {
    others.iter().map(|other| shared(one, *other)).sum()
}

fn true_by_intersection(run: Stretch, events: &[Stretch]) -> bool {
    2 * all_shared(run, events) >= run.1 - run.0
}

fn collars_hold(run: Stretch, event: Stretch) -> bool {
    run.0.abs_diff(event.0) <= 2 && 5 * run.1.abs_diff(event.1) <= (event.1 - event.0).max(10)
}

/// Most matches, by trying every choice.
fn most_matches(runs: &[Stretch], events: &[Stretch]) -> usize {
    let Some((run, rest)) = runs.split_first() else {
        return 0;
    };
    let mut most = most_matches(rest, events);
    for event in 0..events.len() {
        if collars_hold(*run, events[event]) {
            most = most.max(1 + most_matches(rest, &without(events, event)));
        }
    }
    most
}

fn without(stretches: &[Stretch], place: usize) -> Vec<Stretch> {
    let mut rest = stretches.to_vec();
    rest.remove(place);
    rest
}

fn segments(stretches: &[Stretch]) -> BTreeSet<usize> {
    stretches
        .iter()
        .flat_map(|(first, end)| first / SEGMENT..=(end - 1) / SEGMENT)
        .collect()
}

/// The counts without any cleverness: one threshold, one clip.
fn brute_force(kind: Kind, clips: &[Clip], threshold: f64) -> Counts {
    let (mut true_positives, mut false_positives, mut num_reference) = (0, 0, 0);
    for clip in clips {
        let runs = runs(&clip.levels, threshold);
        match kind {
            Kind::Intersection => {
                let (hits, misses): (Vec<Stretch>, Vec<Stretch>) = runs
                    .into_iter()
                    .partition(|run| true_by_intersection(*run, &clip.events));
                let found = clip
                    .events
                    .iter()
                    .filter(|event| 2 * all_shared(**event, &hits) >= event.1 - event.0);
                true_positives += found.count();
                false_positives += misses.len();
                num_reference += clip.events.len();
            }
            Kind::Collar => {
                let found = most_matches(&runs, &clip.events);
                true_positives += found;
                false_positives += runs.len() - found;
                num_reference += clip.events.len();
            }
            Kind::Segment => {
                let (active, positive) = (segments(&runs), segments(&clip.events));
                true_positives += active.intersection(&positive).count();
                false_positives += active.difference(&positive).count();
                num_reference += positive.len();
            }
        }
    }
    Counts {
        true_positives: true_positives as u64,
        false_positives: false_positives as u64,
        num_reference: num_reference as u64,
    }
}

/// The clip with its detections replaced, as scores of 0 and 1.
fn redrawn(clip: &Clip, runs: &[Stretch]) -> Clip {
    let active = |frame: &usize| runs.iter().any(|run| (run.0..run.1).contains(frame));
    Clip {
        levels: (0..FRAMES).map(|frame| u8::from(active(&frame))).collect(),
        events: clip.events.clone(),
    }
}

/// Whether the detection, taken on its own, does no good.
fn is_false_alarm(kind: Kind, runs: &[Stretch], place: usize, events: &[Stretch]) -> bool {
    match kind {
        Kind::Intersection => !true_by_intersection(runs[place], events),
        Kind::Collar => most_matches(&without(runs, place), events) == most_matches(runs, events),
        Kind::Segment => segments(&runs[place..=place]).is_disjoint(&segments(events)),
    }
}

/// The detections with exactly the event in place of those at it; none if those are (also) about something else.
fn corrected(
    kind: Kind,
    runs: &[Stretch],
    events: &[Stretch],
    place: usize,
) -> Option<Vec<Stretch>> {
    let event = events[place];
    let (at_it, mut rest): (Vec<Stretch>, Vec<Stretch>) = runs
        .iter()
        .partition(|run| run.0 <= event.1 && run.1 >= event.0);
    let others = without(events, place);
    let about_it = match kind {
        Kind::Intersection => at_it.iter().all(|run| all_shared(*run, &others) == 0),
        Kind::Collar => {
            let most = most_matches(runs, events);
            at_it.len() == 1
                && (most_matches(&rest, events) == most
                    || most_matches(&rest, &others) + 1 == most && collars_hold(at_it[0], event))
        }
        Kind::Segment => segments(&at_it).is_subset(&segments(&[event])),
    };
    rest.push(event);
    about_it.then_some(rest)
}

fn runner() -> TestRunner {
    TestRunner::new(ProptestConfig::with_cases(CASES))
}

/// With the round-off that decides between values that are equal on paper.
fn rounded_f1(counts: Counts) -> f64 {
    let (precision, recall) = (counts.precision(), counts.recall());
    if precision + recall == 0.0 {
        return 0.0;
    }
    2.0 * precision * recall / (precision + recall)
}

#[test]
fn every_threshold_on_its_own_gives_the_same_counts_and_none_a_better_f1() {
    runner()
        .run(&clips(), |clips| {
            for kind in KINDS {
                let counts = counts(kind, &clips);
                let best = counts.best();
                prop_assert_eq!(counts.at(best.threshold), best.counts, "{:?}", kind);
                let mut highest = f64::NEG_INFINITY;
                // From high to low, at levels and between them.
                for threshold in (-1..12).rev().map(|half| f64::from(half) / 2.0) {
                    let wanted = brute_force(kind, &clips, threshold);
                    prop_assert_eq!(counts.at(threshold), wanted, "{:?} at {}", kind, threshold);
                    highest = wanted.f1().max(highest);
                    if threshold > best.threshold && wanted != best.counts {
                        prop_assert!(
                            rounded_f1(wanted) < rounded_f1(best.counts),
                            "{:?} at {}",
                            kind,
                            threshold
                        );
                    }
                }
                prop_assert_eq!(best.counts.f1(), highest, "{:?}", kind);
            }
            Ok(())
        })
        .unwrap();
}

#[test]
fn better_detections_never_lower_f1() {
    let removed = KINDS.map(|_| Cell::new(0));
    let moved = KINDS.map(|_| Cell::new(0));
    runner()
        .run(&(clips(), 0_u8..6), |(clips, threshold)| {
            let threshold = f64::from(threshold);
            let first = runs(&clips[0].levels, threshold);
            let f1 = |kind: Kind, runs: &[Stretch]| {
                let mut clips: Vec<Clip> = clips
                    .iter()
                    .map(|clip| redrawn(clip, &self::runs(&clip.levels, threshold)))
                    .collect();
                clips[0] = redrawn(&clips[0], runs);
                counts(kind, &clips).at(0.5).f1()
            };
            for (number, kind) in KINDS.into_iter().enumerate() {
                let before = f1(kind, &first);
                for place in 0..first.len() {
                    if is_false_alarm(kind, &first, place, &clips[0].events) {
                        let after = f1(kind, &without(&first, place));
                        prop_assert!(after >= before, "{:?} without {}", kind, place);
                        removed[number].update(|count| count + 1);
                    }
                }
                for place in 0..clips[0].events.len() {
                    if let Some(better) = corrected(kind, &first, &clips[0].events, place) {
                        let after = f1(kind, &better);
                        prop_assert!(after >= before, "{:?} with {} exact", kind, place);
                        moved[number].update(|count| count + 1);
                    }
                }
            }
            Ok(())
        })
        .unwrap();
    for count in removed.iter().chain(&moved) {
        assert!(count.get() > 2000, "{removed:?} {moved:?}");
    }
}

#[test]
fn a_weight_is_a_number_of_copies() {
    let weighted = prop::collection::vec((clip(), 0_u32..4), 1..5);
    runner()
        .run(&weighted, |weighted| {
            let changes = |clips: &[Clip]| -> [ClassChanges; 4] {
                let (scores, truth) = build(clips);
                let labels: BTreeMap<String, BTreeSet<String>> = truth
                    .events
                    .iter()
                    .map(|(clip, events)| {
                        let classes = events.iter().map(|event| event.class.clone());
                        (clip.clone(), classes.collect())
                    })
                    .collect();
                [
                    intersection_changes(&scores, &truth, Intersection::F1),
                    collar_changes(&scores, &truth, COLLARS),
                    segment_changes(&scores, &truth, seconds(SEGMENT)),
                    clip_changes(&scores, &labels),
                ]
                .map(|changes| changes.unwrap().remove(0))
            };
            let (clips, weights): (Vec<Clip>, Vec<u32>) = weighted.into_iter().unzip();
            let copies: Vec<Clip> = clips
                .iter()
                .zip(&weights)
                .flat_map(|(clip, weight)| vec![clip.clone(); *weight as usize])
                .collect();
            for (once, often) in changes(&clips).iter().zip(changes(&copies)) {
                prop_assert_eq!(once.weighted_counts(&weights).unwrap(), often.counts());
            }
            Ok(())
        })
        .unwrap();
}
