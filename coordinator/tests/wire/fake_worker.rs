use std::collections::BTreeMap;
use std::error::Error;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use proto::v1::artifacts_client::ArtifactsClient;
use proto::v1::workers_client::WorkersClient;
use proto::v1::{self, from_worker, report, to_worker, upload_chunk};
use proto::{Token, digest_to_wire};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Status;
use tonic::transport::{Channel, Endpoint};
use types::{Digest, TaskSpec};

use crate::reach::{self, Authorized, LIMIT};

/// Anything that ends a connection.
type Result<T> = std::result::Result<T, Box<dyn Error + Send + Sync>>;

/// What a worker was told.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Told {
    Start {
        task: String,
        fence: u64,
        rank: u32,
        world_size: u32,
        resumed: bool,
    },
    Stop {
        fence: u64,
        mode: v1::StopMode,
    },
    Leave,
}

/// What it does with the tasks that it is given.
#[derive(Debug, Clone, Default)]
pub(crate) struct Manners {
    /// Tasks with this in their name go on until [`FakeWorker::release`].
    pub(crate) hold: Option<&'static str>,
    /// The first task with this in its name fails in this way.
    pub(crate) fail: Option<(&'static str, v1::Failure)>,
    /// It goes on whatever it is told to stop.
    pub(crate) deaf: bool,
}

impl Manners {
    /// Holds tasks with this in their name.
    pub(crate) fn hold(part: &'static str) -> Self {
        Self {
            hold: Some(part),
            ..Self::default()
        }
    }
}

enum Order {
    Cut,
    Release,
    Say(from_worker::Body),
}

/// A worker in the test's process. It comes back by itself when its connection ends, as a real one does.
pub(crate) struct FakeWorker {
    orders: mpsc::UnboundedSender<Order>,
    told: Arc<Mutex<Vec<Told>>>,
    life: JoinHandle<()>,
}

impl FakeWorker {
    /// A worker of the coordinator whose address is in this run directory.
    pub(crate) fn start(run_dir: &impl AsRef<Path>, name: &str, manners: Manners) -> Self {
        let (orders, received) = mpsc::unbounded_channel();
        let told = Arc::new(Mutex::new(Vec::new()));
        let life = Life {
            name: name.to_owned(),
            run_dir: run_dir.as_ref().to_owned(),
            manners,
            told: Arc::clone(&told),
            running: BTreeMap::new(),
            newest: BTreeMap::new(),
            unacknowledged: Vec::new(),
            unwritten: Vec::new(),
            sequence: 0,
            lasting: Vec::new(),
        };
        Self {
            orders,
            told,
            life: tokio::spawn(life.live(received)),
        }
    }

    /// Everything that it was told so far.
    pub(crate) fn told(&self) -> Vec<Told> {
        self.told.lock().unwrap().clone()
    }

    /// The tasks that it was told to start, in order, with their fences.
    pub(crate) fn starts(&self) -> Vec<(String, u64)> {
        let starts = self.told().into_iter().filter_map(|told| match told {
            Told::Start { task, fence, .. } => Some((task, fence)),
            _ => None,
        });
        starts.collect()
    }

    /// Waits until it was told something.
    pub(crate) async fn wait_for(&self, what: impl Fn(&Told) -> bool) -> Told {
        let started = Instant::now();
        loop {
            if let Some(told) = self.told().into_iter().find(&what) {
                return told;
            }
            assert!(started.elapsed() < LIMIT, "only told {:#?}", self.told());
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// Waits until it has a task with this in its name; gives the fence.
    pub(crate) async fn wait_for_task(&self, part: &str) -> u64 {
        let told = self
            .wait_for(|told| matches!(told, Told::Start { task, .. } if task.contains(part)))
            .await;
        match told {
            Told::Start { fence, .. } => fence,
            other => panic!("{other:?}"),
        }
    }

    /// Its connection breaks; it comes back as the same life.
    pub(crate) fn cut(&self) {
        self.orders.send(Order::Cut).unwrap();
    }

    /// It holds nothing back any more.
    pub(crate) fn release(&self) {
        self.orders.send(Order::Release).unwrap();
    }

    /// It says this, whatever it means.
    pub(crate) fn say(&self, body: from_worker::Body) {
        self.orders.send(Order::Say(body)).unwrap();
    }
}

impl Drop for FakeWorker {
    fn drop(&mut self) {
        self.life.abort();
    }
}

struct Life {
    name: String,
    run_dir: PathBuf,
    manners: Manners,
    told: Arc<Mutex<Vec<Told>>>,
    /// By fence.
    running: BTreeMap<u64, v1::StartRank>,
    /// Reports, with the slot that their rank takes until its end is acknowledged.
    unacknowledged: Vec<(v1::Report, v1::Slot)>,
    /// Lines of logs.
    unwritten: Vec<v1::LogBatch>,
    /// The newest fence of each slot: what is not newer was obeyed before.
    newest: BTreeMap<i32, u64>,
    sequence: u64,
    /// What it says on every connection: that it is draining, or quarantined.
    lasting: Vec<from_worker::Body>,
}

struct Connection {
    to_coordinator: mpsc::Sender<v1::FromWorker>,
}

impl Connection {
    /// Says it, if anybody listens: who does not is noticed where he is listened to.
    async fn say(&self, body: from_worker::Body) {
        let said = v1::FromWorker { body: Some(body) };
        let _ = self.to_coordinator.send(said).await;
    }
}

impl Life {
    async fn live(mut self, mut orders: mpsc::UnboundedReceiver<Order>) {
        loop {
            match self.one_connection(&mut orders).await {
                Ok(true) => return,
                // It is away, or the connection is gone: again soon.
                Ok(false) | Err(_) => tokio::time::sleep(Duration::from_millis(30)).await,
            }
        }
    }

    /// One connection from hello to its end; true if the worker has left for good.
    async fn one_connection(
        &mut self,
        orders: &mut mpsc::UnboundedReceiver<Order>,
    ) -> Result<bool> {
        let (address, token) = reach::address(&self.run_dir).ok_or("not there yet")?;
        let channel = Endpoint::from_shared(address)?.connect().await?;
        let (to_coordinator, messages) = mpsc::channel(1024);
        let connection = Connection { to_coordinator };
        connection
            .say(from_worker::Body::Hello(hello(&self.name, self.held())))
            .await;
        let mut workers = WorkersClient::with_interceptor(channel, token);
        let mut commands = workers
            .attach(ReceiverStream::new(messages))
            .await?
            .into_inner();
        let first = commands.message().await?.and_then(|message| message.body);
        let Some(to_worker::Body::Welcome(welcome)) = first else {
            panic!("not a welcome: {first:?}")
        };
        let mut heartbeat =
            tokio::time::interval(Duration::from_millis(welcome.heartbeat_ms.max(1)));
        for (report, _) in &self.unacknowledged {
            connection
                .say(from_worker::Body::Report(report.clone()))
                .await;
        }
        for batch in &self.unwritten {
            connection.say(from_worker::Body::Logs(batch.clone())).await;
        }
        for body in &self.lasting {
            connection.say(body.clone()).await;
        }
        loop {
            tokio::select! {
                command = commands.message() => match command?.and_then(|message| message.body) {
                    Some(body) => if self.obey(&connection, body).await { return Ok(true) },
                    None => return Ok(false),
                },
                order = orders.recv() => match order {
                    None => return Ok(true),
                    Some(Order::Cut) => return Ok(false),
                    Some(Order::Say(body)) => {
                        if matches!(
                            body,
                            from_worker::Body::Draining(_) | from_worker::Body::Quarantined(_)
                        ) {
                            self.lasting.push(body.clone());
                        }
                        connection.say(body).await;
                    }
                    Some(Order::Release) => {
                        self.manners.hold = None;
                        for start in std::mem::take(&mut self.running).into_values() {
                            self.finish(&connection, start).await;
                        }
                    }
                },
                _ = heartbeat.tick() => {
                    connection.say(from_worker::Body::Heartbeat(v1::Heartbeat { sent_at: 7 })).await;
                }
            }
        }
    }

    fn held(&self) -> Vec<v1::HeldRank> {
        let running = self
            .running
            .values()
            .map(|start| (start.fence, start.rank, slot(start)));
        let ended = self
            .unacknowledged
            .iter()
            .map(|(report, slot)| (report.fence, report.rank, *slot));
        let held: BTreeMap<_, _> = running
            .chain(ended)
            .map(|(fence, rank, slot)| ((fence, rank), slot))
            .collect();
        held.into_iter()
            .map(|((fence, rank), slot)| v1::HeldRank {
                fence,
                rank,
                slot: slot.into(),
            })
            .collect()
    }

    async fn obey(&mut self, connection: &Connection, body: to_worker::Body) -> bool {
        match body {
            to_worker::Body::StartRank(start) => self.start(connection, start).await,
            to_worker::Body::StopRank(stop) => {
                self.told.lock().unwrap().push(Told::Stop {
                    fence: stop.fence,
                    mode: stop.mode(),
                });
                let stopped = if self.manners.deaf {
                    None
                } else {
                    self.running.remove(&stop.fence)
                };
                if let Some(start) = stopped {
                    if start.task.ends_with("train") && start.rank == 0 {
                        let digest = self
                            .upload(format!("checkpoint of {}", start.task).into())
                            .await;
                        let checkpoint = v1::Checkpoint {
                            step: 3,
                            digest: digest_to_wire(&digest),
                        };
                        self.report(connection, &start, report::What::Checkpoint(checkpoint))
                            .await;
                    }
                    self.report(connection, &start, report::What::Stopped(v1::Stopped {}))
                        .await;
                }
            }
            to_worker::Body::ReportAck(ack) => {
                self.unacknowledged
                    .retain(|(report, _)| report.sequence > ack.up_to);
            }
            to_worker::Body::Leave(_) => {
                self.told.lock().unwrap().push(Told::Leave);
                connection
                    .say(from_worker::Body::Goodbye(v1::Goodbye {}))
                    .await;
                // The goodbye is on its way before the connection ends.
                tokio::time::sleep(Duration::from_millis(50)).await;
                return true;
            }
            to_worker::Body::HeartbeatAck(ack) => assert_eq!(ack.sent_at, 7),
            to_worker::Body::LogAck(ack) => self.unwritten.retain(|batch| {
                let end = batch.first_line + batch.lines.len() as u64;
                (batch.fence, batch.rank) != (ack.fence, ack.rank) || end > ack.lines
            }),
            to_worker::Body::Welcome(_) => {}
        }
        false
    }

    async fn start(&mut self, connection: &Connection, start: v1::StartRank) {
        let newest = self.newest.entry(slot(&start).into()).or_default();
        if *newest >= start.fence {
            // Said again, or overtaken.
            return;
        }
        *newest = start.fence;
        self.told.lock().unwrap().push(Told::Start {
            task: start.task.clone(),
            fence: start.fence,
            rank: start.rank,
            world_size: start.world_size,
            resumed: start.resume.is_some(),
        });
        self.report(connection, &start, report::What::Started(v1::Started {}))
            .await;
        self.unwritten.push(logs(&start));
        connection.say(from_worker::Body::Logs(logs(&start))).await;
        if start.rank == 0 {
            let point = v1::Metrics {
                step: 1,
                values: BTreeMap::from([("loss".to_owned(), 0.5)]),
            };
            self.report(connection, &start, report::What::Metrics(point))
                .await;
        }
        connection
            .say(from_worker::Body::Progress(v1::ProgressNote {
                fence: start.fence,
                rank: start.rank,
                unit: v1::ProgressUnit::Steps.into(),
                done: 1,
                total: 2,
                loss: Some(0.5),
                clips_per_second: None,
            }))
            .await;
        if let Some((_, failure)) = self
            .manners
            .fail
            .take_if(|(part, _)| start.task.contains(*part))
        {
            return self
                .report(connection, &start, report::What::Failed(failure))
                .await;
        }
        if self
            .manners
            .hold
            .is_some_and(|part| start.task.contains(part))
        {
            self.running.insert(start.fence, start);
            return;
        }
        self.finish(connection, start).await
    }

    async fn finish(&mut self, connection: &Connection, start: v1::StartRank) {
        let mut outputs = BTreeMap::new();
        if start.rank == 0 {
            for name in &start.outputs {
                let digest = self.upload(made_up(&start, name)).await;
                outputs.insert(name.clone(), digest_to_wire(&digest));
            }
        }
        self.report(
            connection,
            &start,
            report::What::Finished(v1::Finished { outputs }),
        )
        .await
    }

    /// Puts an artifact into the store, for as long as it takes.
    async fn upload(&self, bytes: Vec<u8>) -> Digest {
        let digest = Digest::of(&bytes);
        loop {
            let (channel, token) = reach::connect(&self.run_dir).await;
            let client = artifacts(channel, token);
            match send_artifact(client, digest, bytes.clone()).await {
                Ok(_) => return digest,
                Err(_) => tokio::time::sleep(Duration::from_millis(30)).await,
            }
        }
    }

    async fn report(&mut self, connection: &Connection, start: &v1::StartRank, what: report::What) {
        self.sequence += 1;
        let report = v1::Report {
            sequence: self.sequence,
            fence: start.fence,
            rank: start.rank,
            what: Some(what),
        };
        self.unacknowledged.push((report.clone(), slot(start)));
        connection.say(from_worker::Body::Report(report)).await
    }
}

/// What a worker says first.
pub(crate) fn hello(name: &str, held: Vec<v1::HeldRank>) -> v1::Hello {
    v1::Hello {
        protocol: proto::PROTOCOL,
        worker: name.to_owned(),
        incarnation: 1,
        host: "here".to_owned(),
        device: v1::DeviceKind::Cpu.into(),
        device_name: "no device at all".to_owned(),
        held,
    }
}

fn slot(start: &v1::StartRank) -> v1::Slot {
    match serde_json::from_str(&start.spec).unwrap() {
        TaskSpec::Train(_) | TaskSpec::Predict(_) => v1::Slot::Device,
        TaskSpec::PseudoLabel(_) | TaskSpec::Evaluate(_) => v1::Slot::Host,
    }
}

fn logs(start: &v1::StartRank) -> v1::LogBatch {
    let lines = vec![format!("this is {} as rank {}", start.task, start.rank)];
    v1::LogBatch {
        fence: start.fence,
        rank: start.rank,
        first_line: 0,
        lines,
    }
}

/// Something small that is another for every task.
fn made_up(start: &v1::StartRank, output: &str) -> Vec<u8> {
    let mut spec: TaskSpec = serde_json::from_str(&start.spec).unwrap();
    match &mut spec {
        TaskSpec::Evaluate(spec) => {
            let report = testkit::score_report(
                (spec.iteration, spec.stage),
                spec.subject.clone(),
                0.25,
                0.5,
                Some(0.75),
            );
            return serde_json::to_vec(&report).unwrap();
        }
        // Where the data lies is no part of the work.
        TaskSpec::Train(spec) => spec.data.root = PathBuf::new(),
        TaskSpec::Predict(spec) => spec.data.root = PathBuf::new(),
        TaskSpec::PseudoLabel(_) => {}
    }
    let text = serde_json::to_vec(&spec).unwrap();
    format!("{output} of {} {}", start.task, Digest::of(&text)).into_bytes()
}

/// Uploads bytes under a digest, which need not be theirs.
pub(crate) async fn send_artifact(
    mut artifacts: ArtifactsClient<Authorized>,
    digest: Digest,
    bytes: Vec<u8>,
) -> std::result::Result<v1::UploadReply, Status> {
    let header = v1::UploadHeader {
        digest: digest_to_wire(&digest),
        size: bytes.len() as u64,
    };
    let mut parts = vec![upload_chunk::Part::Header(header)];
    parts.extend(
        bytes
            .chunks(10)
            .map(|chunk| upload_chunk::Part::Data(chunk.to_vec())),
    );
    let chunks: Vec<_> = parts
        .into_iter()
        .map(|part| v1::UploadChunk { part: Some(part) })
        .collect();
    artifacts
        .upload(tokio_stream::iter(chunks))
        .await
        .map(tonic::Response::into_inner)
}

/// A client of the artifact service.
pub(crate) fn artifacts(channel: Channel, token: Token) -> ArtifactsClient<Authorized> {
    ArtifactsClient::with_interceptor(channel, token)
}
