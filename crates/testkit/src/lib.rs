//! Fake clock and disk, a real disk that is small, builders; only ever a dev-dependency.
//!
//! Nothing here waits, and what is drawn is drawn from a seed: a test that uses it says all that happens.

mod clock;
mod disk;
mod graph;
mod scores;
mod small_disk;
mod spec;

pub use clock::Clock;
pub use disk::{Disk, File};
pub use graph::{GraphError, graph};
pub use scores::score_report;
pub use small_disk::SmallDisk;
pub use spec::{host_spec, train_spec, training};
