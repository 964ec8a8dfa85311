//! From frame logits to frame scores to events.

use eval::{DCASE_2024_WINDOWS, Detection, detections};
use train::inference::FrameLogits;
use types::{CLASSES, NUM_CLASSES};

use super::options::{Options, Smoothing};

/// How events are read off logits: smoothing, thresholds, classes.
#[derive(Debug)]
pub(crate) struct Decoder {
    smoothing: Smoothing,
    classes: Vec<usize>,
    thresholds: Vec<f64>,
}

/// What was found in one sound.
#[derive(Debug)]
pub(crate) struct Found {
    /// Seconds.
    pub(crate) duration: f64,
    /// Names of the chosen classes.
    pub(crate) classes: Vec<&'static str>,
    /// The threshold of each.
    pub(crate) thresholds: Vec<f64>,
    /// Of the frames, in seconds.
    pub(crate) boundaries: Vec<f64>,
    /// (frame, chosen class), after smoothing.
    pub(crate) scores: Vec<f64>,
    /// None reaches beyond the sound's end, though the padding of a short one has scores.
    pub(crate) events: Vec<Detection>,
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
            classes,
            thresholds: self.thresholds.clone(),
            boundaries,
            scores,
            events,
        }
    }
}
