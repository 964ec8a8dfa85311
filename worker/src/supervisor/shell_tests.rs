use std::collections::BTreeMap;

use duty::{Assignment, Limits, Report, StopMode};
use tokio::task::JoinHandle;
use tokio::time::timeout;
use types::{Digest, FailureClass, Step};

use super::*;
use crate::supervisor::cache::Cache;
use crate::supervisor::fake_coordinator::{Connection, FakeCoordinator, LIMIT, fake};
use crate::supervisor::process::{Killer, ProcessStarter, RankProcess};
use crate::supervisor::samples::{assignment, script, settings, training};

/// A worker whose rank is a shell script that begins with `read start`.
struct Worker {
    coordinator: Arc<FakeCoordinator>,
    teller: mpsc::Sender<Occurrence>,
    shell: JoinHandle<u8>,
    _folder: tempfile::TempDir,
}

impl Worker {
    fn with_rank(script_text: &str) -> Self {
        Self::with(Arc::new(script(script_text)), Limits::default())
    }

    fn with(starter: Arc<dyn RankStarter>, limits: Limits) -> Self {
        let temporary = tempfile::tempdir().unwrap();
        let settings = Settings {
            limits,
            ..settings(temporary.path())
        };
        let folder = WorkFolder::open(settings.work_dir.clone()).unwrap();
        let coordinator = fake();
        let cache = Cache::open(folder.cache(), None).unwrap();
        let transfer = Arc::new(Transfer::new(coordinator.clone(), Arc::new(cache)));
        let (teller, occurrences) = mpsc::channel(1024);
        let shell = Shell::new(
            settings,
            Clock::new(),
            starter,
            folder,
            transfer,
            coordinator.clone(),
            (teller.clone(), occurrences),
        );
        Self {
            coordinator,
            teller,
            shell: tokio::spawn(shell.run()),
            _folder: temporary,
        }
    }

    async fn connect(&self) -> Connection {
        timeout(LIMIT, Connection::open(&self.teller))
            .await
            .unwrap()
    }

    async fn leave(&self) {
        self.teller.send(Occurrence::Interrupt).await.unwrap();
    }

    async fn exit_code(self) -> u8 {
        timeout(LIMIT, self.shell).await.unwrap().unwrap()
    }
}

fn start(assignment: Arc<Assignment>) -> Downlink {
    Downlink::Start(assignment)
}

fn failed(report: Report) -> Failure {
    match report {
        Report::Failed(failure) => failure,
        other => panic!("expected a failure, found {other:?}"),
    }
}

fn is_alive(pid: &str) -> bool {
    std::fs::read_to_string(format!("/proc/{}/stat", pid.trim()))
        .is_ok_and(|stat| !stat.contains(") Z "))
}

#[tokio::test]
async fn a_killed_rank_fails_with_its_last_log_lines() {
    let worker = Worker::with_rank(
        r#"echo '{"says":"met"}'
        echo '{"says":"metrics","step":4,"values":{"loss":1.5}}'
        i=0; while [ $i -lt 60 ]; do echo "line $i" >&2; i=$((i+1)); done
        kill -KILL $$"#,
    );
    let mut connection = worker.connect().await;
    connection.say(start(assignment(1, 0))).await;
    assert_eq!(connection.report().await, Report::Started);
    let failure = failed(connection.end().await);
    assert_eq!(failure.class, FailureClass::Killed);
    assert_eq!(failure.signal, Some(9));
    assert_eq!(failure.last_step, Some(Step(4)));
    assert_eq!(failure.log_tail.len(), 50);
    assert_eq!(failure.log_tail[49], "line 59");
    worker.leave().await;
    assert_eq!(worker.exit_code().await, exit::OK);
}

#[tokio::test]
async fn inputs_come_and_outputs_go() {
    let worker = Worker::with_rank(
        r#"input=${start#*\"logits\":\"} input=${input%%\"*}
        tr a-z A-Z < "$input" > "$scratch/out"
        echo "{\"says\":\"finished\",\"outputs\":{\"pseudo_labels\":\"$scratch/out\"}}""#,
    );
    let input = worker.coordinator.put(b"logits");
    let mut assignment = Assignment::clone(&assignment(1, 0));
    assignment.inputs = BTreeMap::from([("logits".to_owned(), input)]);
    let mut connection = worker.connect().await;
    connection.say(start(Arc::new(assignment))).await;
    let outputs = BTreeMap::from([("pseudo_labels".to_owned(), Digest::of(b"LOGITS"))]);
    assert_eq!(connection.report().await, Report::Finished { outputs });
    let artifacts = worker.coordinator.artifacts.lock().unwrap();
    assert_eq!(artifacts[&Digest::of(b"LOGITS")], b"LOGITS");
}

#[tokio::test]
async fn what_finds_no_room_waits_says_so_on_every_connection_and_goes_on() {
    let worker = Worker::with_rank(
        r#"echo '{"says":"waits","reason":"no room on /scratch"}'
        echo '{"says":"waits","reason":"no room on /scratch"}'
        echo '{"says":"waits","reason":null}'
        echo done > "$scratch/out"
        echo "{\"says\":\"finished\",\"outputs\":{\"pseudo_labels\":\"$scratch/out\"}}""#,
    );
    let input = worker.coordinator.put(b"logits");
    let mut assignment = Assignment::clone(&assignment(1, 0));
    assignment.inputs = BTreeMap::from([("logits".to_owned(), input)]);
    *worker.coordinator.full.lock().unwrap() = true;
    let mut connection = worker.connect().await;
    connection.say(start(Arc::new(assignment))).await;
    let reason = Some("no room on /run".to_owned());
    assert_eq!(connection.waits().await, reason);
    connection.cut().await;
    let mut connection = worker.connect().await;
    assert_eq!(connection.waits().await, reason, "said again");
    *worker.coordinator.full.lock().unwrap() = false;
    assert_eq!(connection.waits().await, None);
    // the rank's own, each change once
    let reason = Some("no room on /scratch".to_owned());
    assert_eq!(connection.waits().await, reason);
    assert_eq!(connection.waits().await, None);
    let outputs = BTreeMap::from([("pseudo_labels".to_owned(), Digest::of(b"done\n"))]);
    assert_eq!(connection.end().await, Report::Finished { outputs });
}

#[tokio::test]
async fn an_input_that_nobody_has_is_a_failure_with_its_name() {
    let worker = Worker::with_rank("exit 1");
    let mut assignment = Assignment::clone(&assignment(1, 0));
    assignment.resume = Some(Digest::of(b"gone"));
    let mut connection = worker.connect().await;
    connection.say(start(Arc::new(assignment))).await;
    let failure = failed(connection.report().await);
    assert_eq!(failure.class, FailureClass::Artifact);
    assert!(failure.message.contains(&Digest::of(b"gone").to_string()));
}

#[tokio::test]
async fn while_the_coordinator_is_away_the_rank_works_on_and_nothing_is_lost() {
    let worker = Worker::with_rank(
        r#"echo '{"says":"met"}'
        hear go
        echo before > "$handover/c"; echo "{\"says\":\"checkpoint\",\"step\":1,\"file\":\"$handover/c\"}"
        for step in 1 2 3; do
            echo "{\"says\":\"metrics\",\"step\":$step,\"values\":{}}"; echo "step $step" >&2
        done
        : > "$scratch/out"
        echo "{\"says\":\"finished\",\"outputs\":{\"pseudo_labels\":\"$scratch/out\"}}""#,
    );
    let mut connection = worker.connect().await;
    connection.say(start(assignment(7, 0))).await;
    assert_eq!(connection.report().await, Report::Started);
    *worker.coordinator.away.lock().unwrap() = true;
    connection.cut().await;
    // for this rank, any line means: go on
    let go = Occurrence::StoreAnswered(Fence(7), 0, StoreAnswer::Done);
    worker.teller.send(go).await.unwrap();
    tokio::time::sleep(Duration::from_millis(500)).await;

    *worker.coordinator.away.lock().unwrap() = false;
    let mut connection = worker.connect().await;
    assert_eq!(connection.held[0].fence, Fence(7));
    let mut steps = Vec::new();
    let mut checkpoints = 0;
    let end = loop {
        match connection.report().await {
            Report::Metrics(point) => steps.push(point.step.0),
            Report::Checkpoint { step, digest } => {
                assert_eq!((step, digest), (Step(1), Digest::of(b"before\n")));
                checkpoints += 1;
            }
            end if end.is_end() => break end,
            other => panic!("{other:?}"),
        }
    };
    assert!(matches!(end, Report::Finished { .. }), "{end:?}");
    assert_eq!((steps, checkpoints), (vec![1, 2, 3], 1));
    worker.leave().await;
    while !matches!(connection.next().await, Uplink::Goodbye) {}
    assert_eq!(worker.exit_code().await, exit::OK);
}

#[tokio::test]
async fn every_log_line_arrives_once_and_in_order() {
    let worker = Worker::with_rank(
        r#"echo '{"says":"met"}'
        i=0; while [ $i -lt 3000 ]; do echo "line $i" >&2; i=$((i+1)); done
        echo "not a message"
        hear never"#,
    );
    let mut connection = worker.connect().await;
    connection.say(start(assignment(1, 0))).await;
    assert_eq!(connection.report().await, Report::Started);
    // reports are read until the log is complete; the stop below ends the wait
    let stopper = worker.teller.clone();
    tokio::spawn(async move {
        tokio::time::sleep(Duration::from_secs(1)).await;
        let stop = Downlink::Stop {
            fence: Fence(1),
            mode: StopMode::Now,
            reason: "enough".to_owned(),
        };
        let _ = stopper.send(Occurrence::Coordinator(stop)).await;
    });
    assert_eq!(connection.end().await, Report::Stopped);
    let lines = connection.log(1);
    let numbered: Vec<&String> = lines
        .iter()
        .filter(|line| line.starts_with("line"))
        .collect();
    assert_eq!(numbered.len(), 3000);
    assert!((0..3000).all(|number| *numbered[number] == format!("line {number}")));
    assert!(lines.iter().any(|line| line == "not a message"));
}

#[tokio::test]
async fn a_stop_in_order_hands_in_a_checkpoint() {
    let worker = Worker::with_rank(
        r#"echo '{"says":"met"}'
        hear stop
        case $stop in *stop*) ;; *) exit 1;; esac
        echo saved > "$handover/c"; echo "{\"says\":\"checkpoint\",\"step\":5,\"file\":\"$handover/c\"}"
        echo '{"says":"stopped"}'"#,
    );
    let mut connection = worker.connect().await;
    connection.say(start(training(1, 0))).await;
    assert_eq!(connection.report().await, Report::Started);
    worker.leave().await;
    assert_eq!(
        connection.report().await,
        Report::Checkpoint {
            step: Step(5),
            digest: Digest::of(b"saved\n")
        }
    );
    assert_eq!(connection.report().await, Report::Stopped);
    while !matches!(connection.next().await, Uplink::Goodbye) {}
    assert_eq!(worker.exit_code().await, exit::OK);
}

#[tokio::test]
async fn ranks_ask_their_gangs_store_through_the_worker() {
    let worker = Worker::with_rank(
        r#"echo '{"says":"store","request":1,"ask":{"ask":"set","key":"0","value":[104,105]}}'
        hear done; echo "$done" >&2
        echo '{"says":"store","request":2,"ask":{"ask":"get","key":"0","timeout_ms":1000}}'
        hear value; echo "$value" >&2
        echo '{"says":"stopped"}'"#,
    );
    let mut connection = worker.connect().await;
    connection.say(start(assignment(1, 0))).await;
    assert_eq!(connection.report().await, Report::Stopped);
    // logs may come after the end
    worker.leave().await;
    let mut log = connection.log(1).to_vec();
    while log.len() < 2 {
        match connection.next().await {
            Uplink::Logs { batch, .. } => log.extend(batch.lines),
            Uplink::Goodbye => break,
            _ => {}
        }
    }
    assert!(log[0].contains(r#""answer":"done""#), "{log:?}");
    assert!(log[1].contains("[104,105]"), "{log:?}");
}

#[tokio::test]
async fn the_second_signal_leaves_nothing_behind() {
    let worker = Worker::with_rank(
        r#"echo '{"says":"met"}'
        sleep 60 & echo "$!" > "$handover/../../../pid"
        echo '{"says":"metrics","step":1,"values":{}}'
        wait"#,
    );
    let pid_file = worker._folder.path().join("work/pid");
    let mut connection = worker.connect().await;
    connection.say(start(training(1, 0))).await;
    assert_eq!(connection.report().await, Report::Started);
    assert!(matches!(connection.report().await, Report::Metrics(_)));
    let pid = std::fs::read_to_string(pid_file).unwrap();
    assert!(is_alive(&pid));
    worker.leave().await;
    worker.leave().await;
    assert_eq!(worker.exit_code().await, exit::INTERRUPTED);
    timeout(Duration::from_secs(2), async {
        while is_alive(&pid) {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    })
    .await
    .unwrap();
}

/// Starts ranks that nothing ends, but for what it keeps.
struct Undying {
    starter: ProcessStarter,
    killers: std::sync::Mutex<Vec<Arc<dyn Killer>>>,
}

struct Harmless;

impl Killer for Harmless {
    fn terminate(&self) {}
    fn kill(&self) {}
}

impl RankStarter for Undying {
    fn start(&self, log: std::fs::File) -> std::io::Result<RankProcess> {
        let process = self.starter.start(log)?;
        let killer = Arc::clone(&process.killer);
        self.killers.lock().unwrap().push(killer);
        let killer = Arc::new(Harmless);
        Ok(RankProcess { killer, ..process })
    }
}

#[tokio::test]
async fn a_device_that_cannot_be_freed_is_told_of_on_every_connection() {
    let starter = Arc::new(Undying {
        starter: script("echo '{\"says\":\"met\"}'; exec sleep 60"),
        killers: std::sync::Mutex::default(),
    });
    let limits = Limits {
        unkillable: Duration::from_millis(300),
        ..Limits::default()
    };
    let worker = Worker::with(starter.clone(), limits);
    let mut connection = worker.connect().await;
    connection.say(start(training(1, 0))).await;
    assert_eq!(connection.report().await, Report::Started);
    let stop = Downlink::Stop {
        fence: Fence(1),
        mode: StopMode::Now,
        reason: "enough".to_owned(),
    };
    connection.say(stop).await;
    for _ in 0..2 {
        let reason = loop {
            if let Uplink::Quarantined { reason } = connection.next().await {
                break reason;
            }
        };
        assert!(reason.contains("attempt 1 has not ended"), "{reason}");
        connection.cut().await;
        connection = worker.connect().await;
    }
    // late, but it has ended
    for killer in starter.killers.lock().unwrap().iter() {
        killer.kill();
    }
    assert_eq!(connection.end().await, Report::Stopped);
}
