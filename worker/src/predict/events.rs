//! From frame logits to frame scores to events.

use eval::{DCASE_2024_WINDOWS, detections};
use train::inference::FrameLogits;
use types::{CLASSES, Found, NUM_CLASSES};

use super::options::{Options, Smoothing};

/// How events are read off logits: smoothing, thresholds, classes.
#[derive(Debug)]
pub(crate) struct Decoder {
    smoothing: Smoothing,
    classes: Vec<usize>,
    thresholds: Vec<f64>,
}

impl Decoder {
    pub(crate) fn new(options: &Options) -> Self {
        let classes = options.classes.0.clone();
        let all = options.thresholds();
        Self {
            smoothing: options.smoothing,
            thresholds: classes.iter().map(|&class| all[class]).collect(),
            classes,
        }
    }

    pub(crate) fn decode(&self, logits: &FrameLogits) -> Found {
        let probabilities = logits.probabilities();
        let all = match self.smoothing {
            Smoothing::Median => eval::median_filter(&probabilities, &DCASE_2024_WINDOWS),
            Smoothing::None => probabilities,
        };
        let scores: Vec<f64> = all
            .chunks_exact(NUM_CLASSES)
            .flat_map(|frame| self.classes.iter().map(|&class| frame[class]))
            .collect();
        let classes: Vec<&str> = self.classes.iter().map(|&class| CLASSES[class]).collect();
        let boundaries = logits.boundaries();
        let mut events = detections(&boundaries, &scores, &classes, &self.thresholds);
        events.retain_mut(|found| {
            found.event.offset = found.event.offset.min(logits.seconds);
            found.event.onset < found.event.offset
        });
        Found {
            duration: logits.seconds,
            classes: classes.into_iter().map(str::to_owned).collect(),
            thresholds: self.thresholds.clone(),
            boundaries,
            scores,
            events,
        }
    }
}
