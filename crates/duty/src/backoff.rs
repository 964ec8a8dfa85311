use std::time::Duration;

/// Growing pauses with a random part, so that many workers do not come back all at once.
#[derive(Debug, Clone)]
pub struct Backoff {
    next: Duration,
}

/// No pause is longer.
const LONGEST: Duration = Duration::from_secs(3);

impl Default for Backoff {
    fn default() -> Self {
        Self {
            next: Duration::from_millis(100),
        }
    }
}

impl Backoff {
    /// The next pause; `jitter`, drawn by the caller from 0.5 to 1, is its random part.
    pub fn pause(&mut self, jitter: f64) -> Duration {
        let pause = self.next.mul_f64(jitter.clamp(0.5, 1.0));
        self.next = (self.next * 2).min(LONGEST);
        pause
    }

    /// It went well: the next pause is short again.
    pub fn reset(&mut self) {
        *self = Self::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_the_longest() {
        let mut backoff = Backoff::default();
        let pauses: Vec<_> = (0..7).map(|_| backoff.pause(1.0).as_millis()).collect();
        assert_eq!(pauses, [100, 200, 400, 800, 1600, 3000, 3000]);
        backoff.reset();
        assert_eq!(backoff.pause(0.5).as_millis(), 50);
    }
}
