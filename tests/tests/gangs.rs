//! A gang of two real rank processes, one of which is stopped or killed: the right one is named, soon, and the work goes on.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use control::{AttemptOutcome, AttemptView, TaskView};
use nix::sys::signal::Signal;
use system_tests::house::{
    History, House, Process, RUN_LIMIT, Seen, processes, ranks_below, send, workers_below,
};
use types::{Failure, FailureClass, Rank, Timestamp};

/// What a noisy machine may add to a bound that is promised.
const NOISE: Duration = Duration::from_secs(3);

fn now() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    Timestamp(u64::try_from(since.expect("a clock").as_millis()).expect("a time"))
}

/// A run whose first training goes on for as long as any test, always on two workers.
fn gang(limits: &[(&str, &str)]) -> (House, Process) {
    let house = House::new();
    let text = house.plan_text();
    // of two members the other would take the gang while the first one waits for its next attempt
    let (first, rest) = text
        .split_once("[[member]]\nname = \"b\"")
        .expect("two members");
    let (_, last) = rest.split_once("[[iteration]]").expect("an iteration");
    let text = format!("{first}[[iteration]]{last}")
        .replace("epochs = 2", "epochs = 2000")
        .replace("gpus = { min = 1, max = 2 }", "gpus = { min = 2, max = 2 }");
    house.write_plan(&text);
    let mut command = house.coordinator();
    command
        .arg("--plan")
        .arg(house.plan())
        .arg("--run-dir")
        .arg(house.run_dir())
        .args(["--listen", "127.0.0.1:0", "--local-workers", "2"])
        .envs(limits.iter().copied());
    let run = Process::start(command, house.path());
    (house, run)
}

/// The training that goes on, if one does.
fn training(house: &House) -> Option<TaskView> {
    let history = History::so_far(&house.run_dir())?;
    let run = history.cluster.runs().pop()?;
    let tasks = history.cluster.tasks(run.run);
    tasks.into_iter().find(|task| !task.attempts.is_empty())
}

/// Waits for an attempt after so many others whose ranks have all met, and that has committed a checkpoint of its own.
fn until_at_work(house: &House, run: &mut Process, before: usize) -> AttemptView {
    run.until("a gang at work", RUN_LIMIT, || {
        let task = training(house)?;
        let attempt = task.attempts.get(before)?.clone();
        let resumed = attempt.resumed.map_or(0, |from| from.step.0);
        let committed = task.checkpoint.map_or(0, |newest| newest.step.0);
        (attempt.started.is_some() && attempt.ended.is_none() && committed > resumed)
            .then_some(attempt)
    })
}

/// Waits for the end of the attempt after so many others.
fn until_ended(
    house: &House,
    run: &mut Process,
    before: usize,
) -> (AttemptView, Timestamp, Failure) {
    run.until("the end of the attempt", RUN_LIMIT, || {
        let attempt = training(house)?.attempts.get(before)?.clone();
        match attempt.ended.clone()? {
            (at, AttemptOutcome::Failed { failure }) => Some((attempt, at, failure)),
            other => panic!("the attempt ended otherwise: {other:?}"),
        }
    })
}

/// The rank processes by their rank, as the attempt has placed them.
fn processes_of(attempt: &AttemptView, run: &Process) -> BTreeMap<Rank, Seen> {
    let all = processes();
    let name_of = |worker: u32| {
        let line = &all.iter().find(|seen| seen.id == worker)?.command_line;
        let at = line.iter().position(|word| word == "--name")?;
        line.get(at + 1).cloned()
    };
    let workers: BTreeMap<u32, String> = workers_below(run.id())
        .iter()
        .filter_map(|worker| Some((worker.id, name_of(worker.id)?)))
        .collect();
    let mut found = BTreeMap::new();
    for rank in ranks_below(run.id()) {
        let name = workers.get(&rank.parent).expect("a rank's worker");
        let seat = attempt
            .gang
            .iter()
            .find(|seat| seat.worker.as_str() == name);
        found.insert(seat.expect("a seat").rank, rank);
    }
    found
}

fn count_from_environment(name: &str, default: usize) -> usize {
    std::env::var(name).map_or(default, |text| text.parse().expect("a number"))
}

#[test]
fn a_stopped_rank_is_named_within_its_limit_and_the_work_goes_on() {
    let limits = [
        ("TUTTI_HANG_FLOOR", "2"),
        ("TUTTI_HANG_FACTOR", "3"),
        ("TUTTI_HANG_FIRST", "120"),
    ];
    let (house, mut run) = gang(&limits);
    let attempt = until_at_work(&house, &mut run, 0);
    let ranks = processes_of(&attempt, &run);
    // rank 0 is the one whose steps are told
    let victim = Rank(run.id() % 2);
    let other = Rank(1 - victim.0);
    send(ranks[&victim].id, Signal::SIGSTOP);
    let stopped = now();
    let (attempt, ended, cause) = until_ended(&house, &mut run, 0);
    assert_eq!(
        (cause.class, cause.rank),
        (FailureClass::Hang, Some(victim)),
        "{cause}"
    );
    let hangs = attempt
        .failures
        .iter()
        .filter(|failure| failure.class == FailureClass::Hang);
    assert_eq!(
        hangs.count(),
        1,
        "rank {other} only waited: {:?}",
        attempt.failures
    );
    let limit = cause
        .message
        .split_once("the limit is ")
        .and_then(|(_, rest)| rest.split_once(" s"))
        .map(|(seconds, _)| Duration::from_secs_f64(seconds.parse().expect("seconds")))
        .unwrap_or_else(|| panic!("no limit in {cause}"));
    let took = ended.since(stopped);
    println!(
        "rank {victim} was stopped; its attempt ended after {took:?}, the limit was {limit:?}"
    );
    assert!(
        took <= limit + Duration::from_secs(2) + NOISE,
        "{took:?}: {cause}"
    );
    let next = until_at_work(&house, &mut run, 1);
    assert!(next.resumed.is_some(), "{next:?}");
}

/// `TUTTI_DEATHS` asks for more deaths than the few that every run of the tests has time for.
#[test]
fn a_killed_rank_is_named_and_its_peer_reports_soon() {
    let deaths = count_from_environment("TUTTI_DEATHS", 3);
    let (house, mut run) = gang(&[]);
    let mut slowest = Duration::ZERO;
    for death in 0..deaths {
        let attempt = until_at_work(&house, &mut run, death);
        let ranks = processes_of(&attempt, &run);
        let victim = Rank(if now().0.is_multiple_of(2) { 0 } else { 1 });
        let killed = now();
        send(ranks[&victim].id, Signal::SIGKILL);
        let (attempt, ended, cause) = until_ended(&house, &mut run, death);
        assert_eq!(
            (cause.class, cause.rank, cause.signal),
            (FailureClass::Killed, Some(victim), Some(9)),
            "death {death}: {cause}; all: {:?}",
            attempt.failures
        );
        assert!(
            cause.peak_memory.is_some_and(|peak| peak > 10 << 20),
            "{cause}"
        );
        assert!(!cause.log_tail.is_empty(), "{cause}");
        // the attempt is over when every rank has reported its end
        let took = ended.since(killed);
        assert!(
            took <= Duration::from_secs(2) + NOISE,
            "death {death}: {took:?}"
        );
        slowest = slowest.max(took);
    }
    println!(
        "{deaths} of {deaths} deaths told right; every rank had reported after {slowest:?} at most"
    );
}
