//! The first cause of a gang's failure does not depend on the order in which its ranks' reports arrive.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use control::{
    AttemptOutcome, Cluster, DeviceKind, Input, RankReport, Report, Settings, WorkerDescription,
};
use types::{
    Digest, Failure, FailureClass, Fence, Incarnation, Rank, RunId, TaskGraph, TaskKind, TaskName,
    TaskNode, Timestamp, WorkerId,
};

const RANKS: u32 = 4;
const LIFE: Incarnation = Incarnation(1);

fn worker(rank: u32) -> WorkerId {
    WorkerId::new(format!("w{rank}")).unwrap()
}

/// A cluster whose only task runs as attempt 1 on four workers.
fn gang() -> Cluster {
    let mut cluster = Cluster::new();
    let now = Timestamp(0);
    let settings = Settings::default();
    let started = Input::CoordinatorStarted { settings };
    cluster.apply(now, started).unwrap();
    for rank in 0..RANKS {
        let hello = Input::Hello {
            worker: worker(rank),
            incarnation: LIFE,
            description: WorkerDescription {
                host: "h".to_owned(),
                device: DeviceKind::Cpu,
                device_name: "cpu".to_owned(),
            },
            live: Vec::new(),
        };
        cluster.apply(now, hello).unwrap();
    }
    let node = TaskNode {
        name: TaskName::new("a.train").unwrap(),
        kind: TaskKind::Train,
        inputs: Vec::new(),
        files: BTreeMap::new(),
        outputs: vec!["checkpoint".to_owned()],
        material: Digest::of(b"a"),
        spec: "{}".into(),
        world_sizes: vec![RANKS],
        estimate: Duration::from_secs(1),
        keep_checkpoints: 2,
    };
    let submit = Input::Submit {
        run: RunId(1),
        name: "demo".to_owned(),
        graph: Arc::new(TaskGraph { tasks: vec![node] }),
    };
    cluster.apply(now, submit).unwrap();
    for rank in 0..RANKS {
        report(&mut cluster, rank, RankReport::Started);
    }
    cluster
}

fn report(cluster: &mut Cluster, rank: u32, what: RankReport) {
    let report = Report {
        worker: worker(rank),
        incarnation: LIFE,
        fence: Fence(1),
        rank: Rank(rank),
        what,
    };
    cluster.apply(Timestamp(1), Input::Report(report)).unwrap();
}

fn failed(class: FailureClass) -> RankReport {
    RankReport::Failed {
        failure: Failure::new(class, "why"),
    }
}

/// Every order of so many things.
fn orders(count: usize) -> Vec<Vec<usize>> {
    if count == 0 {
        return vec![Vec::new()];
    }
    let shorter = orders(count - 1);
    let mut all = Vec::new();
    for order in shorter {
        for place in 0..=order.len() {
            let mut longer = order.clone();
            longer.insert(place, count - 1);
            all.push(longer);
        }
    }
    all
}

/// The first cause after these ends, by rank, have arrived in this order.
fn cause(ends: &[RankReport], order: &[usize]) -> Failure {
    let mut cluster = gang();
    for &rank in order {
        report(
            &mut cluster,
            u32::try_from(rank).unwrap(),
            ends[rank].clone(),
        );
    }
    let attempts = cluster.tasks(RunId(1))[0].attempts.clone();
    match attempts[0].ended.clone().unwrap().1 {
        AttemptOutcome::Failed { failure } => failure,
        other => panic!("{other:?}"),
    }
}

#[test]
fn whatever_arrives_first_the_best_evidence_is_the_cause() {
    use FailureClass::{Crash, Hang, Killed, OutOfMemory, PeerLost, TransientIo, WorkerLost};
    // what the ranks of a gang say after the rank in front has died, with what its death did to the others
    let stories = [
        [Killed, PeerLost, PeerLost, PeerLost],
        [Hang, PeerLost, PeerLost, PeerLost],
        [OutOfMemory, PeerLost, Crash, PeerLost],
        [Killed, Crash, TransientIo, PeerLost],
        [Crash, PeerLost, WorkerLost, PeerLost],
        [WorkerLost, PeerLost, PeerLost, PeerLost],
    ];
    let mut told = 0;
    for story in stories {
        for dead in 0..RANKS as usize {
            let mut classes = story;
            classes.swap(0, dead);
            let ends = classes.map(failed);
            for order in orders(RANKS as usize) {
                let cause = cause(&ends, &order);
                assert_eq!(
                    (cause.class, cause.rank.unwrap().0 as usize),
                    (story[0], dead),
                    "{classes:?} arriving as {order:?}"
                );
                told += 1;
            }
        }
    }
    assert_eq!(told, stories.len() * 4 * 24);
}

#[test]
fn ranks_that_stop_as_told_explain_nothing() {
    let ends = [
        RankReport::Stopped,
        failed(FailureClass::Killed),
        RankReport::Stopped,
        RankReport::Stopped,
    ];
    for order in orders(RANKS as usize) {
        // a rank that stops before anybody has told it to is itself a loss, and still not the cause
        assert_eq!(cause(&ends, &order).rank, Some(Rank(1)), "{order:?}");
    }
}

#[test]
fn of_two_equal_causes_the_one_that_nobody_had_told_to_stop_counts() {
    let ends = [
        failed(FailureClass::PeerLost),
        failed(FailureClass::Crash),
        failed(FailureClass::Crash),
        failed(FailureClass::PeerLost),
    ];
    for order in orders(RANKS as usize) {
        let first = order
            .iter()
            .find(|rank| [1, 2].contains(*rank))
            .copied()
            .unwrap();
        let cause = cause(&ends, &order);
        assert_eq!(cause.rank.unwrap().0 as usize, first, "{order:?}");
    }
}
