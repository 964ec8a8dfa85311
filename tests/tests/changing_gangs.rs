//! The coordinator chooses the size of a gang, interruptions change it, and the results stay the same bytes.

use std::collections::BTreeMap;
use std::time::Duration;

use nix::sys::signal::Signal;
use system_tests::house::{History, House, RUN_LIMIT};
use types::Digest;

/// One member, both stages, 4 micro-batches in a step; nothing is scored.
const PLAN: &str = r#"
name = "sameness"
seed = 7

[data]
root = "data"
splits = ["maestro_train", "strong_train", "synth_train", "weak_train", "unlabeled_train"]

[evaluation]
desed = "none"
maestro = "none"

[validation]
every_epochs = 8
desed = ["synth_validation"]

[runtime]
checkpoint_every_steps = 1
threads = 1
prefetch_threads = 1

[defaults.model]
transformer = { dim = 16, depth = 1, heads = 2, mlp_ratio = 2 }
audioset_head = 8
crnn = { channels = [2, 2, 4, 4, 4, 4, 4], fusion_dim = 8, rnn_hidden = 8, rnn_layers = 1 }

[defaults.stage1]
epochs = 30
microbatch = { maestro = 1, strong = 1, synth = 1, weak = 1, unlabeled = 1 }
microbatches_per_step = 4
gpus = { min = 1, max = 4 }
optimizer.warmup_steps = 1

[defaults.stage2]
epochs = 4
microbatch = { maestro = 1, strong = 1, synth = 1, weak = 1, unlabeled = 1 }
microbatches_per_step = 4
gpus = { min = 1, max = 4 }
optimizer.warmup_steps = 1
augmentation.impulse_probability = 0

[[member]]
name = "a"
arch = "atst_frame"

[[iteration]]
"#;

const ANY: &str = "gpus = { min = 1, max = 4 }";
const STAGE1: &str = "i1.s1.a.train";

/// The final checkpoints of all trainings.
fn results(history: &History) -> BTreeMap<String, Digest> {
    let tasks = history.cluster.tasks(history.run());
    (tasks.into_iter())
        .map(|task| (task.task.name.to_string(), task.outputs["checkpoint"]))
        .collect()
}

/// The step of stage 1's newest checkpoint so far.
fn reached(house: &House) -> Option<u64> {
    let history = History::so_far(&house.run_dir())?;
    let newest = history.cluster.runs().pop()?.run;
    let mut tasks = history.cluster.tasks(newest).into_iter();
    let stage1 = tasks.find(|task| task.task.name.as_str() == STAGE1)?;
    Some(stage1.checkpoint?.step.0)
}

/// Of each attempt at stage 1, in all runs: the size of its gang, and whether it went on from a checkpoint.
fn attempts(history: &History) -> Vec<(usize, bool)> {
    let runs = history.cluster.runs().into_iter();
    let tasks = runs.flat_map(|run| history.cluster.tasks(run.run));
    tasks
        .filter(|task| task.task.name.as_str() == STAGE1)
        .flat_map(|task| task.attempts)
        .map(|attempt| (attempt.gang.len(), attempt.resumed.is_some()))
        .collect()
}

#[test]
fn a_run_whose_gangs_change_ends_in_the_same_bytes() {
    let quiet = House::new();
    quiet.write_plan(PLAN);
    let end = quiet.run(1).wait(RUN_LIMIT);
    assert!(end.status.success(), "{}", end.all());
    let expected = results(&quiet.history());
    assert_eq!(expected.len(), 2);

    // 4, then whatever 2 workers give, then 4 again. Bounds of the gang are in no key, so it is one task all the way.
    let house = House::new();
    let whole = PLAN.replace(ANY, "gpus = { min = 4, max = 4 }");
    for (plan, workers) in [(whole.as_str(), 4), (PLAN, 2)] {
        house.write_plan(plan);
        let before = reached(&house);
        let mut run = house.run(workers);
        run.until("a later checkpoint", RUN_LIMIT, || {
            (reached(&house) > before).then_some(())
        });
        run.signal(Signal::SIGINT);
        let stopped = run.wait(Duration::from_secs(60));
        assert_eq!(stopped.status.code(), Some(130), "{}", stopped.all());
    }
    house.write_plan(&whole);
    let end = house.run(4).wait(RUN_LIMIT);
    assert!(end.status.success(), "{}", end.all());
    let history = house.history();
    history.assert_nothing_ran_twice();
    assert_eq!(results(&history), expected);
    // each plan is a run of its own
    assert_eq!(attempts(&history), [(4, false), (2, true), (4, true)]);
}
