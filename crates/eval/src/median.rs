//! The class-wise median filter of recipe 9.1.

use rayon::prelude::*;

/// Window lengths in frames of 64 ms, in output order of the 27 classes (recipe 9.1).
pub const MEDIAN_FRAMES: [usize; 27] = [
    3, 9, 9, 5, 5, 5, 9, 7, 11, 9, 7, 3, 9, 13, 7, 1, 13, 3, 13, 7, 5, 5, 1, 13, 17, 13, 15,
];

/// Replaces each score by the median of the odd number `windows[class]` of frames around it. Past the ends the signal is
/// mirrored, the first and last frame included. `values` has frames x `windows.len()` scores, none of them NaN.
///
/// # Panics
/// When a window is even, or `values` is not a whole number of frames: errors of the calling code.
#[must_use]
pub fn median_filter(values: &[f64], windows: &[usize]) -> Vec<f64> {
    let classes = windows.len();
    assert!(
        windows.iter().all(|window| window % 2 == 1) && values.len().is_multiple_of(classes),
        "median windows must be odd and values whole frames"
    );
    let frames = values.len() / classes;
    let columns: Vec<Vec<f64>> = windows
        .par_iter()
        .enumerate()
        .map(|(class, &window)| {
            let column: Vec<f64> = values.iter().skip(class).step_by(classes).copied().collect();
            filter(&column, window)
        })
        .collect();
    let mut filtered = Vec::with_capacity(values.len());
    for frame in 0..frames {
        filtered.extend(columns.iter().map(|column| column[frame]));
    }
    filtered
}

fn filter(signal: &[f64], window: usize) -> Vec<f64> {
    let half = window / 2;
    let period = 2 * signal.len();
    // Frame `at` of the mirrored signal, counted from `half` frames before its start.
    let mirrored = |at: usize| {
        let place = (at + period * half.div_ceil(period.max(1)) - half) % period;
        signal[if place < signal.len() {
            place
        } else {
            period - 1 - place
        }]
    };
    let mut around = Vec::with_capacity(window);
    (0..signal.len())
        .map(|frame| {
            around.clear();
            around.extend((frame..frame + window).map(mirrored));
            *around.select_nth_unstable_by(half, f64::total_cmp).1
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn vectors_of_the_recipe() {
        let signal = [1.0, 0.0, 5.0, 2.0, 9.0, 3.0];
        assert_eq!(filter(&signal, 3), [1.0, 1.0, 2.0, 5.0, 3.0, 3.0]);
        assert_eq!(filter(&signal, 5), [1.0, 1.0, 2.0, 3.0, 3.0, 3.0]);
    }

    #[test]
    fn a_window_longer_than_the_signal_mirrors_again() {
        assert_eq!(filter(&[4.0], 7), [4.0]);
        assert_eq!(filter(&[1.0, 2.0], 9).len(), 2);
    }
}
