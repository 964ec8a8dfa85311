//! Gaps that are not deep enough to keep two events apart.

use super::{BoundingBox, MergeLimits, Segments};

/// Added to scores before they are compared, so that a gap of zeros has a ratio.
const FLOOR: f64 = 1e-3;
/// Added to a length before it divides.
const MOMENT: f64 = 1e-6;

/// Hands over the boxes of a clip's segments, by onset. A gap goes where both events beside it are within both limits of its lowest
/// score; events are compared as they were found, so one pass decides.
pub(super) fn boxes(segments: &Segments, limits: MergeLimits, mut found: impl FnMut(BoundingBox)) {
    let Segments {
        bounds,
        mean,
        min,
        max,
    } = segments;
    let count = mean.len() / 2;
    if count == 1 {
        found(BoundingBox {
            onset: bounds[1],
            offset: bounds[2],
            confidence: mean[1],
        });
    }
    if count < 2 {
        return;
    }
    let mut first = 1;
    for event in (1..mean.len()).step_by(2) {
        let gap = event + 1;
        if gap + 1 < mean.len() {
            let low = min[gap] + FLOOR;
            let near = |peak: f64| peak / low < limits.relative && peak - low < limits.absolute;
            if near(max[event] + FLOOR) && near(max[gap + 1] + FLOOR) {
                continue;
            }
        }
        let (mut seconds, mut sum) = (0.0, 0.0);
        for segment in first..=event {
            let length = bounds[segment + 1] - bounds[segment];
            seconds += length;
            sum += length * mean[segment];
        }
        found(BoundingBox {
            onset: bounds[first],
            offset: bounds[event + 1],
            confidence: match seconds {
                0.0 => 0.0,
                seconds => sum / (seconds + MOMENT),
            },
        });
        first = event + 2;
    }
}
