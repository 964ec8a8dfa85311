//! The tree in which the gradients of a step are summed: who is added to whom, and when.
//!
//! Its leaves are the micro-batches of a step in order. Level by level, from the leaves up, so many neighbours as the level says
//! become one node: the first of them, plus the second, plus the third. A node without micro-batches (the step is short) is left
//! out, so that nothing is ever added for it. A rank holds whole nodes of one level, so the tree is the same for every number of
//! ranks, and with it every rounding.

use crate::{Error, Kind};

/// One rank's part of the tree, and the part above the ranks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Tree {
    /// Children of a node, from the leaves up, inside a rank's block;
    below: Vec<u32>,
    /// and among the ranks.
    above: Vec<u32>,
    block: u32,
}

/// What follows a micro-batch inside a block. The sum at hand is that of the smallest node that the micro-batch completes.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub(crate) struct Fold {
    /// Levels whose earlier siblings' sum is added to the sum at hand, in this order.
    pub(crate) add: Vec<usize>,
    /// The level at which the sum then waits for its next sibling; none while the leaves' own node goes on, or at the end.
    pub(crate) save: Option<Save>,
}

/// Where a sum waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Save {
    pub(crate) level: usize,
    /// Nothing waits there yet; otherwise it is added to what does.
    pub(crate) first: bool,
}

impl Tree {
    /// `levels`: children of a node, from the leaves up; their product is the number of micro-batches of a full step.
    ///
    /// # Errors
    /// When so many ranks would not hold whole nodes.
    pub(crate) fn new(levels: &[u32], ranks: usize) -> Result<Self, Error> {
        let leaves: u32 = levels.iter().product();
        let mut block = 1;
        for split in 0..=levels.len() {
            if u64::from(leaves) == u64::from(block) * ranks as u64 {
                return Ok(Self {
                    below: levels[..split].to_vec(),
                    above: levels[split..].to_vec(),
                    block,
                });
            }
            block *= levels.get(split).copied().unwrap_or(1);
        }
        Err(Error::new(
            Kind::Argument,
            "making the gradient tree",
            format!(
                "{ranks} ranks cannot share {leaves} micro-batches in whole nodes of {levels:?}"
            ),
        ))
    }

    /// Micro-batches of a rank.
    pub(crate) const fn block(&self) -> u32 {
        self.block
    }

    /// Micro-batches of a full step.
    pub(crate) fn leaves(&self) -> u32 {
        self.block * self.above.iter().product::<u32>()
    }

    /// Whether a micro-batch of a block, from 0, begins a node above the leaves: its gradients add up from zero.
    pub(crate) fn begins(&self, index: u32) -> bool {
        index.is_multiple_of(self.below.first().copied().unwrap_or(1))
    }

    /// What follows micro-batch `index` of a block; `last`: the block's, or the step's where it is short.
    pub(crate) fn after(&self, index: u32, last: bool) -> Fold {
        let mut fold = Fold::default();
        let mut number = index;
        for (level, &children) in self.below.iter().enumerate() {
            let sibling = number % children;
            let waits = !last && sibling + 1 < children;
            // the leaves of one node are summed where they are made
            if waits {
                fold.save = (level > 0).then_some(Save {
                    level,
                    first: sibling == 0,
                });
                break;
            }
            if level > 0 && sibling > 0 {
                fold.add.push(level);
            }
            number /= children;
        }
        fold
    }

    /// (into, from) of all sums among ranks, in order, for a step of so many micro-batches; the last one is into rank 0.
    pub(crate) fn among_ranks(&self, microbatches: u32) -> Vec<[u32; 2]> {
        let ranks = microbatches.div_ceil(self.block);
        let mut pairs = Vec::new();
        let mut width = 1;
        for &children in &self.above {
            let node = width * children;
            for into in (0..ranks).step_by(node as usize) {
                let siblings = (into + width..into + node).step_by(width as usize);
                pairs.extend(
                    siblings
                        .filter(|from| *from < ranks)
                        .map(|from| [into, from]),
                );
            }
            width = node;
        }
        pairs
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The tree by its definition, in words: what a node of `levels[..level]` beginning at `first` is the sum of.
    fn node(levels: &[u32], first: u32, present: u32) -> Option<String> {
        let Some((&children, below)) = levels.split_last() else {
            return (first < present).then(|| first.to_string());
        };
        let width: u32 = below.iter().product();
        (0..children)
            .filter_map(|child| node(below, first + child * width, present))
            .reduce(|sum, next| format!("({sum}+{next})"))
    }

    /// The same sums as the plan of a gang makes them; "a+b" and "b+a" are one sum, so they are written alike.
    fn by_ranks(levels: &[u32], ranks: usize, present: u32) -> String {
        let tree = Tree::new(levels, ranks).unwrap();
        let join = |one: &str, two: &str| format!("({one}+{two})");
        let mut blocks: Vec<String> = (0..u32::try_from(ranks).unwrap())
            .map(|rank| {
                let start = (rank * tree.block()).min(present);
                let end = (start + tree.block()).min(present);
                let mut waiting = vec![String::new(); levels.len()];
                let mut sum = String::new();
                for microbatch in start..end {
                    let index = microbatch - start;
                    sum = if tree.begins(index) {
                        microbatch.to_string()
                    } else {
                        join(&sum, &microbatch.to_string())
                    };
                    let fold = tree.after(index, microbatch + 1 == end);
                    for level in fold.add {
                        sum = join(&waiting[level], &sum);
                    }
                    if let Some(save) = fold.save {
                        waiting[save.level] = if save.first {
                            sum.clone()
                        } else {
                            join(&waiting[save.level], &sum)
                        };
                    }
                }
                sum
            })
            .collect();
        for [into, from] in tree.among_ranks(present) {
            let from = blocks[from as usize].clone();
            let sum = &mut blocks[into as usize];
            *sum = join(sum, &from);
        }
        blocks[0].clone()
    }

    #[test]
    fn every_gang_sums_the_same_tree() {
        let trees: [&[u32]; 9] = [
            &[],
            &[2],
            &[2, 2],
            &[2, 2, 2],
            &[3],
            &[3, 2, 2],
            &[3, 3, 2, 2],
            &[5, 3, 2],
            &[7, 5],
        ];
        for levels in trees {
            let leaves: u32 = levels.iter().product();
            for present in 1..=leaves {
                let expected = node(levels, 0, present).unwrap();
                for split in 0..=levels.len() {
                    let ranks: u32 = levels[split..].iter().product();
                    let found = by_ranks(levels, ranks as usize, present);
                    assert_eq!(found, expected, "{ranks} ranks, {present} of {levels:?}");
                }
            }
        }
    }

    #[test]
    fn four_micro_batches_in_words() {
        assert_eq!(by_ranks(&[2, 2], 1, 4), "((0+1)+(2+3))");
        assert_eq!(by_ranks(&[2, 2], 2, 3), "((0+1)+2)");
        assert_eq!(by_ranks(&[3, 2], 2, 6), "(((0+1)+2)+((3+4)+5))");
    }

    #[test]
    fn blocks_that_are_no_nodes_are_refused() {
        for ranks in [3, 5, 6, 8] {
            assert!(Tree::new(&[3, 2, 2], ranks).is_err(), "{ranks} of 12");
        }
        assert!(Tree::new(&[3, 2, 2], 0).is_err());
    }
}
