//! Counting detections by their times (Mesaros et al., "Metrics for Polyphonic Sound Event Detection", 2016), at every threshold at
//! once.

use std::collections::BTreeMap;

use super::counts::of_classes;
use super::{Change, ClassChanges, CountsByThreshold};
use crate::{ClipScores, Error, GroundTruth, Scores};

/// How far a detection may be off, in seconds.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Collars {
    /// At the onset.
    pub onset: f64,
    /// At the offset, at least.
    pub offset: f64,
    /// At the offset, as a share of the event's length, where that is more.
    pub offset_rate: f64,
}

impl Collars {
    /// The challenge's: 200 ms, or 20 % of a long event at its offset.
    pub const DCASE: Self = Self {
        onset: 0.2,
        offset: 0.2,
        offset_rate: 0.2,
    };

    fn check(&self) -> Result<(), Error> {
        let named = [
            ("onset", self.onset),
            ("offset", self.offset),
            ("offset_rate", self.offset_rate),
        ];
        for (name, collar) in named {
            if !(collar >= 0.0 && collar.is_finite()) {
                return Err(Error::Settings(format!(
                    "collar {name} is {collar}, expected a number that is not negative"
                )));
            }
        }
        Ok(())
    }

    fn hold(&self, onset: f64, offset: f64, event: (f64, f64)) -> bool {
        let at_offset = self.offset.max(self.offset_rate * (event.1 - event.0));
        within(onset - event.0, self.onset) && within(offset - event.1, at_offset)
    }
}

/// The excess over the collar is rounded to a microsecond, so that times written with few decimals meet their limit exactly.
fn within(distance: f64, collar: f64) -> bool {
    ((distance.abs() - collar) * 1e6).round_ties_even() <= 0.0
}

/// Counts of every class in column order: an event and a detection match if both collars hold, and the largest number of matches is
/// taken in which each is used once.
///
/// # Errors
/// Whatever [`Error`] says about scores and ground truth, or a collar that is negative.
pub fn collar_counts(
    scores: &Scores,
    truth: &GroundTruth,
    collars: Collars,
) -> Result<Vec<CountsByThreshold>, Error> {
    let classes = collar_changes(scores, truth, collars)?;
    Ok(classes.iter().map(ClassChanges::counts).collect())
}

/// What [`collar_counts`] sums up, clip by clip.
///
/// # Errors
/// As there.
pub fn collar_changes(
    scores: &Scores,
    truth: &GroundTruth,
    collars: Collars,
) -> Result<Vec<ClassChanges>, Error> {
    collars.check()?;
    truth.check(scores)?;
    Ok(of_classes(scores, |place, clip, class| {
        let events = truth.of(&clip.clip, &scores.classes()[class]);
        let column: Vec<f64> = clip
            .values
            .iter()
            .skip(class)
            .step_by(scores.classes().len())
            .copied()
            .collect();
        let mut detected = Detected::new(clip, &events, collars);
        (
            changes_of_clip(place, &column, &mut detected),
            events.len() as u64,
        )
    }))
}

/// Lets the threshold fall through one clip: frames become active from the highest score down.
fn changes_of_clip(place: usize, column: &[f64], detected: &mut Detected<'_>) -> Vec<Change> {
    // A score of minus infinity never counts as a detection (boxes turned into frames are such).
    let mut frames: Vec<usize> = (0..column.len())
        .filter(|frame| column[*frame] > f64::NEG_INFINITY)
        .collect();
    frames.sort_by(|one, two| column[*two].total_cmp(&column[*one]));

    let mut changes = Vec::new();
    let mut before = (0, 0);
    for together in frames.chunk_by(|one, two| column[*one] == column[*two]) {
        for frame in together {
            detected.activate(*frame);
        }
        let found = detected.num_found();
        let now = (found, detected.num_runs - found);
        if now != before {
            changes.push(Change {
                score: column[together[0]],
                clip: place,
                true_positives: now.0 - before.0,
                false_positives: now.1 - before.1,
            });
            before = now;
        }
    }
    changes
}

/// One clip's detections, which are runs of active frames, and which events they match.
struct Detected<'a> {
    boundaries: &'a [f64],
    /// By onset; they do not touch.
    events: &'a [(f64, f64)],
    collars: Collars,
    /// For the first and the last frame of a run: its other end. None for frames that are not active.
    other_end: Vec<Option<usize>>,
    num_runs: i64,
    /// First frame of a run, and an event that it matches.
    pairs: Vec<(usize, usize)>,
    /// Events found, unless `pairs` have changed since.
    found: Option<i64>,
}

impl<'a> Detected<'a> {
    fn new(clip: &'a ClipScores, events: &'a [(f64, f64)], collars: Collars) -> Self {
        Self {
            boundaries: &clip.boundaries,
            events,
            collars,
            other_end: vec![None; clip.num_frames()],
            num_runs: 0,
            pairs: Vec::new(),
            found: Some(0),
        }
    }

    /// Makes a frame active: a new run, or one that grows, or two that become one.
    fn activate(&mut self, frame: usize) {
        let before = frame.checked_sub(1).and_then(|left| self.other_end[left]);
        let after = self.other_end.get(frame + 1).copied().flatten();
        let (first, last) = (before.unwrap_or(frame), after.unwrap_or(frame));
        self.num_runs += 1 - i64::from(before.is_some()) - i64::from(after.is_some());
        self.other_end[frame] = Some(frame);
        self.other_end[first] = Some(last);
        self.other_end[last] = Some(first);

        let known = self.pairs.len();
        self.pairs
            .retain(|(run, _)| *run != first && *run != frame + 1);
        let lost = known != self.pairs.len();
        let kept = self.pairs.len();
        let (onset, offset) = (self.boundaries[first], self.boundaries[last + 1]);
        // Events whose onset may hold, with more margin than rounding gives.
        let margin = self.collars.onset + 2e-6;
        let from = self
            .events
            .partition_point(|event| event.0 < onset - margin);
        for (event, times) in self.events.iter().enumerate().skip(from) {
            if times.0 > onset + margin {
                break;
            }
            if self.collars.hold(onset, offset, *times) {
                self.pairs.push((first, event));
            }
        }
        if lost || kept != self.pairs.len() {
            self.found = None;
        }
    }

    fn num_found(&mut self) -> i64 {
        *self
            .found
            .get_or_insert_with(|| most_matches(&mut self.pairs))
    }
}

/// Size of the largest matching. The runs that match an event are neighbours (both their times grow from run to run), and in such
/// a graph it is found by giving each run in turn, of the events still free, the one that has the earliest last run.
fn most_matches(pairs: &mut [(usize, usize)]) -> i64 {
    pairs.sort_unstable();
    let mut last_run: BTreeMap<usize, usize> =
        pairs.iter().map(|(run, event)| (*event, *run)).collect();
    let mut matches = 0;
    for of_run in pairs.chunk_by(|one, two| one.0 == two.0) {
        let free = of_run
            .iter()
            .filter_map(|(_, event)| Some((*last_run.get(event)?, *event)));
        if let Some((_, event)) = free.min() {
            last_run.remove(&event);
            matches += 1;
        }
    }
    matches
}
