use std::collections::{BTreeMap, BTreeSet};

use super::counts::of_classes;
use super::{Change, ClassChanges, CountsByThreshold};
use crate::reference::same_clips;
use crate::{Error, Scores};

/// Counts of every class in column order, over clips (audio tagging): `labels` has each clip's weak labels, and a clip is active if one
/// of its frames is. Scores given per clip are [`Scores`] with one frame a clip.
///
/// # Errors
/// Clips without labels (an empty set is fine) or labels without a clip, and labels of a class that has no scores.
pub fn clip_counts(
    scores: &Scores,
    labels: &BTreeMap<String, BTreeSet<String>>,
) -> Result<Vec<CountsByThreshold>, Error> {
    let classes = clip_changes(scores, labels)?;
    Ok(classes.iter().map(ClassChanges::counts).collect())
}

/// What [`clip_counts`] sums up, clip by clip.
///
/// # Errors
/// As there.
pub fn clip_changes(
    scores: &Scores,
    labels: &BTreeMap<String, BTreeSet<String>>,
) -> Result<Vec<ClassChanges>, Error> {
    same_clips(
        &scores.clips().iter().map(|clip| &*clip.clip).collect(),
        "scores",
        &labels.keys().map(String::as_str).collect(),
        "weak labels",
    )?;
    for (clip, labels) in labels {
        if let Some(class) = labels
            .iter()
            .find(|class| !scores.classes().contains(class))
        {
            return Err(Error::UnknownLabel {
                clip: clip.clone(),
                class: class.clone(),
            });
        }
    }
    let num_classes = scores.classes().len();
    Ok(of_classes(scores, |place, clip, class| {
        let labelled = labels
            .get(&clip.clip)
            .is_some_and(|labels| labels.contains(&scores.classes()[class]));
        let frames = clip.values.iter().skip(class).step_by(num_classes);
        let change = frames
            .copied()
            .max_by(f64::total_cmp)
            // Minus infinity never counts as a detection.
            .filter(|score| *score > f64::NEG_INFINITY)
            .map(|score| Change {
                score,
                clip: place,
                true_positives: i64::from(labelled),
                false_positives: i64::from(!labelled),
            });
        (change.into_iter().collect(), u64::from(labelled))
    }))
}
