/// Input that no score can be computed from: which clip or class, what was found, what was expected.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum Error {
    /// A clip's matrix has another shape than its boundaries and classes say.
    #[error(
        "clip {clip:?}: {found} scores, expected {frames} frames x {classes} classes"
    )]
    Shape {
        /// Clip.
        clip: String,
        /// Values given.
        found: usize,
        /// From the boundaries.
        frames: usize,
        /// From the class list.
        classes: usize,
    },
    /// Boundaries that do not grow.
    #[error("clip {clip:?}: frame boundary {index} is {found} after {before}, expected finite times that grow")]
    Boundaries {
        /// Clip.
        clip: String,
        /// Which boundary, from 0.
        index: usize,
        /// Its time.
        found: f64,
        /// The time before it.
        before: f64,
    },
    /// A score that cannot be compared.
    #[error("clip {clip:?}: the score of class {class:?} in frame {frame} is not a number")]
    NotANumber {
        /// Clip.
        clip: String,
        /// Class.
        class: String,
        /// Frame, from 0.
        frame: usize,
    },
    /// Two matrices for one clip.
    #[error("clip {clip:?} is scored twice")]
    ClipTwice {
        /// Clip.
        clip: String,
    },
    /// A class twice in a class list.
    #[error("class {class:?} occurs twice in the class list")]
    ClassTwice {
        /// Class.
        class: String,
    },
    /// A class that nobody scored.
    #[error("class {class:?} is not among the scored classes ({known})")]
    UnknownClass {
        /// Class.
        class: String,
        /// The scored classes.
        known: String,
    },
    /// A reference event of a class that is not scored.
    #[error(
        "clip {clip:?}: the reference event from {onset} s to {offset} s is of class {class:?}, which is not among the scored classes ({known})"
    )]
    UnknownLabel {
        /// Clip.
        clip: String,
        /// Start.
        onset: f64,
        /// End.
        offset: f64,
        /// Class.
        class: String,
        /// The scored classes.
        known: String,
    },
    /// A reference event that ends before it begins, or at no time at all.
    #[error(
        "clip {clip:?}: a reference event of class {class:?} goes from {onset} s to {offset} s, expected finite times of which the second is later"
    )]
    EventTimes {
        /// Clip.
        clip: String,
        /// Start.
        onset: f64,
        /// End.
        offset: f64,
        /// Class.
        class: String,
    },
    /// Reference events of one class that touch or overlap, so that nobody can say how many there are.
    #[error(
        "clip {clip:?}: reference events of class {class:?} touch or overlap: one ends at {end} s, the next begins at {begin} s (join them)"
    )]
    ConnectedEvents {
        /// Clip.
        clip: String,
        /// Class.
        class: String,
        /// End of the earlier.
        end: f64,
        /// Start of the later.
        begin: f64,
    },
    /// A scored class without any reference event.
    #[error("class {class:?} has no reference event in any clip (leave it out of the scored classes)")]
    NoReference {
        /// Class.
        class: String,
    },
    /// A class that is active in every segment or in none.
    #[error("class {class:?} is active in {positive} of {total} segments, expected at least one active and one inactive")]
    OneSided {
        /// Class.
        class: String,
        /// Active segments.
        positive: u64,
        /// All segments.
        total: u64,
    },
    /// Clips that one side has and the other has not.
    #[error("clip {clip:?} has {has} but no {lacks} (both must cover the same clips)")]
    ClipSets {
        /// The first such clip.
        clip: String,
        /// What it has.
        has: &'static str,
        /// What it lacks.
        lacks: &'static str,
    },
    /// A duration that is none.
    #[error("clip {clip:?}: the duration is {found} s, expected a finite number above 0")]
    Duration {
        /// Clip.
        clip: String,
        /// As given.
        found: f64,
    },
    /// Nothing to score.
    #[error("there are no {what} to score")]
    Nothing {
        /// `clips` or `classes`.
        what: &'static str,
    },
    /// A parameter out of its range.
    #[error("parameter {name} is {found}, expected {expected}")]
    Parameter {
        /// Its name.
        name: &'static str,
        /// As given.
        found: String,
        /// What is allowed.
        expected: &'static str,
    },
    /// A clip whose place in a recording is not known.
    #[error("clip {clip:?}: not a window of a recording (expected a name such as cafe_restaurant_00-000000-001000)")]
    NotAWindow {
        /// Clip.
        clip: String,
    },
    /// A window that reaches past its recording's end.
    #[error(
        "clip {clip:?} ends at second {end} but its recording {recording:?} has a duration of {duration} s"
    )]
    WindowTooLate {
        /// Clip.
        clip: String,
        /// Recording.
        recording: String,
        /// End of the window's last segment.
        end: usize,
        /// Of the recording.
        duration: f64,
    },
}
