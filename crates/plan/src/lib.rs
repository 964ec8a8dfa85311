//! A plan's TOML to a validated plan, a task graph and content keys.
//!
//! [`Plan::load`] reads a plan file and answers with a [`Plan`] or with *all* its [`Problems`], each with its place and
//! a hint. [`Plan::graph`] makes the tasks. Nothing here runs anything, and only `load` touches files.

mod check;
mod estimate;
mod files;
mod graph;
mod key;
mod plan;
mod preview;
mod problem;
mod read;
mod reference;
mod resolve;
mod schedule;
mod setting;
mod settings;
mod settings_table;
mod stage;
mod table;
mod value;
mod walk;

pub use estimate::Sizing;
pub use key::{NUMERICS_VERSION, material};
pub use plan::{Iteration, Member, Options, Plan, PseudoLabels};
pub use preview::{Memory, Preview, Previous, Reason, TaskPreview, TaskState, Totals};
pub use problem::{Problem, Problems};
pub use reference::{ReferenceValue, reference_settings};
pub use settings_table::{SettingRow, SettingsTable};
pub use stage::{GpuBounds, StageSettings};
pub use table::keys_reference;
