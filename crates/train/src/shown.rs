//! Clips to look at: some that were found well, some that were not.

use std::collections::BTreeMap;

use dataset::{Clip, Purpose};
use eval::{ClipScores, Scores, detections};
use types::{Detection, EvaluateSpec, Found, ShownClip, ShownClips, SoundEvent, Split};

use crate::Error;
use crate::context::RankContext;
use crate::evaluate::scores;
use crate::inference::spectrogram;
use crate::predict::waveforms;
use crate::scoring::{ground_truth, median_filtered};

/// Events are read off the frames at this threshold, after the median filter.
const THRESHOLD: f64 = 0.5;

/// Chooses `spec.evaluation.clips` of the split's clips with events, evenly from the best found to the worst found.
pub(crate) fn clips(
    spec: &EvaluateSpec,
    split: Split,
    context: &mut RankContext<'_>,
) -> Result<ShownClips, Error> {
    let classes = &spec.evaluation.desed_classes;
    let truth = ground_truth(&dataset::desed_truth(&spec.data, split, classes)?);
    let scores = scores(spec, split, classes, context, |clip| {
        truth.events.contains_key(clip)
    })?;
    let scores = median_filtered(&scores)?;
    let mut ranking: Vec<(f64, &ClipScores, Vec<Detection>)> = (scores.clips().iter())
        .map(|clip| {
            let found = found_in(&scores, clip, truth.durations[&clip.clip]);
            (agreement(&found, &truth.events[&clip.clip]), clip, found)
        })
        .collect();
    ranking.sort_by(|(one, a, _), (two, b, _)| two.total_cmp(one).then(a.clip.cmp(&b.clip)));
    let chosen = evenly(ranking.len(), spec.evaluation.clips as usize);

    let listed = dataset::clips(&spec.data, split, Purpose::Evaluation)?;
    let listed: BTreeMap<&str, &Clip> = listed
        .iter()
        .map(|clip| (clip.stem.as_str(), clip))
        .collect();
    let mut shown = ShownClips {
        split,
        clips: Vec::new(),
    };
    for (place, (agreement, clip, events)) in ranking.into_iter().enumerate() {
        let Some(sound) = listed.get(clip.clip.as_str()) else {
            continue;
        };
        if !chosen.contains(&place) {
            continue;
        }
        let samples = waveforms(spec.seed, &[(*sound).clone()])?;
        let samples = Vec::<f32>::try_from(samples.view([-1]))?;
        let found = Found {
            duration: truth.durations[&clip.clip],
            classes: scores.classes().to_vec(),
            thresholds: vec![THRESHOLD; scores.classes().len()],
            boundaries: clip.boundaries.clone(),
            scores: clip.values.iter().map(|value| rounded(*value)).collect(),
            events,
        };
        let picture = ShownClip {
            name: clip.clip.clone(),
            truth: Some(truth.events[&clip.clip].clone()),
            spectrogram: spectrogram(&samples),
            found,
        };
        shown.clips.push((agreement, picture));
    }
    Ok(shown)
}

fn found_in(scores: &Scores, clip: &ClipScores, duration: f64) -> Vec<Detection> {
    let names: Vec<&str> = scores.classes().iter().map(String::as_str).collect();
    let thresholds = vec![THRESHOLD; names.len()];
    let mut events = detections(&clip.boundaries, &clip.values, &names, &thresholds);
    events.retain_mut(|found| {
        found.event.offset = found.event.offset.min(duration);
        found.event.onset < found.event.offset
    });
    events
}

/// Twice the overlap of found and true events of the same class, over the lengths of all. Neither side's events of a class overlap.
fn agreement(found: &[Detection], truth: &[SoundEvent]) -> f64 {
    let length = |event: &SoundEvent| event.offset - event.onset;
    let mut overlap = 0.0;
    for Detection { event, .. } in found {
        for other in truth.iter().filter(|other| other.class == event.class) {
            let both = event.offset.min(other.offset) - event.onset.max(other.onset);
            overlap += both.max(0.0);
        }
    }
    let found: f64 = found.iter().map(|found| length(&found.event)).sum();
    let all = found + truth.iter().map(length).sum::<f64>();
    if all > 0.0 { 2.0 * overlap / all } else { 0.0 }
}

/// At most `count` of `0..total`, the first and the last among them.
fn evenly(total: usize, count: usize) -> Vec<usize> {
    if total <= count {
        return (0..total).collect();
    }
    (0..count)
        .map(|index| index * (total - 1) / (count - 1).max(1))
        .collect()
}

/// More digits than a picture shows would only cost room.
fn rounded(score: f64) -> f64 {
    (score * 1e4).round() / 1e4
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_best_and_the_worst_are_among_the_chosen() {
        assert_eq!(evenly(60, 4), [0, 19, 39, 59]);
        assert_eq!(evenly(3, 6), [0, 1, 2]);
        assert_eq!(evenly(5, 1), [0]);
        assert_eq!(evenly(5, 0), [] as [usize; 0]);
    }

    #[test]
    fn agreement_is_the_share_of_time_in_which_both_are_there() {
        let event = |class: &str, onset: f64, offset: f64| SoundEvent {
            onset,
            offset,
            class: class.to_owned(),
        };
        let found = |event: SoundEvent| Detection {
            event,
            confidence: 0.9,
        };
        let truth = [event("Dog", 1.0, 3.0), event("Cat", 0.0, 2.0)];
        assert_eq!(agreement(&[], &truth), 0.0);
        assert_eq!(
            agreement(&[found(event("Dog", 2.0, 4.0))], &truth),
            2.0 / 6.0
        );
        let all = truth.clone().map(found);
        assert_eq!(agreement(&all, &truth), 1.0);
        // the same time, another class
        assert_eq!(agreement(&[found(event("Dog", 5.0, 6.0))], &truth), 0.0);
    }
}
