//! Every line that a rank wrote is in the run directory once and in order, whoever is killed meanwhile.
//!
//! This program is its own test. Under other arguments it plays a worker (the shipped one) and that worker's rank, which writes
//! numbered lines as fast as it is let and keeps an account of them.

#![expect(clippy::print_stdout, reason = "what it found, for whoever runs it")]

use libtest_mimic::{Arguments, Trial};
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use clap::Parser;
use duty::protocol::{Command as Order, Message, to_line};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use system_tests::house::House;
use types::Step;
use worker::{cli::Cli, supervisor, warden};

/// Lines over all attempts. `TUTTI_LINES` asks for another number.
const LINES: u64 = 1_000_000;
/// Lines of one write.
const AT_ONCE: u64 = 500;
/// For everything to arrive once nobody is disturbed any more.
const ARRIVAL: Duration = Duration::from_secs(120);

/// Where ranks keep their accounts, how many lines they owe together, and how many milliseconds a write takes at least.
const ACCOUNTS: &str = "TUTTI_TEST_ACCOUNTS";
const OWED: &str = "TUTTI_TEST_LINES";
const PACE: &str = "TUTTI_TEST_PACE";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().collect();
    if arguments.get(1).is_some_and(|first| first == "rank") {
        warden::stand().expect("room for a process");
        play_rank();
    } else if arguments.iter().any(|argument| argument == "--cpu") {
        let cli = Cli::parse();
        cli.start_logging();
        return ExitCode::from(supervisor::run(&cli.options).expect("a worker"));
    }
    let lines = std::env::var("TUTTI_LINES").map_or(LINES, |text| text.parse().expect("a number"));
    let tests = vec![
        Trial::test(
            "a_follower_hears_every_line_over_attempts_and_restarts",
            || {
                a_follower_hears_every_line_over_attempts_and_restarts();
                Ok(())
            },
        ),
        Trial::test(
            "no_line_is_lost_or_doubled_by_kills_and_outages",
            move || {
                no_line_is_lost_or_doubled_by_kills_and_outages(lines);
                Ok(())
            },
        ),
    ];
    libtest_mimic::run(&Arguments::from_args(), tests).exit_code()
}

/// Line `number` of an attempt's rank.
fn line(place: &str, number: u64) -> String {
    format!("{place} says line {number:08}, which is about as long as lines are")
}

/// Writes lines until all that are owed are written, then waits for its end.
fn play_rank() -> ! {
    let mut orders = BufReader::new(std::io::stdin()).lines();
    let first = orders.next().expect("a first order").expect("a pipe");
    let Order::Start(start) = serde_json::from_str(&first).expect("an order") else {
        panic!("the first order was {first}");
    };
    std::thread::spawn(move || {
        orders.for_each(drop);
        std::process::exit(4); // the worker is gone
    });
    let say = |message: &Message| print!("{}", to_line(message).expect("JSON"));
    say(&Message::Met);
    // without a new checkpoint each further attempt would wait longer
    let file = start.handover.join("checkpoint");
    fs::write(&file, start.fence.to_string()).expect("a checkpoint");
    let step = Step(start.fence.0);
    say(&Message::Checkpoint { step, file });

    let accounts = PathBuf::from(std::env::var_os(ACCOUNTS).expect("a folder"));
    let number_in = |name| -> u64 {
        let text = std::env::var(name).expect("a number");
        text.parse().expect("a number")
    };
    let (owed, pace) = (number_in(OWED), Duration::from_millis(number_in(PACE)));
    let place = format!("{}.{}", start.fence, start.rank);
    let others: u64 = written(&accounts).values().sum();
    let account = File::create(accounts.join(&place)).expect("an account");
    let mut number = 0;
    while others + number < owed {
        let began = Instant::now();
        let mut text = String::new();
        for next in number..number + AT_ONCE {
            text.push_str(&line(&place, next));
            text.push('\n');
        }
        std::io::stderr().write_all(text.as_bytes()).expect("a log");
        number += AT_ONCE;
        account
            .write_all_at(&number.to_le_bytes(), 0)
            .expect("an account");
        std::thread::sleep(pace.saturating_sub(began.elapsed()));
    }
    loop {
        std::thread::park();
    }
}

/// Lines that each rank is known to have written, by `ATTEMPT.RANK`.
fn written(accounts: &Path) -> BTreeMap<String, u64> {
    let mut written = BTreeMap::new();
    for entry in fs::read_dir(accounts).expect("the accounts").flatten() {
        let bytes = fs::read(entry.path()).expect("an account");
        let number = bytes.try_into().map_or(0, u64::from_le_bytes);
        written.insert(entry.file_name().to_string_lossy().into_owned(), number);
    }
    written
}

/// A coordinator and a worker whose ranks write lines.
struct Scene {
    house: House,
    port: u16,
    /// What all ranks owe, and their pace.
    lines: u64,
    pace: u64,
    coordinator: Option<Child>,
    worker: Option<Child>,
}

impl Drop for Scene {
    fn drop(&mut self) {
        for mut process in [self.worker.take(), self.coordinator.take()]
            .into_iter()
            .flatten()
        {
            let _ = process.kill();
            let _ = process.wait();
        }
    }
}

impl Scene {
    fn new(lines: u64, pace: u64) -> Self {
        let house = House::new();
        fs::create_dir(house.path().join("accounts")).expect("a folder");
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let port = listener.local_addr().expect("an address").port();
        drop(listener);
        let mut scene = Self {
            house,
            port,
            lines,
            pace,
            coordinator: None,
            worker: None,
        };
        scene.start_coordinator();
        scene.start_worker();
        scene
    }

    fn accounts(&self) -> PathBuf {
        self.house.path().join("accounts")
    }

    fn log_of(&self, name: &str) -> Stdio {
        let path = self.house.path().join(name);
        let file = File::options().create(true).append(true).open(path);
        file.expect("a file").into()
    }

    fn start_coordinator(&mut self) {
        let mut command = self.house.coordinator();
        command
            .arg("--plan")
            .arg(self.house.plan())
            .arg("--run-dir")
            .arg(self.house.run_dir())
            .args(["--listen", &format!("127.0.0.1:{}", self.port)])
            .env("TUTTI_TOKEN", "the-token-of-this-test")
            .stdin(Stdio::null())
            .stdout(self.log_of("coordinator.out"))
            .stderr(self.log_of("coordinator.log"));
        self.coordinator = Some(command.spawn().expect("a coordinator"));
    }

    fn start_worker(&mut self) {
        let mut command = Command::new(std::env::current_exe().expect("this program"));
        command
            .args(["--cpu", "--name", "w", "--coordinator"])
            .arg(format!("http://127.0.0.1:{}", self.port))
            .arg("--work-dir")
            .arg(self.house.path().join("work"))
            .env("TUTTI_TOKEN", "the-token-of-this-test")
            .env(ACCOUNTS, self.accounts())
            .env(OWED, self.lines.to_string())
            .env(PACE, self.pace.to_string())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(self.log_of("worker.log"));
        self.worker = Some(command.spawn().expect("a worker"));
    }

    fn kill_coordinator(&mut self) {
        let mut process = self.coordinator.take().expect("it runs");
        process.kill().expect("a child");
        process.wait().expect("a child");
    }

    fn kill_worker(&mut self) {
        let mut process = self.worker.take().expect("it runs");
        process.kill().expect("a child");
        process.wait().expect("a child");
    }

    fn signal_coordinator(&self, signal: Signal) {
        let id = self.coordinator.as_ref().map(Child::id).expect("it runs");
        kill(Pid::from_raw(i32::try_from(id).expect("an id")), signal).expect("a child");
    }

    fn written(&self) -> u64 {
        written(&self.accounts()).values().sum()
    }

    /// The logs in the run directory, by `ATTEMPT.RANK`.
    fn logs(&self) -> BTreeMap<String, PathBuf> {
        let mut logs = BTreeMap::new();
        let Ok(tasks) = fs::read_dir(self.house.run_dir().join("logs")) else {
            return logs;
        };
        for task in tasks.flatten() {
            for file in fs::read_dir(task.path()).expect("a folder").flatten() {
                let name = file.file_name().to_string_lossy().into_owned();
                if let Some(place) = name.strip_suffix(".log") {
                    logs.insert(place.to_owned(), file.path());
                }
            }
        }
        logs
    }

    fn until(&self, what: &str, mut holds: impl FnMut() -> bool) {
        let began = Instant::now();
        while !holds() {
            assert!(
                began.elapsed() < ARRIVAL,
                "no {what} within {ARRIVAL:?}\n--- coordinator\n{}\n--- worker\n{}",
                self.tail("coordinator.log"),
                self.tail("worker.log")
            );
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    fn tail(&self, name: &str) -> String {
        let text = fs::read_to_string(self.house.path().join(name)).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(40)..].join("\n")
    }

    /// Waits until every line of every account is in the run directory.
    fn until_all_has_arrived(&self) {
        let mut counts: BTreeMap<String, (u64, u64)> = BTreeMap::new();
        self.until("complete logs", || {
            let logs = self.logs();
            written(&self.accounts()).iter().all(|(place, number)| {
                let Some(path) = logs.get(place) else {
                    return *number == 0;
                };
                // counted again only where it has grown
                let size = fs::metadata(path).map_or(0, |metadata| metadata.len());
                let count = counts.entry(place.clone()).or_default();
                if count.0 != size {
                    let text = fs::read(path).unwrap_or_default();
                    let ends = text.iter().filter(|byte| **byte == b'\n').count();
                    *count = (size, ends as u64);
                }
                count.1 >= *number
            })
        });
    }

    /// That each log holds its rank's lines from the first on, each once. Gives how many there are.
    fn check(&self) -> u64 {
        let written = written(&self.accounts());
        let mut found = 0;
        for (place, path) in self.logs() {
            let text = fs::read_to_string(&path).expect("a log");
            let lines: Vec<&str> = text.lines().collect();
            for (number, shown) in lines.iter().enumerate() {
                let expected = line(&place, number as u64);
                // a kill may have torn the very last write
                let torn = number + 1 == lines.len() && expected.starts_with(shown);
                assert!(
                    *shown == expected || torn,
                    "{}:{}: {shown:?}, expected {expected:?}",
                    path.display(),
                    number + 1
                );
            }
            let known = written.get(&place).copied().unwrap_or_default();
            assert!(
                lines.len() as u64 >= known,
                "{place}: {} of {known}",
                lines.len()
            );
            found += lines.len() as u64;
        }
        found
    }
}

/// Numbers that look random and come again with the same seed.
struct Draws(u64);

impl Draws {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        (self.0 >> 33) % bound
    }
}

fn no_line_is_lost_or_doubled_by_kills_and_outages(lines: u64) {
    let seed = u64::from(std::process::id());
    let mut draws = Draws(seed);
    let began = Instant::now();
    let mut scene = Scene::new(lines, 4);
    let (mut workers, mut coordinators, mut outages) = (0, 0, 0);
    let mut last = 0;
    while scene.written() < lines {
        assert!(
            began.elapsed() < ARRIVAL,
            "{} of {lines} lines written",
            scene.written()
        );
        std::thread::sleep(Duration::from_millis(300 + draws.below(900)));
        let now = scene.written();
        if now == last || now >= lines {
            continue; // a disturbance hits somebody who works
        }
        last = now;
        match draws.below(3) {
            0 => {
                workers += 1;
                scene.kill_worker();
                scene.start_worker();
            }
            1 => {
                coordinators += 1;
                scene.kill_coordinator();
                std::thread::sleep(Duration::from_millis(draws.below(800)));
                scene.start_coordinator();
            }
            _ => {
                outages += 1;
                scene.signal_coordinator(Signal::SIGSTOP);
                std::thread::sleep(Duration::from_millis(200 + draws.below(1000)));
                scene.signal_coordinator(Signal::SIGCONT);
            }
        }
    }
    let wrote = began.elapsed();
    scene.until_all_has_arrived();
    let found = scene.check();
    assert!(found >= lines, "{found} of {lines} lines");
    println!(
        "{found} lines of {} attempts, through {workers} kills of the worker, {coordinators} of the coordinator and {outages} \
         outages (seed {seed}): written after {wrote:.1?}, all there after {:.1?}",
        scene.logs().len(),
        began.elapsed()
    );
}

fn a_follower_hears_every_line_over_attempts_and_restarts() {
    const LINES: u64 = 20_000;
    let mut scene = Scene::new(LINES, 150);
    scene.until("log", || !scene.logs().is_empty());
    let folder = fs::read_dir(scene.house.run_dir().join("logs"));
    let task = folder
        .expect("logs")
        .flatten()
        .next()
        .expect("a task")
        .file_name();
    let heard = scene.house.path().join("heard");
    let mut command = scene.house.coordinator();
    command
        .args(["logs", "-f", "--run-dir"])
        .arg(scene.house.run_dir())
        .arg(&task)
        .env("TUTTI_TOKEN", "the-token-of-this-test")
        .stdin(Stdio::null())
        .stdout(File::create(&heard).expect("a file"))
        .stderr(scene.log_of("follower.log"));
    let mut follower = command.spawn().expect("a follower");
    let lines_heard = || {
        let text = fs::read_to_string(&heard).unwrap_or_default();
        let whole = text.rfind('\n').map_or(0, |end| end + 1);
        text[..whole].lines().map(str::to_owned).collect::<Vec<_>>()
    };
    scene.until("heard lines", || lines_heard().len() > 1000);
    scene.kill_coordinator();
    std::thread::sleep(Duration::from_millis(500));
    scene.start_coordinator();
    let before = lines_heard().len();
    scene.until("more heard lines", || lines_heard().len() > before);
    scene.kill_worker();
    scene.start_worker();
    scene.until("all lines written", || scene.written() >= LINES);
    scene.until_all_has_arrived();
    let all = scene.check();
    scene.until("the last line", || lines_heard().len() as u64 >= all);
    let _ = follower.kill();
    let _ = follower.wait();
    let mut next: BTreeMap<String, u64> = BTreeMap::new();
    for shown in lines_heard() {
        let (place, text) = shown.split_once(" | ").expect("ATTEMPT.RANK | LINE");
        let number = next.entry(place.to_owned()).or_default();
        assert!(
            line(place, *number).starts_with(text),
            "{shown:?} instead of line {number} of {place}"
        );
        *number += 1;
    }
    assert!(next.len() >= 2, "heard of one attempt only: {next:?}");
    assert_eq!(next.values().sum::<u64>(), all);
}
