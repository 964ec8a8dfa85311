//! Frame logits of any sound file, without a plan: what people use a trained system with.
//!
//! [`read`] a file, cut it into [`Windows`] of 10 s, give those to a [`System`] of one or more checkpoints, and [`Blend`] what
//! comes back into one sequence of frame logits; [`spectrogram`] and [`annotations`] are for pictures of the outcome.

mod file;
mod sound;
mod system;
mod windows;

pub use file::write_logits;
pub use model::published::Network;
pub use sound::{annotations, read, spectrogram};
pub use system::System;
pub use windows::{Blend, FrameLogits, Windows};
