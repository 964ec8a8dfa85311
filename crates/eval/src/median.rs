/// Class-wise window lengths of the DCASE 2024 system in output order, in frames of 64 ms (recipe 9.1).
pub const DCASE_2024_WINDOWS: [usize; 27] = [
    3, 9, 9, 5, 5, 5, 9, 7, 11, 9, 7, 3, 9, 13, 7, 1, 13, 3, 13, 7, 5, 5, 1, 13, 17, 13, 15,
];

/// Filters each class over time: shape (frame, class), one odd window length per class. At the ends the clip is mirrored, edge
/// frames included (c b a | a b c), as often as it takes.
///
/// # Panics
/// When a window is even or `values` is not a whole number of frames: those are the caller's constants, not data.
#[must_use]
pub fn median_filter(values: &[f64], windows: &[usize]) -> Vec<f64> {
    let classes = windows.len();
    assert!(
        windows.iter().all(|window| window % 2 == 1),
        "windows have a middle"
    );
    assert!(
        classes > 0 && values.len().is_multiple_of(classes),
        "values are (frame, class)"
    );
    let frames = values.len() / classes;
    let mut filtered = vec![0.0; values.len()];
    for (class, window) in windows.iter().enumerate() {
        let mut around = Vec::with_capacity(*window);
        for frame in 0..frames {
            around.clear();
            around.extend(
                (0..*window).map(|step| {
                    values[mirrored(frame + step, window / 2, frames) * classes + class]
                }),
            );
            around.sort_unstable_by(f64::total_cmp);
            filtered[frame * classes + class] = around[window / 2];
        }
    }
    filtered
}

/// The frame at `shifted − half`, mirrored into `0..frames`.
fn mirrored(shifted: usize, half: usize, frames: usize) -> usize {
    let period = 2 * frames;
    // Shifted by whole periods so that it is not negative.
    let place = (shifted + period * half.div_ceil(period) - half) % period;
    if place < frames {
        place
    } else {
        period - 1 - place
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_recipe_s_example() {
        let values = [1.0, 0.0, 5.0, 2.0, 9.0, 3.0];
        assert_eq!(median_filter(&values, &[3]), [1.0, 1.0, 2.0, 5.0, 3.0, 3.0]);
        assert_eq!(median_filter(&values, &[5]), [1.0, 1.0, 2.0, 3.0, 3.0, 3.0]);
    }

    #[test]
    fn a_window_longer_than_the_clip_mirrors_more_than_once() {
        assert_eq!(median_filter(&[2.0], &[17]), [2.0]);
        assert_eq!(median_filter(&[1.0, 3.0], &[9]).len(), 2);
    }
}
