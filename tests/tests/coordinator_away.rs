//! A coordinator that is killed and away for a while costs nothing: the same rank process goes on training.

use std::time::Duration;

use system_tests::chaos;

#[test]
fn a_coordinator_that_is_away_costs_nothing_but_time() {
    // `cargo xtask chaos --away 60` is away for longer
    chaos::away(&[0, 5, 20].map(Duration::from_secs), |line| {
        eprintln!("{line}");
    });
}
