//! c10d for Rust: what the parts of a gang do together, and the parts of libtorch that tch lacks.
//!
//! - [`Store`]: where ranks find each other; its keys live wherever a [`StoreBackend`] keeps them.
//! - [`ProcessGroup`]: the ranks that reduce, broadcast and wait together (Gloo here; NCCL is attached by `nccl-rs`).
//! - [`Ordered`]: sums gradients in one fixed order, whatever the number of ranks.
//! - [`Reducer`]: averages gradients over the group while backward still runs.
//! - [`adam`]: libtorch's fused Adam and AdamW. [`rng`]: randomness as a function of position. [`autocast`], [`runtime`],
//!   [`cuda`]: switches of libtorch.
//!
//! Every call into libtorch comes back as a `Result`: no C++ exception and no panic crosses the border.

pub mod adam;
pub mod autocast;
pub mod cuda;
mod error;
mod ffi;
mod folder_store;
mod group;
mod memory_store;
mod ordered;
mod reducer;
pub mod rng;
pub mod runtime;
mod store;
mod tree;
mod waiting;

pub use error::{Error, Kind};
pub use folder_store::FolderStore;
pub use group::{GlooOptions, ProcessGroup};
pub use memory_store::MemoryStore;
pub use ordered::{Ordered, OrderedOptions};
pub use reducer::{Reducer, ReducerOptions, broadcast_tensors};
pub use store::{Store, StoreBackend};
pub use waiting::{Waiting, is_waiting};
