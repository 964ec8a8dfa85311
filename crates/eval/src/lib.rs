//! The field's metrics: numbers in, numbers out.
//!
//! This room knows frame scores and annotated sound events, and nothing about models, files of a run or processes, so that it
//! is useful to people who never train here. Numbers follow the published tools' conventions exactly (recipe section 9); where they
//! have one that is easy to miss, the comment at the place says so.
//!
//! - [`psds`]: polyphonic sound detection score, exact over all thresholds.
//!   [`psds_at_thresholds`] takes a list of thresholds instead.
//! - [`Bootstrap`]: how far a metric would move with other clips; [`psds_intervals`], [`segment_auroc_intervals`].
//! - [`segment_auroc`]: segment-based (partial) area under the ROC; [`maestro_auroc`] is the protocol for MAESTRO's overlapping clips.
//! - [`FScore`]: F1 at thresholds or at the best ones, from [`intersection_counts`], [`collar_counts`], [`segment_counts`] or
//!   [`clip_counts`].
//! - [`median_filter`]: the usual post-processing before scoring.
//! - [`detections()`]: from frame scores to events.
//! - [`bounding_boxes`], [`tune`]: change-detection based sound event bounding boxes (cSEBBs).

mod auroc;
mod bootstrap;
mod detections;
mod error;
mod fscore;
mod intersection;
mod maestro;
mod median;
mod psds;
mod reference;
mod scores;
mod sebbs;

pub use auroc::{Area, ClassAuroc, RocPoint, SegmentAuroc, segment_auroc, segment_auroc_intervals};
pub use bootstrap::{Bootstrap, Interval, Intervals};
pub use detections::detections;
pub use error::Error;
pub use fscore::{
    Change, ClassChanges, ClassFScore, Collars, CountPoint, Counts, CountsByThreshold, FScore,
    Macro, Rates, clip_changes, clip_counts, collar_changes, collar_counts, intersection_changes,
    intersection_counts, segment_changes, segment_counts,
};
pub use intersection::{ChangePoint, ClassStatistics, Intersection, intersection_statistics};
pub use maestro::{
    maestro_auroc, maestro_auroc_intervals, place_in_recording, recording_scores, segment_means,
};
pub use median::{DCASE_2024_WINDOWS, median_filter};
pub use psds::{
    Combined, OperatingPoint, Psds, PsdsSettings, psds, psds_at_thresholds, psds_intervals,
};
pub use reference::GroundTruth;
pub use scores::{ClipScores, Scores};
pub use sebbs::{
    BoundingBox, Boxes, ClipBoxes, MergeLimits, SebbSettings, Segments, Tuned, TuningGrid,
    TuningMetric, bounding_boxes, change_segments, tune,
};
pub use types::SoundEvent;
