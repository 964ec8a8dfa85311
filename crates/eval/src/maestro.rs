//! From windows that overlap to the recordings that they were cut from (recipe 9.4).

use std::collections::BTreeMap;

use crate::error::Error;
use crate::scores::{ClipScores, Scores};
use crate::segments::touching_frames;

/// Where a window lies in its recording.
#[derive(Debug, Clone, PartialEq)]
pub struct Placement {
    /// The recording.
    pub recording: String,
    /// Start in seconds; segments are added from its whole second on.
    pub start: f64,
    /// Length in seconds.
    pub length: f64,
}

/// Averages each class over each second of a clip, frames weighted by their overlap with it. `length` is the clip's in
/// seconds; the last second may be a part of one. Shape: ceil(length) x classes; 0 where no frame is.
#[must_use]
pub fn segment_means(clip: &ClipScores, length: f64) -> Vec<f64> {
    let classes = clip.values().len() / clip.num_frames();
    let boundaries = clip.boundaries();
    let seconds = length.ceil() as usize;
    let mut means = vec![0.0; seconds * classes];
    for (second, means) in means.chunks_exact_mut(classes).enumerate() {
        let (begin, end) = (second as f64, (second as f64 + 1.0).min(length));
        let mut total = 0.0;
        for frame in touching_frames(boundaries, begin, end) {
            let weight = boundaries[frame + 1].min(end) - boundaries[frame].max(begin);
            let row = &clip.values()[frame * classes..][..classes];
            for (mean, score) in means.iter_mut().zip(row) {
                *mean += weight * score;
            }
            total += weight;
        }
        if total > 0.0 {
            means.iter_mut().for_each(|mean| *mean /= total);
        }
    }
    means
}

/// One score per class and second of each recording in `durations`: the plain mean over the windows that cover the second, 0
/// if none does. `place` says where a clip lies; windows of other recordings are left out.
///
/// # Errors
/// A clip that is no window, or that ends after its recording.
pub fn recording_scores(
    windows: &Scores,
    place: impl Fn(&str) -> Option<Placement>,
    durations: &BTreeMap<String, f64>,
) -> Result<Scores, Error> {
    let classes = windows.classes().len();
    let mut sums: BTreeMap<&str, (Vec<f64>, Vec<f64>)> = durations
        .iter()
        .map(|(recording, duration)| {
            let seconds = duration.ceil() as usize;
            let sums = (vec![0.0; seconds * classes], vec![0.0_f64; seconds]);
            (recording.as_str(), sums)
        })
        .collect();
    for (name, clip) in windows.clips() {
        let placement = place(name).ok_or_else(|| Error::NotAWindow { clip: name.clone() })?;
        let Some((sum, count)) = sums.get_mut(placement.recording.as_str()) else {
            continue;
        };
        let means = segment_means(clip, placement.length);
        let start = placement.start as usize;
        let end = start + means.len() / classes;
        if end > count.len() {
            return Err(Error::WindowTooLate {
                clip: name.clone(),
                end,
                duration: durations[&placement.recording],
                recording: placement.recording,
            });
        }
        for (sum, mean) in sum[start * classes..end * classes].iter_mut().zip(means) {
            *sum += mean;
        }
        count[start..end].iter_mut().for_each(|count| *count += 1.0);
    }
    let mut recordings = Scores::new(windows.classes().to_vec())?;
    for (recording, (mut sum, count)) in sums {
        for (row, count) in sum.chunks_exact_mut(classes).zip(&count) {
            row.iter_mut().for_each(|sum| *sum /= count.max(1.0));
        }
        let duration = durations[recording];
        let boundaries = (0..=count.len())
            .map(|second| (second as f64).min(duration))
            .collect();
        recordings.insert(recording, boundaries, sum)?;
    }
    Ok(recordings)
}
