//! The main job on the smallest plan, with real processes: to the end, again, and with one setting changed.

use std::collections::BTreeSet;
use std::time::Duration;

use system_tests::house::{House, RUN_LIMIT};

#[test]
fn a_plan_runs_to_the_end_once_and_only_what_a_change_touches_runs_again() {
    let house = House::new();
    let first = house.run(2).wait(RUN_LIMIT);
    assert!(first.status.success(), "{}", first.all());
    assert!(first.stdout.contains("PSDS1"), "{}", first.all());

    let history = house.history();
    history.assert_nothing_ran_twice();
    let executed: BTreeSet<String> = history.executed().into_iter().collect();
    let tasks: BTreeSet<String> = history
        .cluster
        .tasks(history.run())
        .iter()
        .map(|task| task.task.name.to_string())
        .collect();
    assert_eq!(executed, tasks, "every task was executed");
    // Iteration 2 learns from what iteration 1 said.
    let labels = history.task("i1.pseudo_label").outputs["pseudo_labels"];
    assert_eq!(
        history.task("i2.s1.a.train").inputs["pseudo_labels"],
        labels
    );
    for name in ["report/scores.json", "report/scores.tsv", "plan.toml"] {
        assert!(house.run_dir().join(name).exists(), "{name}");
    }

    // The same command again executes nothing.
    let second = house.run(2).wait(Duration::from_secs(60));
    assert!(second.status.success(), "{}", second.all());
    assert_eq!(house.history().executed().len(), executed.len());

    // One member's stage-2 learning rate: its two stage-2 trainings and what lies downstream, nothing else. The preview knows.
    house.edit_plan("seed = 2\n", "seed = 2\nstage2.optimizer.lr_rnn = 2e-4\n");
    let preview = house.plan_show();
    let would_run: BTreeSet<String> = preview["tasks"]
        .as_array()
        .expect("a list of tasks")
        .iter()
        .filter(|task| task["state"] != "done")
        .map(|task| task["name"].as_str().expect("a name").to_owned())
        .collect();
    let third = house.run(2).wait(RUN_LIMIT);
    assert!(third.status.success(), "{}", third.all());
    let again: BTreeSet<String> = house
        .history()
        .executed()
        .split_off(executed.len())
        .into_iter()
        .collect();
    assert_eq!(again, would_run, "the preview said what ran");
    assert!(
        again.contains("i1.s2.b.train")
            && again.contains("i1.pseudo_label")
            && again.contains("i2.s1.a.train")
    );
    for untouched in [
        "i1.s1.a.train",
        "i1.s1.b.train",
        "i1.s2.a.train",
        "i1.s2.a.evaluate",
    ] {
        assert!(
            !again.contains(untouched),
            "{untouched} does not depend on it"
        );
    }
}
