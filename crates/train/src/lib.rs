//! What a rank does for each kind of task: train (recipe 5 to 7), predict, average into pseudo-labels, evaluate (8, 9).
//!
//! [`run`] is the one entry. Whoever calls it provides the process group, the input files and a [`Host`] that takes progress,
//! metrics and checkpoints; nothing here knows of a coordinator.

mod context;
mod draws;
mod ema;
mod error;
mod layout;
mod logits;
mod losses;
mod mixup;
mod optimizer;
mod pseudo_labels;
mod schedule;
mod time_mask;

pub use context::{Host, Outcome, RankContext};
pub use ema::Averager;
pub use error::Error;
pub use layout::{Layout, Rows};
pub use losses::{LossSettings, Losses, Outputs, Targets, losses};
pub use mixup::{Mixing, Mixup};
pub use optimizer::{Optimizer, base_rate};
pub use schedule::{
    Calendar, StepPlace, averaging_factor, learning_rate_factor, self_supervised_weight,
};
pub use time_mask::TimeMask;

use model::{LABEL_FRAMES as FRAMES, NUM_CLASSES as CLASSES};
use types::TaskSpec;

/// Runs one task to its end, or until the host asks it to stop.
///
/// # Errors
/// With a class ([`Error::class`]) that says whether trying again can help.
pub fn run(spec: &TaskSpec, mut context: RankContext<'_>) -> Result<Outcome, Error> {
    match spec {
        TaskSpec::PseudoLabel(spec) => pseudo_labels::run(spec, &mut context),
        _ => Err(Error::Configuration("not here yet".to_owned())),
    }
}
