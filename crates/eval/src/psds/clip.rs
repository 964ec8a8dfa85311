//! One clip and class: how counts change as the threshold falls through every score.
//!
//! Frames join in the order of their scores; each joins or makes a run, and a run at some threshold is a detection. Only runs
//! that changed are looked at again, and only reference events that they touch, so a clip costs one sort and little more.

use std::collections::{BTreeMap, BTreeSet};

use super::parameters::PsdsParameters;
use crate::reference::Span;

/// What changes when the threshold falls just below `score`.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Change {
    pub(super) score: f64,
    /// Reference events found.
    pub(super) tp: i64,
    /// False detections.
    pub(super) fp: i64,
    /// Cross triggers by other class.
    pub(super) cross: BTreeMap<usize, i64>,
}

/// A detection, judged.
#[derive(Debug, Clone)]
struct Detection {
    /// One past the last frame.
    end: usize,
    is_true: bool,
    /// The classes that it is a cross trigger of.
    cross: Vec<usize>,
}

/// The changes of one clip, from the highest score to the lowest; frames of −∞ never take part.
pub(super) fn changes(
    scores: &[f64],
    boundaries: &[f64],
    spans: &[Vec<Span>],
    class: usize,
    parameters: &PsdsParameters,
) -> Vec<Change> {
    let mut order: Vec<usize> = (0..scores.len())
        .filter(|&frame| scores[frame] > f64::NEG_INFINITY)
        .collect();
    order.sort_by(|&a, &b| scores[b].total_cmp(&scores[a]));
    let mut state = State {
        boundaries,
        spans,
        class,
        parameters,
        detections: BTreeMap::new(),
        found: vec![false; spans[class].len()],
    };
    order
        // 0 and −0 are one score.
        .chunk_by(|&a, &b| scores[a] == scores[b])
        .filter_map(|frames| state.add(scores[frames[0]], frames))
        .collect()
}

struct State<'a> {
    boundaries: &'a [f64],
    spans: &'a [Vec<Span>],
    class: usize,
    parameters: &'a PsdsParameters,
    /// By first frame.
    detections: BTreeMap<usize, Detection>,
    /// Which reference events are found.
    found: Vec<bool>,
}

impl State<'_> {
    /// Lets all frames of one score join.
    fn add(&mut self, score: f64, frames: &[usize]) -> Option<Change> {
        let mut change = Change {
            score,
            tp: 0,
            fp: 0,
            cross: BTreeMap::new(),
        };
        let mut new = BTreeSet::new();
        for &frame in frames {
            let (mut start, mut end) = (frame, frame + 1);
            let left = self.detections.range(..frame).next_back();
            if let Some((&first, detection)) = left
                && detection.end == frame
            {
                start = first;
            }
            for first in [start, frame + 1] {
                if let Some(old) = self.detections.remove(&first) {
                    end = end.max(old.end);
                    // What was made for this very score has not been counted yet.
                    if !new.remove(&first) {
                        count(&mut change, &old, -1);
                    }
                }
            }
            let unjudged = Detection {
                end,
                is_true: false,
                cross: Vec::new(),
            };
            self.detections.insert(start, unjudged);
            new.insert(start);
        }
        for &start in &new {
            let judged = self.judge(start, self.detections[&start].end);
            count(&mut change, &judged, 1);
            self.detections.insert(start, judged);
        }
        let touched: BTreeSet<usize> = new
            .iter()
            .flat_map(|&start| {
                let end = self.boundaries[self.detections[&start].end];
                touching(&self.spans[self.class], self.boundaries[start], end)
            })
            .collect();
        for event in touched {
            let found = self.is_found(self.spans[self.class][event]);
            change.tp += i64::from(found) - i64::from(self.found[event]);
            self.found[event] = found;
        }
        change.cross.retain(|_, count| *count != 0);
        (change.tp != 0 || change.fp != 0 || !change.cross.is_empty()).then_some(change)
    }

    fn judge(&self, start: usize, end: usize) -> Detection {
        let (onset, offset) = (self.boundaries[start], self.boundaries[end]);
        let length = offset - onset;
        let covers = |class: usize, share: f64| {
            let spans = &self.spans[class];
            let sum: f64 = touching(spans, onset, offset)
                .map(|event| overlap(spans[event], (onset, offset)))
                .sum();
            at_least(sum, share * length)
        };
        let is_true = covers(self.class, self.parameters.dtc);
        let cross = match self.parameters.cross_triggers {
            Some(term) if !is_true => (0..self.spans.len())
                .filter(|&other| other != self.class && covers(other, term.cttc))
                .collect(),
            _ => Vec::new(),
        };
        Detection {
            end,
            is_true,
            cross,
        }
    }

    /// Whether true detections cover enough of a reference event.
    fn is_found(&self, event: Span) -> bool {
        // Frames are sorted by time and so are detections; the first that can touch is the last to start before the event.
        let first = self
            .boundaries
            .partition_point(|&time| time <= event.0)
            .saturating_sub(1);
        let from = self
            .detections
            .range(..=first)
            .next_back()
            .map_or(first, |(&start, _)| start);
        let sum: f64 = self
            .detections
            .range(from..)
            .take_while(|(start, _)| self.boundaries[**start] < event.1)
            .filter(|(_, detection)| detection.is_true)
            .map(|(&start, detection)| {
                let span = (self.boundaries[start], self.boundaries[detection.end]);
                overlap(span, event)
            })
            .sum();
        at_least(sum, self.parameters.gtc * (event.1 - event.0))
    }
}

fn count(change: &mut Change, detection: &Detection, sign: i64) {
    if !detection.is_true {
        change.fp += sign;
    }
    for &class in &detection.cross {
        *change.cross.entry(class).or_default() += sign;
    }
}

/// Indices of the events that overlap a time span; events are sorted and apart.
fn touching(spans: &[Span], onset: f64, offset: f64) -> std::ops::Range<usize> {
    let first = spans.partition_point(|span| span.1 <= onset);
    let end = spans.partition_point(|span| span.0 < offset);
    first..end.max(first)
}

fn overlap(a: Span, b: Span) -> f64 {
    (a.1.min(b.1) - a.0.max(b.0)).max(0.0)
}

/// Compares times as the reference implementation does, rounded to microseconds.
fn at_least(found: f64, wanted: f64) -> bool {
    let rounded = |x: f64| (x * 1e6).round_ties_even() / 1e6;
    rounded(found) >= rounded(wanted)
}
