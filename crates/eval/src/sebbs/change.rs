//! Where the score changes most: a step filter over the scores as a function of time.

use std::collections::HashMap;

use crate::{ClipScores, Error, Scores};

use super::SebbSettings;

/// Frames end and begin together within this many seconds.
const SAME_TIME: f64 = 1e-7;

/// A clip of one class in stretches: before the first event candidate, the candidate, the gap behind it, and so on to the stretch
/// behind the last one, so that there is an odd number of them.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Segments {
    /// Boundaries in seconds, one more than there are segments.
    pub bounds: Vec<f64>,
    /// Mean score over time.
    pub mean: Vec<f64>,
    /// Lowest score; 0 in the first and the last segment, as outside the clip.
    pub min: Vec<f64>,
    /// Highest score.
    pub max: Vec<f64>,
}

impl Segments {
    fn clear(&mut self) {
        self.bounds.clear();
        self.mean.clear();
        self.min.clear();
        self.max.clear();
    }

    /// Begins a segment; `mean` holds the integral until the end is known.
    fn begin(&mut self, at: f64) {
        self.bounds.push(at);
        self.mean.push(0.0);
        self.min.push(f64::INFINITY);
        self.max.push(0.0);
    }

    fn add(&mut self, seconds: f64, score: f64) {
        if let (Some(sum), Some(min), Some(max)) = (
            self.mean.last_mut(),
            self.min.last_mut(),
            self.max.last_mut(),
        ) {
            *sum += seconds * score;
            *min = min.min(score);
            *max = max.max(score);
        }
    }

    fn end(&mut self, at: f64) {
        self.bounds.push(at);
        for (sum, pair) in self.mean.iter_mut().zip(self.bounds.windows(2)) {
            *sum /= (pair[1] - pair[0]).max(SAME_TIME);
        }
        for min in &mut self.min {
            if *min == f64::INFINITY {
                *min = 0.0;
            }
        }
        let last = self.min.len() - 1;
        self.min[0] = 0.0;
        self.min[last] = 0.0;
    }
}

/// The stretches of one clip's column before any are merged.
///
/// # Errors
/// A step filter without length, or a column that is not there; an infinite score, a clip that does not begin at 0 s.
pub fn change_segments(
    scores: &Scores,
    clip: usize,
    class: usize,
    step_seconds: f64,
) -> Result<Segments, Error> {
    let settings = SebbSettings {
        step_seconds,
        merge: super::MergeLimits::NONE,
    };
    settings.check()?;
    super::check_scores(scores)?;
    if clip >= scores.clips().len() || class >= scores.classes().len() {
        return Err(Error::Settings(format!(
            "clip {clip}, class {class}: expected less than {} and {}",
            scores.clips().len(),
            scores.classes().len()
        )));
    }
    let mut segments = Segments::default();
    Schedules::new(scores, step_seconds).segments(
        scores,
        clip,
        class,
        &mut Vec::new(),
        &mut segments,
    );
    Ok(segments)
}

/// The filter's way through a clip: between two breakpoints each of its three edges (left end, middle, right end) stays within one
/// frame, so its output is linear there and its extremes lie on breakpoints. The way depends on frames alone, not on scores.
#[derive(Debug)]
struct Schedule {
    /// Half the filter's length.
    half: f64,
    /// Frames that the right half covers at the start, and for how long.
    start: Vec<(usize, f64)>,
    steps: Vec<Step>,
    end: f64,
}

/// From one breakpoint to the next. Frames count from 1; 0 lies before the clip, and the last but one behind it.
#[derive(Debug)]
struct Step {
    from: f64,
    seconds: f64,
    left: usize,
    middle: usize,
    right: usize,
}

impl Schedule {
    fn new(boundaries: &[f64], step_seconds: f64) -> Self {
        let half = step_seconds / 2.0;
        let end = boundaries.last().copied().unwrap_or(0.0);
        // the onset of a frame, counted from 1
        let onset = |frame: usize| match frame.checked_sub(1) {
            None => f64::NEG_INFINITY,
            Some(place) => boundaries.get(place).copied().unwrap_or(f64::INFINITY),
        };
        let mut start = Vec::new();
        let mut right = 1;
        while onset(right + 1) <= half {
            start.push((right, onset(right + 1) - onset(right)));
            right += 1;
        }
        start.push((right, half - onset(right)));

        let round = |time: f64| (time * 1e8).round_ties_even() / 1e8;
        let mut breakpoints: Vec<f64> = boundaries
            .iter()
            .flat_map(|time| [*time, time + half, time - half])
            .map(round)
            .collect();
        breakpoints.sort_by(f64::total_cmp);
        let (mut left, mut middle, mut center) = (0, 1, 0.0);
        let mut steps = Vec::new();
        for pair in breakpoints.windows(2) {
            let (from, to) = (pair[0], pair[1]);
            let seconds = to - from;
            if to < SAME_TIME || seconds < SAME_TIME || to > end {
                continue;
            }
            steps.push(Step {
                from,
                seconds,
                left,
                middle,
                right,
            });
            center += seconds;
            for (frame, edge) in [
                (&mut middle, center),
                (&mut left, center - half),
                (&mut right, center + half),
            ] {
                if onset(*frame + 1) - edge < SAME_TIME {
                    *frame += 1;
                }
            }
        }
        Self {
            half,
            start,
            steps,
            end,
        }
    }

    /// Lets the filter run. `padded` are the frames' scores with a 0 before and behind them.
    fn run(&self, padded: &[f64], segments: &mut Segments) {
        segments.clear();
        segments.begin(0.0);
        // The sums run on from breakpoint to breakpoint in just this order: where the output stays level, rounding decides what
        // counts as rising, and the published boxes depend on it.
        let (mut left, mut right) = (0.0, 0.0);
        for (frame, seconds) in &self.start {
            right += padded[*frame] * seconds;
        }
        let output = |left: f64, right: f64| 2.0 * (right - left) / (2.0 * self.half);
        let (mut before, mut last) = (None, output(left, right));
        let mut open = false;
        for step in &self.steps {
            left -= step.seconds * padded[step.left];
            left += step.seconds * padded[step.middle];
            right -= step.seconds * padded[step.middle];
            right += step.seconds * padded[step.right];
            let now = output(left, right);
            let was_rising = before.is_none_or(|before| last > before);
            let turns = match open {
                false => now <= last && was_rising,
                true => now > last && !was_rising,
            };
            if turns {
                segments.begin(step.from);
                open = !open;
            }
            segments.add(step.seconds, padded[step.middle]);
            (before, last) = (Some(last), now);
        }
        if open {
            segments.begin(self.end);
        }
        segments.end(self.end);
    }
}

/// One schedule for each grid of frames: clips of a data set mostly share theirs.
#[derive(Debug)]
pub(super) struct Schedules {
    different: Vec<Schedule>,
    of_clip: Vec<usize>,
}

impl Schedules {
    pub(super) fn new(scores: &Scores, step_seconds: f64) -> Self {
        let mut grids: Vec<&[f64]> = Vec::new();
        let mut places: HashMap<Vec<u64>, usize> = HashMap::new();
        let of_clip = scores
            .clips()
            .iter()
            .map(|clip| {
                // Neighbours mostly share theirs.
                if grids.last().is_some_and(|grid| *grid == clip.boundaries) {
                    return grids.len() - 1;
                }
                let key = clip.boundaries.iter().map(|time| time.to_bits()).collect();
                *places.entry(key).or_insert_with(|| {
                    grids.push(&clip.boundaries);
                    grids.len() - 1
                })
            })
            .collect();
        let different = grids
            .into_iter()
            .map(|grid| Schedule::new(grid, step_seconds))
            .collect();
        Self { different, of_clip }
    }

    /// The stretches of a column; `padded` is working space.
    pub(super) fn segments(
        &self,
        scores: &Scores,
        clip: usize,
        class: usize,
        padded: &mut Vec<f64>,
        segments: &mut Segments,
    ) {
        let columns = scores.classes().len();
        let ClipScores { values, .. } = &scores.clips()[clip];
        padded.clear();
        padded.push(0.0);
        padded.extend(values.iter().skip(class).step_by(columns));
        padded.push(0.0);
        self.different[self.of_clip[clip]].run(padded, segments);
    }
}
