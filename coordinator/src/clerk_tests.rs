use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use control::{DeviceKind, Settings, WorkerDescription};
use journal::MemoryJournal;
use types::{RunId, Step};

use super::*;

/// A disk that is full while this is true, and all that was done.
#[derive(Clone, Default)]
struct Disk {
    full: Arc<AtomicBool>,
    done: Arc<Mutex<Vec<String>>>,
}

impl Disk {
    fn write(&self, what: String) -> io::Result<()> {
        if self.full.load(Ordering::Relaxed) {
            return Err(io::ErrorKind::StorageFull.into());
        }
        self.done.lock().unwrap().push(what);
        Ok(())
    }

    fn done(&self) -> Vec<String> {
        std::mem::take(&mut *self.done.lock().unwrap())
    }
}

struct FullableJournal(Disk, MemoryJournal);

impl Journal for FullableJournal {
    fn append(&mut self, records: &[Record]) -> Result<(), journal::Error> {
        let full = |_| journal::Error::Full { path: "j".into() };
        self.0.write("journal".to_owned()).map_err(full)?;
        self.1.append(records)
    }

    fn records(&self) -> Result<journal::Records<'_>, journal::Error> {
        self.1.records()
    }
}

impl World for Disk {
    fn has(&self, _: &Digest) -> bool {
        true
    }

    fn open_rendezvous(&mut self, _: Fence, _: Vec<(Rank, WorkerId, Incarnation)>) {}

    fn close_rendezvous(&mut self, _: Fence) {}

    fn metric(&mut self, _: &TaskName, _: Fence, point: MetricPoint) -> io::Result<()> {
        self.write(format!("metric {}", point.step))
    }

    fn log(
        &mut self,
        _: &TaskName,
        _: Fence,
        _: Rank,
        first: u64,
        lines: &[String],
    ) -> io::Result<u64> {
        self.write(format!("log {}", lines.join(" ")))?;
        Ok(first + lines.len() as u64)
    }

    fn sync_records(&mut self) -> bool {
        true
    }

    fn close_records(&mut self, _: &TaskName, _: Fence) {}

    fn taken(&mut self, artifacts: &[Digest]) {
        if !artifacts.is_empty() {
            self.done.lock().unwrap().push("taken".to_owned());
        }
    }

    fn notice(&mut self, _: Action) {}
}

impl Line for Disk {
    fn tell(&self, told: Told) -> bool {
        let text = match told {
            Told::Heard { .. } => "heard".to_owned(),
            Told::ReportsTaken { up_to } => format!("reports up to {up_to}"),
            Told::LogsTaken { lines, .. } => format!("logs up to {lines}"),
            _ => return true,
        };
        self.done.lock().unwrap().push(text);
        true
    }
}

/// A clerk whose worker runs the only task, as attempt 1.
fn scene() -> (Disk, Clerk<Disk, Disk>, WorkerId) {
    let disk = Disk::default();
    let journal = FullableJournal(disk.clone(), MemoryJournal::default());
    let greeting = Greeting {
        heartbeat: Duration::from_millis(500),
        lost_after: Duration::from_secs(120),
        journal: Timestamp(1),
    };
    let mut clerk = Clerk::new(Cluster::new(), Box::new(journal), disk.clone(), greeting);
    let settings = Settings::default();
    let start = Input::CoordinatorStarted { settings };
    let submit = Input::Submit {
        run: RunId(1),
        name: "demo".to_owned(),
        graph: Arc::new(testkit::graph("train a.train").unwrap()),
    };
    for input in [start, submit] {
        clerk.input(Timestamp(1), input).unwrap();
    }
    let worker = WorkerId::new("w").unwrap();
    let hello = Input::Hello {
        worker: worker.clone(),
        incarnation: Incarnation(1),
        description: WorkerDescription {
            host: "h".to_owned(),
            device: DeviceKind::Cpu,
            device_name: "cpu".to_owned(),
        },
        live: Vec::new(),
    };
    let line = disk.clone();
    clerk
        .attach(Timestamp(1), hello, worker.clone(), Incarnation(1), line)
        .unwrap();
    clerk.commit().unwrap();
    disk.done();
    (disk, clerk, worker)
}

fn report(sequence: u64, what: SaidReport) -> Said {
    Said::Report {
        sequence,
        fence: Fence(1),
        rank: Rank(0),
        what,
    }
}

fn metric(sequence: u64) -> Said {
    let point = MetricPoint {
        step: Step(sequence),
        values: BTreeMap::new(),
    };
    report(sequence, SaidReport::Metrics(point))
}

#[test]
fn while_the_journal_waits_a_heartbeat_is_answered_and_a_report_is_not() {
    let (disk, mut clerk, worker) = scene();
    disk.full.store(true, Ordering::Relaxed);
    let checkpoint = RankReport::Checkpoint {
        step: Step(5),
        digest: Digest::of(b"c"),
    };
    let said = report(1, SaidReport::Rank(checkpoint));
    clerk.said(Timestamp(2), worker.clone(), 1, said);
    assert!(clerk.commit().unwrap_err().may_pass());
    clerk.pause(Some("no room".to_owned()));
    let heartbeat = Said::Heartbeat { sent_at: 3 };
    assert!(heartbeat.is_volatile());
    clerk.said_meanwhile(Timestamp(3), worker.clone(), 1, heartbeat);
    let waits = Said::Waits {
        fence: Fence(1),
        rank: Rank(0),
        reason: Some("no room on /cache".to_owned()),
    };
    assert!(waits.is_volatile() && !metric(1).is_volatile());
    clerk.said_meanwhile(Timestamp(3), worker, 1, waits);
    assert_eq!(disk.done(), ["heard"]);
    assert_eq!(
        clerk.pauses().lines(),
        [
            "paused: no room",
            "paused: a.train, no room on /cache on worker w"
        ]
    );
    disk.full.store(false, Ordering::Relaxed);
    clerk.commit().unwrap();
    assert_eq!(disk.done(), ["journal", "taken", "reports up to 1"]);
}
