/// The gang sizes that a step of `microbatches` allows, growing. The gradient tree (ARCHITECTURE.md, "Sameness") has the largest
/// prime factors at its leaves, and each rank must hold a whole subtree: for 8 micro-batches 1, 2, 4, 8; for 36
/// 1, 2, 4, 12, 36.
#[must_use]
pub fn world_sizes(microbatches: u32) -> Vec<u32> {
    let mut sizes = vec![microbatches];
    let mut left = microbatches;
    // Walks up from the leaves: after each level the blocks are larger by one prime factor, and the gangs smaller.
    while left > 1 {
        left /= largest_prime_factor(left);
        sizes.push(left);
    }
    sizes.reverse();
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
    fn blocks_are_whole_subtrees() {
        assert_eq!(world_sizes(1), [1]);
        assert_eq!(world_sizes(2), [1, 2]);
        assert_eq!(world_sizes(8), [1, 2, 4, 8]);
        assert_eq!(world_sizes(12), [1, 2, 4, 12]);
        assert_eq!(world_sizes(36), [1, 2, 4, 12, 36]);
        assert_eq!(world_sizes(7), [1, 7]);
    }
}
