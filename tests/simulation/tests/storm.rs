//! A failure storm: a long run with one fault per 15 virtual seconds, 2,000 in all.

use simulation::{Scenario, play};

#[test]
fn a_run_comes_through_a_storm_to_the_same_bytes() {
    let scenario = Scenario::storm(0, 2_000);
    let outcome = play(&scenario);
    assert_eq!(
        outcome.violation, None,
        "its story: cargo xtask sim --storm --seeds 1"
    );
    assert_eq!(outcome.struck, 2_000, "the run was over too soon");
    assert!(outcome.lasted > 2_000 * 12_000, "{} ms", outcome.lasted);
}
