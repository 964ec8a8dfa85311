use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::time::Duration;

use control::{AttemptOutcome, TaskState, TaskView};
use proto::v1;

use crate::fake_worker::{FakeWorker, Manners, Told};
use crate::scene::{Scene, files_below};

/// No task has two attempts that finished, and every task that was executed has one.
pub(crate) fn assert_each_finished_once(tasks: &[TaskView]) {
    for task in tasks {
        let finished = task
            .attempts
            .iter()
            .filter(|attempt| matches!(attempt.ended, Some((_, AttemptOutcome::Finished))))
            .count();
        assert_eq!(task.state, TaskState::Done, "{}", task.task);
        assert_eq!(finished, usize::from(!task.remembered), "{}", task.task);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_run_goes_to_its_end_and_leaves_its_report() {
    let scene = Scene::new();
    let coordinator = scene.start();
    let one = FakeWorker::start(&scene, "one", Manners::default());
    let two = FakeWorker::start(&scene, "two", Manners::default());
    let ended = coordinator.end().await;
    assert_eq!(ended.code, Some(0), "{}", ended.output);
    assert_each_finished_once(&scene.tasks_in_journal());
    // The table, with the numbers that the workers made up.
    for part in ["PSDS1", "mpAUC", "0.250", "0.500", "0.750", "ensemble"] {
        assert!(
            ended.output.contains(part),
            "no {part} in:\n{}",
            ended.output
        );
    }
    let report = scene.run_dir().join("report");
    assert!(
        fs::read_to_string(report.join("scores.tsv"))
            .unwrap()
            .lines()
            .count()
            > 4
    );
    serde_json::from_str::<serde_json::Value>(
        &fs::read_to_string(report.join("scores.json")).unwrap(),
    )
    .unwrap();
    let checkpoint =
        fs::read_to_string(report.join("checkpoints/i1.s2.a.train.safetensors")).unwrap();
    assert!(
        checkpoint.starts_with("checkpoint of i1.s2.a.train"),
        "{checkpoint}"
    );
    let logs = files_below(&scene.run_dir().join("logs/i1.s1.a.train"));
    assert!(
        fs::read_to_string(&logs[0])
            .unwrap()
            .contains("this is i1.s1.a.train as rank 0"),
        "{logs:?}"
    );
    let executed: BTreeSet<(String, u64)> = one.starts().into_iter().chain(two.starts()).collect();
    assert_eq!(
        executed.len(),
        scene.tasks_in_journal().len(),
        "one attempt per task: {executed:?}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_same_plan_again_executes_nothing() {
    let scene = Scene::new();
    let coordinator = scene.start();
    let worker = FakeWorker::start(&scene, "one", Manners::default());
    assert_eq!(coordinator.end().await.code, Some(0));
    drop(worker);
    let attempts = |tasks: &[TaskView]| tasks.iter().map(|task| task.attempts.len()).sum::<usize>();
    let before = attempts(&scene.tasks_in_journal());
    // There is no worker that could do anything.
    let again = scene.start().end().await;
    assert_eq!(again.code, Some(0), "{}", again.output);
    assert!(again.took < Duration::from_secs(10), "{:?}", again.took);
    assert!(
        again.output.contains("0.250"),
        "the table comes again:\n{}",
        again.output
    );
    let after = attempts(&scene.tasks_in_journal());
    assert!(
        after == before || after == 0,
        "{before} attempts, then {after}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_changed_setting_runs_its_task_and_what_follows() {
    let scene = Scene::new();
    let coordinator = scene.start();
    let worker = FakeWorker::start(&scene, "one", Manners::default());
    assert_eq!(coordinator.end().await.code, Some(0));
    drop(worker);
    scene.write_plan("optimizer.lr_rnn = 3e-4");
    let coordinator = scene.start();
    let worker = FakeWorker::start(&scene, "two", Manners::default());
    let ended = coordinator.end().await;
    assert_eq!(ended.code, Some(0), "{}", ended.output);
    let executed: BTreeSet<String> = worker.starts().into_iter().map(|(task, _)| task).collect();
    assert!(executed.contains("i1.s2.a.train"), "{executed:?}");
    assert!(
        executed.iter().all(|task| task.starts_with("i1.s2.")),
        "{executed:?}"
    );
    for task in scene.tasks_in_journal() {
        assert_eq!(
            task.remembered,
            !executed.contains(task.task.name.as_str()),
            "{}",
            task.task
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_coordinator_goes_on_where_it_was_and_takes_its_workers_back() {
    let scene = Scene::new();
    let coordinator = scene.start();
    let worker = FakeWorker::start(&scene, "one", Manners::hold("s2.a.train"));
    let fence = worker.wait_for_task("s2.a.train").await;
    coordinator.kill();
    let coordinator = scene.start();
    scene.connect().await;
    worker.release();
    let ended = coordinator.end().await;
    assert_eq!(ended.code, Some(0), "{}", ended.output);
    let tasks = scene.tasks_in_journal();
    assert_each_finished_once(&tasks);
    let held = tasks
        .iter()
        .find(|task| task.task.name.as_str() == "i1.s2.a.train")
        .unwrap();
    assert_eq!(
        held.attempts.len(),
        1,
        "the attempt that was going on went on"
    );
    assert_eq!(held.attempts[0].fence.0, fence);
    let mut times = BTreeMap::new();
    for (task, _) in worker.starts() {
        *times.entry(task).or_insert(0) += 1;
    }
    assert!(times.values().all(|times| *times == 1), "{times:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_failure_is_told_with_its_cause_and_what_to_do() {
    let scene = Scene::new();
    let coordinator = scene.start();
    let failure = v1::Failure {
        class: v1::FailureClass::Data.into(),
        message: "the file audio/x.wav ends after 3 bytes".to_owned(),
        rank: Some(0),
        signal: None,
        exit_code: Some(3),
        last_step: Some(17),
        peak_memory: Some(300 << 20),
        log_tail: vec!["the last line of the log".to_owned()],
    };
    let manners = Manners {
        fail: Some(("s1.a.train", failure)),
        ..Manners::default()
    };
    let _worker = FakeWorker::start(&scene, "one", manners);
    let ended = coordinator.end().await;
    assert!(
        ended.code.is_some_and(|code| code != 0),
        "{:?}\n{}",
        ended.code,
        ended.output
    );
    for part in [
        "i1.s1.a.train",
        "audio/x.wav ends after 3 bytes",
        "exit code 3",
        "peak memory 300.0 MiB",
        "the last line of the log",
    ] {
        assert!(
            ended.output.contains(part),
            "no {part:?} in:\n{}",
            ended.output
        );
    }
    let told = ended
        .output
        .matches("audio/x.wav ends after 3 bytes")
        .count();
    assert!(told <= 2, "told {told} times:\n{}", ended.output);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_interrupted_run_stops_in_order_and_goes_on_from_the_checkpoint() {
    let scene = Scene::new();
    let coordinator = scene.start();
    let worker = FakeWorker::start(&scene, "one", Manners::hold("s1.a.train"));
    let fence = worker.wait_for_task("s1.a.train").await;
    coordinator.interrupt();
    let stop = worker
        .wait_for(|told| matches!(told, Told::Stop { .. }))
        .await;
    assert_eq!(
        stop,
        Told::Stop {
            fence,
            mode: v1::StopMode::Checkpoint
        }
    );
    let ended = coordinator.end().await;
    assert_eq!(ended.code, Some(130), "{}", ended.output);
    drop(worker);

    let coordinator = scene.start();
    let worker = FakeWorker::start(&scene, "two", Manners::default());
    let ended = coordinator.end().await;
    assert_eq!(ended.code, Some(0), "{}", ended.output);
    let resumed = worker.told().into_iter().find_map(|told| match told {
        Told::Start { task, resumed, .. } if task == "i1.s1.a.train" => Some(resumed),
        _ => None,
    });
    assert_eq!(resumed, Some(true));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_interrupt_ends_everything_now() {
    let scene = Scene::new();
    let coordinator = scene.start();
    let deaf = Manners {
        deaf: true,
        ..Manners::hold("s1.a.train")
    };
    let worker = FakeWorker::start(&scene, "one", deaf);
    worker.wait_for_task("s1.a.train").await;
    coordinator.interrupt();
    worker
        .wait_for(|told| matches!(told, Told::Stop { .. }))
        .await;
    coordinator.interrupt();
    let ended = coordinator.end().await;
    assert_eq!(ended.code, Some(130), "{}", ended.output);
    assert!(ended.took < Duration::from_secs(30), "{:?}", ended.took);
}
