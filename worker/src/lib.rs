//! Obeys, supervises and survives.
//!
//! A worker is two kinds of process from one program: the [`supervisor`], which holds no tensors, talks to the coordinator
//! and lives on, and the rank (module `rank`), which it starts for each attempt and which may die; between
//! them stands a [`warden`]. They speak [`duty::protocol`].
//! Beside them, `worker predict` (module `predict`) applies what was trained to sound files, and `worker convert` exchanges
//! stored logits with the reference, both without any coordinator. `worker evaluate` and `worker tune` (module `evaluate`) score
//! any system's files, without tensors.

pub mod cli;
#[cfg(feature = "rank")]
pub mod convert;
pub mod evaluate;
pub mod exit;
mod family;
#[cfg(feature = "rank")]
pub mod predict;
#[cfg(feature = "rank")]
pub mod rank;
pub mod supervisor;
pub mod warden;
