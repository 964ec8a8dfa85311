//! The project's chores: `cargo xtask <verb>`.
//!
//! Everything a newcomer or a build machine needs, starting from the Rust toolchain, a C++ compiler and Python with pip.
//! Every verb says what it does, can be interrupted and repeated, and does no work twice.

#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a chore talks to the person who called it"
)]

mod bench;
mod chaos;
mod demo;
mod demo_data;
mod fuzz;
mod libtorch;
mod oracles;
mod shell;
mod sim;
mod test;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// The project's chores.
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask", version, about)]
struct Cli {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    /// Run the main job on this machine: fetch libtorch, build, make the demo data, train two iterations of an ensemble
    Demo(demo::Args),
    /// Compare networks, losses, augmentation and settings with the reference's values
    Oracles(oracles::Args),
    /// Time our code: beside the published tools on the same data, and what it promises to cost
    Bench(bench::Args),
    /// Kill, freeze and cut off the processes of a small run, and compare its results with those of an undisturbed one
    Chaos(chaos::Args),
    /// Run every test
    Test(test::Args),
    /// Make the demo's data: a small look-alike of DESED and MAESTRO Real from recordings in Debian packages
    DemoData(demo_data::Args),
    /// Fuzz the readers of outside files; needs the nightly compiler and cargo-fuzz
    Fuzz(fuzz::Args),
    /// Play many seeds of the simulation: every kind of fault, every promise checked
    Sim(sim::Args),
    /// Fetch the pinned libtorch into .libtorch/
    Libtorch(libtorch::Args),
}

fn main() -> ExitCode {
    let result = match Cli::parse().verb {
        Verb::Demo(args) => demo::run(&args),
        Verb::Oracles(args) => oracles::run(&args),
        Verb::Bench(args) => bench::run(&args),
        Verb::Chaos(args) => chaos::run(&args),
        Verb::Test(args) => test::run(&args),
        Verb::DemoData(args) => demo_data::run(&args).map(|()| ExitCode::SUCCESS),
        Verb::Fuzz(args) => fuzz::run(&args),
        Verb::Sim(args) => sim::run(&args),
        Verb::Libtorch(args) => libtorch::run(&args).map(|()| ExitCode::SUCCESS),
    };
    result.unwrap_or_else(|error| {
        eprintln!("error: {error:#}");
        ExitCode::FAILURE
    })
}
