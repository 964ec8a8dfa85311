use std::collections::BTreeMap;

use super::time::{long_picoseconds, picoseconds, seconds};
use crate::GroundTruth;

/// Ground truth by number instead of by name, in exact time: clips and classes as the scores count them.
pub(crate) struct Reference {
    num_classes: usize,
    /// Onset and offset, by clip, class and onset.
    events: Vec<(i64, i64)>,
    /// What sounds at all, by clip and class.
    present: Vec<Present>,
    /// Where each clip's part of `present` begins; one more than there are clips.
    first: Vec<usize>,
    durations: Vec<i128>,
}

/// The events of one class in one clip; there is at least one.
pub(crate) struct Present {
    pub(crate) class: usize,
    first: usize,
    end: usize,
    time: i128,
}

/// What counts are divided by.
pub(crate) struct Totals {
    /// Length of all clips in seconds.
    pub(crate) duration: f64,
    /// Events by class.
    pub(crate) num_reference: Vec<u64>,
    /// Their length by class, in seconds.
    pub(crate) reference_time: Vec<f64>,
}

impl Reference {
    /// Numbers the events of these clips. `truth` has been checked against the same classes and clips.
    pub(crate) fn new<'a>(
        truth: &GroundTruth,
        classes: &[String],
        clips: impl Iterator<Item = &'a str>,
    ) -> Self {
        let numbers: BTreeMap<&str, usize> = classes
            .iter()
            .enumerate()
            .map(|(number, class)| (class.as_str(), number))
            .collect();
        let mut this = Self {
            num_classes: classes.len(),
            events: Vec::new(),
            present: Vec::new(),
            first: vec![0],
            durations: Vec::new(),
        };
        let mut of_clip: Vec<(usize, i64, i64)> = Vec::new();
        for clip in clips {
            of_clip.clear();
            of_clip.extend(
                truth
                    .events
                    .get(clip)
                    .into_iter()
                    .flatten()
                    .filter_map(|event| {
                        let class = *numbers.get(event.class.as_str())?;
                        Some((class, picoseconds(event.onset), picoseconds(event.offset)))
                    }),
            );
            of_clip.sort_unstable();
            for of_class in of_clip.chunk_by(|one, two| one.0 == two.0) {
                let first = this.events.len();
                this.events
                    .extend(of_class.iter().map(|(_, onset, offset)| (*onset, *offset)));
                this.present.push(Present {
                    class: of_class[0].0,
                    first,
                    end: this.events.len(),
                    time: of_class
                        .iter()
                        .map(|(_, onset, offset)| i128::from(offset - onset))
                        .sum(),
                });
            }
            this.first.push(this.present.len());
            let duration = truth.durations.get(clip).copied().unwrap_or(0.0);
            this.durations.push(long_picoseconds(duration));
        }
        this
    }

    pub(crate) fn num_classes(&self) -> usize {
        self.num_classes
    }

    /// The classes that sound in a clip.
    pub(super) fn present(&self, clip: usize) -> &[Present] {
        &self.present[self.first[clip]..self.first[clip + 1]]
    }

    pub(super) fn events(&self, present: &Present) -> &[(i64, i64)] {
        &self.events[present.first..present.end]
    }

    /// Events of one class in each clip.
    pub(crate) fn num_events(&self, class: usize) -> Vec<u64> {
        (0..self.durations.len())
            .map(|clip| {
                let mut present = self.present(clip).iter();
                let own = present.find(|present| present.class == class);
                own.map_or(0, |own| (own.end - own.first) as u64)
            })
            .collect()
    }

    /// Sums over clips, each taken as often as `times` says.
    pub(crate) fn totals(&self, times: impl Fn(usize) -> u32) -> Totals {
        let mut duration = 0;
        let mut num_reference = vec![0; self.num_classes];
        let mut reference_time = vec![0; self.num_classes];
        for (clip, length) in self.durations.iter().enumerate() {
            let times = times(clip);
            duration += length * i128::from(times);
            for present in self.present(clip) {
                let events = (present.end - present.first) as u64;
                num_reference[present.class] += events * u64::from(times);
                reference_time[present.class] += present.time * i128::from(times);
            }
        }
        Totals {
            duration: seconds(duration),
            num_reference,
            reference_time: reference_time.into_iter().map(seconds).collect(),
        }
    }
}
