use super::counts::of_classes;
use super::{Change, ClassChanges, CountsByThreshold};
use crate::auroc::{check_length, segments_of_clip};
use crate::{Error, GroundTruth, Scores};

/// Counts of every class in column order, over segments of `segment_seconds` (usually 1): a segment is positive where an event
/// overlaps it, and active if a frame that touches it is.
///
/// # Errors
/// Whatever [`Error`] says about scores and ground truth, or segments without length.
pub fn segment_counts(
    scores: &Scores,
    truth: &GroundTruth,
    segment_seconds: f64,
) -> Result<Vec<CountsByThreshold>, Error> {
    let classes = segment_changes(scores, truth, segment_seconds)?;
    Ok(classes.iter().map(ClassChanges::counts).collect())
}

/// What [`segment_counts`] sums up, clip by clip.
///
/// # Errors
/// As there.
pub fn segment_changes(
    scores: &Scores,
    truth: &GroundTruth,
    segment_seconds: f64,
) -> Result<Vec<ClassChanges>, Error> {
    check_length(segment_seconds)?;
    truth.check(scores)?;
    Ok(of_classes(scores, |place, clip, class| {
        let duration = truth.durations.get(&clip.clip).copied().unwrap_or(0.0);
        let events = truth.of(&clip.clip, &scores.classes()[class]);
        let mut segments = Vec::new();
        segments_of_clip(
            clip,
            scores.classes().len(),
            class,
            duration,
            &events,
            segment_seconds,
            |score, positive| segments.push((score, positive)),
        );
        let positives = segments.iter().filter(|(_, positive)| *positive).count();
        let changes = segments
            .into_iter()
            // Minus infinity never counts as a detection.
            .filter(|(score, _)| *score > f64::NEG_INFINITY)
            .map(|(score, positive)| Change {
                score,
                clip: place,
                true_positives: i64::from(positive),
                false_positives: i64::from(!positive),
            });
        (changes.collect(), positives as u64)
    }))
}
