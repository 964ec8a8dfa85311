//! Fake clock and builders; only ever a dev-dependency.
//!
//! Nothing here waits, and nothing here is random: a test that uses it says all that happens.

mod clock;
mod graph;
mod scores;
mod spec;

pub use clock::Clock;
pub use graph::{GraphError, graph};
pub use scores::score_report;
pub use spec::{host_spec, train_spec};
