//! From values to places in a picture, and the ticks that people count in.

/// Seconds to pixels.
#[derive(Debug)]
pub(crate) struct TimeAxis {
    duration: f64,
    left: f64,
    right: f64,
}

/// Steps that people count in, in seconds.
const STEPS: [f64; 23] = [
    0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 15.0, 20.0, 30.0, 60.0, 120.0, 300.0,
    600.0, 1800.0, 3600.0, 7200.0, 14_400.0, 21_600.0, 43_200.0,
];
const DAY: f64 = 86_400.0;
/// Units of time, each with the duration from which on it is easier to read.
const UNITS: [(f64, f64, &str); 4] = [
    (3.0 * DAY, DAY, "time in days"),
    (10_800.0, 3600.0, "time in h"),
    (300.0, 60.0, "time in min"),
    (0.0, 1.0, "time in s"),
];

impl TimeAxis {
    pub(crate) fn new(duration: f64, left: f64, right: f64) -> Self {
        Self {
            duration,
            left,
            right,
        }
    }

    pub(crate) fn x(&self, seconds: f64) -> f64 {
        self.left + (self.right - self.left) * seconds / self.duration.max(1e-6)
    }

    fn step(&self) -> f64 {
        let fits = |step: &f64| self.duration / step <= 12.0;
        let longest = DAY * (self.duration / 12.0 / DAY).ceil();
        STEPS.into_iter().find(fits).unwrap_or(longest)
    }

    /// At most 13.
    pub(crate) fn ticks(&self) -> impl Iterator<Item = f64> {
        let step = self.step();
        let count = (self.duration / step + 1e-6).floor() as u32;
        (0..=count).map(move |index| f64::from(index) * step)
    }

    fn unit(&self) -> (f64, &'static str) {
        let found = UNITS.into_iter().find(|(from, ..)| self.duration >= *from);
        found.map_or((1.0, "time in s"), |(_, unit, name)| (unit, name))
    }

    /// What a tick is called.
    pub(crate) fn label(&self, seconds: f64) -> String {
        // at most two digits, and no zeros at the end
        format!("{}", (seconds / self.unit().0 * 100.0).round() / 100.0)
    }

    pub(crate) fn name(&self) -> &'static str {
        self.unit().1
    }
}

/// Plain numbers to pixels.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Scale {
    /// The values at both ends,
    values: [f64; 2],
    /// and where these are.
    places: [f64; 2],
    logarithmic: bool,
}

impl Scale {
    /// From `low` to `high`, which may be the same.
    pub(crate) fn linear(low: f64, high: f64, places: [f64; 2]) -> Self {
        let high = if high > low { high } else { low + 1.0 };
        Self {
            values: [low, high],
            places,
            logarithmic: false,
        }
    }

    /// From 0 to a round number that is no smaller than `high`.
    pub(crate) fn from_zero(high: f64, places: [f64; 2]) -> Self {
        let step = round_step(high.max(1e-9) / 4.0);
        Self::linear(0.0, (high / step - 1e-9).ceil().max(1.0) * step, places)
    }

    /// Whole powers of ten around positive values.
    pub(crate) fn decades(low: f64, high: f64, places: [f64; 2]) -> Self {
        let (low, high) = (low.log10().floor(), high.log10().ceil());
        Self {
            logarithmic: true,
            ..Self::linear(low, high, places)
        }
    }

    pub(crate) fn at(&self, value: f64) -> f64 {
        let [low, high] = self.values;
        let value = if self.logarithmic {
            value.log10()
        } else {
            value
        };
        let [start, end] = self.places;
        start + (end - start) * ((value - low) / (high - low)).clamp(0.0, 1.0)
    }

    pub(crate) fn places(&self) -> [f64; 2] {
        self.places
    }

    /// About `most` values with their names, growing.
    pub(crate) fn ticks(&self, most: f64) -> Vec<(f64, String)> {
        let [low, high] = self.values;
        let step = round_step((high - low) / most);
        let (first, last) = ((low / step - 1e-9).ceil(), (high / step + 1e-9).floor());
        if self.logarithmic {
            let step = step.ceil();
            let count = ((high - low) / step).floor() as u32;
            let decades = (0..=count).map(|index| low + f64::from(index) * step);
            return decades
                .map(|decade| (10f64.powf(decade), format!("1e{decade}")))
                .collect();
        }
        let digits = (-step.log10().floor()).clamp(0.0, 12.0) as usize;
        (0..=(last - first).clamp(0.0, 100.0) as u32)
            .map(|index| {
                let value = (first + f64::from(index)) * step;
                let label = if value == 0.0 {
                    "0".to_owned()
                } else if digits > 2 || value >= 1e5 {
                    // short, whatever the size: 1.5e-4
                    let place = value.log10().floor() as i32;
                    let leading = (value / 10f64.powi(place) * 10.0).round() / 10.0;
                    format!("{leading}e{place}")
                } else {
                    format!("{value:.digits$}")
                };
                (value, label)
            })
            .collect()
    }
}

/// 1, 2 or 5 times a power of ten, no smaller than `least`.
fn round_step(least: f64) -> f64 {
    let power = 10f64.powf(least.log10().floor());
    let fits = |factor: &f64| factor * power >= least * (1.0 - 1e-9);
    [1.0, 2.0, 5.0].into_iter().find(fits).unwrap_or(10.0) * power
}

/// A point in time for a person.
pub(crate) fn clock(seconds: f64) -> String {
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
        assert_eq!(labels(12.0 * 3600.0)[..2], ["0", "1"]);
        assert_eq!(labels(7.0 * DAY)[..3], ["0", "1", "2"]);
        for duration in [0.01, 1.0, 59.0, 7201.0, 1e6] {
            let count = labels(duration).len();
            assert!((2..=13).contains(&count), "{duration}: {count}");
        }
    }

    #[test]
    fn scales_have_round_ticks_inside() {
        let scale = Scale::from_zero(0.83, [100.0, 0.0]);
        let ticks: Vec<String> = scale.ticks(4.0).into_iter().map(|tick| tick.1).collect();
        assert_eq!(ticks, ["0", "0.5", "1.0"]);
        assert_eq!(scale.at(0.5), 50.0);
        assert_eq!(scale.at(7.0), 0.0, "nothing leaves the picture");
        let steps = Scale::linear(0.0, 243.0, [0.0, 1.0]).ticks(4.0);
        assert_eq!(steps.last().unwrap().1, "200");
        let small = Scale::from_zero(9e-4, [0.0, 1.0]).ticks(2.0);
        assert_eq!(small[1].1, "5e-4");
        let rates = Scale::decades(2e-8, 4e-3, [0.0, 1.0]).ticks(4.0);
        assert_eq!(rates.first().unwrap().1, "1e-8");
        let same = Scale::linear(3.0, 3.0, [0.0, 1.0]);
        assert!(same.at(3.0).is_finite() && !same.ticks(3.0).is_empty());
    }
}
