//! NumPy's legacy `RandomState`, as far as the published splits depend on it: MT19937, bounded integers by masked
//! rejection, shuffle and permutation (recipe 1.6).

const N: usize = 624;
const M: usize = 397;

/// The generator behind `np.random.seed(seed)`.
#[derive(Debug, Clone)]
pub(crate) struct RandomState {
    state: [u32; N],
    next: usize,
}

impl RandomState {
    pub(crate) fn new(seed: u32) -> Self {
        let mut state = [0; N];
        state[0] = seed;
        for i in 1..N {
            let last = state[i - 1];
            state[i] = 1_812_433_253_u32
                .wrapping_mul(last ^ (last >> 30))
                .wrapping_add(i as u32);
        }
        Self { state, next: N }
    }

    fn next_u32(&mut self) -> u32 {
        if self.next == N {
            for i in 0..N {
                let mixed = (self.state[i] & 0x8000_0000) | (self.state[(i + 1) % N] & 0x7fff_ffff);
                let odd = if mixed & 1 == 1 { 0x9908_b0df } else { 0 };
                self.state[i] = self.state[(i + M) % N] ^ (mixed >> 1) ^ odd;
            }
            self.next = 0;
        }
        let mut y = self.state[self.next];
        self.next += 1;
        y ^= y >> 11;
        y ^= (y << 7) & 0x9d2c_5680;
        y ^= (y << 15) & 0xefc6_0000;
        y ^ (y >> 18)
    }

    /// Uniform over 0..=max; draws until the masked bits fit.
    fn up_to(&mut self, max: u32) -> u32 {
        if max == 0 {
            return 0;
        }
        let mask = u32::MAX >> max.leading_zeros();
        loop {
            let value = self.next_u32() & mask;
            if value <= max {
                return value;
            }
        }
    }

    /// `RandomState.shuffle`: from the back, each with one at or before it.
    pub(crate) fn shuffle<T>(&mut self, items: &mut [T]) {
        for i in (1..items.len()).rev() {
            let j = self.up_to(u32::try_from(i).unwrap_or(u32::MAX)) as usize;
            items.swap(i, j);
        }
    }

    /// `RandomState.permutation(n)`.
    pub(crate) fn permutation(&mut self, n: usize) -> Vec<usize> {
        let mut order: Vec<usize> = (0..n).collect();
        self.shuffle(&mut order);
        order
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn permutation_of_the_weak_table() {
        let order = RandomState::new(42).permutation(1578);
        let train = &order[..1420];
        assert_eq!(
            train[..10],
            [1239, 813, 1174, 534, 514, 1526, 522, 274, 494, 65]
        );
        assert_eq!(train[1415..], [524, 1059, 540, 1194, 748]);
        let mut validation = order[1420..].to_vec();
        validation.sort_unstable();
        assert_eq!(validation[..10], [13, 14, 20, 21, 34, 40, 64, 87, 91, 95]);
    }
}
