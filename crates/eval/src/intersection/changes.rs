/// What one clip adds to one of a class's counts when the threshold falls below a score.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Change {
    /// Grows as scores fall.
    pub(super) key: u64,
    pub(super) clip: u32,
    /// [`TRUE_POSITIVES`], [`FALSE_POSITIVES`], or [`CROSS_TRIGGERS`] and on: one for each class.
    pub(super) count: u32,
    pub(super) delta: i32,
}

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

    /// Sorts, and adds up what a clip gave more than once for a score. A score at which no clip's counts change in the end is not
    /// a change point.
    pub(super) fn sort(&mut self) {
        let changes = &mut self.sorted;
        changes.sort_unstable_by_key(|change| change.key);
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
                let mut sum = changes[read];
                read += 1;
                while read < end
                    && (changes[read].clip, changes[read].count) == (sum.clip, sum.count)
                {
                    sum.delta += changes[read].delta;
                    read += 1;
                }
                if sum.delta != 0 {
                    changes[kept] = sum;
                    kept += 1;
                }
            }
        }
        changes.truncate(kept);
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
