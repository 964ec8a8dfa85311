//! A hundred gangs, each with one rank that is killed: whatever arrives when, and however the workers' clocks differ, the
//! coordinator's core names the right first cause. Control and the workers' duty are the shipped ones; the network between them,
//! and the rank processes, are played.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use control::{
    Action as Deed, AttemptOutcome, Cluster, DeviceKind, Input as Event, RankReport, Settings,
    WorkerDescription,
};
use duty::protocol::Message;
use duty::{Action, Assignment, Duty, Exit, Happening, Input, Limits, Report, StopMode};
use types::{
    Digest, Failure, FailureClass, Fence, Incarnation, Rank, RunId, TaskGraph, TaskKind, TaskName,
    TaskNode, Timestamp, WorkerId,
};

const LIFE: Incarnation = Incarnation(1);
const LEASE: Duration = Duration::from_secs(120);

/// Numbers that look random and come again with the same seed.
struct Draws(u64);

impl Draws {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % bound
    }
}

/// What is on its way or about to happen, by the true time in milliseconds.
enum Coming {
    /// A report reaches the coordinator.
    Reported(usize, Report),
    /// An order to stop reaches a worker.
    Stop(usize),
    /// Something happens to a rank.
    Rank(usize, Happening),
}

struct World {
    draws: Draws,
    now: u64,
    cluster: Cluster,
    /// By rank, each with how far its clock is ahead of 10 s.
    workers: Vec<(Duty, u64)>,
    alive: Vec<bool>,
    coming: BTreeMap<(u64, u64), Coming>,
    count: u64,
}

fn worker(rank: usize) -> WorkerId {
    WorkerId::new(format!("w{rank}")).unwrap()
}

fn rank(index: usize) -> Rank {
    Rank(u32::try_from(index).unwrap())
}

impl World {
    /// A gang of this size at work.
    fn new(seed: u64, size: usize) -> Self {
        let mut draws = Draws(seed);
        let mut cluster = Cluster::new();
        let start = Timestamp(0);
        let settings = Settings::default();
        cluster
            .apply(start, Event::CoordinatorStarted { settings })
            .unwrap();
        for index in 0..size {
            let hello = Event::Hello {
                worker: worker(index),
                incarnation: LIFE,
                description: WorkerDescription {
                    host: "h".to_owned(),
                    device: DeviceKind::Cpu,
                    device_name: "cpu".to_owned(),
                },
                live: Vec::new(),
            };
            cluster.apply(start, hello).unwrap();
        }
        let node = TaskNode {
            name: TaskName::new("a.train").unwrap(),
            kind: TaskKind::Train,
            inputs: Vec::new(),
            files: BTreeMap::new(),
            outputs: vec!["checkpoint".to_owned()],
            material: Digest::of(b"a"),
            spec: "{}".into(),
            world_sizes: vec![u32::try_from(size).unwrap()],
            estimate: Duration::from_secs(1),
            keep_checkpoints: 2,
        };
        let graph = Arc::new(TaskGraph { tasks: vec![node] });
        let (run, name) = (RunId(1), "demo".to_owned());
        cluster
            .apply(start, Event::Submit { run, name, graph })
            .unwrap();
        let workers = (0..size).map(|index| {
            // five seconds ahead or behind
            let skew = draws.below(10_001);
            let now = Timestamp(skew);
            let mut duty = Duty::new(now, LEASE, Limits::default());
            duty.apply(now, Input::Attached { lost_after: LEASE });
            duty.apply(now, Input::Start(Arc::new(assignment(index, size))));
            for happening in [
                Happening::Fetched(Ok(())),
                Happening::Launched(Ok(())),
                Happening::Said(Message::Met),
            ] {
                let fence = Fence(1);
                duty.apply(now, Input::Rank { fence, happening });
            }
            (duty, skew)
        });
        let workers: Vec<_> = workers.collect();
        let mut world = Self {
            draws,
            now: 0,
            cluster,
            alive: vec![true; size],
            workers,
            coming: BTreeMap::new(),
            count: 0,
        };
        for index in 0..size {
            world.tell_control(index, RankReport::Started);
        }
        world
    }

    fn after(&mut self, milliseconds: u64, what: Coming) {
        self.count += 1;
        self.coming
            .insert((self.now + milliseconds, self.count), what);
    }

    /// The kernel ends a rank; the others' connections to it break.
    fn kill(&mut self, victim: usize) {
        self.alive[victim] = false;
        let exit = Exit {
            signal: Some(9),
            ..Exit::default()
        };
        let log_tail = Vec::new();
        // its worker sees it after some milliseconds, perhaps later than the peers see the broken connection
        let seen = self.draws.below(400);
        self.after(
            seen,
            Coming::Rank(victim, Happening::Exited { exit, log_tail }),
        );
        for peer in (0..self.workers.len()).filter(|peer| *peer != victim) {
            let noticed = self.draws.below(200);
            let failed = Message::Failed {
                class: FailureClass::PeerLost,
                message: "connection closed by peer".to_owned(),
            };
            self.after(noticed, Coming::Rank(peer, Happening::Said(failed)));
            let exit = Exit {
                code: Some(5),
                ..Exit::default()
            };
            let log_tail = Vec::new();
            let gone = noticed + 1 + self.draws.below(300);
            self.after(
                gone,
                Coming::Rank(peer, Happening::Exited { exit, log_tail }),
            );
        }
    }

    /// Lets everything happen; the first cause of the attempt.
    fn end(&mut self) -> Failure {
        while let Some(((at, _), what)) = self.coming.pop_first() {
            self.now = at;
            match what {
                Coming::Reported(index, report) => {
                    let what = match report {
                        Report::Failed(failure) => RankReport::Failed { failure },
                        Report::Stopped => RankReport::Stopped,
                        other => panic!("{other:?}"),
                    };
                    self.tell_control(index, what);
                }
                Coming::Stop(index) => {
                    let (fence, mode) = (Fence(1), StopMode::Now);
                    self.tell_worker(index, Input::Stop { fence, mode });
                }
                Coming::Rank(index, happening) => {
                    let ends = matches!(happening, Happening::Exited { .. });
                    let fence = Fence(1);
                    if ends || self.alive[index] {
                        self.tell_worker(index, Input::Rank { fence, happening });
                    }
                    self.alive[index] &= !ends;
                }
            }
        }
        let attempts = self.cluster.tasks(RunId(1))[0].attempts.clone();
        match attempts[0].ended.clone().unwrap().1 {
            AttemptOutcome::Failed { failure } => failure,
            other => panic!("{other:?}"),
        }
    }

    fn tell_control(&mut self, index: usize, what: RankReport) {
        let report = control::Report {
            worker: worker(index),
            incarnation: LIFE,
            fence: Fence(1),
            rank: rank(index),
            what,
        };
        let deeds = self
            .cluster
            .apply(Timestamp(self.now), Event::Report(report))
            .unwrap();
        for deed in deeds {
            if let Deed::StopRank { worker: name, .. } = deed {
                let told = (0..self.workers.len())
                    .find(|index| worker(*index) == name)
                    .unwrap();
                let delay = self.draws.below(100);
                self.after(delay, Coming::Stop(told));
            }
        }
    }

    fn tell_worker(&mut self, index: usize, input: Input) {
        let (duty, skew) = &mut self.workers[index];
        let now = Timestamp(self.now + *skew);
        for action in duty.apply(now, input) {
            match action {
                Action::Send(numbered) if numbered.report.is_end() => {
                    let delay = self.draws.below(500);
                    self.after(delay, Coming::Reported(index, numbered.report));
                }
                Action::Rank {
                    deed: duty::Deed::Kill,
                    ..
                } if self.alive[index] => {
                    self.alive[index] = false;
                    let exit = Exit {
                        signal: Some(9),
                        by_order: true,
                        ..Exit::default()
                    };
                    let log_tail = Vec::new();
                    let gone = 1 + self.draws.below(50);
                    self.after(
                        gone,
                        Coming::Rank(index, Happening::Exited { exit, log_tail }),
                    );
                }
                _ => {}
            }
        }
    }
}

fn assignment(index: usize, size: usize) -> Assignment {
    Assignment {
        fence: Fence(1),
        task: TaskName::new("a.train").unwrap(),
        rank: rank(index),
        world_size: u32::try_from(size).unwrap(),
        spec: types::TaskSpec::PseudoLabel(types::PseudoLabelSpec {
            iteration: 1,
            members: std::collections::BTreeSet::new(),
            splits: BTreeMap::new(),
        }),
        inputs: BTreeMap::new(),
        outputs: vec!["checkpoint".to_owned()],
        resume: None,
        manifest: None,
    }
}

#[test]
fn a_hundred_of_a_hundred_deaths_are_told_right() {
    for seed in 0..100 {
        let mut draws = Draws(seed ^ 0xdead);
        let size = 2 + usize::try_from(draws.below(4)).unwrap();
        let victim = usize::try_from(draws.below(size as u64)).unwrap();
        let mut world = World::new(seed, size);
        world.kill(victim);
        let cause = world.end();
        assert_eq!(
            (cause.class, cause.rank, cause.signal),
            (FailureClass::Killed, Some(rank(victim)), Some(9)),
            "seed {seed}, gang of {size}: {cause}"
        );
    }
}
