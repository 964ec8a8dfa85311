//! Random lives of a cluster. After each input, whatever it was: the state after a rejected input is the one before; a twin
//! that gets the durable inputs alone is equal; and the actions, followed by an independent ledger, never put two live gangs
//! on one task or one device, never a part of a gang, never take a result from an old fence, and never a second one.
//!
//! The case count is split over several tests so that they run beside each other; together they are 100,000 sequences.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod ledger;

use std::sync::Arc;
use std::time::Duration;

use control::{
    Action, Cluster, DeviceKind, Input, LiveRank, RankReport, Record, Report, RunOutcome, Settings,
    TaskState, WaitingFor, WorkerDescription,
};
use proptest::prelude::*;
use types::{
    Digest, Failure, FailureClass, Fence, Incarnation, Rank, RunId, SlotKind, Step, TaskGraph,
    TaskId, WorkerId,
};

use ledger::Ledger;

const GRAPHS: [&str; 3] = [
    "train a sizes=1,2,3 takes=60\ntrain b sizes=2 takes=50\npredict c x=a\nevaluate d x=c\npredict e x=b takes=5",
    "train a sizes=1,2,3 takes=60\ntrain b sizes=2 as=b2 takes=50\npredict c x=a\nevaluate d x=c y=b\ntrain f as=a takes=1",
    "train w sizes=3 takes=9\ntrain x\ntrain y\npseudo_label z p=x q=y\ntrain v init=w labels=z sizes=1,2",
];
const WORKERS: usize = 4;

/// Three random bytes; what they mean depends on the state, so that most inputs are plausible ones.
type Dice = (u8, u8, u8);

struct World {
    live: Cluster,
    /// Gets the durable inputs alone.
    twin: Cluster,
    journal: Vec<Record>,
    clock: testkit::Clock,
    graphs: Vec<Arc<TaskGraph>>,
    /// The newest life of each worker.
    lives: [u64; WORKERS],
    ledger: Ledger,
    drained: bool,
    /// Faults are over; reasons, which are costly to look at, have been looked at enough.
    calm: bool,
}

fn settings() -> Settings {
    Settings {
        gather: Duration::from_millis(500),
        lost_after: Duration::from_secs(20),
        ..Settings::default()
    }
}

fn worker_id(index: usize) -> WorkerId {
    WorkerId::new(format!("w{index}")).unwrap()
}

fn index_of(worker: &WorkerId) -> usize {
    (0..WORKERS)
        .find(|index| worker_id(*index) == *worker)
        .unwrap()
}

impl World {
    fn new() -> Self {
        let graphs = GRAPHS
            .iter()
            .map(|text| Arc::new(testkit::graph(text).unwrap()))
            .collect();
        let mut world = Self {
            live: Cluster::new(),
            twin: Cluster::new(),
            journal: Vec::new(),
            clock: testkit::Clock::default(),
            graphs,
            lives: [1; WORKERS],
            ledger: Ledger::default(),
            drained: false,
            calm: false,
        };
        world.apply(Input::CoordinatorStarted {
            settings: settings(),
        });
        world.submit(0);
        world
    }

    /// Applies one input and checks everything.
    fn apply(&mut self, input: Input) {
        let now = self.clock.now();
        if let Ok(actions) = self.live.apply(now, input.clone()) {
            if input.is_durable() {
                self.twin
                    .apply(now, input.clone())
                    .expect("the twin takes what the live one took");
            }
            self.ledger.accepted(&input);
            self.drained |= actions.contains(&Action::Drained);
            self.ledger.perform(&actions);
            if input.is_durable() {
                self.journal.push(Record { at: now, input });
            }
        }
        assert!(
            self.live == self.twin,
            "rejected inputs and heartbeats leave the state alone, and replay gives it back"
        );
        if !self.calm {
            self.check_reasons();
        }
    }

    /// Every task that neither runs nor is final has a reason, and one that fits.
    fn check_reasons(&self) {
        for run in self.live.runs().iter().rev().take(2) {
            for task in self.live.tasks(run.run) {
                let fits = match (&task.state, &task.waiting) {
                    (TaskState::Blocked, WaitingFor::Inputs { tasks }) => !tasks.is_empty(),
                    (TaskState::Ready, WaitingFor::Slots { free, need, .. }) => free < need,
                    (TaskState::Ready, WaitingFor::Workers { have, need, .. }) => have < need,
                    (TaskState::Ready, WaitingFor::Shutdown) => self.live.is_stopping(),
                    (
                        TaskState::Assigned | TaskState::Running,
                        WaitingFor::Stopping { remaining, .. }
                        | WaitingFor::Closing { remaining, .. },
                    ) => !remaining.is_empty(),
                    (TaskState::Assigned, WaitingFor::Meeting { missing, .. }) => {
                        !missing.is_empty()
                    }
                    (TaskState::Blocked, WaitingFor::FailedInput { .. })
                    | (
                        TaskState::Ready,
                        WaitingFor::BackOff { .. }
                        | WaitingFor::SameWork { .. }
                        | WaitingFor::Gathering { .. }
                        | WaitingFor::Reserved { .. },
                    )
                    | (TaskState::Assigned | TaskState::Running, WaitingFor::SilentWorker { .. })
                    | (TaskState::Running, WaitingFor::Running { .. })
                    | (TaskState::Done, WaitingFor::Done { .. })
                    | (TaskState::Failed, WaitingFor::Failed { .. })
                    | (TaskState::Cancelled, WaitingFor::RunEnded { .. }) => true,
                    _ => false,
                };
                assert!(
                    fits,
                    "{} is {}, and the reason given is: {}",
                    task.task, task.state, task.waiting
                );
                assert!(!task.waiting.to_string().is_empty());
            }
        }
    }

    fn pass(&mut self, duration: Duration) {
        let end = self.clock.now().after(duration);
        let mut rounds = 0;
        while let Some(deadline) = self
            .live
            .next_deadline()
            .filter(|deadline| *deadline <= end)
        {
            let now = self.clock.advance_to(deadline);
            let due = self.live.due(now);
            assert!(!due.is_empty(), "a deadline at which nothing is due");
            rounds += 1;
            assert!(rounds < 10_000, "time does not get on");
            for input in due {
                self.apply(input);
            }
        }
        self.clock.advance_to(end);
    }

    fn submit(&mut self, graph: u8) {
        let graph = self.graphs[usize::from(graph) % self.graphs.len()].clone();
        self.apply(Input::Submit {
            run: self.live.next_run(),
            name: "p".to_owned(),
            graph,
        });
    }

    fn hello(&mut self, index: usize, new_life: bool, forgets: u8) {
        let life = &mut self.lives[index];
        *life += u64::from(new_life);
        let incarnation = Incarnation(*life);
        let worker = worker_id(index);
        let held = if new_life {
            Vec::new()
        } else {
            self.ledger.held(&worker)
        };
        // A command can get lost on its way, and the end of a rank is sometimes still on its way here.
        let live = held
            .into_iter()
            .enumerate()
            .filter(|(bit, _)| forgets & (1 << bit) == 0);
        let live = live
            .map(|(_, (slot, fence, rank))| LiveRank { fence, rank, slot })
            .collect();
        let device = if index == WORKERS - 1 {
            DeviceKind::Cuda
        } else {
            DeviceKind::Cpu
        };
        let description = WorkerDescription {
            host: format!("h{}", index % 2),
            device,
            device_name: "a device".to_owned(),
        };
        self.apply(Input::Hello {
            worker,
            incarnation,
            description,
            live,
        });
    }

    /// A worker that holds a rank which it should not hold, and nothing else.
    fn hello_with_stranger(&mut self, index: usize, b: u8) {
        let fence = Fence(u64::from(b % 8));
        // Of a live attempt only a rank that it does not have; others may be its own.
        let rank = if self.live.live_attempt(fence).is_some() {
            Rank(7)
        } else {
            Rank(u32::from(b / 8 % 2))
        };
        let slot = if b < 192 {
            SlotKind::Device
        } else {
            SlotKind::Host
        };
        self.apply(Input::Hello {
            worker: worker_id(index),
            incarnation: Incarnation(self.lives[index]),
            description: WorkerDescription {
                host: "h9".to_owned(),
                device: DeviceKind::Cpu,
                device_name: String::new(),
            },
            live: vec![LiveRank { fence, rank, slot }],
        });
    }

    fn report(&mut self, (what, which, value): Dice) {
        let known = self.ledger.seats();
        let Some((worker, fence, rank)) =
            known.get(usize::from(which) % known.len().max(1)).cloned()
        else {
            return;
        };
        // Now and then a report of an old attempt, or of another's seat.
        let fence = if value % 16 == 15 {
            Fence(fence.0.saturating_sub(u64::from(value / 16)))
        } else {
            fence
        };
        let rank = if value % 32 == 14 {
            Rank(rank.0 + 1)
        } else {
            rank
        };
        let index = index_of(&worker);
        let what = match what % 16 {
            0..=4 => RankReport::Started,
            5 | 6 => RankReport::Checkpoint {
                step: Step(u64::from(value)),
                digest: Digest::of(&[value]),
            },
            7..=11 => self.finish(fence, rank),
            12 => RankReport::Stopped,
            _ => RankReport::Failed {
                failure: Failure::new(CLASSES[usize::from(value) % CLASSES.len()], "dice"),
            },
        };
        let incarnation = Incarnation(self.lives[index]);
        self.apply(Input::Report(Report {
            worker,
            incarnation,
            fence,
            rank,
            what,
        }));
    }

    fn finish(&self, fence: Fence, rank: Rank) -> RankReport {
        let declared = self.ledger.outputs(fence);
        let outputs = declared.iter().filter(|_| rank == Rank(0));
        // The fence is in the result, so that a result shows which attempt made it.
        RankReport::Finished {
            outputs: outputs
                .map(|name| (name.clone(), Digest::of(&fence.0.to_le_bytes())))
                .collect(),
        }
    }

    fn roll(&mut self, (kind, a, b): Dice) {
        let index = usize::from(a) % WORKERS;
        let worker = worker_id(index);
        let incarnation = Incarnation(self.lives[index]);
        match kind % 64 {
            0..=5 => self.hello(index, false, 0),
            6 => self.hello(index, false, b),
            7 => self.hello(index, true, 0),
            8..=13 => self.apply(Input::Heard {
                worker,
                incarnation,
            }),
            14 => self.apply(Input::Goodbye {
                worker,
                incarnation,
            }),
            15 => self.apply(Input::Exited {
                worker,
                incarnation,
                detail: "dice".to_owned(),
            }),
            16 => self.apply(Input::Drain { worker }),
            17 if b < 64 => self.apply(Input::Quarantine {
                worker,
                incarnation,
                reason: "dice".to_owned(),
            }),
            18..=44 => self.report((a, b, kind.wrapping_mul(37).wrapping_add(b))),
            45..=48 => self.pass(Duration::from_millis(u64::from(b) * 10)),
            49 => self.pass(Duration::from_secs(u64::from(b) / 4)),
            50 if b < 96 => self.submit(a),
            51 if b < 64 => self.apply(Input::CancelRun {
                run: RunId(u64::from(a % 3)),
            }),
            52 | 53 => self.retry(a, b),
            54 => self.apply(Input::ArtifactLost {
                digest: Digest::of(&u64::from(b % 8).to_le_bytes()),
            }),
            55 if b < 64 => self.apply(Input::Shutdown),
            56 => self.apply(Input::CoordinatorStarted {
                settings: settings(),
            }),
            57 => self.hello_with_stranger(index, b),
            58 => self.apply(Input::LeaseEnded {
                worker,
                incarnation,
            }),
            59 => self.apply(Input::WorkerSilent {
                worker,
                incarnation,
            }),
            60 => self.apply(Input::Tick),
            _ => self.report((a % 12, b, 0)),
        }
    }

    fn retry(&mut self, a: u8, b: u8) {
        let runs = self.live.runs();
        let Some(run) = runs.get(usize::from(a) % runs.len().max(1)) else {
            return;
        };
        let tasks = self.live.tasks(run.run);
        let task = tasks[usize::from(b) % tasks.len()].task.clone();
        self.apply(Input::Retry { task });
    }

    /// No more faults: fresh workers that do what they are told. The run has to end.
    fn calm_down(&mut self) {
        self.calm = true;
        for index in 0..WORKERS {
            self.lives[index] += 300;
            self.hello(index, true, 0);
        }
        self.apply(Input::CoordinatorStarted {
            settings: settings(),
        });
        self.submit(0);
        for _ in 0..100 {
            if self
                .live
                .runs()
                .last()
                .is_some_and(|run| run.ended.is_some())
            {
                break;
            }
            // Heartbeats alone: whatever waits has to be woken by its deadline.
            for (index, life) in self.lives.into_iter().enumerate() {
                self.apply(Input::Heard {
                    worker: worker_id(index),
                    incarnation: Incarnation(life),
                });
            }
            for (worker, fence, rank) in self.ledger.seats() {
                let index = index_of(&worker);
                let incarnation = Incarnation(self.lives[index]);
                let what = self.finish(fence, rank);
                self.apply(Input::Report(Report {
                    worker,
                    incarnation,
                    fence,
                    rank,
                    what,
                }));
            }
            self.pass(Duration::from_secs(3));
        }
        let latest = self.live.runs().pop().unwrap();
        assert_eq!(
            latest.ended.map(|(_, outcome)| outcome),
            Some(RunOutcome::Done),
            "{:#?}",
            self.live.tasks(latest.run)
        );
        self.drained = false;
        self.apply(Input::Shutdown);
        assert!(
            self.drained,
            "nothing runs, so a shutdown is complete at once"
        );
    }

    /// What the journal would give back after a restart.
    fn check_replay(&self) {
        let mut replayed = Cluster::new();
        for record in &self.journal {
            let record = Record::from_json(&record.to_json().unwrap()).unwrap();
            replayed.apply(record.at, record.input).unwrap();
        }
        assert!(
            replayed == self.live,
            "the replay differs from the live state"
        );
    }
}

const CLASSES: [FailureClass; 11] = [
    FailureClass::Killed,
    FailureClass::PeerLost,
    FailureClass::Crash,
    FailureClass::WorkerLost,
    FailureClass::TransientIo,
    FailureClass::NotANumber,
    FailureClass::Artifact,
    FailureClass::OutOfMemory,
    FailureClass::Configuration,
    FailureClass::Hang,
    FailureClass::Data,
];

fn config() -> ProptestConfig {
    ProptestConfig {
        cases: 25_000,
        failure_persistence: None,
        max_shrink_iters: 20_000,
        ..ProptestConfig::default()
    }
}

fn live(dice: Vec<Dice>) {
    let mut world = World::new();
    for index in 0..WORKERS - 1 {
        world.hello(index, false, 0);
    }
    for roll in dice {
        world.roll(roll);
    }
    world.calm_down();
    // The twin has followed all the way; reading the records back in their written form is checked on some.
    if world.journal.len().is_multiple_of(4) {
        world.check_replay();
    }
}

fn dice(length: std::ops::Range<usize>) -> impl Strategy<Value = Vec<Dice>> {
    proptest::collection::vec(any::<Dice>(), length)
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn short_lives_keep_every_promise(dice in dice(0..12)) {
        live(dice);
    }

    #[test]
    fn middling_lives_keep_every_promise(dice in dice(5..25)) {
        live(dice);
    }

    #[test]
    fn long_lives_keep_every_promise(dice in dice(10..40)) {
        live(dice);
    }

    #[test]
    fn very_long_lives_keep_every_promise(dice in dice(20..60)) {
        live(dice);
    }
}

/// A task id that no run has: the views answer all the same.
#[test]
fn what_does_not_exist_is_said_not_to() {
    let world = World::new();
    let task = TaskId {
        run: RunId(9),
        name: types::TaskName::new("a").unwrap(),
    };
    assert_eq!(world.live.explain(&task), WaitingFor::NoSuchTask);
    assert!(
        world.live.task(&task).is_none()
            && world.live.tasks(RunId(9)).is_empty()
            && world.live.graph(RunId(9)).is_none()
    );
}
