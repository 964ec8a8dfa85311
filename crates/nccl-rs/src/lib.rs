//! The NCCL process group, and with it CUDA, loaded at run time.
//!
//! The program itself is linked against the CPU part of libtorch only, so one binary serves machines with and without GPUs.
//! [`load`] brings in a small library that is linked against the CUDA part. It must be **the first thing the process does**
//! with libtorch: libtorch answers "is there CUDA?" once, and asked too early the answer stays no.
//!
//! ```no_run
//! use collective::{GlooOptions, Store};
//! # fn main_of_a_gpu_rank(store: &Store) -> Result<(), nccl_rs::Error> {
//! let plugin = nccl_rs::load()?; // before anything touches a tensor
//! plugin.need_device(0)?; // says so where there is no GPU
//! let group = plugin.process_group(store, 0, 2, 0, &GlooOptions::default())?;
//! # Ok(()) }
//! ```
//!
//! A failed or late NCCL collective ends the process: NCCL's watchdog cannot unblock it otherwise. So a GPU rank recovers as
//! a new process, which is what rank processes are for.

mod error;
mod plugin;

pub use error::Error;
pub use plugin::{Plugin, load};
