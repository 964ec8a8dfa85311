//! The coordinator: it decides and remembers.
//!
//! The deciding is `control`'s; this room is the shell around it. `shell` owns the cluster and the journal, the services turn
//! messages into its inputs, `run` is the life of one call of the program. It refuses to know tensors.

mod board;
mod cli;
mod client;
mod clock;
mod exit;
mod external;
mod finish;
mod local_workers;
mod log_reader;
mod page;
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
mod terminal;

pub use cli::main;
