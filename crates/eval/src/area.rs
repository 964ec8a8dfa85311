//! Areas under curves that are given by points with growing x.

/// How a curve runs between two of its points.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Area {
    /// It stays at the left point's height, as in the published figures.
    Staircase,
    /// Straight lines.
    Linear,
}

impl Area {
    /// The area from the first point to `end`, beyond which the curve is not looked at; it stays at the last point's height.
    /// `x` grows; where it stands still, the last point counts for what follows.
    #[must_use]
    pub fn up_to(self, x: &[f64], y: &[f64], end: f64) -> f64 {
        let mut sum = 0.0;
        for i in 0..x.len() {
            if x[i] >= end {
                break;
            }
            let (next_x, next_y) = match (x.get(i + 1), y.get(i + 1)) {
                (Some(&next_x), Some(&next_y)) => (next_x, next_y),
                _ => (end, y[i]),
            };
            let right = next_x.min(end);
            let width = right - x[i];
            sum += match self {
                Self::Staircase => y[i] * width,
                Self::Linear if next_x > x[i] => {
                    let at_right = y[i] + (next_y - y[i]) * (width / (next_x - x[i]));
                    (y[i] + at_right) / 2.0 * width
                }
                Self::Linear => 0.0,
            };
        }
        sum
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_step_and_a_line() {
        let (x, y) = ([0.0, 0.0, 1.0, 3.0], [0.0, 0.5, 1.0, 1.0]);
        assert_eq!(Area::Staircase.up_to(&x, &y, 2.0), 0.5 + 1.0);
        assert_eq!(Area::Linear.up_to(&x, &y, 2.0), 0.75 + 1.0);
        assert_eq!(Area::Linear.up_to(&x, &y, 0.5), (0.5 + 0.75) / 2.0 * 0.5);
        assert_eq!(Area::Staircase.up_to(&x, &y, 4.0), 3.5);
    }
}
