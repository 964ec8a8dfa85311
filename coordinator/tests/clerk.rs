//! What a worker said is acknowledged when it is on the disk, and not before.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use control::{Action, Cluster, DeviceKind, Input, RankReport, Settings, WorkerDescription};
use coordinator::{Clerk, Greeting, Line, Said, SaidReport, Told, World};
use journal::MemoryJournal;
use types::{
    Digest, Fence, Incarnation, MetricPoint, Rank, RunId, Step, TaskGraph, TaskKind, TaskName,
    TaskNode, Timestamp, WorkerId,
};

/// What a worker has heard.
#[derive(Clone, Default)]
struct Heard(Arc<Mutex<Vec<Told>>>);

impl Line for Heard {
    fn tell(&self, told: Told) -> bool {
        self.0.lock().unwrap().push(told);
        true
    }
}

impl Heard {
    fn take(&self) -> Vec<Told> {
        std::mem::take(&mut *self.0.lock().unwrap())
    }
}

/// A disk that may be full, and the lines and points on it.
#[derive(Clone, Default)]
struct Disk(Arc<Mutex<Kept>>);

#[derive(Default)]
struct Kept {
    /// Writing fails.
    is_full: bool,
    /// Writing goes well, and syncing does not.
    is_broken: bool,
    lines: Vec<String>,
    points: Vec<u64>,
}

impl World for Disk {
    fn has(&self, _: &Digest) -> bool {
        true
    }

    fn open_rendezvous(&mut self, _: Fence, _: Vec<(Rank, WorkerId, Incarnation)>) {}

    fn close_rendezvous(&mut self, _: Fence) {}

    fn metric(&mut self, _: &TaskName, _: Fence, point: MetricPoint) -> io::Result<()> {
        let mut kept = self.0.lock().unwrap();
        if kept.is_full {
            return Err(io::ErrorKind::StorageFull.into());
        }
        if !kept.points.contains(&point.step.0) {
            kept.points.push(point.step.0);
        }
        Ok(())
    }

    fn log(
        &mut self,
        _: &TaskName,
        _: Fence,
        _: Rank,
        first: u64,
        lines: &[String],
    ) -> io::Result<u64> {
        let mut kept = self.0.lock().unwrap();
        if kept.is_full {
            return Err(io::ErrorKind::StorageFull.into());
        }
        let known = kept.lines.len() - usize::try_from(first).unwrap();
        kept.lines.extend(lines.iter().skip(known).cloned());
        Ok(kept.lines.len() as u64)
    }

    fn sync_records(&mut self) -> bool {
        !self.0.lock().unwrap().is_broken
    }

    fn close_records(&mut self, _: &TaskName, _: Fence) {}

    fn notice(&mut self, _: Action) {}
}

struct Scene {
    clerk: Clerk<Heard, Disk>,
    disk: Disk,
    heard: Heard,
    connection: u64,
}

const NOW: Timestamp = Timestamp(1);

fn worker() -> WorkerId {
    WorkerId::new("w").unwrap()
}

impl Scene {
    /// A worker whose rank 0 runs as attempt 1.
    fn new() -> Self {
        let disk = Disk::default();
        let greeting = Greeting {
            heartbeat: Duration::from_millis(500),
            lost_after: Duration::from_secs(120),
            journal: Timestamp::default(),
        };
        let journal = Box::new(MemoryJournal::default());
        let clerk = Clerk::new(Cluster::new(), journal, disk.clone(), greeting);
        let mut scene = Self {
            clerk,
            disk,
            heard: Heard::default(),
            connection: 0,
        };
        let settings = Settings::default();
        let started = Input::CoordinatorStarted { settings };
        scene.clerk.input(NOW, started).unwrap();
        let node = TaskNode {
            name: TaskName::new("a.train").unwrap(),
            kind: TaskKind::Train,
            inputs: Vec::new(),
            files: BTreeMap::new(),
            outputs: vec!["checkpoint".to_owned()],
            material: Digest::of(b"a"),
            spec: "{}".into(),
            world_sizes: vec![1],
            estimate: Duration::from_secs(1),
            keep_checkpoints: 2,
        };
        let graph = Arc::new(TaskGraph { tasks: vec![node] });
        let (run, name) = (RunId(1), "demo".to_owned());
        let submit = Input::Submit { run, name, graph };
        scene.clerk.input(NOW, submit).unwrap();
        scene.connect();
        let started = SaidReport::Rank(RankReport::Started);
        scene.report(1, started);
        assert_eq!(acknowledged(&scene.commit()), [1]);
        scene
    }

    fn connect(&mut self) {
        let hello = Input::Hello {
            worker: worker(),
            incarnation: Incarnation(1),
            description: WorkerDescription {
                host: "h".to_owned(),
                device: DeviceKind::Cpu,
                device_name: "cpu".to_owned(),
            },
            live: Vec::new(),
        };
        self.heard = Heard::default();
        self.connection = self
            .clerk
            .attach(NOW, hello, worker(), Incarnation(1), self.heard.clone())
            .unwrap();
        self.commit();
    }

    fn commit(&mut self) -> Vec<Told> {
        self.clerk.commit().unwrap();
        self.heard.take()
    }

    fn report(&mut self, sequence: u64, what: SaidReport) {
        self.say(Said::Report {
            sequence,
            fence: Fence(1),
            rank: Rank(0),
            what,
        });
    }

    fn point(&mut self, sequence: u64) {
        let step = Step(sequence);
        let values = BTreeMap::new();
        self.report(sequence, SaidReport::Metrics(MetricPoint { step, values }));
    }

    fn lines(&mut self) {
        self.say(Said::Logs {
            fence: Fence(1),
            rank: Rank(0),
            first: 0,
            lines: vec!["a".to_owned(), "b".to_owned()],
        });
    }

    fn say(&mut self, said: Said) {
        self.clerk.said(NOW, worker(), self.connection, said);
    }
}

/// Sequence numbers of acknowledged reports.
fn acknowledged(told: &[Told]) -> Vec<u64> {
    let taken = told.iter().filter_map(|told| match told {
        Told::ReportsTaken { up_to } => Some(*up_to),
        _ => None,
    });
    taken.collect()
}

fn lines_taken(told: &[Told]) -> Vec<u64> {
    let taken = told.iter().filter_map(|told| match told {
        Told::LogsTaken { lines, .. } => Some(*lines),
        _ => None,
    });
    taken.collect()
}

#[test]
fn what_cannot_be_synced_is_said_again_and_taken_once() {
    let mut scene = Scene::new();
    scene.disk.0.lock().unwrap().is_broken = true;
    scene.point(2);
    scene.lines();
    let told = scene.commit();
    assert_eq!((acknowledged(&told), lines_taken(&told)), (vec![], vec![]));
    // its connection is gone: what it says on it is not listened to
    scene.point(3);
    assert_eq!(scene.commit(), []);

    scene.disk.0.lock().unwrap().is_broken = false;
    scene.connect();
    scene.point(2);
    scene.point(3);
    scene.lines();
    let told = scene.commit();
    assert_eq!(
        (acknowledged(&told), lines_taken(&told)),
        (vec![2, 3], vec![2])
    );
    let kept = scene.disk.0.lock().unwrap();
    assert_eq!(
        (kept.points.as_slice(), kept.lines.len()),
        ([2, 3].as_slice(), 2)
    );
}

#[test]
fn what_cannot_be_written_is_not_acknowledged_either() {
    for says_lines in [false, true] {
        let mut scene = Scene::new();
        scene.disk.0.lock().unwrap().is_full = true;
        if says_lines {
            scene.lines();
        } else {
            scene.point(2);
        }
        assert_eq!(scene.commit(), []);
        scene.disk.0.lock().unwrap().is_full = false;
        scene.connect();
        scene.point(2);
        scene.lines();
        let told = scene.commit();
        assert_eq!(
            (acknowledged(&told), lines_taken(&told)),
            (vec![2], vec![2])
        );
    }
}
