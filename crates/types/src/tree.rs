//! The tree in which the gradients of a step are summed (ARCHITECTURE.md, "Sameness"): its leaves are the micro-batches.

/// How many children a node has, level by level from the leaves up: the prime factors of the number of micro-batches, the largest
/// first. For 12: 3, 2, 2.
#[must_use]
pub fn tree_levels(microbatches: u32) -> Vec<u32> {
    let mut levels = Vec::new();
    let mut left = microbatches;
    while left > 1 {
        let factor = largest_prime_factor(left);
        levels.push(factor);
        left /= factor;
    }
    levels
}

/// The gang sizes that a step of so many micro-batches allows, growing: each rank holds whole nodes of the tree, so that the sum is the
/// same in any of them. For 8 micro-batches 1, 2, 4, 8; for 36 1, 2, 4, 12, 36.
#[must_use]
pub fn world_sizes(microbatches: u32) -> Vec<u32> {
    let mut size = 1;
    let mut sizes = vec![size];
    for children in tree_levels(microbatches).into_iter().rev() {
        size *= children;
        sizes.push(size);
    }
    sizes
}

fn largest_prime_factor(mut number: u32) -> u32 {
    let mut largest = 1;
    let mut factor = 2;
    while factor * factor <= number {
        while number.is_multiple_of(factor) {
            largest = factor;
            number /= factor;
        }
        factor += 1;
    }
    if number > 1 { number } else { largest }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_are_whole_nodes() {
        assert_eq!(world_sizes(1), [1]);
        assert_eq!(world_sizes(2), [1, 2]);
        assert_eq!(world_sizes(8), [1, 2, 4, 8]);
        assert_eq!(world_sizes(12), [1, 2, 4, 12]);
        assert_eq!(world_sizes(36), [1, 2, 4, 12, 36]);
        assert_eq!(world_sizes(7), [1, 7]);
    }

    #[test]
    fn the_largest_factors_are_at_the_leaves() {
        assert!(tree_levels(1).is_empty());
        assert_eq!(tree_levels(8), [2, 2, 2]);
        assert_eq!(tree_levels(36), [3, 3, 2, 2]);
        assert_eq!(tree_levels(70), [7, 5, 2]);
    }
}
