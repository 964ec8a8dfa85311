//! A whole run under fire: coordinator, workers and ranks get `kill -9` and SIGSTOP, their links break; at the end everything is
//! as if nothing had happened.

mod away;
mod crew;
mod schedule;

use std::collections::BTreeMap;
use std::fs;
use std::time::{Duration, Instant};

use types::TaskKind;

use crate::house::{House, Remains};
pub use away::away;
use crew::Crew;
use schedule::Schedule;

/// How much, and how to repeat it.
#[derive(Debug, Clone, Copy)]
pub struct Options {
    /// So many kills and freezes of processes; links break in between.
    pub kills: u32,
    /// The same seed plans the same faults.
    pub seed: u64,
    /// Workers, each a process of its own with a slot for one device.
    pub workers: usize,
}

/// How it went.
#[derive(Debug, Clone)]
pub struct Account {
    /// Kills and freezes of processes.
    pub kills: u32,
    /// Changes of links.
    pub breaks: u32,
    /// Attempts at all tasks, of which so many are one for each task.
    pub attempts: usize,
    /// Tasks of the run.
    pub tasks: usize,
    /// Attempts at trainings by the size of their gang.
    pub gangs: BTreeMap<usize, usize>,
    /// The undisturbed run.
    pub calm: Duration,
    /// The run under fire.
    pub took: Duration,
}

/// How long a run may take beyond what its faults explain.
const PATIENCE: Duration = Duration::from_secs(900);

/// Runs the smoke plan undisturbed and then under fire, and compares. Every fault is told as it happens.
///
/// # Panics
/// When a promise is broken: a run that does not end well, other digests, other curves, something executed twice, orphans.
pub fn run(options: Options, tell: impl Fn(&str)) -> Account {
    let house = House::new();
    write_plan(&house, options.kills);
    let began = Instant::now();
    Crew::start(&house, options.workers).end(PATIENCE + calm_limit(options.kills));
    let calm = began.elapsed();
    let undisturbed = Remains::of(&house);
    tell(&format!(
        "seed {}: the undisturbed run took {calm:.1?}; now with {} kills and freezes",
        options.seed, options.kills
    ));
    let kept = house.path().join("undisturbed");
    fs::rename(house.run_dir(), kept).expect("the undisturbed run is kept");
    for index in 0..options.workers {
        // nothing of it may help the second one
        let folder = house.path().join("workers").join(format!("w{index}"));
        fs::remove_dir_all(folder).expect("a worker's folder");
    }

    let began = Instant::now();
    let mut crew = Crew::start(&house, options.workers);
    let (kills, breaks) = fire(&mut crew, options, calm, &tell);
    crew.end(PATIENCE + calm * 3);
    let took = began.elapsed();
    let history = house.history();
    history.assert_nothing_ran_twice();
    let disturbed = Remains::of(&house);
    undisturbed.assert_same(&disturbed);
    let tasks = history.cluster.tasks(history.run());
    let mut gangs = BTreeMap::new();
    let trainings = tasks.iter().filter(|task| task.kind == TaskKind::Train);
    for attempt in trainings.flat_map(|task| &task.attempts) {
        *gangs.entry(attempt.gang.len()).or_default() += 1;
    }
    Account {
        kills,
        breaks,
        attempts: tasks.iter().map(|task| task.attempts.len()).sum(),
        tasks: tasks.len(),
        gangs,
        calm,
        took,
    }
}

/// Deals faults until there were enough of them, or the run is over.
fn fire(crew: &mut Crew<'_>, options: Options, calm: Duration, tell: impl Fn(&str)) -> (u32, u32) {
    // a run under fire is slower than a calm one, so all of them fit in
    let pause = calm.mul_f64(0.6) / options.kills.max(1);
    let mut schedule = Schedule::new(options.seed, options.workers, pause);
    let (mut kills, mut breaks) = (0, 0);
    let began = Instant::now();
    while kills < options.kills {
        let Some((pause, fault)) = schedule.next() else {
            break;
        };
        let at = Instant::now() + pause;
        while Instant::now() < at {
            std::thread::sleep(Duration::from_millis(10));
            crew.mend(Instant::now());
        }
        if crew.is_over() {
            break;
        }
        let (on_process, words) = crew.suffer(fault);
        kills += u32::from(on_process);
        breaks += u32::from(!on_process);
        tell(&format!("{:6.1} s  {words}", began.elapsed().as_secs_f64()));
    }
    crew.mend_all();
    (kills, breaks)
}

/// The smoke plan, long enough for so many kills. Gangs are of one rank or two, as workers come and go.
fn write_plan(house: &House, kills: u32) {
    let epochs = format!("epochs = {}", 4 + kills / 2);
    let text = house.plan_text().replacen("epochs = 2", &epochs, 1);
    // a few kills need only half of it
    let text = match text.split_once("\n[[iteration]]\npseudo_labels") {
        Some((first, _)) if kills < 100 => first.to_owned(),
        _ => text,
    };
    house.write_plan(&text);
}

fn calm_limit(kills: u32) -> Duration {
    Duration::from_secs(5) * kills
}
