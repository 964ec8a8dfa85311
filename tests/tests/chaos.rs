//! A run of the smoke plan whose processes are killed and frozen and whose links break comes to the very same results.

use system_tests::chaos::{self, Options};

#[test]
fn twenty_kills_change_nothing() {
    let options = Options {
        kills: 20,
        seed: 5,
        workers: 3,
    };
    let account = chaos::run(options, |line| eprintln!("{line}"));
    eprintln!("{account:#?}");
    assert_eq!(account.kills, options.kills, "the run was over too soon");
}
