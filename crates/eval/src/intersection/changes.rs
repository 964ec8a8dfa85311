/// What one clip adds to one of a class's counts when the threshold falls below a score.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub(super) struct Change {
    /// Grows as scores fall.
    key: u64,
    clip: u32,
    /// [`TRUE_POSITIVES`], [`FALSE_POSITIVES`], or [`CROSS_TRIGGERS`] and on: one for each class.
    count: u16,
    delta: i16,
}

/// Sixteen bytes: there are millions of them.
impl Change {
    /// As much of `delta` as there is room for, and the rest: one frame of hours of audio may end very many runs.
    #[inline]
    pub(super) fn new(key: u64, clip: usize, count: usize, delta: i32) -> (Self, i32) {
        let part = delta.clamp(i32::from(i16::MIN), i32::from(i16::MAX));
        let change = Self {
            key,
            clip: clip as u32,
            count: count as u16,
            delta: part as i16,
        };
        (change, delta - part)
    }

    pub(super) fn delta(self) -> i16 {
        self.delta
    }
}

/// Appends a change in as many parts as it needs, none if there is none.
pub(super) fn push(changes: &mut Vec<Change>, key: u64, clip: usize, count: usize, delta: i32) {
    let mut rest = delta;
    while rest != 0 {
        let (change, more) = Change::new(key, clip, count, rest);
        changes.push(change);
        rest = more;
    }
}

/// What a [`Change`] has room for.
pub(super) const MAX_CLASSES: usize = u16::MAX as usize - CROSS_TRIGGERS;

const MAX_BUCKETS: usize = 4096;

pub(crate) const TRUE_POSITIVES: usize = 0;
pub(crate) const FALSE_POSITIVES: usize = 1;
pub(crate) const CROSS_TRIGGERS: usize = 2;

/// All changes of one class, from the highest score down. Counts at every score are their running sums, with each clip taken once
/// or, for a bootstrap replicate, as often as it was drawn: statistics, curves and replicates are all made from this.
#[derive(Debug)]
pub(crate) struct Changes {
    sorted: Vec<Change>,
    num_counts: usize,
}

impl Changes {
    pub(super) fn new(num_counts: usize) -> Self {
        Self {
            sorted: Vec::new(),
            num_counts,
        }
    }

    /// Where clips put their changes, in any order, before [`Changes::sort`].
    pub(super) fn unsorted(&mut self) -> &mut Vec<Change> {
        &mut self.sorted
    }

    pub(super) fn clear(&mut self) {
        self.sorted.clear();
    }

    /// Takes the changes of these parts, in any order, in place of what was there, and sorts them. Stretches of scores in which
    /// more than `most` false positives are certain stay unsorted: counts there are not those of a threshold, but have more than
    /// `most` false positives as well.
    pub(super) fn gather<'a>(
        &mut self,
        parts: impl Iterator<Item = &'a [Change]> + Clone,
        most: i64,
    ) {
        let keys = || parts.clone().flatten().map(|change| change.key);
        let number: usize = parts.clone().map(<[Change]>::len).sum();
        let lowest = keys().min().unwrap_or(0);
        let range = keys().max().unwrap_or(0) - lowest;
        // A first pass into buckets that fit the nearest cache is faster than sorting all at once.
        let buckets = (number / 32).clamp(1, MAX_BUCKETS).next_power_of_two();
        let shift = (u64::BITS - range.leading_zeros()).saturating_sub(buckets.ilog2());
        let bucket = |key: u64| (key - lowest).checked_shr(shift).unwrap_or(0) as usize;
        let mut ends = vec![0_usize; buckets];
        keys().for_each(|key| ends[bucket(key)] += 1);
        let mut sum = 0;
        for end in &mut ends {
            // Where it begins, until it is filled.
            sum += std::mem::replace(end, sum);
        }
        self.sorted.resize(number, Change::default());
        for change in parts.flatten() {
            let place = &mut ends[bucket(change.key)];
            self.sorted[*place] = *change;
            *place += 1;
        }
        let (mut begin, mut wrong) = (0, 0);
        for end in ends {
            let bucket = &mut self.sorted[begin..end];
            begin = end;
            let (mut fewer, mut more) = (0, 0);
            for change in &*bucket {
                let delta =
                    i64::from(change.delta) * i64::from(change.count == FALSE_POSITIVES as u16);
                fewer += delta.min(0);
                more += delta.max(0);
            }
            if wrong + fewer <= most {
                bucket.sort_unstable_by_key(|change| change.key);
            }
            wrong += fewer + more;
        }
        self.add_up();
    }

    /// Leaves none.
    pub(crate) fn take(&mut self) -> Self {
        Self {
            sorted: std::mem::take(&mut self.sorted),
            num_counts: self.num_counts,
        }
    }

    /// Sorts what [`Changes::unsorted`] was given.
    pub(super) fn sort(&mut self) {
        self.sorted.sort_unstable_by_key(|change| change.key);
        self.add_up();
    }

    /// Adds up what a clip gave more than once for a score. A score at which no clip's counts change in the end is not a change
    /// point.
    fn add_up(&mut self) {
        let changes = &mut self.sorted;
        let (mut read, mut kept) = (0, 0);
        while read < changes.len() {
            let key = changes[read].key;
            let end = read
                + 1
                + changes[read + 1..]
                    .iter()
                    .take_while(|next| next.key == key)
                    .count();
            if end == read + 1 {
                changes[kept] = changes[read];
                kept += 1;
                read = end;
                continue;
            }
            changes[read..end].sort_unstable_by_key(|change| (change.clip, change.count));
            while read < end {
                let first = changes[read];
                let same =
                    |change: &&Change| (change.clip, change.count) == (first.clip, first.count);
                let of_count = changes[read..end].iter().take_while(same);
                let (parts, mut rest) = of_count.fold((0, 0), |(parts, sum), change| {
                    (parts + 1, sum + i32::from(change.delta))
                });
                read += parts;
                while rest != 0 {
                    // Never more parts than there were.
                    (changes[kept], rest) =
                        Change::new(key, first.clip as usize, first.count.into(), rest);
                    kept += 1;
                }
            }
        }
        changes.truncate(kept);
    }

    /// Score, clip and what changes there, from the highest score down, then by clip.
    pub(crate) fn steps(&self) -> impl Iterator<Item = (f64, usize, usize, i64)> {
        self.sorted.iter().map(|change| {
            let (clip, count) = (change.clip as usize, change.count as usize);
            (score(change.key), clip, count, i64::from(change.delta))
        })
    }

    /// Calls `point` with every change point's score and counts, from the highest score down, each clip taken as often as
    /// `times` says. With clips left out a change point may repeat the counts of the one before.
    pub(crate) fn visit(&self, times: impl Fn(usize) -> u32, mut point: impl FnMut(f64, &[i64])) {
        let mut counts = vec![0_i64; self.num_counts];
        let mut changes = self.sorted.iter().peekable();
        while let Some(change) = changes.next() {
            counts[change.count as usize] +=
                i64::from(change.delta) * i64::from(times(change.clip as usize));
            // Clips may share a score: the counts hold once all of them are in.
            if changes.peek().is_none_or(|next| next.key != change.key) {
                point(score(change.key), &counts);
            }
        }
    }
}

/// A number that grows as the score falls.
pub(super) fn key(score: f64) -> u64 {
    // Minus zero is zero.
    let bits = (score + 0.0).to_bits();
    // Negative numbers already grow, as bits, when they fall.
    if bits >> 63 == 0 {
        !bits & !(1 << 63)
    } else {
        bits
    }
}

fn score(key: u64) -> f64 {
    f64::from_bits(if key >> 63 == 0 {
        !key & !(1 << 63)
    } else {
        key
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_grow_as_scores_fall() {
        let scores = [
            f64::INFINITY,
            2.0,
            1.0,
            f64::MIN_POSITIVE,
            0.0,
            -1e-300,
            -1.0,
            -7.5,
            f64::NEG_INFINITY,
        ];
        for pair in scores.windows(2) {
            assert!(key(pair[0]) < key(pair[1]), "{pair:?}");
        }
        assert_eq!(scores.map(|one| score(key(one))), scores);
        assert_eq!(key(0.0), key(-0.0));
    }

    #[test]
    fn changes_of_a_clip_that_cancel_are_none() {
        let change = |score: f64, clip, delta| Change {
            key: key(score),
            clip,
            count: 1,
            delta,
        };
        let mut changes = Changes::new(2);
        changes.unsorted().extend([
            change(0.5, 0, 1),
            change(0.9, 1, 1),
            change(0.5, 0, -1),
            change(0.2, 0, 1),
            change(0.2, 1, -1),
        ]);
        changes.sort();
        let mut points = Vec::new();
        changes.visit(|_| 1, |score, counts| points.push((score, counts.to_vec())));
        // Two clips that cancel each other are still a change.
        assert_eq!(points, [(0.9, vec![0, 1]), (0.2, vec![0, 1])]);
    }
}
