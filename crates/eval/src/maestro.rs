//! MAESTRO's evaluation: clips of 10 s overlap, the score is about the recordings that they were cut from (recipe 9.4).

use std::collections::BTreeMap;

use rayon::prelude::*;

use crate::{
    Area, Bootstrap, ClipScores, Error, GroundTruth, Intervals, Scores, SegmentAuroc,
    segment_auroc, segment_auroc_intervals,
};

/// No recording is longer than a day, in hundredths of a second.
const LONGEST: u64 = 8_640_000;

/// mpAUC: clips' frame scores to seconds, overlap-added over each recording, then [`segment_auroc`] of 1 s segments.
///
/// `truth` is about recordings: merged events in recording time and durations of whole recordings.
///
/// # Errors
/// A clip name without its place, and whatever [`segment_auroc`] refuses.
pub fn maestro_auroc(
    clips: &Scores,
    truth: &GroundTruth,
    max_fpr: f64,
    area: Area,
) -> Result<SegmentAuroc, Error> {
    segment_auroc(
        &recording_scores(clips, &truth.durations)?,
        truth,
        1.0,
        max_fpr,
        area,
    )
}

/// How far [`maestro_auroc`] would move with other recordings: those are drawn, since clips of one overlap.
///
/// # Errors
/// As [`maestro_auroc`] and [`Bootstrap::intervals`].
pub fn maestro_auroc_intervals(
    clips: &Scores,
    truth: &GroundTruth,
    max_fpr: f64,
    area: Area,
    bootstrap: &Bootstrap,
) -> Result<Intervals, Error> {
    segment_auroc_intervals(
        &recording_scores(clips, &truth.durations)?,
        truth,
        1.0,
        max_fpr,
        area,
        bootstrap,
    )
}

/// One score per second of each recording: the plain mean over the clips that cover the second, 0 if none does. The last
/// second ends with the recording.
///
/// # Errors
/// A clip name that is not `<recording>-<onset>-<offset>` (hundredths of a second), or a recording without a duration.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "seconds of a recording, checked to be positive"
)]
#[expect(clippy::cast_precision_loss, reason = "seconds of a recording are few")]
pub fn recording_scores(
    clips: &Scores,
    durations: &BTreeMap<String, f64>,
) -> Result<Scores, Error> {
    let classes = clips.classes().len();
    let mut sums: BTreeMap<&str, (Vec<f64>, Vec<u32>)> = BTreeMap::new();
    for (recording, duration) in durations {
        if !(*duration > 0.0 && duration.is_finite()) {
            return Err(Error::Duration {
                clip: recording.clone(),
                duration: *duration,
            });
        }
        let seconds = duration.ceil() as usize;
        sums.insert(recording, (vec![0.0; seconds * classes], vec![0; seconds]));
    }
    let of_clips = clips.clips().par_iter().map(|clip| {
        let (recording, onset, offset) = place_in_recording(&clip.clip)?;
        let length = (offset - onset) as f64 / 100.0;
        let means = segment_means(clip, classes, length);
        Ok((clip, recording, (onset / 100) as usize, means))
    });
    // added one after the other: the order of a sum is part of its value
    for (clip, recording, first, means) in of_clips.collect::<Result<Vec<_>, Error>>()? {
        let Some((sum, covered)) = sums.get_mut(recording) else {
            return Err(Error::ClipSets {
                clip: clip.clip.clone(),
                there: "scores",
                missing: "duration of its recording",
            });
        };
        for (second, means) in means.chunks_exact(classes).enumerate() {
            if let Some(cover) = covered.get_mut(first + second) {
                *cover += 1;
                let start = (first + second) * classes;
                sum[start..start + classes]
                    .iter_mut()
                    .zip(means)
                    .for_each(|(sum, mean)| *sum += mean);
            }
        }
    }
    let recordings = sums
        .into_iter()
        .map(|(recording, (mut values, covered))| {
            for (row, cover) in values.chunks_exact_mut(classes).zip(&covered) {
                row.iter_mut()
                    .for_each(|value| *value /= f64::from((*cover).max(1)));
            }
            let duration = durations[recording];
            let boundaries = (0..=covered.len())
                .map(|second| (second as f64).min(duration))
                .collect();
            ClipScores {
                clip: recording.to_owned(),
                boundaries,
                values,
            }
        })
        .collect();
    Scores::new(clips.classes().to_vec(), recordings)
}

/// Means over seconds 0–1, 1–2, … of a clip, frames weighted by their overlap; shape (second, class). A second without any
/// frame is 0.
#[must_use]
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "seconds of a clip"
)]
#[expect(clippy::cast_precision_loss, reason = "seconds of a clip are few")]
pub fn segment_means(clip: &ClipScores, classes: usize, length: f64) -> Vec<f64> {
    let seconds = length.max(0.0).ceil() as usize;
    let mut means = vec![0.0; seconds * classes];
    for second in 0..seconds {
        let (onset, offset) = (second as f64, ((second + 1) as f64).min(length));
        let row = &mut means[second * classes..(second + 1) * classes];
        let mut weight = 0.0;
        let first = clip.boundaries.partition_point(|start| *start <= onset);
        for frame in first.saturating_sub(1)..clip.num_frames() {
            if clip.boundaries[frame] >= offset {
                break;
            }
            let overlap =
                offset.min(clip.boundaries[frame + 1]) - onset.max(clip.boundaries[frame]);
            if overlap > 0.0 {
                weight += overlap;
                let values = &clip.values[frame * classes..(frame + 1) * classes];
                row.iter_mut()
                    .zip(values)
                    .for_each(|(sum, value)| *sum += overlap * value);
            }
        }
        if weight > 0.0 {
            row.iter_mut().for_each(|sum| *sum /= weight);
        }
    }
    means
}

/// Recording, onset and offset (hundredths of a second) of a clip, from its name, split from the right: the recording's own name
/// may have dashes.
///
/// # Errors
/// A name of another form.
pub fn place_in_recording(clip: &str) -> Result<(&str, u64, u64), Error> {
    let parts = || {
        let mut parts = clip.rsplitn(3, '-');
        let (offset, onset, recording) = (parts.next()?, parts.next()?, parts.next()?);
        Some((recording, onset.parse().ok()?, offset.parse().ok()?))
    };
    parts()
        .filter(|(recording, onset, offset): &(&str, u64, u64)| {
            !recording.is_empty() && onset < offset && *offset <= LONGEST
        })
        .ok_or_else(|| Error::ClipName {
            clip: clip.to_owned(),
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_say_where_a_clip_lies() {
        assert_eq!(
            place_in_recording("metro-station_02-000100-001100"),
            Ok(("metro-station_02", 100, 1100))
        );
        for name in [
            "a",
            "a-1",
            "-0-100",
            "a-100-100",
            "a-0-99999999999",
            "a-x-100",
        ] {
            assert!(place_in_recording(name).is_err(), "{name}");
        }
    }
}
