//! Ids and plain data that every room shares.
//!
//! Nothing here does I/O, reads a clock or knows a wire format. A [`TaskSpec`] is the complete description of one task:
//! `plan` writes it, `control` carries it unopened, `worker` and `train` obey it.

mod bytes;
mod classes;
mod digest;
mod duration;
mod failure;
mod ids;
mod planted;
mod progress;
mod scores;
mod shown;
mod sound_event;
mod spec;
mod split;
mod task;
mod tree;

pub use bytes::Bytes;
pub use classes::{
    CLASSES, MAESTRO_EVALUATED, NUM_CLASSES, NUM_DESED_CLASSES, class_index, desed_classes,
    maestro_classes,
};
pub use digest::{Digest, DigestError, DigestHasher};
pub use duration::human;
pub use failure::{Failure, FailureClass};
pub use ids::{
    CallId, Fence, IdError, Incarnation, MemberName, Rank, RunId, Step, TaskId, TaskName,
    Timestamp, WorkerId,
};
#[cfg(feature = "planted")]
pub use planted::plant;
pub use planted::{Bug, PLANTABLE, planted};
pub use progress::{MetricPoint, Progress, ProgressUnit, Section};
pub use scores::{
    BoxSettings, ClassScore, Estimate, EventScores, PostProcessing, RocCurve, ScoreReport,
    SegmentScores, Subject,
};
pub use shown::{Detection, Found, ShownClip, ShownClips, Spectrogram};
pub use sound_event::{SoundEvent, merge_touching};
pub use spec::*;
pub use split::Split;
pub use task::{
    InputRef, SlotKind, TaskGraph, TaskKind, TaskNode, content_key, default_keep_checkpoints,
};
pub use tree::{tree_levels, world_sizes};
