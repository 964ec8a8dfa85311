use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

use super::schedule::{Fault, Target};
use crate::house::{House, Link, Process, Weather, of_house, ranks_below, send};

/// A coordinator and its workers, each worker a process of its own behind a link of its own. What is killed is started again.
#[derive(Debug)]
pub(crate) struct Crew<'a> {
    house: &'a House,
    coordinator: Process,
    workers: Vec<Post>,
    /// What is bad now and until when.
    troubles: Vec<(Instant, Trouble)>,
}

#[derive(Debug)]
struct Post {
    name: String,
    link: Link,
    process: Process,
}

#[derive(Debug, Clone, Copy)]
enum Trouble {
    Frozen(u32),
    Weather(usize),
}

impl<'a> Crew<'a> {
    /// Starts everybody.
    pub(crate) fn start(house: &'a House, workers: usize) -> Self {
        let coordinator = house.run_with(&[]);
        let workers = (0..workers)
            .map(|index| {
                let (name, link) = (format!("w{index}"), house.link());
                Post {
                    process: house.worker(&name, &link),
                    name,
                    link,
                }
            })
            .collect();
        Self {
            house,
            coordinator,
            workers,
            troubles: Vec::new(),
        }
    }

    /// Whether the coordinator has ended by itself.
    pub(crate) fn is_over(&mut self) -> bool {
        !self.coordinator.is_running()
    }

    /// Does it. Whether it hit a process; in words.
    pub(crate) fn suffer(&mut self, fault: Fault) -> (bool, String) {
        match fault {
            Fault::Kill(target) => (true, format!("kill -9 of {}", self.kill(target))),
            Fault::Freeze(target, duration) => {
                let (id, name) = self.find(target);
                self.freeze(id, duration);
                (true, format!("{name} is frozen for {duration:.1?}"))
            }
            Fault::Weather(index, weather, duration) => {
                self.workers[index].link.set(weather);
                // a later change of the same link ends with the earlier one's end, if that comes first
                let until = Instant::now() + duration;
                self.troubles.push((until, Trouble::Weather(index)));
                let words = format!("the link of w{index} is {weather:?} for {duration:.1?}");
                (false, words)
            }
        }
    }

    fn find(&self, target: Target) -> (u32, String) {
        match target {
            Target::Coordinator => (self.coordinator.id(), "the coordinator".to_owned()),
            Target::Worker(index) => {
                let post = &self.workers[index];
                (post.process.id(), format!("worker {}", post.name))
            }
            Target::Rank(index) => match ranks_below(self.workers[index].process.id()).pop() {
                Some(rank) => (rank.id, format!("rank process {} of w{index}", rank.id)),
                None => self.find(Target::Worker(index)),
            },
        }
    }

    fn kill(&mut self, target: Target) -> String {
        let (id, name) = self.find(target);
        if id == self.coordinator.id() {
            // a dead coordinator's port must not be taken for the new one's
            let _ = std::fs::remove_file(self.house.run_dir().join("address"));
            self.coordinator.replace(|| self.house.run_with(&[]));
        } else if let Some(post) = self.workers.iter_mut().find(|post| post.process.id() == id) {
            let (name, link) = (&post.name, &post.link);
            post.process.replace(|| self.house.worker(name, link));
        } else {
            // a rank: its worker sees to what follows. It may have ended since it was found.
            let _ = nix::sys::signal::kill(
                nix::unistd::Pid::from_raw(i32::try_from(id).expect("process ids fit")),
                Signal::SIGKILL,
            );
        }
        name
    }

    fn freeze(&mut self, id: u32, duration: Duration) {
        self.signal_if_there(id, Signal::SIGSTOP);
        self.troubles
            .push((Instant::now() + duration, Trouble::Frozen(id)));
    }

    /// Only processes of this house are ever told anything, also where an id was taken again.
    fn signal_if_there(&self, id: u32, signal: Signal) {
        if of_house(self.house.path()).iter().any(|seen| seen.id == id) {
            send(id, signal);
        }
    }

    /// Ends troubles whose time is over.
    pub(crate) fn mend(&mut self, now: Instant) {
        let (over, going_on) = self
            .troubles
            .drain(..)
            .partition(|(until, _)| *until <= now);
        self.troubles = going_on;
        let over: Vec<(Instant, Trouble)> = over;
        for (_, trouble) in over {
            match trouble {
                Trouble::Frozen(id) => self.signal_if_there(id, Signal::SIGCONT),
                Trouble::Weather(index) => self.workers[index].link.set(Weather::Fair),
            }
        }
    }

    /// Ends all troubles.
    pub(crate) fn mend_all(&mut self) {
        if let Some(last) = self.troubles.iter().map(|(until, _)| *until).max() {
            self.mend(last);
        }
    }

    /// Waits for the run's end, lets the workers leave, and looks for whoever is left.
    pub(crate) fn end(self, limit: Duration) {
        let ended = self.coordinator.wait(limit);
        assert!(ended.status.success(), "{}", ended.all());
        for post in &self.workers {
            post.process.signal(Signal::SIGTERM);
        }
        for post in self.workers {
            let left = post.process.wait(Duration::from_secs(30));
            assert!(left.status.success(), "{}: {}", post.name, left.all());
        }
        let deadline = Instant::now() + Duration::from_secs(2);
        loop {
            let left = of_house(self.house.path());
            if left.is_empty() {
                return;
            }
            assert!(Instant::now() < deadline, "orphans: {left:#?}");
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}
