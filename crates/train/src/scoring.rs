//! What every scoring has in common, of a task's result or while it trains: logits to scores of a split's classes.

use std::collections::BTreeSet;

use dataset::{CLASSES as CLASS_NAMES, NUM_CLASSES, Purpose, Truth};
use eval::{ClipScores, GroundTruth, Scores};
use tch::{Device, Tensor};
use types::Split;

use crate::{Error, FRAMES};

/// mpAUC looks at false positive rates up to here.
pub(crate) const MAX_FPR: f64 = 0.1;

/// Frame probabilities of one split's clips: sigmoid of logits, 0 outside the split's class mask, chosen classes in output order.
pub(crate) struct FrameScores {
    mask: [f32; NUM_CLASSES],
    columns: Vec<usize>,
    clips: Vec<ClipScores>,
}

impl FrameScores {
    pub(crate) fn new(split: Split, classes: &BTreeSet<String>) -> Self {
        Self {
            mask: dataset::class_mask(split, Purpose::Evaluation),
            columns: (0..NUM_CLASSES)
                .filter(|&class| classes.contains(CLASS_NAMES[class]))
                .collect(),
            clips: Vec::new(),
        }
    }

    /// Adds the clips that `wanted` accepts out of those with these logits, (clips, 156, 27).
    pub(crate) fn add<'n>(
        &mut self,
        mut names: impl Iterator<Item = &'n str>,
        logits: &Tensor,
        wanted: impl Fn(&str) -> bool,
    ) -> Result<(), Error> {
        let probabilities = logits.sigmoid().to_device(Device::Cpu);
        let probabilities = Vec::<f32>::try_from(probabilities.contiguous().view([-1]))?;
        for frames in probabilities.chunks_exact(FRAMES as usize * NUM_CLASSES) {
            let Some(name) = names.next() else { break };
            if !wanted(name) {
                continue;
            }
            let of_frame = |frame: &[f32]| -> Vec<f64> {
                let chosen = self.columns.iter();
                chosen
                    .map(|&class| f64::from(frame[class] * self.mask[class]))
                    .collect()
            };
            self.clips.push(ClipScores {
                clip: name.to_owned(),
                boundaries: dataset::frame_boundaries(),
                values: frames
                    .chunks_exact(NUM_CLASSES)
                    .flat_map(of_frame)
                    .collect(),
            });
        }
        Ok(())
    }

    pub(crate) fn finish(self) -> Result<Scores, Error> {
        let names = self.columns.iter();
        let names = names.map(|&column| CLASS_NAMES[column].to_owned());
        Ok(Scores::new(names.collect(), self.clips)?)
    }
}

/// Every class through its own window (recipe 9.1).
pub(crate) fn median_filtered(scores: &Scores) -> Result<Scores, Error> {
    let windows: Vec<usize> = (scores.classes().iter())
        .filter_map(|class| CLASS_NAMES.iter().position(|name| name == class))
        .map(|class| eval::DCASE_2024_WINDOWS[class])
        .collect();
    let clips = scores.clips().iter().map(|clip| ClipScores {
        values: eval::median_filter(&clip.values, &windows),
        ..clip.clone()
    });
    Ok(Scores::new(scores.classes().to_vec(), clips.collect())?)
}

/// Classes with at least one event, sorted; a class that never sounds has no true positive rate.
pub(crate) fn sounding(truth: &Truth) -> BTreeSet<String> {
    truth
        .events
        .values()
        .flatten()
        .map(|event| event.class.clone())
        .collect()
}

/// As the metrics take it: touching events of a class joined.
pub(crate) fn ground_truth(truth: &Truth) -> GroundTruth {
    let events = truth
        .events
        .iter()
        .map(|(clip, events)| (clip.clone(), types::merge_touching(events)));
    GroundTruth {
        events: events.collect(),
        durations: truth.durations.clone(),
    }
}
