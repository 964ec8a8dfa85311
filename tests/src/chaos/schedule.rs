use std::fmt;
use std::time::Duration;

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::house::Weather;

/// Something bad, as it is planned: which process it hits is clear only when it happens.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Fault {
    /// `kill -9`.
    Kill(Target),
    /// SIGSTOP, and SIGCONT after so long.
    Freeze(Target, Duration),
    /// The link of this worker is bad for so long.
    Weather(usize, Weather, Duration),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Target {
    Coordinator,
    /// By its index.
    Worker(usize),
    /// A rank of that worker; the worker itself while it has none.
    Rank(usize),
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Coordinator => f.write_str("the coordinator"),
            Self::Worker(index) => write!(f, "worker w{index}"),
            Self::Rank(index) => write!(f, "a rank of w{index}"),
        }
    }
}

/// Faults and the pauses before them: a pure function of the seed, without an end.
#[derive(Debug)]
pub(crate) struct Schedule {
    random: ChaCha8Rng,
    workers: usize,
    pause: Duration,
}

impl Schedule {
    /// For so many workers, `pause` apart on average.
    pub(crate) fn new(seed: u64, workers: usize, pause: Duration) -> Self {
        Self {
            random: ChaCha8Rng::seed_from_u64(seed),
            workers,
            pause,
        }
    }

    fn target(&mut self) -> Target {
        let worker = self.random.random_range(0..self.workers);
        match self.random.random_range(0..10) {
            0..2 => Target::Coordinator,
            2..5 => Target::Worker(worker),
            _ => Target::Rank(worker),
        }
    }

    fn duration(&mut self, from_ms: u64, to_ms: u64) -> Duration {
        Duration::from_millis(self.random.random_range(from_ms..to_ms))
    }

    fn fault(&mut self) -> Fault {
        match self.random.random_range(0..4) {
            0 => {
                let worker = self.random.random_range(0..self.workers);
                let weather = match self.random.random_range(0..5) {
                    0 => Weather::Stalled,
                    1 => Weather::OneWay,
                    2 => Weather::HalfOpen,
                    3 => Weather::Slow(self.duration(1, 50)),
                    _ => Weather::Cut,
                };
                Fault::Weather(worker, weather, self.duration(50, 3000))
            }
            1 => {
                let target = self.target();
                // a rank that stands still for long is ended as hung; that is another test's matter
                let longest = if matches!(target, Target::Rank(_)) {
                    1000
                } else {
                    3000
                };
                Fault::Freeze(target, self.duration(50, longest))
            }
            _ => Fault::Kill(self.target()),
        }
    }
}

impl Iterator for Schedule {
    type Item = (Duration, Fault);

    fn next(&mut self) -> Option<Self::Item> {
        let pause = self.pause.mul_f64(self.random.random_range(0.1..1.9));
        Some((pause, self.fault()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_gives_the_same_faults_again_and_every_kind_comes() {
        let faults = |seed| {
            Schedule::new(seed, 3, Duration::from_secs(1))
                .take(200)
                .collect::<Vec<_>>()
        };
        assert_eq!(faults(7), faults(7));
        assert_ne!(faults(7), faults(8));
        let has = |what: fn(&Fault) -> bool| faults(7).iter().any(|(_, fault)| what(fault));
        assert!(has(|fault| matches!(
            fault,
            Fault::Kill(Target::Coordinator)
        )));
        assert!(has(|fault| matches!(fault, Fault::Kill(Target::Worker(2)))));
        assert!(has(|fault| matches!(fault, Fault::Kill(Target::Rank(0)))));
        assert!(has(|fault| matches!(
            fault,
            Fault::Freeze(Target::Rank(_), _)
        )));
        assert!(has(|fault| matches!(
            fault,
            Fault::Freeze(Target::Coordinator, _)
        )));
        assert!(has(|fault| matches!(
            fault,
            Fault::Weather(_, Weather::Cut, _)
        )));
    }
}
