//! How MAESTRO recordings are cut into clips (recipe 1.2).

use crate::metadata::StrongRow;

/// Length of a window in seconds.
pub const WINDOW_SECONDS: f64 = 10.0;

/// Seconds between the starts of windows of training recordings,
pub const TRAIN_HOP: f64 = 1.0;

/// and of validation recordings.
pub const VALIDATION_HOP: f64 = 5.0;

/// Start and end, in seconds, of the windows of a recording: as many full ones as fit and, if they do not reach the end, one
/// shorter one more.
#[must_use]
pub fn maestro_windows(duration: f64, hop: f64) -> Vec<(f64, f64)> {
    let full = ((duration - WINDOW_SECONDS + hop) / hop).trunc().max(0.0) as usize;
    let mut windows: Vec<(f64, f64)> = (0..full)
        .map(|index| index as f64 * hop)
        .map(|start| (start, start + WINDOW_SECONDS))
        .collect();
    if windows.last().is_none_or(|(_, end)| *end < duration) {
        windows.push((full as f64 * hop, duration));
    }
    windows
}

/// The name of a window: `<recording>-<start>-<end>.wav`, times in hundredths of a second, cut off.
#[must_use]
pub fn window_name(recording: &str, window: (f64, f64)) -> String {
    let hundredths = |seconds: f64| (seconds * 100.0) as u64;
    format!(
        "{recording}-{:06}-{:06}.wav",
        hundredths(window.0),
        hundredths(window.1)
    )
}

/// The rows of a window: those of the recording that overlap it, relative to its start and cut at its ends, by onset.
#[must_use]
pub fn window_rows(recording: &str, rows: &[StrongRow], window: (f64, f64)) -> Vec<StrongRow> {
    let filename = window_name(recording, window);
    let length = window.1 - window.0;
    let mut inside: Vec<StrongRow> = rows
        .iter()
        .filter(|row| row.onset < window.1 && row.offset > window.0)
        .map(|row| StrongRow {
            filename: filename.clone(),
            onset: (row.onset - window.0).max(0.0),
            offset: (row.offset - window.0).min(length),
            ..row.clone()
        })
        .collect();
    inside.sort_by(|a, b| a.onset.total_cmp(&b.onset));
    inside
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn windows_reach_the_end() {
        assert_eq!(
            maestro_windows(12.5, TRAIN_HOP),
            [(0.0, 10.0), (1.0, 11.0), (2.0, 12.0), (3.0, 12.5)]
        );
        assert_eq!(
            maestro_windows(20.0, VALIDATION_HOP),
            [(0.0, 10.0), (5.0, 15.0), (10.0, 20.0)]
        );
        assert_eq!(maestro_windows(7.0, TRAIN_HOP), [(0.0, 7.0)]);
    }

    #[test]
    fn names_are_hundredths() {
        assert_eq!(
            window_name("cafe_restaurant_00", (3.0, 12.5)),
            "cafe_restaurant_00-000300-001250.wav"
        );
    }
}
