/// Seconds to pixels.
#[derive(Debug)]
pub(super) struct TimeAxis {
    duration: f64,
    left: f64,
    right: f64,
}

/// Steps that people count in, in seconds.
const STEPS: [f64; 19] = [
    0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 15.0, 20.0, 30.0, 60.0, 120.0, 300.0,
    600.0, 1800.0, 3600.0,
];
/// From here on minutes are easier to read.
const MINUTES_FROM: f64 = 300.0;

impl TimeAxis {
    pub(super) fn new(duration: f64, left: f64, right: f64) -> Self {
        Self {
            duration,
            left,
            right,
        }
    }

    pub(super) fn x(&self, seconds: f64) -> f64 {
        self.left + (self.right - self.left) * seconds / self.duration.max(1e-6)
    }

    fn step(&self) -> f64 {
        let fits = |step: &f64| self.duration / step <= 12.0;
        let longest = 3600.0 * (self.duration / 12.0 / 3600.0).ceil();
        STEPS.into_iter().find(fits).unwrap_or(longest)
    }

    /// At most 13.
    pub(super) fn ticks(&self) -> impl Iterator<Item = f64> {
        let step = self.step();
        let count = (self.duration / step + 1e-6).floor() as u32;
        (0..=count).map(move |index| f64::from(index) * step)
    }

    /// What a tick is called.
    pub(super) fn label(&self, seconds: f64) -> String {
        let value = if self.duration < MINUTES_FROM {
            seconds
        } else {
            seconds / 60.0
        };
        // at most two digits, and no zeros at the end
        format!("{}", (value * 100.0).round() / 100.0)
    }

    pub(super) fn name(&self) -> &'static str {
        if self.duration < MINUTES_FROM {
            "time in s"
        } else {
            "time in min"
        }
    }
}

/// A point in time for a person.
pub(super) fn clock(seconds: f64) -> String {
    if seconds < 60.0 {
        format!("{seconds:.2} s")
    } else {
        let minutes = (seconds / 60.0).floor();
        format!("{minutes} min {:.2} s", seconds - minutes * 60.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_few_and_round() {
        let labels = |duration| -> Vec<String> {
            let axis = TimeAxis::new(duration, 0.0, 1.0);
            axis.ticks().map(|tick| axis.label(tick)).collect()
        };
        assert_eq!(labels(10.0)[..3], ["0", "1", "2"]);
        assert_eq!(labels(0.3)[1], "0.05");
        assert_eq!(labels(3600.0)[..2], ["0", "5"]);
        for duration in [0.01, 1.0, 59.0, 7201.0, 1e6] {
            let count = labels(duration).len();
            assert!((2..=13).contains(&count), "{duration}: {count}");
        }
    }
}
