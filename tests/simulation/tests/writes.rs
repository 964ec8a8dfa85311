//! The coordinator dies at each write of its journal in turn.

use simulation::{Fault, Scenario, Strike, play, story};

#[test]
fn a_run_survives_a_crash_at_every_write_of_the_journal() {
    for seed in 0..4 {
        let quiet = Scenario::undisturbed(seed);
        let writes = play(&quiet).writes;
        assert!(writes > 10, "seed {seed}: {writes} writes");
        for nth in 1..=writes {
            for (written, machine) in [(false, false), (false, true), (true, false), (true, true)] {
                let mut scenario = quiet.clone();
                let fault = Fault::CoordinatorDiesAtWrite {
                    nth,
                    written,
                    down: 700,
                    machine,
                };
                scenario.strikes = vec![Strike { at: 0, fault }];
                let outcome = play(&scenario);
                assert_eq!(outcome.violation, None, "{}", story(&scenario));
            }
        }
    }
}
