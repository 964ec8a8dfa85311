//! A whole run under fire: coordinator, workers and ranks get `kill -9` and SIGSTOP, their links break; at the end everything is
//! as if nothing had happened.

mod away;
mod crew;
mod schedule;

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use types::Digest;

use crate::house::{Curve, History, House};
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
#[derive(Debug, Clone, Copy)]
pub struct Account {
    /// Kills and freezes of processes.
    pub kills: u32,
    /// Changes of links.
    pub breaks: u32,
    /// Attempts at all tasks, of which so many are one for each task.
    pub attempts: usize,
    /// Tasks of the run.
    pub tasks: usize,
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
    let undisturbed = Remains::read(&house.run_dir());
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
    let disturbed = Remains::read(&house.run_dir());
    undisturbed.assert_same(&disturbed);
    let tasks = history.cluster.tasks(history.run());
    Account {
        kills,
        breaks,
        attempts: tasks.iter().map(|task| task.attempts.len()).sum(),
        tasks: tasks.len(),
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

/// The smoke plan, long enough for so many kills. Gangs are always of the same size: one rank in stage 1, two in stage 2.
fn write_plan(house: &House, kills: u32) {
    let text = house.plan_text();
    assert_eq!(text.matches("gpus = { min = 1, max = 2 }").count(), 2);
    let epochs = 4 + kills / 2;
    let text = text
        .replacen(
            "gpus = { min = 1, max = 2 }",
            "gpus = { min = 1, max = 1 }",
            1,
        )
        .replacen(
            "gpus = { min = 1, max = 2 }",
            "gpus = { min = 2, max = 2 }",
            1,
        )
        .replacen("epochs = 2", &format!("epochs = {epochs}"), 1);
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

/// What a run leaves that must not depend on what happened to it.
struct Remains {
    outputs: BTreeMap<(String, String), Digest>,
    curves: BTreeMap<String, BTreeMap<u64, BTreeMap<String, f64>>>,
}

impl Remains {
    fn read(run_dir: &Path) -> Self {
        let history = History::read(run_dir);
        let mut curves = BTreeMap::new();
        for task in history.cluster.tasks(history.run()) {
            let name = task.task.name.to_string();
            let curve = Curve::read(run_dir, &name);
            curve.assert_whole();
            curves.insert(name, curve.by_step());
        }
        Self {
            outputs: history.outputs(),
            curves,
        }
    }

    fn assert_same(&self, other: &Self) {
        for (name, digest) in &self.outputs {
            assert_eq!(Some(digest), other.outputs.get(name), "{name:?}");
        }
        assert_eq!(self.outputs.len(), other.outputs.len());
        for (task, curve) in &self.curves {
            assert_eq!(Some(curve), other.curves.get(task), "the curve of {task}");
        }
    }
}
