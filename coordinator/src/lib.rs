//! The coordinator: it decides and remembers.
//!
//! The deciding is `control`'s; this room is the shell around it. `clerk` owns the cluster and the journal and
//! drives them without clock, thread or socket (so the simulation drives it too), `shell` is the task around it, the services turn
//! messages into its inputs, `run` is the life of one call of the program. It refuses to know tensors.

mod board;
mod clerk;
mod cli;
mod client;
mod clock;
mod exit;
mod external;
mod finish;
mod gc;
mod local_workers;
mod log_printer;
mod log_reader;
mod page;
mod pauses;
mod plan_commands;
mod records;
mod rendezvous;
mod replay;
mod report_files;
mod run;
mod run_dir;
mod score_table;
mod scores;
mod server;
mod services;
mod shell;
mod status_table;
mod submission;
mod surroundings;
mod sweeper;
mod terminal;
mod words;

// The worker of `tests/wire`, for the tests that need the coordinator in their own process.
#[cfg(test)]
mod crash_tests;
#[cfg(test)]
#[path = "../tests/wire/fake_worker.rs"]
#[allow(dead_code, reason = "the tests of the wire use the rest")]
mod fake_worker;
#[cfg(test)]
#[path = "../tests/wire/reach.rs"]
mod reach;
#[cfg(test)]
#[path = "../tests/wire/small_plan.rs"]
mod small_plan;

pub use clerk::{Clerk, Line, World};
pub use cli::main;
pub use pauses::Pauses;
pub use records::{RecordFiles, Records};
pub use rendezvous::Rendezvous;
pub use replay::replay;
pub use submission::opening;
pub use surroundings::{Onlooker, Surroundings};
pub use words::{Greeting, Said, SaidReport, Told};
