//! All thresholds of a clip at once.
//!
//! The maximal runs of active frames at all thresholds form a tree: as the threshold falls, a run appears at its lowest score and
//! lasts until the higher of its neighbours' scores is reached, where a longer run swallows it. One pass over the frames with a
//! stack of the runs that may still grow meets every run of that tree once, at its end, so that frames need no sorting. What a run
//! counts for is added at its lowest score and taken away where it is swallowed.

use super::Intersection;
use super::changes::{CROSS_TRIGGERS, Change, FALSE_POSITIVES, TRUE_POSITIVES, key};
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
    /// Runs that the next frame may make longer; scores grow towards the top.
    open: Vec<Open>,
    /// For each open run, what the runs in it that it swallows count for: false positives, then cross-triggers by table.
    inside: Vec<i32>,
    /// Time that true positives share with events, as it comes and goes.
    covers: Vec<Cover>,
}

/// The events of one class, seen from the frame boundaries.
#[derive(Default)]
struct Table {
    /// Event time before each boundary: what a run shares with the events is a difference of two.
    time_before: Vec<i64>,
    /// The first event that ends after each boundary.
    first_event: Vec<u32>,
}

struct Open {
    score: f64,
    start: usize,
}

/// A run of frames with at least `score`, swallowed below.
struct Run {
    start: usize,
    end: usize,
    score: f64,
    swallowed_at: f64,
}

struct Cover {
    event: usize,
    key: u64,
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
            open: Vec::new(),
            inside: Vec::new(),
            covers: Vec::new(),
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
        scores: impl Iterator<Item = f64> + Clone,
        changes: &mut Vec<Change>,
    ) {
        let own = self
            .present
            .iter()
            .position(|present| present.class == class)
            .unwrap_or(self.present.len());
        let width = if self.settings.cttc.is_some() {
            1 + self.present.len()
        } else {
            1
        };
        self.covers.clear();
        self.open.clear();
        // The frame after the last one ends every run.
        let frames = scores.clone().chain(std::iter::once(f64::NEG_INFINITY));
        for (frame, score) in frames.enumerate() {
            let mut start = frame;
            while let Some(run) = self.open.pop_if(|run| run.score > score) {
                let below = self.open.last().map(|below| below.score);
                let run = Run {
                    start: run.start,
                    end: frame,
                    score: run.score,
                    swallowed_at: below.map_or(score, |below| below.max(score)),
                };
                let depth = self.open.len();
                self.close(&run, own, width, depth, changes);
                if below.is_some_and(|below| below >= score) {
                    // The run below swallows it.
                    let (lower, upper) = self.inside.split_at_mut(depth * width);
                    for (sum, add) in lower[(depth - 1) * width..].iter_mut().zip(upper) {
                        *sum += *add;
                    }
                } else {
                    // A run that begins with it and has this frame swallows it.
                    start = run.start;
                }
            }
            if score > f64::NEG_INFINITY && self.open.last().is_none_or(|run| run.score < score) {
                let row = self.open.len() * width;
                if start == frame {
                    if self.inside.len() < row + width {
                        self.inside.resize(row + width, 0);
                    }
                    self.inside[row..row + width].fill(0);
                }
                self.open.push(Open { score, start });
            }
        }
        if own < self.present.len() {
            self.found_events(own, scores, changes);
        }
    }

    /// Counts a run that cannot grow, less what it swallows; leaves what it counts for where that was.
    fn close(
        &mut self,
        run: &Run,
        own: usize,
        width: usize,
        depth: usize,
        changes: &mut Vec<Change>,
    ) {
        let clip = self.clip as u32;
        let length = self.boundaries[run.end] - self.boundaries[run.start];
        let shared = self.tables[own].shared(run);
        let is_true = at_least(shared, self.settings.dtc, length);
        let inside = &mut self.inside[depth * width..(depth + 1) * width];
        let mut count = |place: usize, count: usize, now: bool| {
            let now = i32::from(now);
            let delta = now - inside[place];
            inside[place] = now;
            if delta != 0 {
                changes.push(Change {
                    key: key(run.score),
                    clip,
                    count: count as u32,
                    delta,
                });
            }
        };
        count(0, FALSE_POSITIVES, !is_true);
        if let Some(cttc) = self.settings.cttc {
            for (table, present) in self.present.iter().enumerate() {
                if table != own {
                    let crosses =
                        !is_true && at_least(self.tables[table].shared(run), cttc, length);
                    count(1 + table, CROSS_TRIGGERS + present.class, crosses);
                }
            }
        }
        if is_true && shared > 0 {
            self.cover(run, own);
        }
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

    /// Follows the covered time of each event from the highest score down.
    fn found_events(
        &mut self,
        own: usize,
        scores: impl Iterator<Item = f64>,
        changes: &mut Vec<Change>,
    ) {
        let gtc = self.settings.gtc;
        let events = self.reference.events(&self.present[own]);
        let clip = self.clip as u32;
        let mut change = |key: u64, delta: i32| {
            changes.push(Change {
                key,
                clip,
                count: TRUE_POSITIVES as u32,
                delta,
            });
        };
        // An event that needs no time at all (shorter than a microsecond, or no tolerance) is found with the first frame.
        let for_nothing = |(onset, offset): &(i64, i64)| at_least(0, gtc, offset - onset);
        let free = events.iter().filter(|event| for_nothing(event)).count();
        if free > 0 {
            let highest = scores.fold(f64::NEG_INFINITY, f64::max);
            if highest > f64::NEG_INFINITY {
                change(key(highest), free as i32);
            }
        }
        self.covers
            .sort_unstable_by_key(|cover| (cover.event, cover.key));
        for of_event in self.covers.chunk_by(|one, two| one.event == two.event) {
            let event = &events[of_event[0].event];
            if for_nothing(event) {
                continue;
            }
            let length = event.1 - event.0;
            let (mut covered, mut found) = (0, false);
            for at_score in of_event.chunk_by(|one, two| one.key == two.key) {
                covered += at_score.iter().map(|cover| cover.time).sum::<i64>();
                let now = at_least(covered, gtc, length);
                if now != found {
                    change(at_score[0].key, if now { 1 } else { -1 });
                    found = now;
                }
            }
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
