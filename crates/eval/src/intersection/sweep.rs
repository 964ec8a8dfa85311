//! All thresholds of a clip at once.
//!
//! The maximal runs of active frames at all thresholds form a tree: as the threshold falls, a run appears at its lowest score and
//! lasts until the higher of its neighbours' scores is reached, where a longer run swallows it. One pass over the frames with a
//! stack of the runs that may still grow meets every run of that tree once, at its end, so that frames need no sorting. What a run
//! counts for is added at its lowest score and taken away where it is swallowed.

use super::Intersection;
use super::changes::{CROSS_TRIGGERS, Change, FALSE_POSITIVES, TRUE_POSITIVES, key, push};
use super::reference::{Present, Reference};
use super::time::{at_least, picoseconds};

/// Working memory of the pass, used for one clip after another.
pub(super) struct Sweep<'a> {
    reference: &'a Reference,
    settings: Intersection,
    clip: usize,
    present: &'a [Present],
    /// Frame boundaries of the clip.
    boundaries: Vec<i64>,
    /// One table for each class that sounds in the clip, then one for those that do not.
    tables: Vec<Table>,
    /// One class's scores, and minus infinity after the last frame.
    scores: Vec<f64>,
    /// Runs that the next frame may make longer; scores grow towards the top. At the bottom, all frames.
    open: Vec<Open>,
    /// For each open run and table, cross-triggers among the runs in it that it swallows.
    crossed: Vec<i32>,
    /// Time that true positives share with events, as it comes and goes.
    covers: Vec<Cover>,
    /// How much of each event they cover.
    covered: Vec<i64>,
    /// Cross-triggers, and what has no room in one [`Change`].
    rest: Vec<Change>,
}

/// The events of one class, seen from the frame boundaries.
#[derive(Default)]
struct Table {
    /// Event time before each boundary: what a run shares with the events is a difference of two.
    time_before: Vec<i64>,
    /// The first event that ends after each boundary.
    first_event: Vec<u32>,
}

#[derive(Clone, Copy)]
struct Open {
    score: f64,
    start: usize,
    /// False positives among the runs in it that it swallows.
    wrong: i32,
}

/// A run of frames with at least `score`, swallowed below.
struct Run {
    start: usize,
    end: usize,
    score: f64,
    swallowed_at: f64,
}

#[derive(Clone, Copy)]
struct Cover {
    key: u64,
    event: usize,
    time: i64,
}

impl<'a> Sweep<'a> {
    pub(super) fn new(reference: &'a Reference, settings: Intersection) -> Self {
        Self {
            reference,
            settings,
            clip: 0,
            present: &[],
            boundaries: Vec::new(),
            tables: Vec::new(),
            scores: Vec::new(),
            open: Vec::new(),
            crossed: Vec::new(),
            covers: Vec::new(),
            covered: Vec::new(),
            rest: Vec::new(),
        }
    }

    /// Begins a clip with these frame boundaries; for one class only, or for all.
    pub(super) fn begin(
        &mut self,
        clip: usize,
        boundaries: impl Iterator<Item = f64>,
        only: Option<usize>,
    ) {
        self.clip = clip;
        self.present = self.reference.present(clip);
        if let Some(class) = only
            && self.settings.cttc.is_none()
        {
            self.present = self
                .present
                .chunk_by(|_, _| false)
                .find(|present| present[0].class == class)
                .unwrap_or_default();
        }
        self.boundaries.clear();
        self.boundaries.extend(boundaries.map(picoseconds));
        if self.tables.len() <= self.present.len() {
            self.tables
                .resize_with(self.present.len() + 1, Table::default);
        }
        for (table, present) in self.tables.iter_mut().zip(self.present) {
            table.fill(&self.boundaries, self.reference.events(present));
        }
        self.tables[self.present.len()].fill(&self.boundaries, &[]);
    }

    /// Appends the changes of one class, given its score in each frame of the clip. Minus infinity is never a detection (boxes
    /// turned into frames are such).
    pub(super) fn class(
        &mut self,
        class: usize,
        scores: impl Iterator<Item = f64>,
        changes: &mut Vec<Change>,
    ) {
        // The frame after the last one ends every run.
        self.scores.clear();
        self.scores.extend(scores.chain([f64::NEG_INFINITY]));
        let own = self
            .present
            .iter()
            .position(|present| present.class == class)
            .unwrap_or(self.present.len());
        self.runs(own, changes);
        if own < self.present.len() {
            self.found_events(own, changes);
        }
        changes.append(&mut self.rest);
    }

    fn runs(&mut self, own: usize, changes: &mut Vec<Change>) {
        self.covers.clear();
        self.open.clear();
        let mut top = Open {
            score: f64::NEG_INFINITY,
            start: 0,
            wrong: 0,
        };
        self.no_cross_triggers();
        // A run changes false positives once at most. Room for all is made first: to write every time and to step on only after
        // a change is faster than to ask first, since the answer is hard to foresee.
        let mut end = changes.len();
        changes.resize(end + self.scores.len(), Change::default());
        for frame in 0..self.scores.len() {
            let score = self.scores[frame];
            let mut grown = Open {
                score,
                start: frame,
                wrong: 0,
            };
            let mut fresh = true;
            while top.score > score {
                let below = self.open.pop().unwrap_or(top);
                let run = Run {
                    start: top.start,
                    end: frame,
                    score: top.score,
                    swallowed_at: below.score.max(score),
                };
                let is_true = self.is_true(&run, own);
                let wrong = i32::from(!is_true);
                let (change, rest) = Change::new(
                    key(run.score),
                    self.clip,
                    FALSE_POSITIVES,
                    wrong - top.wrong,
                );
                changes[end] = change;
                end += usize::from(change.delta() != 0);
                if rest != 0 {
                    push(
                        &mut self.rest,
                        key(run.score),
                        self.clip,
                        FALSE_POSITIVES,
                        rest,
                    );
                }
                if let Some(cttc) = self.settings.cttc {
                    self.cross_triggers(&run, own, cttc, is_true);
                    if below.score >= score {
                        self.swallow_cross_triggers();
                    }
                }
                if is_true {
                    self.cover(&run, own);
                }
                if below.score >= score {
                    // The run below swallows it.
                    top = Open {
                        wrong: below.wrong + wrong,
                        ..below
                    };
                } else {
                    // A run that begins with it and has this frame swallows it.
                    grown.start = run.start;
                    grown.wrong = wrong;
                    fresh = false;
                    top = below;
                }
            }
            if top.score < score {
                self.open.push(top);
                top = grown;
                if fresh && self.settings.cttc.is_some() {
                    self.no_cross_triggers();
                }
            }
        }
        changes.truncate(end);
    }

    /// Where the row of the run at the top begins, with this many runs below it.
    fn row(&self, depth: usize) -> usize {
        depth * self.present.len()
    }

    fn no_cross_triggers(&mut self) {
        let row = self.row(self.open.len());
        let end = row + self.present.len();
        if self.crossed.len() < end {
            self.crossed.resize(end, 0);
        }
        self.crossed[row..end].fill(0);
    }

    /// Counts the cross-triggers of the run that was taken from the top, less those that it swallows, and leaves them in their
    /// place.
    fn cross_triggers(&mut self, run: &Run, own: usize, cttc: f64, is_true: bool) {
        let row = self.row(self.open.len() + 1);
        let length = self.length(run);
        for (table, present) in self.present.iter().enumerate() {
            if table == own {
                continue;
            }
            let now = i32::from(!is_true && at_least(self.tables[table].shared(run), cttc, length));
            let delta = now - std::mem::replace(&mut self.crossed[row + table], now);
            if delta != 0 {
                let count = CROSS_TRIGGERS + present.class;
                push(&mut self.rest, key(run.score), self.clip, count, delta);
            }
        }
    }

    /// Hands the cross-triggers of the run that was taken from the top to the run below.
    fn swallow_cross_triggers(&mut self) {
        let depth = self.open.len();
        let (below, taken) = (self.row(depth), self.row(depth + 1));
        let (lower, upper) = self.crossed.split_at_mut(taken);
        for (sum, add) in lower[below..].iter_mut().zip(upper) {
            *sum += *add;
        }
    }

    fn is_true(&self, run: &Run, own: usize) -> bool {
        at_least(
            self.tables[own].shared(run),
            self.settings.dtc,
            self.length(run),
        )
    }

    fn length(&self, run: &Run) -> i64 {
        self.boundaries[run.end] - self.boundaries[run.start]
    }

    /// Notes which events a true positive covers, and from which score to which.
    fn cover(&mut self, run: &Run, own: usize) {
        let (onset, offset) = (self.boundaries[run.start], self.boundaries[run.end]);
        let events = self.reference.events(&self.present[own]);
        let first = self.tables[own].first_event[run.start] as usize;
        for (event, (begins, ends)) in events.iter().enumerate().skip(first) {
            if *begins >= offset {
                break;
            }
            let time = offset.min(*ends) - onset.max(*begins);
            self.covers.push(Cover {
                event,
                key: key(run.score),
                time,
            });
            if run.swallowed_at > f64::NEG_INFINITY {
                self.covers.push(Cover {
                    event,
                    key: key(run.swallowed_at),
                    time: -time,
                });
            }
        }
    }

    /// Follows the covered time of the events from the highest score down.
    fn found_events(&mut self, own: usize, changes: &mut Vec<Change>) {
        let gtc = self.settings.gtc;
        let events = self.reference.events(&self.present[own]);
        let is_found =
            |event: usize, covered: i64| at_least(covered, gtc, events[event].1 - events[event].0);
        // An event that needs no time at all (shorter than a microsecond, or no tolerance) is found with the first frame.
        let free = (0..events.len())
            .filter(|event| is_found(*event, 0))
            .count();
        if free > 0 {
            let highest = self
                .scores
                .iter()
                .copied()
                .fold(f64::NEG_INFINITY, f64::max);
            if highest > f64::NEG_INFINITY {
                push(
                    changes,
                    key(highest),
                    self.clip,
                    TRUE_POSITIVES,
                    free as i32,
                );
            }
        }
        self.covered.clear();
        self.covered.resize(events.len(), 0);
        self.covers
            .sort_unstable_by_key(|cover| (cover.key, cover.event));
        for group in self
            .covers
            .chunk_by(|one, two| (one.key, one.event) == (two.key, two.event))
        {
            let Cover { key, event, .. } = group[0];
            let before = self.covered[event];
            let now = before + group.iter().map(|cover| cover.time).sum::<i64>();
            self.covered[event] = now;
            let delta = i32::from(is_found(event, now)) - i32::from(is_found(event, before));
            push(changes, key, self.clip, TRUE_POSITIVES, delta);
        }
    }
}

impl Table {
    fn fill(&mut self, boundaries: &[i64], events: &[(i64, i64)]) {
        self.time_before.clear();
        self.first_event.clear();
        let (mut event, mut time) = (0, 0);
        for boundary in boundaries {
            while let Some((onset, offset)) = events.get(event)
                && offset <= boundary
            {
                time += offset - onset;
                event += 1;
            }
            let begun = events
                .get(event)
                .map_or(0, |(onset, _)| (boundary - onset).max(0));
            self.time_before.push(time + begun);
            self.first_event.push(event as u32);
        }
    }

    fn shared(&self, run: &Run) -> i64 {
        self.time_before[run.end] - self.time_before[run.start]
    }
}
