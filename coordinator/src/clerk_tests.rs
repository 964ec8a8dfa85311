use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use control::{DeviceKind, LiveRank, Settings, WorkerDescription};
use journal::MemoryJournal;
use types::{RunId, SlotKind, Step};

use super::*;

/// A disk and a connection: what is on the one, what went over the other, and all that was done, in order.
#[derive(Clone, Default)]
struct Desk(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    /// The disk is full: nothing can be written.
    is_full: bool,
    /// It takes what is written, and cannot bring it to its place for good.
    is_broken: bool,
    lines: Vec<String>,
    points: Vec<u64>,
    done: Vec<String>,
}

impl Desk {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap()
    }

    fn write(&self, what: &str) -> io::Result<MutexGuard<'_, State>> {
        let mut state = self.state();
        if state.is_full {
            return Err(io::ErrorKind::StorageFull.into());
        }
        state.done.push(what.to_owned());
        Ok(state)
    }

    /// What was done since the last time.
    fn done(&self) -> Vec<String> {
        std::mem::take(&mut self.state().done)
    }
}

struct DeskJournal(Desk, MemoryJournal);

impl Journal for DeskJournal {
    fn append(&mut self, records: &[Record]) -> Result<(), journal::Error> {
        let full = |_| journal::Error::Full { path: "j".into() };
        drop(self.0.write("journal").map_err(full)?);
        self.1.append(records)
    }

    fn records(&self) -> Result<journal::Records<'_>, journal::Error> {
        self.1.records()
    }
}

impl World for Desk {
    fn has(&self, _: &Digest) -> bool {
        true
    }

    fn open_rendezvous(&mut self, _: Fence, _: Vec<(Rank, WorkerId, Incarnation)>) {}

    fn close_rendezvous(&mut self, _: Fence) {}

    fn metric(&mut self, _: &TaskName, _: Fence, point: MetricPoint) -> io::Result<()> {
        let mut state = self.write("point")?;
        if !state.points.contains(&point.step.0) {
            state.points.push(point.step.0);
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
        let mut state = self.write("lines")?;
        let known = state.lines.len() - usize::try_from(first).unwrap();
        state.lines.extend(lines.iter().skip(known).cloned());
        Ok(state.lines.len() as u64)
    }

    fn sync_records(&mut self) -> bool {
        let mut state = self.state();
        state.done.push("sync".to_owned());
        !state.is_broken
    }

    fn close_records(&mut self, _: &TaskName, _: Fence) {}

    fn taken(&mut self, artifacts: &[Digest]) {
        if !artifacts.is_empty() {
            self.state().done.push("taken".to_owned());
        }
    }

    fn notice(&mut self, _: Action) {}
}

/// One connection to the worker.
#[derive(Clone)]
struct Wire(u64, Desk);

impl Line for Wire {
    fn tell(&self, told: Told) -> bool {
        let text = match told {
            Told::Welcome(_) => format!("{}: welcome", self.0),
            Told::Start(_) => format!("{}: start", self.0),
            Told::Stop { .. } => format!("{}: stop", self.0),
            Told::Leave => format!("{}: leave", self.0),
            Told::Heard { .. } => "heard".to_owned(),
            Told::ReportsTaken { up_to } => format!("reports up to {up_to}"),
            Told::LogsTaken { lines, .. } => format!("logs up to {lines}"),
        };
        self.1.state().done.push(text);
        true
    }
}

/// A clerk whose worker runs the only task, as attempt 1.
struct Scene {
    clerk: Clerk<Wire, Desk>,
    desk: Desk,
    connection: u64,
}

const NOW: Timestamp = Timestamp(1);

fn worker() -> WorkerId {
    WorkerId::new("w").unwrap()
}

impl Scene {
    fn new() -> Self {
        let desk = Desk::default();
        let journal = DeskJournal(desk.clone(), MemoryJournal::default());
        let greeting = Greeting {
            heartbeat: Duration::from_millis(500),
            lost_after: Duration::from_secs(120),
            journal: NOW,
        };
        let clerk = Clerk::new(Cluster::new(), Box::new(journal), desk.clone(), greeting);
        let mut scene = Self {
            clerk,
            desk,
            connection: 0,
        };
        let settings = Settings::default();
        let start = Input::CoordinatorStarted { settings };
        let submit = Input::Submit {
            run: RunId(1),
            name: "demo".to_owned(),
            graph: Arc::new(testkit::graph("train a.train").unwrap()),
        };
        for input in [start, submit] {
            scene.clerk.input(NOW, input).unwrap();
        }
        scene.connect();
        scene.report(1, SaidReport::Rank(RankReport::Started));
        scene.commit();
        scene
    }

    /// A new connection; what it leads to waits for the next commit.
    fn attach(&mut self, live: Vec<LiveRank>) {
        let hello = Input::Hello {
            worker: worker(),
            incarnation: Incarnation(1),
            description: WorkerDescription {
                host: "h".to_owned(),
                device: DeviceKind::Cpu,
                device_name: "cpu".to_owned(),
            },
            live,
        };
        let wire = Wire(self.connection + 1, self.desk.clone());
        self.connection = self
            .clerk
            .attach(NOW, hello, worker(), Incarnation(1), wire)
            .unwrap();
    }

    fn connect(&mut self) {
        self.attach(Vec::new());
        self.commit();
    }

    /// What a commit does.
    fn commit(&mut self) -> Vec<String> {
        self.desk.done();
        self.clerk.commit().unwrap();
        self.desk.done()
    }

    /// Of a commit, what goes to the worker.
    fn told(&mut self) -> Vec<String> {
        let mut done = self.commit();
        done.retain(|what| what.contains("up to"));
        done
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

    fn checkpoint(&mut self, sequence: u64) {
        let step = Step(sequence);
        let digest = Digest::of(b"c");
        let checkpoint = RankReport::Checkpoint { step, digest };
        self.report(sequence, SaidReport::Rank(checkpoint));
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

    fn meanwhile(&mut self, said: Said) {
        assert!(said.is_volatile());
        self.clerk
            .said_meanwhile(NOW, worker(), self.connection, said);
    }
}

#[test]
fn points_are_safe_before_the_checkpoint_after_them_and_both_before_they_are_acknowledged() {
    let mut scene = Scene::new();
    scene.point(2);
    scene.checkpoint(3);
    assert_eq!(
        scene.commit(),
        [
            "sync",
            "journal",
            "reports up to 2",
            "taken",
            "reports up to 3"
        ]
    );
    // where nothing has grown, nothing is synced
    scene.checkpoint(4);
    assert_eq!(scene.commit(), ["journal", "taken", "reports up to 4"]);
}

#[test]
fn welcome_is_the_first_word_of_a_connection_and_what_was_meant_for_the_one_before_goes_there() {
    let mut scene = Scene::new();
    scene.clerk.tell_to_leave(worker());
    // it still holds a rank of an attempt that nobody knows: that one has to end
    scene.attach(vec![LiveRank {
        fence: Fence(7),
        rank: Rank(0),
        slot: SlotKind::Host,
    }]);
    let done = scene.commit();
    let said = done.iter().filter(|what| what.contains(": "));
    assert_eq!(
        said.collect::<Vec<_>>(),
        ["1: leave", "2: welcome", "2: stop"],
        "{done:?}"
    );
}

#[test]
fn what_cannot_be_synced_is_said_again_and_taken_once() {
    let mut scene = Scene::new();
    scene.desk.state().is_broken = true;
    scene.point(2);
    scene.lines();
    assert!(scene.told().is_empty());
    // its connection is gone: what it says on it is not listened to
    scene.point(3);
    assert!(scene.commit().is_empty());

    scene.desk.state().is_broken = false;
    scene.connect();
    scene.point(2);
    scene.point(3);
    scene.lines();
    assert_eq!(
        scene.told(),
        ["reports up to 2", "reports up to 3", "logs up to 2"]
    );
    let state = scene.desk.state();
    assert_eq!((&state.points[..], state.lines.len()), (&[2, 3][..], 2));
}

#[test]
fn what_cannot_be_written_is_not_acknowledged_either() {
    for says_lines in [false, true] {
        let mut scene = Scene::new();
        scene.desk.state().is_full = true;
        if says_lines {
            scene.lines();
        } else {
            scene.point(2);
        }
        assert!(scene.told().is_empty());
        scene.desk.state().is_full = false;
        scene.connect();
        scene.point(2);
        scene.lines();
        assert_eq!(scene.told(), ["reports up to 2", "logs up to 2"]);
    }
}

#[test]
fn while_the_journal_waits_a_heartbeat_is_answered_and_a_report_is_not() {
    let mut scene = Scene::new();
    scene.desk.state().is_full = true;
    scene.checkpoint(2);
    assert!(scene.clerk.commit().unwrap_err().may_pass());
    scene.clerk.pause(Some("no room".to_owned()));
    scene.desk.done();
    scene.meanwhile(Said::Heartbeat { sent_at: 3 });
    scene.meanwhile(Said::Waits {
        fence: Fence(1),
        rank: Rank(0),
        reason: Some("no room on /cache".to_owned()),
    });
    assert_eq!(scene.desk.done(), ["heard"]);
    assert_eq!(
        scene.clerk.pauses().lines(),
        [
            "paused: no room",
            "paused: a.train, no room on /cache on worker w"
        ]
    );
    scene.desk.state().is_full = false;
    assert_eq!(scene.commit(), ["journal", "taken", "reports up to 2"]);
}
