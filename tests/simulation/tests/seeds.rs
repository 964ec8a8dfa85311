//! A thousand runs with faults, each from one seed.

use simulation::{Scenario, play, shrink, story};

/// Seeds in all, shared by so many tests that run side by side.
const SEEDS: u64 = 1_000;
const PARTS: u64 = 8;

fn part(number: u64) {
    let each = SEEDS / PARTS;
    for seed in number * each..(number + 1) * each {
        let scenario = Scenario::from_seed(seed);
        let outcome = play(&scenario);
        assert!(
            outcome.violation.is_none(),
            "{}\n(play it again: cargo xtask sim --seeds 1 --from {seed})",
            story(&shrink(&scenario))
        );
    }
}

macro_rules! parts {
    ($($name:ident: $number:literal,)*) => {
        $(#[test] fn $name() { part($number); })*
    };
}

parts! {
    every_promise_is_kept_1: 0,
    every_promise_is_kept_2: 1,
    every_promise_is_kept_3: 2,
    every_promise_is_kept_4: 3,
    every_promise_is_kept_5: 4,
    every_promise_is_kept_6: 5,
    every_promise_is_kept_7: 6,
    every_promise_is_kept_8: 7,
}

#[test]
fn a_seed_plays_the_same_way_every_time() {
    for seed in [3, 77, 512] {
        let scenario = Scenario::from_seed(seed);
        let first = play(&scenario);
        assert_eq!(first, play(&scenario), "seed {seed}");
        assert_ne!(first.trace, play(&Scenario::from_seed(seed + 1)).trace);
    }
}

#[test]
fn without_faults_every_task_is_done_once() {
    for seed in 0..20 {
        let scenario = Scenario::undisturbed(seed);
        let outcome = play(&scenario);
        assert_eq!(outcome.violation, None, "{}", story(&scenario));
        assert_eq!(
            (outcome.struck, outcome.attempts <= scenario.tasks()),
            (0, true)
        );
    }
}
