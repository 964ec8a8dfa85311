//! Drain, SIGTERM, Ctrl-C: a checkpoint within the step, what is left is handed back, and status and journal say what is true.

use std::time::{Duration, Instant};

use control::{AttemptOutcome, StopReason, TaskState, WorkerState};
use nix::sys::signal::Signal;
use system_tests::house::{Endless, History, Process, SOON, is_alive, send};

/// That the newest attempt of a training ended with a checkpoint of its very last step.
fn assert_stopped_with_checkpoint(scene: &Endless, task: &str, why: StopReason) {
    let known = scene.known(task);
    let mut attempts = known.view.attempts.iter();
    let stopped = attempts
        .rfind(|attempt| attempt.ended.is_some())
        .expect("an attempt that has ended");
    assert!(
        matches!(stopped.ended, Some((_, AttemptOutcome::Stopped { reason })) if reason == why),
        "{stopped:#?}"
    );
    let of_it = known.curve.points.iter();
    let last = of_it
        .filter(|point| point.fence == stopped.fence.0)
        .map(|point| point.step)
        .max();
    let checkpoint = known.view.checkpoint.expect("a checkpoint").step.0;
    assert!(
        Some(checkpoint) >= last,
        "the checkpoint is of step {checkpoint}, the last step was {last:?}"
    );
}

fn leaves(worker: Process, code: i32) {
    let left = worker.wait(SOON);
    assert_eq!(left.status.code(), Some(code), "{}", left.all());
}

fn worker_state(history: &History, name: &str) -> WorkerState {
    let mut workers = history.cluster.workers().into_iter();
    let found = workers.find(|worker| worker.worker.as_str() == name);
    found.expect("a worker that was there").state
}

#[test]
fn who_leaves_hands_its_work_back_with_a_checkpoint() {
    let mut scene = Endless::start();
    let link = scene.house.link();
    let drained = scene.house.worker("drained", &link);
    let (_, task) = scene.rank_of("drained", &drained);

    let said = scene.house.ask_running(&["drain", "drained"]);
    assert!(said.status.success(), "{}", said.all());
    leaves(drained, 0);
    assert_stopped_with_checkpoint(&scene, &task, StopReason::Drain);
    assert_eq!(
        worker_state(&scene.house.history(), "drained"),
        WorkerState::Gone
    );
    let status = scene.house.ask_running(&["status", "--json"]);
    let status: serde_json::Value = serde_json::from_str(&status.stdout).expect("JSON");
    let of = |kind: &str, key: &str, name: &str| {
        let mut list = status[kind].as_array().expect("a list").iter();
        let found = list.find(|one| one[key] == name);
        found.expect("it is listed")["state"].clone()
    };
    assert_eq!(of("workers", "worker", "drained"), "gone");
    assert_eq!(of("tasks", "task", &task), "ready");

    // Another worker goes on from that checkpoint, and is told to end by its host.
    let checkpoint = scene.known(&task).view.checkpoint;
    let terminated = scene.house.worker("terminated", &link);
    let (_, next) = scene.rank_of("terminated", &terminated);
    assert_eq!(next, task, "what was begun goes first");
    let resumed = scene
        .known(&task)
        .view
        .attempts
        .last()
        .expect("one")
        .resumed;
    assert_eq!(resumed, checkpoint);
    terminated.signal(Signal::SIGTERM);
    leaves(terminated, 0);
    assert_stopped_with_checkpoint(&scene, &task, StopReason::Drain);
    assert_eq!(
        worker_state(&scene.house.history(), "terminated"),
        WorkerState::Gone
    );

    // The coordinator is stopped; a worker that was started on its own stays until it is told, too.
    let mut staying = scene.house.worker("staying", &link);
    scene.rank_of("staying", &staying);
    scene.coordinator.signal(Signal::SIGTERM);
    let Endless { house, coordinator } = scene;
    let stopped = coordinator.wait(SOON);
    assert_eq!(stopped.status.code(), Some(130), "{}", stopped.all());
    assert!(staying.is_running());
    staying.signal(Signal::SIGINT);
    leaves(staying, 0);
    let history = house.history();
    let view = history.task(&task);
    assert_eq!(view.state, TaskState::Ready);
    let last = view.attempts.last().expect("an attempt");
    assert!(
        matches!(
            last.ended,
            Some((
                _,
                AttemptOutcome::Stopped {
                    reason: StopReason::Shutdown
                }
            ))
        ),
        "{last:#?}"
    );
}

#[test]
fn a_second_ctrl_c_ends_at_once() {
    let mut scene = Endless::start();
    let link = scene.house.link();
    let worker = scene.house.worker("stubborn", &link);
    let (rank, _) = scene.rank_of("stubborn", &worker);

    // a rank that cannot write its checkpoint
    send(rank.id, Signal::SIGSTOP);
    let at_once = Duration::from_secs(10);
    scene.coordinator.signal(Signal::SIGINT);
    std::thread::sleep(Duration::from_secs(1));
    assert!(scene.coordinator.is_running(), "it waits for the rank");
    assert!(scene.coordinator.output().contains("stopping in order"));
    let began = Instant::now();
    scene.coordinator.signal(Signal::SIGINT);
    let Endless { house, coordinator } = scene;
    let stopped = coordinator.wait(SOON);
    assert_eq!(stopped.status.code(), Some(130), "{}", stopped.all());
    assert!(began.elapsed() < at_once, "{:?}", began.elapsed());

    worker.signal(Signal::SIGINT);
    std::thread::sleep(Duration::from_secs(1));
    assert!(is_alive(worker.id()) && is_alive(rank.id), "it waits, too");
    let began = Instant::now();
    worker.signal(Signal::SIGINT);
    leaves(worker, 130);
    assert!(began.elapsed() < at_once, "{:?}", began.elapsed());
    assert!(!is_alive(rank.id), "no orphan");
    assert!(house.history().cluster.is_stopping());
}
