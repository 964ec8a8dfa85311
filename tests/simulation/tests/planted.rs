//! The tests can fail: each planted bug is found (docs/simulation.md has the table).
//! Needs the feature `planted`: `cargo test -p simulation --features planted --test planted`.

use simulation::{SHIELDED, Scenario, find, play};
use types::Bug;

/// Seeds for each bug.
const SEEDS: u64 = 1_000;

/// Each part of the bugs in a test of its own, so that they run side by side.
fn part(number: usize, of: usize) {
    let mut missed = Vec::new();
    let bugs = Bug::ALL.iter().filter(|bug| !SHIELDED.contains(bug));
    for bug in bugs.skip(number).step_by(of) {
        let found = find(*bug, 0, SEEDS);
        match found.by {
            Some((seed, _)) => {
                let clean = play(&Scenario::from_seed(seed));
                assert_eq!(clean.violation, None, "seed {seed} without {bug:?}");
            }
            None => missed.push(*bug),
        }
    }
    assert!(
        missed.is_empty(),
        "not found within {SEEDS} seeds: {missed:?}"
    );
}

#[test]
fn there_are_enough_bugs() {
    assert!(Bug::ALL.len() - SHIELDED.len() >= 20);
}

#[test]
fn every_planted_bug_is_found_1() {
    part(0, 4);
}

#[test]
fn every_planted_bug_is_found_2() {
    part(1, 4);
}

#[test]
fn every_planted_bug_is_found_3() {
    part(2, 4);
}

#[test]
fn every_planted_bug_is_found_4() {
    part(3, 4);
}
