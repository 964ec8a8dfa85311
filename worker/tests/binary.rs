//! The real program, with real rank processes, against a coordinator over loopback.
#![expect(
    clippy::unwrap_used,
    reason = "a test's helpers may fail like the test"
)]

use std::fs;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use proto::v1;
use proto::v1::workers_server::{Workers, WorkersServer};
use proto::v1::{from_worker, report, to_worker};
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_stream::wrappers::{ReceiverStream, TcpListenerStream};
use tonic::{Request, Response, Status, Streaming};

/// Loading libtorch on a busy machine included.
const LIMIT: Duration = Duration::from_secs(60);

/// Gives each worker one order and hands on what it reports. Nobody ever meets in its store.
#[derive(Clone)]
struct Coordinator {
    order: v1::StartRank,
    reports: mpsc::Sender<Seen>,
}

#[derive(Debug)]
enum Seen {
    Report(report::What),
    Asked(v1::StoreRequest),
}

#[tonic::async_trait]
impl Workers for Coordinator {
    type AttachStream = ReceiverStream<Result<v1::ToWorker, Status>>;

    async fn attach(
        &self,
        request: Request<Streaming<v1::FromWorker>>,
    ) -> Result<Response<Self::AttachStream>, Status> {
        let (to_worker, replies) = mpsc::channel(64);
        let say = |body| {
            let said = Ok(v1::ToWorker { body: Some(body) });
            assert!(to_worker.try_send(said).is_ok(), "a new channel has room");
        };
        let welcome = v1::Welcome {
            heartbeat_ms: 100,
            lost_after_ms: 60_000,
            journal: 7,
        };
        say(to_worker::Body::Welcome(welcome));
        say(to_worker::Body::StartRank(self.order.clone()));
        let (mut said, reports) = (request.into_inner(), self.reports.clone());
        tokio::spawn(async move {
            while let Ok(Some(message)) = said.message().await {
                let answer = match message.body.unwrap() {
                    from_worker::Body::Heartbeat(beat) => {
                        let sent_at = beat.sent_at;
                        to_worker::Body::HeartbeatAck(v1::HeartbeatAck { sent_at })
                    }
                    from_worker::Body::Report(report) => {
                        let up_to = report.sequence;
                        let _ = reports.send(Seen::Report(report.what.unwrap())).await;
                        to_worker::Body::ReportAck(v1::ReportAck { up_to })
                    }
                    _ => continue,
                };
                let body = Some(answer);
                let _ = to_worker.send(Ok(v1::ToWorker { body })).await;
            }
        });
        Ok(Response::new(ReceiverStream::new(replies)))
    }

    async fn ask_store(
        &self,
        request: Request<v1::StoreRequest>,
    ) -> Result<Response<v1::StoreReply>, Status> {
        use v1::store_reply::Answer;
        use v1::store_request::Ask;
        let request = request.into_inner();
        let answer = match &request.ask {
            Some(Ask::Set(_)) => Answer::Done(v1::StoreDone {}),
            Some(Ask::Add(add)) => Answer::Counter(add.amount),
            Some(Ask::Check(_)) => Answer::Truth(false),
            _ => {
                let _ = self.reports.send(Seen::Asked(request)).await;
                std::future::pending().await
            }
        };
        Ok(Response::new(v1::StoreReply {
            answer: Some(answer),
        }))
    }
}

/// A worker's process, killed when the test is over.
struct Worker {
    process: Child,
    _folder: tempfile::TempDir,
}

impl Drop for Worker {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

async fn start(order: v1::StartRank) -> (Worker, mpsc::Receiver<Seen>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (reports, seen) = mpsc::channel(64);
    let service = WorkersServer::new(Coordinator { order, reports });
    tokio::spawn(
        tonic::transport::Server::builder()
            .add_service(service)
            .serve_with_incoming(TcpListenerStream::new(listener)),
    );
    let folder = tempfile::tempdir().unwrap();
    let process = Command::new(env!("CARGO_BIN_EXE_worker"))
        .args(["--cpu", "--name", "w", "--coordinator"])
        .arg(format!("http://{address}"))
        .arg("--work-dir")
        .arg(folder.path().join("work"))
        .env_remove("TUTTI_TOKEN")
        .stdin(Stdio::null())
        .spawn()
        .unwrap();
    let worker = Worker {
        process,
        _folder: folder,
    };
    (worker, seen)
}

async fn next(seen: &mut mpsc::Receiver<Seen>) -> Seen {
    timeout(LIMIT, seen.recv()).await.unwrap().unwrap()
}

/// A predict task whose data is not there.
fn order(world_size: u32) -> v1::StartRank {
    v1::StartRank {
        fence: 1,
        task: "i0.s0.tiny.predict.weak_train.0".to_owned(),
        rank: 0,
        world_size,
        spec: include_str!("predict_spec.json").to_owned(),
        outputs: vec!["logits".to_owned()],
        ..v1::StartRank::default()
    }
}

fn children(parent: u32) -> Vec<u32> {
    fs::read_dir("/proc")
        .unwrap()
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .filter(|process| parent_of(*process) == Some(parent))
        .collect()
}

/// The parent of a process that is alive.
fn parent_of(process: u32) -> Option<u32> {
    let stat = fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
    let mut fields = stat.rsplit_once(") ")?.1.split(' ');
    let state = fields.next()?;
    let parent = fields.next()?.parse().ok()?;
    (state != "Z").then_some(parent)
}

#[tokio::test]
async fn a_real_rank_fails_with_its_reason() {
    let (worker, mut seen) = start(order(1)).await;
    let failure = loop {
        match next(&mut seen).await {
            Seen::Report(report::What::Failed(failure)) => break failure,
            Seen::Report(report::What::Started(_)) => {}
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(failure.exit_code, Some(5), "{failure:?}");
    assert!(!failure.message.is_empty());
    assert!(
        failure
            .log_tail
            .iter()
            .any(|line| line.contains("attempt 1")),
        "{failure:?}"
    );
    drop(worker);
}

#[tokio::test]
async fn a_killed_worker_leaves_no_rank_behind() {
    // of two ranks one never comes, so this one waits for it
    let (mut worker, mut seen) = start(order(2)).await;
    match next(&mut seen).await {
        Seen::Asked(request) => assert_eq!((request.fence, request.rank), (1, 0)),
        other @ Seen::Report(_) => panic!("{other:?}"),
    }
    let wardens = children(worker.process.id());
    assert_eq!(wardens.len(), 1);
    let ranks = children(wardens[0]);
    assert_eq!(ranks.len(), 1);
    worker.process.kill().unwrap();
    worker.process.wait().unwrap();
    timeout(Duration::from_secs(2), async {
        while parent_of(wardens[0]).is_some() || parent_of(ranks[0]).is_some() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    })
    .await
    .unwrap();
}

#[tokio::test]
async fn a_signal_makes_a_worker_leave_with_its_rank() {
    let (mut worker, mut seen) = start(order(2)).await;
    next(&mut seen).await;
    let process = nix::unistd::Pid::from_raw(i32::try_from(worker.process.id()).unwrap());
    nix::sys::signal::kill(process, nix::sys::signal::Signal::SIGTERM).unwrap();
    // a rank that has not met its gang has nothing to save
    match next(&mut seen).await {
        Seen::Report(report::What::Stopped(_)) => {}
        other => panic!("{other:?}"),
    }
    let status = timeout(LIMIT, async {
        loop {
            if let Some(status) = worker.process.try_wait().unwrap() {
                break status;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    })
    .await
    .unwrap();
    assert_eq!(status.code(), Some(0));
}

#[test]
fn where_there_is_no_gpu_the_worker_says_so() {
    if fs::exists("/dev/nvidiactl").unwrap() {
        return; // this machine may have that GPU
    }
    let output = Command::new(env!("CARGO_BIN_EXE_worker"))
        .args(["--gpu", "0"])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(3));
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.contains("GPU 0 cannot be used"), "{said}");
}

#[test]
fn a_rank_without_a_worker_says_what_it_is() {
    let output = Command::new(env!("CARGO_BIN_EXE_worker"))
        .arg("rank")
        .stdin(Stdio::null())
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(2));
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.contains("this command is for the worker"), "{said}");
}
