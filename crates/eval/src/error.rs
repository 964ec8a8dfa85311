use crate::SoundEvent;

/// An input that cannot be scored. Every message names the clip, the class and the times where there are any.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum Error {
    /// Scores of one clip do not have the shape that its boundaries and the class list promise.
    #[error(
        "scores of clip {clip:?}: {found} values, expected {frames} frames × {classes} classes"
    )]
    Shape {
        /// The clip.
        clip: String,
        /// Values found.
        found: usize,
        /// Frames, from the boundaries.
        frames: usize,
        /// Classes.
        classes: usize,
    },
    /// Frame boundaries must grow.
    #[error(
        "scores of clip {clip:?}: frame {frame} ends at {offset} s, not after its onset at {onset} s"
    )]
    Boundaries {
        /// The clip.
        clip: String,
        /// The frame.
        frame: usize,
        /// Its onset in seconds.
        onset: f64,
        /// Its offset in seconds.
        offset: f64,
    },
    /// A score that is not a number cannot be compared.
    #[error("scores of clip {clip:?}, class {class:?}, frame {frame}: not a number")]
    NotANumber {
        /// The clip.
        clip: String,
        /// The class.
        class: String,
        /// The frame.
        frame: usize,
    },
    /// Change detection takes means over time, and an infinite score has none.
    #[error(
        "scores of clip {clip:?}, class {class:?}, frame {frame}: infinite, expected a finite score"
    )]
    Infinite {
        /// The clip.
        clip: String,
        /// The class.
        class: String,
        /// The frame.
        frame: usize,
    },
    /// Change detection counts time from the clip's start.
    #[error("scores of clip {clip:?} begin at {onset} s, expected 0 s")]
    Start {
        /// The clip.
        clip: String,
        /// Where its first frame begins, in seconds.
        onset: f64,
    },
    /// Two clips or two classes with one name.
    #[error("{what} {name:?} is there twice")]
    Twice {
        /// `clip` or `class`.
        what: &'static str,
        /// Its name.
        name: String,
    },
    /// A class was asked for that has no scores.
    #[error("class {class:?} has no scores, expected one of {known:?}")]
    NotScored {
        /// The class.
        class: String,
        /// Those with scores.
        known: Vec<String>,
    },
    /// The ground truth has an event of a class that has no scores.
    #[error(
        "ground truth of clip {clip:?}: class {:?} ({} s to {} s) is not among the scored classes",
        event.class, event.onset, event.offset
    )]
    UnknownClass {
        /// The clip.
        clip: String,
        /// The event.
        event: SoundEvent,
    },
    /// A weak label of a class that has no scores.
    #[error("weak labels of clip {clip:?}: class {class:?} is not among the scored classes")]
    UnknownLabel {
        /// The clip.
        clip: String,
        /// The class.
        class: String,
    },
    /// An event that ends before it begins, or whose times are not numbers.
    #[error("ground truth of clip {clip:?}: {:?} from {} s to {} s is not a stretch of time", event.class, event.onset, event.offset)]
    Times {
        /// The clip.
        clip: String,
        /// The event.
        event: SoundEvent,
    },
    /// Events of one class in one clip must be apart, or a detection would have no one to match.
    #[error(
        "ground truth of clip {clip:?}: {:?} from {} s to {} s touches or overlaps the one from {} s to {} s (merge them first)",
        second.class, second.onset, second.offset, first.onset, first.offset
    )]
    Overlap {
        /// The clip.
        clip: String,
        /// The earlier event.
        first: SoundEvent,
        /// The later event.
        second: SoundEvent,
    },
    /// A class that never sounds has no true positive rate.
    #[error(
        "class {class:?} has no event in the ground truth, so that it cannot be scored (leave it out of the class list)"
    )]
    NoReference {
        /// The class.
        class: String,
    },
    /// Scores, ground truth and durations are about the same clips.
    #[error("clip {clip:?} has {there} but no {missing}")]
    ClipSets {
        /// The clip.
        clip: String,
        /// What it has.
        there: &'static str,
        /// What it lacks.
        missing: &'static str,
    },
    /// A duration that is not positive.
    #[error("clip {clip:?} lasts {duration} s, expected a positive number")]
    Duration {
        /// The clip.
        clip: String,
        /// In seconds.
        duration: f64,
    },
    /// Settings that contradict each other.
    #[error("{0}")]
    Settings(String),
    /// A clip whose name does not say where in its recording it lies.
    #[error(
        "clip {clip:?} is not named <recording>-<onset>-<offset> with times in hundredths of a second"
    )]
    ClipName {
        /// The clip.
        clip: String,
    },
}
