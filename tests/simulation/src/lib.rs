//! The coordinator and its workers under virtual time: one thread, one seed, every fault (docs/simulation.md).
//!
//! What runs here is what is shipped: `control`, the coordinator's clerk with its records, rendezvous and artifact store, and the
//! worker's `duty`. What is played by a model are the network, the processes, the disk (`testkit`), clocks, and rank processes. A
//! [`Scenario`] comes from a seed and plays the same way every time; [`shrink`] makes the story of a failing one short.
//!
//! ```
//! let scenario = simulation::Scenario::from_seed(1);
//! let outcome = simulation::play(&scenario);
//! assert_eq!(outcome.violation, None, "{}", simulation::story(&scenario));
//! ```

#[cfg(feature = "planted")]
mod bugs;
mod chance;
mod fault;
mod gang;
mod log_cursor;
mod office;
mod scenario;
mod shrink;
mod sim;
mod station;
mod strike;
mod watch;

#[cfg(feature = "planted")]
pub use bugs::{Found, SHIELDED, find, find_planted, story_of};
pub use fault::{Fault, Strike};
pub use scenario::Scenario;
pub use shrink::{shrink, story};
pub use sim::{Outcome, Violation, play, tell};
