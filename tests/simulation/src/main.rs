//! Plays many seeds; `cargo xtask sim` calls it.

#![expect(
    clippy::print_stdout,
    reason = "a chore talks to the person who called it"
)]

use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use simulation::{Outcome, Scenario, play, shrink, story, tell};

/// What was asked for.
struct Wanted {
    from: u64,
    seeds: u64,
    storm: bool,
    planted: bool,
    /// Tells all that happened, not only the last events.
    all: bool,
}

fn main() -> ExitCode {
    let Some(wanted) = wanted(std::env::args().skip(1)) else {
        println!("usage: simulation [--seeds N] [--from S] [--storm] [--planted] [--all]");
        return ExitCode::from(2);
    };
    if wanted.planted {
        return planted(&wanted);
    }
    let began = Instant::now();
    let found = search(&wanted);
    let (mut lasted, mut events, mut struck, mut attempts) = (0, 0, 0, 0);
    for (_, outcome) in &found {
        lasted += outcome.lasted;
        events += outcome.events;
        struck += outcome.struck;
        attempts += outcome.attempts;
    }
    println!(
        "{} seeds from {}: {} faults, {attempts} attempts, {} virtual hours, {events} events in {:.1} s",
        found.len(),
        wanted.from,
        struck,
        lasted / 3_600_000,
        began.elapsed().as_secs_f64()
    );
    let broken = found
        .iter()
        .find(|(_, outcome)| outcome.violation.is_some());
    let Some((seed, _)) = broken else {
        println!("every promise was kept");
        return ExitCode::SUCCESS;
    };
    let scenario = scenario(*seed, wanted.storm);
    let short = shrink(&scenario);
    println!("{}", story(&short));
    if wanted.all {
        println!("everything that happened:\n{}", tell(&short).1.join("\n"));
    }
    ExitCode::FAILURE
}

fn scenario(seed: u64, storm: bool) -> Scenario {
    if storm {
        Scenario::storm(seed, 2_000)
    } else {
        Scenario::from_seed(seed)
    }
}

/// All seeds on all cores, up to the first broken promise.
fn search(wanted: &Wanted) -> Vec<(u64, Outcome)> {
    let next = AtomicU64::new(wanted.from);
    let end = wanted.from + wanted.seeds;
    let found = Mutex::new(Vec::new());
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..cores {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= end {
                        return;
                    }
                    let outcome = play(&scenario(seed, wanted.storm));
                    let broken = outcome.violation.is_some();
                    if let Some(violation) = &outcome.violation {
                        println!("seed {seed}: {}: {}", violation.check, violation.detail);
                        next.store(end, Ordering::Relaxed);
                    }
                    if let Ok(mut found) = found.lock() {
                        found.push((seed, outcome));
                        if broken || found.len().is_multiple_of(1_000) {
                            println!("{} seeds played", found.len());
                        }
                    }
                }
            });
        }
    });
    let mut found = found.into_inner().unwrap_or_default();
    found.sort_by_key(|(seed, _)| *seed);
    found
}

#[cfg(not(feature = "planted"))]
fn planted(_: &Wanted) -> ExitCode {
    println!("built without the feature `planted`");
    ExitCode::from(2)
}

#[cfg(feature = "planted")]
fn planted(wanted: &Wanted) -> ExitCode {
    let mut missed = 0;
    println!("| bug | found by seed | seeds played | check |\n| --- | --- | --- | --- |");
    for found in simulation::find_planted(wanted.from, wanted.seeds) {
        match found.by {
            Some((seed, violation)) => {
                println!(
                    "| `{:?}` | {seed} | {} | {} |",
                    found.bug, found.played, violation.check
                );
                if wanted.all {
                    println!("{}", simulation::story_of(found.bug, seed));
                }
            }
            None => {
                missed += 1;
                println!("| `{:?}` | not found | {} | |", found.bug, found.played);
            }
        }
    }
    if missed == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

fn wanted(mut words: impl Iterator<Item = String>) -> Option<Wanted> {
    let mut wanted = Wanted {
        from: 0,
        seeds: 1_000,
        storm: false,
        planted: false,
        all: false,
    };
    while let Some(word) = words.next() {
        match word.as_str() {
            "--seeds" => wanted.seeds = words.next()?.parse().ok()?,
            "--from" => wanted.from = words.next()?.parse().ok()?,
            "--storm" => wanted.storm = true,
            "--planted" => wanted.planted = true,
            "--all" => wanted.all = true,
            _ => return None,
        }
    }
    Some(wanted)
}
