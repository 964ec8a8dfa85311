use std::path::PathBuf;
use std::time::Duration;

use nix::sys::signal::Signal;

use super::{Curve, History, House, Process, Seen, ranks_below};

/// How long something may take that a machine at rest does in a moment.
pub const SOON: Duration = Duration::from_secs(60);

/// Trainings that go on for longer than any test, one for each worker.
pub struct Endless {
    /// Where.
    pub house: House,
    /// `coordinator --plan …` without workers of its own.
    pub coordinator: Process,
}

/// One of the trainings, as the journal and the run directory know it.
#[derive(Debug)]
pub struct Known {
    /// What control knows.
    pub view: control::TaskView,
    /// What the run directory has of its curve.
    pub curve: Curve,
}

impl Endless {
    /// Starts the coordinator.
    pub fn start() -> Self {
        let house = House::new();
        let text = house
            .plan_text()
            .replacen("epochs = 2", "epochs = 100000", 1);
        house.write_plan(&text);
        let coordinator = house.run_with(&[]);
        Self { house, coordinator }
    }

    fn run_dir(&self) -> PathBuf {
        self.house.run_dir()
    }

    /// Waits until this worker's rank has committed a checkpoint; gives the rank and its task's name.
    pub fn rank_of(&mut self, worker: &str, process: &Process) -> (Seen, String) {
        let run_dir = self.run_dir();
        let what = format!("a checkpoint made on {worker}");
        self.coordinator.until(&what, SOON, || {
            let history = History::so_far(&run_dir)?;
            let run = history.cluster.runs().pop()?.run;
            let task = history.cluster.tasks(run).into_iter().find(|task| {
                let live = task.attempts.last();
                let live = live.filter(|attempt| attempt.ended.is_none());
                let own = live.filter(|attempt| attempt.gang[0].worker.as_str() == worker);
                let before = own.and_then(|attempt| attempt.resumed);
                own.is_some() && task.checkpoint.map(|one| one.step) > before.map(|one| one.step)
            })?;
            Some((ranks_below(process.id()).pop()?, task.task.name.to_string()))
        })
    }

    /// What is known of a training.
    pub fn known(&self, task: &str) -> Known {
        Known {
            view: self.house.history().task(task),
            curve: Curve::read(&self.run_dir(), task),
        }
    }

    /// Waits until a training has got further than `step`.
    pub fn until_beyond(&mut self, task: &str, step: u64) {
        let run_dir = self.run_dir();
        self.coordinator
            .until(&format!("step {}", step + 1), SOON, || {
                (Curve::read(&run_dir, task).last_step() > step).then_some(())
            });
    }

    /// `kill -9` of the coordinator, which is away for so long.
    pub fn be_away(&mut self, duration: Duration) {
        // a dead coordinator's port must not be taken for the new one's
        let _ = std::fs::remove_file(self.run_dir().join("address"));
        let house = &self.house;
        self.coordinator.replace(|| {
            std::thread::sleep(duration);
            house.run_with(&[])
        });
    }

    /// Ctrl-C to the coordinator, which stops in order.
    pub fn stop(self) -> House {
        self.coordinator.signal(Signal::SIGINT);
        let stopped = self.coordinator.wait(SOON);
        assert_eq!(stopped.status.code(), Some(130), "{}", stopped.all());
        self.house
    }
}
