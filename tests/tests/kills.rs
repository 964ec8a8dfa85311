//! `kill -9` of each kind of process, and Ctrl-C: nothing is lost, nothing runs twice, nobody is orphaned.

use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use system_tests::house::{
    History, House, RUN_LIMIT, descendants, is_alive, ranks_below, send, workers_below,
};
use types::FailureClass;

/// Long enough that there is a middle to be killed in.
fn longer(house: &House) {
    let text = house.plan_text().replace("epochs = 2", "epochs = 12");
    house.write_plan(&text);
}

#[test]
fn a_killed_coordinator_goes_on_where_it_was() {
    let house = House::new();
    let mut first = house.run(2);
    let run_dir = house.run_dir();
    first.until("some finished tasks", RUN_LIMIT, || {
        (History::so_far(&run_dir)?.executed().len() >= 3).then_some(())
    });
    let family = descendants(first.id());
    first.signal(Signal::SIGKILL);
    first.wait(Duration::from_secs(10));
    // Local workers end with the coordinator that started them, and ranks with their worker.
    let deadline = Instant::now() + Duration::from_secs(10);
    while family.iter().any(|id| is_alive(*id)) {
        assert!(
            Instant::now() < deadline,
            "orphans: {:?}",
            family
                .iter()
                .filter(|id| is_alive(**id))
                .collect::<Vec<_>>()
        );
        std::thread::sleep(Duration::from_millis(20));
    }
    let second = house.run(2).wait(RUN_LIMIT);
    assert!(second.status.success(), "{}", second.all());
    house.history().assert_nothing_ran_twice();
}

#[test]
fn a_killed_rank_fails_its_attempt_and_the_next_resumes() {
    let house = House::new();
    longer(&house);
    let mut run = house.run(2);
    let id = run.id();
    let run_dir = house.run_dir();
    // A training with a committed checkpoint.
    let task = run.until("a checkpoint", RUN_LIMIT, || {
        let history = History::so_far(&run_dir)?;
        let running = history.cluster.runs().pop()?;
        history
            .cluster
            .tasks(running.run)
            .into_iter()
            .find(|task| task.checkpoint.is_some() && !task.state.is_final())
            .map(|task| task.task.name.to_string())
    });
    let rank = run.until("a rank process", Duration::from_secs(30), || {
        ranks_below(id).pop()
    });
    send(rank.id, Signal::SIGKILL);
    let end = run.wait(RUN_LIMIT);
    assert!(end.status.success(), "{}", end.all());
    let history = house.history();
    history.assert_nothing_ran_twice();
    let killed = history
        .cluster
        .tasks(history.run())
        .into_iter()
        .find(|task| {
            task.attempts
                .iter()
                .flat_map(|attempt| &attempt.failures)
                .any(|failure| failure.class == FailureClass::Killed)
        });
    let killed = killed.expect("the kill is on record, with its class");
    assert!(killed.attempts.len() >= 2);
    if killed.task.name.as_str() == task {
        assert!(
            killed
                .attempts
                .last()
                .expect("an attempt")
                .resumed
                .is_some(),
            "it went on from its checkpoint"
        );
    }
}

#[test]
fn a_killed_worker_takes_its_ranks_along_and_the_run_goes_on() {
    let house = House::new();
    longer(&house);
    let mut run = house.run(2);
    let id = run.id();
    let rank = run.until("a rank process", RUN_LIMIT, || ranks_below(id).pop());
    let worker = workers_below(id)
        .into_iter()
        .find(|worker| worker.id == rank.parent)
        .expect("the rank's worker");
    send(worker.id, Signal::SIGKILL);
    let killed = Instant::now();
    while is_alive(rank.id) {
        assert!(
            killed.elapsed() < Duration::from_secs(2),
            "the rank process outlived its worker"
        );
        std::thread::sleep(Duration::from_millis(10));
    }
    let end = run.wait(RUN_LIMIT);
    assert!(end.status.success(), "{}", end.all());
    house.history().assert_nothing_ran_twice();
}

#[test]
fn ctrl_c_stops_in_order_and_the_same_command_goes_on() {
    let house = House::new();
    longer(&house);
    let mut run = house.run(2);
    let id = run.id();
    run.until("a rank process", RUN_LIMIT, || ranks_below(id).pop());
    let family = descendants(id);
    run.signal(Signal::SIGINT);
    let stopped = run.wait(Duration::from_secs(60));
    assert_eq!(stopped.status.code(), Some(130), "{}", stopped.all());
    assert!(family.iter().all(|id| !is_alive(*id)), "nobody is left");
    let end = house.run(2).wait(RUN_LIMIT);
    assert!(end.status.success(), "{}", end.all());
    house.history().assert_nothing_ran_twice();
}
