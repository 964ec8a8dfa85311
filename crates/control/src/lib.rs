//! The pure core: tasks, gangs, leases, fences, retries.
//!
//! A [`Cluster`] is one state machine over plain data. It owns no clock, no thread, no socket and no disk: time is an
//! argument, and what has to be done comes back as [`Action`]s. The shell around it is a loop:
//!
//! 1. receive something (or reach [`Cluster::next_deadline`]);
//! 2. [`Cluster::apply`] it, and whatever [`Cluster::due`] says is due now;
//! 3. write the inputs that are [durable](Input::is_durable) to the journal, with the time they were applied at;
//! 4. only then reply and perform the actions.
//!
//! A restart applies the journal's records again in order, ignores the actions, and then applies
//! [`Input::CoordinatorStarted`], live. A state so rebuilt equals the one that was lost in everything but *contact* (when
//! each worker was last heard, and the time of the last input), which is volatile on purpose: heartbeats are not recorded.
//! `PartialEq` on [`Cluster`] compares exactly the rest.
//!
//! `now` must come from a clock that does not jump: the wall clock at the start (but not before [`Cluster::clock`], the
//! time of the last durable input) plus the time elapsed since.

mod action;
mod attempt;
mod calls;
mod cluster;
mod explain;
mod input;
mod placement;
mod record;
mod referenced;
mod rejection;
mod report;
mod retry;
mod run;
mod settings;
mod state;
mod task;
mod view;
mod waiting;
mod worker;

pub use action::{Action, AttemptOutcome, Checkpoint, GangMember, StartRank, StopMode, StopReason};
pub use cluster::Cluster;
pub use input::{DeviceKind, Input, LiveRank, RankReport, Report, WorkerDescription};
pub use record::{Record, RecordError};
pub use rejection::Rejection;
pub use retry::{Decision, Evidence, Rule, Wait, table as failure_table};
pub use settings::Settings;
pub use view::{
    AttemptView, RunOutcome, RunView, SlotView, TaskState, TaskView, WorkerState, WorkerView,
};
pub use waiting::WaitingFor;
