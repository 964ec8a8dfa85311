//! A rank's descendants never outlive it, however they flee. With real processes: this program is its own test, and plays, under
//! other arguments, the rank (a shell script under a warden) and the worker that starts it.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]
#![expect(clippy::print_stdout, reason = "what it found, for whoever runs it")]

use std::fs;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use duty::Exit;
use libtest_mimic::{Arguments, Trial};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio::io::AsyncReadExt;
use worker::supervisor::{ProcessStarter, RankProcess, RankStarter};
use worker::warden;

/// Long enough for any machine.
const LIMIT: Duration = Duration::from_secs(20);
/// What is promised.
const GONE_AFTER: Duration = Duration::from_secs(2);

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().collect();
    match arguments.get(1).map(String::as_str) {
        Some("rank") => {
            warden::stand().unwrap();
            let error = Command::new("/bin/sh").args(["-c", &arguments[2]]).exec();
            panic!("no shell: {error}");
        }
        Some("worker") => play_worker(&arguments[2], Path::new(&arguments[3])),
        _ => test(),
    }
}

/// What `cargo test` runs.
fn test() -> ExitCode {
    let tests = vec![
        trial(
            "ends_are_passed_on_as_they_are",
            ends_are_passed_on_as_they_are,
        ),
        trial(
            "a_kill_by_order_is_told_from_one_from_elsewhere",
            a_kill_by_order_is_told_from_one_from_elsewhere,
        ),
        trial("who_flees_goes_with_the_rank", who_flees_goes_with_the_rank),
        trial("who_flees_goes_by_order", who_flees_goes_by_order),
        Trial::test(
            "when_the_worker_is_killed_a_fork_happy_child_has_no_survivors",
            || {
                when_the_worker_is_killed_a_fork_happy_child_has_no_survivors();
                Ok(())
            },
        ),
    ];
    libtest_mimic::run(&Arguments::from_args(), tests).exit_code()
}

fn trial<F: Future<Output = ()>>(name: &str, test: impl FnOnce() -> F + Send + 'static) -> Trial {
    Trial::test(name, || {
        tokio::runtime::Runtime::new()?.block_on(test());
        Ok(())
    })
}

fn rank(script: &str) -> RankProcess {
    let program = std::env::current_exe().unwrap();
    ProcessStarter::new(program, vec!["rank".to_owned(), script.to_owned()])
        .start(tempfile::tempfile().unwrap())
        .unwrap()
}

async fn end_of(process: RankProcess) -> Exit {
    tokio::time::timeout(LIMIT, process.exit)
        .await
        .unwrap()
        .unwrap()
}

/// A worker with one rank, until it is killed.
fn play_worker(script: &str, started: &Path) -> ExitCode {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let process = rank(script);
        fs::write(started, process.id.to_string()).unwrap();
        let _ = process.exit.await;
    });
    ExitCode::SUCCESS
}

async fn ends_are_passed_on_as_they_are() {
    let end = end_of(rank("exit 7")).await;
    assert_eq!((end.code, end.signal), (Some(7), None));
    for signal in [Signal::SIGSEGV, Signal::SIGKILL, Signal::SIGPIPE] {
        let number = signal as i32;
        let end = end_of(rank(&format!("kill -{number} $$"))).await;
        assert_eq!((end.code, end.signal), (None, Some(number)));
        assert!(!end.by_order);
    }
    let mut asked = rank("trap 'exit 3' TERM; echo ready; while :; do sleep 0.1; done");
    let mut ready = [0; 5];
    let heard = asked.stdout.read_exact(&mut ready);
    tokio::time::timeout(LIMIT, heard).await.unwrap().unwrap();
    let killer = asked.killer.clone();
    killer.terminate();
    assert_eq!(end_of(asked).await.code, Some(3));
}

async fn a_kill_by_order_is_told_from_one_from_elsewhere() {
    let ordered = rank("exec sleep 60");
    ordered.killer.kill();
    let end = end_of(ordered).await;
    assert_eq!((end.signal, end.by_order), (Some(9), true));

    // a stopped rank, under a stopped warden
    let stopped = rank("exec sleep 60");
    until("a rank", || !descendants(stopped.id).is_empty());
    let warden = Pid::from_raw(i32::try_from(stopped.id).unwrap());
    for process in descendants(stopped.id) {
        kill(process, Signal::SIGSTOP).unwrap();
    }
    kill(warden, Signal::SIGSTOP).unwrap();
    stopped.killer.kill();
    assert!(end_of(stopped).await.by_order);
}

/// Starts two sleepers that leave the group, one of them by a double fork, and one that stays.
fn fleeing(seconds: &str) -> String {
    format!("setsid sleep {seconds} & (setsid sh -c 'sleep {seconds} &' &); sleep {seconds} & ")
}

async fn who_flees_goes_with_the_rank() {
    let seconds = mark(1);
    let script = format!("{} sleep 0.5; exit 5", fleeing(&seconds));
    let end = end_of(rank(&script)).await;
    assert_eq!(end.code, Some(5));
    // the warden's end is the word that nobody is left
    assert_eq!(with_word(&seconds), Vec::<u32>::new());
}

async fn who_flees_goes_by_order() {
    let seconds = mark(2);
    let process = rank(&format!("{} wait; sleep 60", fleeing(&seconds)));
    until("three sleepers", || with_word(&seconds).len() >= 5);
    process.killer.kill();
    assert!(end_of(process).await.by_order);
    assert_eq!(with_word(&seconds), Vec::<u32>::new());
}

fn when_the_worker_is_killed_a_fork_happy_child_has_no_survivors() {
    let seconds = mark(3);
    let folder = tempfile::tempdir().unwrap();
    let script = format!(
        "while :; do setsid sh -c 'sleep {seconds} & setsid sleep {seconds} & sleep {seconds}' & sleep 0.02; done"
    );
    let mut worker = Command::new(std::env::current_exe().unwrap())
        .args(["worker", &script])
        .arg(folder.path().join("started"))
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    until("a crowd", || with_word(&seconds).len() > 50);
    let crowd = with_word(&seconds).len();
    worker.kill().unwrap();
    let killed = Instant::now();
    worker.wait().unwrap();
    let mut left = with_word(&seconds);
    while !left.is_empty() && killed.elapsed() < LIMIT {
        std::thread::sleep(Duration::from_millis(5));
        left = with_word(&seconds);
    }
    let took = killed.elapsed();
    for process in &left {
        let _ = kill(
            Pid::from_raw(i32::try_from(*process).unwrap()),
            Signal::SIGKILL,
        );
    }
    assert!(left.is_empty(), "{} survivors", left.len());
    assert!(
        took < GONE_AFTER,
        "{crowd} processes were gone after {took:?}"
    );
    println!("{crowd} processes were gone {took:?} after the worker");
}

/// A number of seconds that no other process sleeps.
fn mark(test: u32) -> String {
    format!("{}.{test}", 100_000 + std::process::id())
}

/// Living processes with this word in their command lines, but for shells and programs that were only told of it.
fn with_word(word: &str) -> Vec<u32> {
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc").unwrap().flatten() {
        let Some(id) = entry
            .file_name()
            .to_str()
            .and_then(|name| name.parse().ok())
        else {
            continue;
        };
        let line = fs::read(entry.path().join("cmdline")).unwrap_or_default();
        let line = String::from_utf8_lossy(&line).into_owned();
        if id != std::process::id() && line.contains(word) && !line.contains("\0worker\0") {
            found.push(id);
        }
    }
    found
}

fn descendants(ancestor: u32) -> Vec<Pid> {
    let mut family = vec![ancestor];
    let mut next = 0;
    while next < family.len() {
        for entry in fs::read_dir("/proc").unwrap().flatten() {
            let Some(id) = entry
                .file_name()
                .to_str()
                .and_then(|name| name.parse().ok())
            else {
                continue;
            };
            let stat = fs::read_to_string(entry.path().join("stat")).unwrap_or_default();
            let parent = stat
                .rsplit_once(')')
                .and_then(|(_, rest)| rest.split_whitespace().nth(1)?.parse().ok());
            if parent == Some(family[next]) && !family.contains(&id) {
                family.push(id);
            }
        }
        next += 1;
    }
    let below = family.into_iter().skip(1);
    below
        .map(|id| Pid::from_raw(i32::try_from(id).unwrap()))
        .collect()
}

fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let began = Instant::now();
    while !holds() {
        assert!(began.elapsed() < LIMIT, "no {what} within {LIMIT:?}");
        std::thread::sleep(Duration::from_millis(10));
    }
}
