//! A restart with a long journal: the state is the same, and a worker gets its rank again.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use control::{
    Action, Cluster, DeviceKind, Input, RankReport, Record, Report, Settings, StartRank,
    WorkerDescription,
};
use journal::{Journal, SqliteJournal};
use types::{Digest, Incarnation, RunId, Timestamp, WorkerId};

const TASKS: usize = 10_000;

struct Coordinator {
    cluster: Cluster,
    records: Vec<Record>,
    now: Timestamp,
    starts: Vec<StartRank>,
}

impl Coordinator {
    fn apply(&mut self, input: Input) {
        self.now = self.now.after(Duration::from_millis(1));
        let actions = self.cluster.apply(self.now, input.clone()).unwrap();
        self.records.push(Record {
            at: self.now,
            input,
        });
        self.starts
            .extend(actions.into_iter().filter_map(|action| match action {
                Action::StartRank(start) => Some(start),
                _ => None,
            }));
    }

    fn hello(&mut self, index: usize) {
        let worker = WorkerId::new(format!("w{index}")).unwrap();
        let description = WorkerDescription {
            host: "h".into(),
            device: DeviceKind::Cpu,
            device_name: "cpu".into(),
        };
        self.apply(Input::Hello {
            worker,
            incarnation: Incarnation(1),
            description,
            live: Vec::new(),
        });
    }

    /// The oldest rank that was started does its work.
    fn work(&mut self) {
        let start = self.starts.remove(0);
        let output = Digest::of(&start.fence.0.to_le_bytes());
        let reports = [
            RankReport::Started,
            RankReport::Finished {
                outputs: BTreeMap::from([(start.outputs[0].clone(), output)]),
            },
        ];
        for what in reports {
            let (worker, incarnation) = (start.worker.clone(), start.incarnation);
            self.apply(Input::Report(Report {
                worker,
                incarnation,
                fence: start.fence,
                rank: start.rank,
                what,
            }));
        }
    }
}

#[test]
fn ten_thousand_tasks_are_taken_up_again_at_once() {
    let chains = (0..TASKS / 2)
        .map(|index| format!("train t{index}\npredict p{index} checkpoint=t{index}\n"));
    let graph = Arc::new(testkit::graph(&chains.collect::<String>()).unwrap());
    let mut live = Coordinator {
        cluster: Cluster::new(),
        records: Vec::new(),
        now: Timestamp(0),
        starts: Vec::new(),
    };
    live.apply(Input::CoordinatorStarted {
        settings: Settings::default(),
    });
    live.apply(Input::Submit {
        run: RunId(1),
        name: "large".into(),
        graph,
    });
    (0..8).for_each(|index| live.hello(index));
    (0..TASKS - 100).for_each(|_| live.work());

    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("journal.sqlite");
    SqliteJournal::open(&path)
        .unwrap()
        .append(&live.records)
        .unwrap();

    let began = Instant::now();
    let mut cluster = Cluster::new();
    for record in SqliteJournal::open(&path).unwrap().records().unwrap() {
        let record = record.unwrap();
        cluster.apply(record.at, record.input).unwrap();
    }
    assert!(cluster == live.cluster);
    let mut back = Coordinator {
        cluster,
        records: Vec::new(),
        now: live.now,
        starts: Vec::new(),
    };
    back.apply(Input::CoordinatorStarted {
        settings: Settings::default(),
    });
    back.hello(0);
    let took = began.elapsed();
    assert!(!back.starts.is_empty(), "the worker gets its rank again");
    // Told, not asserted: how fast the machine is decides no test.
    println!("{TASKS} tasks: from the journal to the first assignment in {took:?}");
}
