//! The whole supervisor against a coordinator over loopback gRPC; ranks are shell scripts.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Mutex;

use proto::v1::artifacts_server::{Artifacts, ArtifactsServer};
use proto::v1::workers_server::{Workers, WorkersServer};
use proto::v1::{from_worker, report, store_reply, store_request, to_worker};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_stream::wrappers::{ReceiverStream, TcpListenerStream};
use tonic::{Response, Streaming};

use super::*;
use crate::exit;
use crate::supervisor::assemble;
use crate::supervisor::samples::{script, settings};

const LIMIT: Duration = Duration::from_secs(20);

/// What outlives a coordinator's process.
#[derive(Default)]
struct Depot {
    artifacts: Mutex<BTreeMap<Vec<u8>, Vec<u8>>>,
    keys: Mutex<BTreeMap<String, Vec<u8>>>,
}

/// One process of a coordinator: hands each new stream to the test.
#[derive(Clone)]
struct Service {
    depot: Arc<Depot>,
    streams: mpsc::Sender<Conversation>,
}

/// A worker's stream, held by the test.
struct Conversation {
    hello: v1::Hello,
    from_worker: Streaming<v1::FromWorker>,
    to_worker: mpsc::Sender<Result<v1::ToWorker, Status>>,
}

#[tonic::async_trait]
impl Workers for Service {
    type AttachStream = ReceiverStream<Result<v1::ToWorker, Status>>;

    async fn attach(
        &self,
        request: Request<Streaming<v1::FromWorker>>,
    ) -> Result<Response<Self::AttachStream>, Status> {
        let mut from_worker = request.into_inner();
        let first = from_worker.message().await?;
        let Some(from_worker::Body::Hello(hello)) = first.and_then(|first| first.body) else {
            return Err(Status::invalid_argument("hello comes first"));
        };
        let (to_worker, replies) = mpsc::channel(64);
        let conversation = Conversation {
            hello,
            from_worker,
            to_worker,
        };
        conversation
            .say(to_worker::Body::Welcome(v1::Welcome {
                heartbeat_ms: 50,
                lost_after_ms: 60_000,
                journal: 7,
            }))
            .await;
        let _ = self.streams.send(conversation).await;
        Ok(Response::new(ReceiverStream::new(replies)))
    }

    async fn ask_store(
        &self,
        request: Request<v1::StoreRequest>,
    ) -> Result<Response<v1::StoreReply>, Status> {
        use store_reply::Answer;
        let mut keys = self.depot.keys.lock().unwrap();
        let answer = match request.into_inner().ask.unwrap() {
            store_request::Ask::Set(set) => {
                keys.insert(set.key, set.value);
                Answer::Done(v1::StoreDone {})
            }
            store_request::Ask::Get(get) => Answer::Value(keys[&get.key].clone()),
            _ => Answer::Failed("not played here".to_owned()),
        };
        Ok(Response::new(v1::StoreReply {
            answer: Some(answer),
        }))
    }
}

#[tonic::async_trait]
impl Artifacts for Service {
    type DownloadStream = ReceiverStream<Result<v1::DownloadChunk, Status>>;

    async fn has(&self, _: Request<v1::HasRequest>) -> Result<Response<v1::HasReply>, Status> {
        Err(Status::unimplemented("not played here"))
    }

    async fn upload(
        &self,
        request: Request<Streaming<v1::UploadChunk>>,
    ) -> Result<Response<v1::UploadReply>, Status> {
        use v1::upload_chunk::Part;
        let mut parts = request.into_inner();
        let (mut header, mut content) = (None, Vec::new());
        while let Some(chunk) = parts.message().await? {
            match chunk.part {
                Some(Part::Header(found)) => header = Some(found),
                Some(Part::Data(data)) => content.extend(data),
                None => {}
            }
        }
        let header = header.unwrap();
        assert_eq!(header.size, content.len() as u64);
        assert_eq!(header.digest, Digest::of(&content).as_bytes());
        let mut artifacts = self.depot.artifacts.lock().unwrap();
        let existed = artifacts.insert(header.digest, content).is_some();
        Ok(Response::new(v1::UploadReply { existed }))
    }

    async fn download(
        &self,
        request: Request<v1::DownloadRequest>,
    ) -> Result<Response<Self::DownloadStream>, Status> {
        let content = {
            let artifacts = self.depot.artifacts.lock().unwrap();
            artifacts.get(&request.into_inner().digest).cloned()
        };
        let content = content.ok_or_else(|| Status::not_found("no such artifact"))?;
        let (sender, chunks) = mpsc::channel(2);
        tokio::spawn(async move {
            for data in content.chunks(1000) {
                let data = data.to_vec();
                let _ = sender.send(Ok(v1::DownloadChunk { data })).await;
            }
        });
        Ok(Response::new(ReceiverStream::new(chunks)))
    }
}

impl Conversation {
    async fn say(&self, body: to_worker::Body) {
        let said = v1::ToWorker { body: Some(body) };
        self.to_worker.send(Ok(said)).await.unwrap();
    }

    /// The next message that is not about being alive; heartbeats are answered, reports acknowledged.
    async fn next(&mut self) -> from_worker::Body {
        loop {
            let said = timeout(LIMIT, self.from_worker.message())
                .await
                .expect("the worker says nothing")
                .unwrap()
                .expect("the worker has hung up");
            match said.body.unwrap() {
                from_worker::Body::Heartbeat(beat) => {
                    let sent_at = beat.sent_at;
                    self.say(to_worker::Body::HeartbeatAck(v1::HeartbeatAck { sent_at }))
                        .await;
                }
                from_worker::Body::Logs(logs) => {
                    let ack = v1::LogAck {
                        fence: logs.fence,
                        rank: logs.rank,
                        lines: logs.first_line + logs.lines.len() as u64,
                    };
                    self.say(to_worker::Body::LogAck(ack)).await;
                }
                from_worker::Body::Report(report) => {
                    let up_to = report.sequence;
                    self.say(to_worker::Body::ReportAck(v1::ReportAck { up_to }))
                        .await;
                    return from_worker::Body::Report(report);
                }
                other => return other,
            }
        }
    }

    async fn report(&mut self) -> report::What {
        match self.next().await {
            from_worker::Body::Report(report) => report.what.unwrap(),
            other => panic!("expected a report, found {other:?}"),
        }
    }
}

/// A coordinator's process; dropping it is kill -9.
struct Server {
    address: SocketAddr,
    streams: mpsc::Receiver<Conversation>,
    /// A runtime of its own: connections have tasks that nobody else could end.
    runtime: Option<tokio::runtime::Runtime>,
}

impl Server {
    async fn start(depot: &Arc<Depot>, address: Option<SocketAddr>, token: Option<Token>) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        let listening = runtime.spawn(TcpListener::bind(address.unwrap_or(any)));
        let listener = listening.await.unwrap().unwrap();
        let address = listener.local_addr().unwrap();
        let (sender, streams) = mpsc::channel(4);
        let service = Service {
            depot: Arc::clone(depot),
            streams: sender,
        };
        let check = move |request: Request<()>| match &token {
            Some(token) => token.check(request),
            None => Ok(request),
        };
        let server = tonic::transport::Server::builder()
            .add_service(WorkersServer::with_interceptor(
                service.clone(),
                check.clone(),
            ))
            .add_service(ArtifactsServer::with_interceptor(service, check));
        runtime.spawn(async move {
            let _ = server
                .serve_with_incoming(TcpListenerStream::new(listener))
                .await;
        });
        Self {
            address,
            streams,
            runtime: Some(runtime),
        }
    }

    async fn conversation(&mut self) -> Conversation {
        timeout(LIMIT, self.streams.recv()).await.unwrap().unwrap()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

/// The worker under test.
struct Worker {
    teller: mpsc::Sender<Occurrence>,
    shell: JoinHandle<u8>,
    _folder: tempfile::TempDir,
}

impl Worker {
    fn start(server: &Server, token: Option<Token>, rank: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut settings = settings(folder.path());
        settings.coordinator = format!("http://{}", server.address);
        settings.token = token;
        let (teller, occurrences) = mpsc::channel(1024);
        let channel = (teller.clone(), occurrences);
        let shell = assemble(settings, Arc::new(script(rank)), channel).unwrap();
        Self {
            teller,
            shell: tokio::spawn(shell.run()),
            _folder: folder,
        }
    }

    async fn exit_code(self) -> u8 {
        timeout(LIMIT, self.shell).await.unwrap().unwrap()
    }
}

fn start_rank(fence: u64) -> v1::StartRank {
    v1::StartRank {
        fence,
        task: "i1.pseudo_label".to_owned(),
        rank: 0,
        world_size: 1,
        spec: serde_json::to_string(&testkit::host_spec()).unwrap(),
        outputs: vec!["pseudo_labels".to_owned()],
        ..v1::StartRank::default()
    }
}

#[tokio::test]
async fn a_task_runs_over_the_wire_from_input_to_goodbye() {
    let depot = Arc::<Depot>::default();
    let input = vec![7; 5000];
    let input_digest = Digest::of(&input).as_bytes().to_vec();
    depot
        .artifacts
        .lock()
        .unwrap()
        .insert(input_digest.clone(), input.clone());
    let token = Token::new("sesame").unwrap();
    let mut server = Server::start(&depot, None, Some(token.clone())).await;
    let worker = Worker::start(
        &server,
        Some(token),
        r#"echo '{"says":"store","request":1,"ask":{"ask":"set","key":"0","value":[1,2]}}'
        hear done
        echo '{"says":"store","request":2,"ask":{"ask":"get","key":"0","timeout_ms":1000}}'
        hear value
        case $value in *'[1,2]'*) ;; *) exit 9;; esac
        echo '{"says":"met"}'
        input=${start#*\"logits\":\"}; cp "${input%%\"*}" "$scratch/out"
        echo "{\"says\":\"finished\",\"outputs\":{\"pseudo_labels\":\"$scratch/out\"}}""#,
    );
    let mut conversation = server.conversation().await;
    assert_eq!(conversation.hello.protocol, proto::PROTOCOL);
    assert_eq!(conversation.hello.worker, "w");
    assert!(conversation.hello.held.is_empty());
    let mut start = start_rank(1);
    start.inputs = BTreeMap::from([("logits".to_owned(), input_digest.clone())]);
    conversation.say(to_worker::Body::StartRank(start)).await;
    assert!(matches!(
        conversation.report().await,
        report::What::Started(_)
    ));
    let report::What::Finished(finished) = conversation.report().await else {
        panic!();
    };
    assert_eq!(finished.outputs["pseudo_labels"], input_digest);
    worker.teller.send(Occurrence::Interrupt).await.unwrap();
    assert!(matches!(
        conversation.next().await,
        from_worker::Body::Draining(_) | from_worker::Body::Goodbye(_)
    ));
    assert_eq!(worker.exit_code().await, exit::OK);
}

#[tokio::test]
async fn a_coordinator_that_comes_back_finds_the_same_rank_and_every_report() {
    let depot = Arc::<Depot>::default();
    let mut server = Server::start(&depot, None, None).await;
    let address = server.address;
    let worker = Worker::start(
        &server,
        None,
        r#"echo '{"says":"met"}'
        step=0
        while [ $step -lt 20 ]; do
            step=$((step+1)); sleep 0.1
            echo "{\"says\":\"metrics\",\"step\":$step,\"values\":{\"pid\":$$}}"
        done
        : > "$scratch/out"
        echo "{\"says\":\"finished\",\"outputs\":{\"pseudo_labels\":\"$scratch/out\"}}""#,
    );
    let mut conversation = server.conversation().await;
    conversation
        .say(to_worker::Body::StartRank(start_rank(3)))
        .await;
    let mut points = BTreeMap::new();
    let mut take = |what: report::What| match what {
        report::What::Metrics(point) => {
            points.insert(point.step, point.values["pid"]);
            false
        }
        report::What::Finished(_) => true,
        report::What::Started(_) => false,
        other => panic!("{other:?}"),
    };
    for _ in 0..4 {
        assert!(!take(conversation.report().await));
    }
    drop(conversation);
    drop(server);
    tokio::time::sleep(Duration::from_millis(700)).await;
    let mut server = Server::start(&depot, Some(address), None).await;
    let mut conversation = server.conversation().await;
    assert_eq!(conversation.hello.held.len(), 1);
    assert_eq!(conversation.hello.held[0].fence, 3);
    while !take(conversation.report().await) {}
    // what was not acknowledged came twice at most, nothing was lost, and it was one process throughout
    assert_eq!(
        points.keys().copied().collect::<Vec<_>>(),
        (1..=20).collect::<Vec<_>>()
    );
    assert!(points.values().all(|pid| *pid == points[&1]));
    worker.teller.send(Occurrence::Interrupt).await.unwrap();
    assert_eq!(worker.exit_code().await, exit::OK);
}

#[tokio::test]
async fn a_worker_with_the_wrong_token_says_so_and_ends() {
    let depot = Arc::<Depot>::default();
    let server = Server::start(&depot, None, Some(Token::new("sesame").unwrap())).await;
    let worker = Worker::start(&server, None, "exit 1");
    assert_eq!(worker.exit_code().await, exit::FAILED);
}

#[tokio::test]
async fn an_order_that_makes_no_sense_comes_back_as_a_failure() {
    let depot = Arc::<Depot>::default();
    let mut server = Server::start(&depot, None, None).await;
    let _worker = Worker::start(&server, None, "exit 1");
    let mut conversation = server.conversation().await;
    let mut start = start_rank(1);
    start.spec = "{}".to_owned();
    conversation.say(to_worker::Body::StartRank(start)).await;
    let report::What::Failed(failure) = conversation.report().await else {
        panic!();
    };
    assert_eq!(failure.class(), v1::FailureClass::Configuration);
}

#[tokio::test]
async fn a_download_that_is_not_what_it_should_be_is_refused() {
    let depot = Arc::<Depot>::default();
    let digest = Digest::of(b"the real one").as_bytes().to_vec();
    depot
        .artifacts
        .lock()
        .unwrap()
        .insert(digest.clone(), b"another one".to_vec());
    let mut server = Server::start(&depot, None, None).await;
    let _worker = Worker::start(&server, None, "exit 1");
    let mut conversation = server.conversation().await;
    let mut start = start_rank(1);
    start.resume = Some(digest);
    conversation.say(to_worker::Body::StartRank(start)).await;
    let report::What::Failed(failure) = conversation.report().await else {
        panic!();
    };
    assert!(failure.message.contains("has the digest"), "{failure:?}");
}
