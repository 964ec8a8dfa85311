//! The field's metrics: numbers in, numbers out.
//!
//! Scores ([`Scores`]) and what really sounded ([`Reference`]) go in, PSDS ([`psds()`]) and partial AUROC
//! ([`segment_auroc`], [`recording_scores`]) come out, with every class's share and curve. No files, no tensors, no clock;
//! clips and classes are worked through in parallel and the result does not depend on it.

mod area;
mod error;
mod maestro;
mod median;
mod psds;
mod reference;
mod scores;
mod segments;

pub use area::Area;
pub use error::Error;
pub use maestro::{Placement, recording_scores, segment_means};
pub use median::{MEDIAN_FRAMES, median_filter};
pub use psds::{ClassPsds, CrossTriggers, Psds, PsdRoc, PsdsParameters, TimeUnit, psds};
pub use reference::Reference;
pub use scores::{ClipScores, Scores};
pub use segments::{Auroc, AurocParameters, ClassAuroc, Roc, segment_auroc};
