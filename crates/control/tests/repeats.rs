//! What is said twice counts once, however late it arrives, also after a restart: users' calls, a rank's end.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::sync::Arc;

use control::{
    Action, Cluster, DeviceKind, Input, LiveRank, RankReport, Record, Rejection, Report, Settings,
    WorkerDescription, WorkerState,
};
use types::{
    CallId, Digest, Fence, Incarnation, Rank, RunId, SlotKind, TaskGraph, Timestamp, WorkerId,
};

/// A cluster, and the texts that a journal would have of it.
#[derive(Default)]
struct Scene {
    cluster: Cluster,
    journal: Vec<String>,
    now: u64,
}

impl Scene {
    fn apply(&mut self, input: Input) -> Result<usize, Rejection> {
        self.actions(input).map(|actions| actions.len())
    }

    fn actions(&mut self, input: Input) -> Result<Vec<Action>, Rejection> {
        self.now += 1;
        let at = Timestamp(self.now);
        let record = Record {
            at,
            input: input.clone(),
        };
        let actions = self.cluster.apply(at, input)?;
        self.journal.push(record.to_json().unwrap());
        Ok(actions)
    }

    fn called(&mut self, call: &str, input: Input) -> Result<usize, Rejection> {
        self.apply(Input::Called {
            call: CallId::new(call).unwrap(),
            wish: Box::new(input),
        })
    }

    fn submit(&mut self, call: &str, graph: &Arc<TaskGraph>) -> RunId {
        let run = self.cluster.next_run();
        let (name, graph) = ("plan".to_owned(), Arc::clone(graph));
        self.called(call, Input::Submit { run, name, graph })
            .unwrap();
        self.cluster
            .obeyed(&CallId::new(call).unwrap())
            .unwrap()
            .unwrap()
    }

    fn hello(&mut self, life: u64) {
        self.says_hello(life, Vec::new());
    }

    fn says_hello(&mut self, life: u64, live: Vec<LiveRank>) -> Vec<Action> {
        let hello = Input::Hello {
            worker: worker(),
            incarnation: Incarnation(life),
            description: WorkerDescription {
                host: "h".to_owned(),
                device: DeviceKind::Cpu,
                device_name: "cpu".to_owned(),
            },
            live,
        };
        self.actions(hello).unwrap()
    }

    /// What a restarted coordinator would know.
    fn restart(&mut self) {
        let mut cluster = Cluster::new();
        for text in &self.journal {
            let record = Record::from_json(text).unwrap();
            cluster.apply(record.at, record.input).unwrap();
        }
        assert_eq!(cluster, self.cluster);
        self.cluster = cluster;
    }
}

fn worker() -> WorkerId {
    WorkerId::new("w").unwrap()
}

fn graph(text: &str) -> Arc<TaskGraph> {
    Arc::new(testkit::graph(text).unwrap())
}

#[test]
fn a_late_repetition_of_a_submission_does_not_supersede_what_came_after_it() {
    let mut scene = Scene::default();
    let settings = Settings::default();
    scene.apply(Input::CoordinatorStarted { settings }).unwrap();
    let (one, other) = (graph("train a"), graph("train b"));
    let first = scene.submit("c1", &one);
    let second = scene.submit("c2", &other);
    scene.restart();
    assert_eq!(scene.submit("c1", &one), first, "the same answer");
    assert_eq!(scene.cluster.runs().len(), 2);
    assert!(scene.cluster.run(second).unwrap().ended.is_none());
}

#[test]
fn a_late_repetition_of_a_drain_leaves_the_next_life_of_the_worker_alone() {
    let mut scene = Scene::default();
    scene.hello(1);
    let drain = || Input::Drain { worker: worker() };
    scene.called("d1", drain()).unwrap();
    let goodbye = Input::Goodbye {
        worker: worker(),
        incarnation: Incarnation(1),
    };
    scene.apply(goodbye).unwrap();
    scene.hello(2);
    scene.restart();
    assert_eq!(scene.called("d1", drain()), Ok(0));
    assert_eq!(scene.cluster.workers()[0].state, WorkerState::Idle);
    scene.called("d2", drain()).unwrap();
    assert_eq!(scene.cluster.workers()[0].state, WorkerState::Draining);
}

#[test]
fn a_call_that_was_rejected_may_be_made_again() {
    let mut scene = Scene::default();
    let cancel = || Input::CancelRun { run: RunId(1) };
    assert!(scene.called("x", cancel()).is_err());
    assert_eq!(scene.cluster.obeyed(&CallId::new("x").unwrap()), None);
    scene.submit("s", &graph("train a"));
    scene.called("x", cancel()).unwrap();
    assert!(scene.cluster.run(RunId(1)).unwrap().ended.is_some());
}

/// A worker that finished one task, was given the next, and lost its connection before it heard of either.
#[test]
fn an_end_whose_acknowledgement_got_lost_does_not_block_the_slot_of_what_came_next() {
    let mut scene = Scene::default();
    let settings = Settings::default();
    scene.apply(Input::CoordinatorStarted { settings }).unwrap();
    scene.submit("s", &graph("train a\ntrain b"));
    scene.hello(1);
    let (fence, next, rank) = (Fence(1), Fence(2), Rank(0));
    let outputs = [("checkpoint".to_owned(), Digest::of(b"c"))].into();
    scene
        .apply(Input::Report(Report {
            worker: worker(),
            incarnation: Incarnation(1),
            fence,
            rank,
            what: RankReport::Finished { outputs },
        }))
        .unwrap();
    assert!(scene.cluster.live_attempt(next).is_some());
    let echo = LiveRank {
        fence,
        rank,
        slot: SlotKind::Device,
    };
    let actions = scene.says_hello(1, vec![echo]);
    let starts_again =
        |action: &Action| matches!(action, Action::StartRank(start) if start.fence == next);
    assert!(actions.iter().any(starts_again), "{actions:#?}");
    let stops = actions
        .iter()
        .any(|action| matches!(action, Action::StopRank { .. }));
    assert!(!stops, "{actions:#?}");
    assert!(scene.cluster.live_attempt(next).is_some());
    scene.restart();
}
