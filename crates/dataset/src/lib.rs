//! DESED and MAESTRO Real: manifests, label grid, masks, splits, sampler.
//!
//! From [`types::DataSettings`] to clips ([`clips`], [`TrainSet`]), from clips to samples and targets ([`Clip`]), from an epoch's
//! number to micro-batches ([`Sampler`]), from tables to ground truth ([`desed_truth`], [`maestro_truth`]), and from a data root
//! to a digest that two hosts can compare ([`Manifest`]). No tensors, no threads of its own but rayon's, no clock; every draw
//! is a function of the seeds that it is given.

mod classes;
mod clip;
mod error;
mod impulse;
mod labels;
pub mod layout;
mod listing;
mod manifest;
mod metadata;
mod numpy;
mod partition;
mod sampler;
mod seed;
pub mod synthetic;
mod table;
mod train_set;
mod truth;
mod windows;
mod write;

pub use classes::{
    CLASSES, MAESTRO_EVALUATED, NUM_CLASSES, NUM_DESED_CLASSES, Purpose, aliases, class_index,
    class_mask, desed_classes, maestro_classes,
};
pub use clip::{Annotation, CLIP_SAMPLES, CLIP_SECONDS, Clip, SAMPLE_RATE, Waveform};
pub use error::{Error, Place, TableProblem};
pub use impulse::impulse_responses;
pub use labels::{
    FRAME_SECONDS, LabelGrid, LabeledEvent, NUM_FRAMES, frame_boundaries, offset_frame, onset_frame,
};
pub use listing::clips;
pub use manifest::{Difference, FileEntry, Manifest};
pub use metadata::{
    DURATION_COLUMNS, EVENT_COLUMNS, StrongRow, WeakRow, read_durations, read_events, read_exclude,
    read_strong, read_weak, stem,
};
pub use partition::{maestro_recordings, recording_of, weak_rows};
pub use sampler::{Epoch, Sampler, Scope, SetKind, in_batch_order};
pub use table::{Once, Row, Table};
pub use train_set::{HeldBack, TrainSet};
pub use truth::{
    ACTIVE_ABOVE, MaestroTruth, Truth, Window, desed_truth, maestro_truth, window_truth,
};
pub use windows::{
    TRAIN_HOP, VALIDATION_HOP, WINDOW_SECONDS, maestro_windows, window_name, window_rows,
};
pub use write::{write_durations, write_exclude, write_strong, write_weak};
