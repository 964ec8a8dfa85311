//! What a rank does for each kind of task: train (recipe 5 to 7), predict, average into pseudo-labels, evaluate (8, 9).
//!
//! [`run`] is the one entry. Whoever calls it provides the process group, the input files and a [`Host`] that takes progress,
//! metrics and checkpoints; nothing here knows of a coordinator.
//!
//! The way of a micro-batch, file by file: `batch` (decoded ahead) → `augment` (features, [`Mixup`], [`TimeMask`], targets) →
//! [`Learner`] (student, teacher, [`losses`](fn@losses), backward) → `gradients` (one sum over the gang) → `account` (what ranks tell each
//! other) → [`Optimizer`], [`Averager`] → `saver` (a copy, and a thread that writes it) → `checkpoint`; `training` is the loop around it,
//! `validation` scores the student now and then.

mod account;
mod augment;
mod batch;
mod checkpoint;
mod context;
pub mod convert;
mod data;
mod draws;
mod ema;
mod error;
mod evaluate;
mod features;
mod gradients;
pub mod inference;
mod layout;
mod learner;
mod logits;
mod losses;
mod optimizer;
mod predict;
mod pseudo_labels;
mod room;
mod saver;
mod schedule;
mod scoring;
mod shown;
mod stored;
mod training;
mod validation;

pub use augment::Inputs;
pub use augment::filter::Filter;
pub use augment::frequency_warp::FrequencyWarp;
pub use augment::mixstyle::mixstyle;
pub use augment::mixup::{Mixing, Mixup, StrongMixing};
pub use augment::recording::{amplify, convolve, mix_labels, mix_recordings};
pub use augment::time_mask::TimeMask;
pub use augment::time_shift::TimeShift;
pub use context::{Depot, Host, Outcome, RankContext};
pub use ema::Averager;
pub use error::Error;
pub use features::Features;
pub use layout::{Layout, Rows};
pub use learner::{Learned, Learner};
pub use losses::{LossSettings, Losses, Outputs, Targets, losses};
pub use optimizer::{Optimizer, base_rate};
pub use schedule::{
    Calendar, StepPlace, averaging_factor, learning_rate_factor, self_supervised_weight,
};

use std::panic::{AssertUnwindSafe, catch_unwind};

use model::{LABEL_FRAMES as FRAMES, NUM_CLASSES as CLASSES};

/// CRNN mel frames of a label frame.
const POOLING: i64 = 4;
use types::TaskSpec;

/// Runs one task to its end, or until the host asks it to stop.
///
/// # Errors
/// With a class ([`Error::class`]) that says whether trying again can help. What libtorch throws inside plain arithmetic (out
/// of memory, for one) reaches tch's callers as a panic, and this function's as [`Error::Torch`].
pub fn run(spec: &TaskSpec, mut context: RankContext<'_>) -> Result<Outcome, Error> {
    collective::runtime::set_threads(threads(spec));
    let task = AssertUnwindSafe(|| match spec {
        TaskSpec::Train(spec) => training::run(spec, &mut context),
        TaskSpec::Predict(spec) => predict::run(spec, &mut context),
        TaskSpec::PseudoLabel(spec) => pseudo_labels::run(spec, &mut context),
        TaskSpec::Evaluate(spec) => evaluate::run(spec, &mut context),
    });
    catch_unwind(task).unwrap_or_else(|panic| Err(error::of_panic(&*panic)))
}

/// libtorch's threads in a rank of this task. It shares its host with others; more than one have to be asked for.
fn threads(spec: &TaskSpec) -> usize {
    let asked = match spec {
        TaskSpec::Train(spec) => spec.runtime.threads,
        TaskSpec::Predict(spec) => spec.runtime.threads,
        TaskSpec::PseudoLabel(_) | TaskSpec::Evaluate(_) => 1,
    };
    asked.max(1) as usize
}
