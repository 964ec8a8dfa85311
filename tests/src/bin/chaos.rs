//! A whole run under fire: `chaos --kills N --seed S`.

#![expect(
    clippy::print_stdout,
    reason = "a chore talks to the person who called it"
)]

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use clap::Parser;
use system_tests::chaos::{self, Options};

/// Kills, freezes and cuts off the processes of a small run, and compares its results with those of an undisturbed one
#[derive(Parser)]
#[command(name = "chaos", version)]
struct Args {
    /// So many kills and freezes of processes; links break in between
    #[arg(long, default_value_t = 200)]
    kills: u32,
    /// The same seed plans the same faults [default: another one each time]
    #[arg(long)]
    seed: Option<u64>,
    /// Workers, each a process of its own
    #[arg(long, default_value_t = 3)]
    workers: usize,
    /// Something else: one training whose coordinator is killed and away for these seconds, one after the other
    #[arg(long, value_name = "SECONDS", value_delimiter = ',')]
    away: Vec<u64>,
}

fn main() {
    let args = Args::parse();
    if !args.away.is_empty() {
        let times: Vec<Duration> = args
            .away
            .iter()
            .map(|one| Duration::from_secs(*one))
            .collect();
        chaos::away(&times, |line| println!("{line}"));
        return;
    }
    let options = Options {
        kills: args.kills,
        seed: args.seed.unwrap_or_else(of_this_moment),
        workers: args.workers,
    };
    let account = chaos::run(options, |line| println!("{line}"));
    println!("{account:#?}");
    assert_eq!(account.kills, args.kills, "the run was over too soon");
}

fn of_this_moment() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| since.as_secs())
}
