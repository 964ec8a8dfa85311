use std::collections::BTreeMap;
use std::error::Error;
use std::path::PathBuf;
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

use crate::scene::{Authorized, LIMIT, Scene};

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
    /// Tasks with this in their name fail in this way.
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
    pub(crate) fn start(scene: &Scene, name: &str, manners: Manners) -> Self {
        let (orders, received) = mpsc::unbounded_channel();
        let told = Arc::new(Mutex::new(Vec::new()));
        let life = Life {
            name: name.to_owned(),
            run_dir: scene.run_dir(),
            manners,
            told: Arc::clone(&told),
            running: BTreeMap::new(),
            unacknowledged: Vec::new(),
            sequence: 0,
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
    sequence: u64,
}

struct Connection {
    to_coordinator: mpsc::Sender<v1::FromWorker>,
    artifacts: ArtifactsClient<Authorized>,
}

impl Connection {
    async fn say(&self, body: from_worker::Body) -> Result<()> {
        Ok(self
            .to_coordinator
            .send(v1::FromWorker { body: Some(body) })
            .await?)
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
        let address = std::fs::read_to_string(self.run_dir.join("address"))?;
        let token = Token::new(&std::fs::read_to_string(self.run_dir.join("token"))?)?;
        let channel = Endpoint::from_shared(address.trim().to_owned())?
            .connect()
            .await?;
        let (to_coordinator, messages) = mpsc::channel(1024);
        let connection = Connection {
            to_coordinator,
            artifacts: ArtifactsClient::with_interceptor(channel.clone(), token.clone()),
        };
        connection
            .say(from_worker::Body::Hello(hello(&self.name, self.held())))
            .await?;
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
                .await?;
        }
        loop {
            tokio::select! {
                command = commands.message() => match command?.and_then(|message| message.body) {
                    Some(body) => if self.obey(&connection, body).await? { return Ok(true) },
                    None => return Ok(false),
                },
                order = orders.recv() => match order {
                    None => return Ok(true),
                    Some(Order::Cut) => return Ok(false),
                    Some(Order::Say(body)) => connection.say(body).await?,
                    Some(Order::Release) => {
                        self.manners.hold = None;
                        for start in std::mem::take(&mut self.running).into_values() {
                            self.finish(&connection, start).await?;
                        }
                    }
                },
                _ = heartbeat.tick() => {
                    connection.say(from_worker::Body::Heartbeat(v1::Heartbeat { sent_at: 7 })).await?;
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

    async fn obey(&mut self, connection: &Connection, body: to_worker::Body) -> Result<bool> {
        match body {
            to_worker::Body::StartRank(start) => self.start(connection, start).await?,
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
                        let digest =
                            upload(connection, format!("checkpoint of {}", start.task).into())
                                .await?;
                        let checkpoint = v1::Checkpoint {
                            step: 3,
                            digest: digest_to_wire(&digest),
                        };
                        self.report(connection, &start, report::What::Checkpoint(checkpoint))
                            .await?;
                    }
                    self.report(connection, &start, report::What::Stopped(v1::Stopped {}))
                        .await?;
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
                    .await?;
                // The goodbye is on its way before the connection ends.
                tokio::time::sleep(Duration::from_millis(50)).await;
                return Ok(true);
            }
            to_worker::Body::HeartbeatAck(ack) => assert_eq!(ack.sent_at, 7),
            to_worker::Body::LogAck(_) | to_worker::Body::Welcome(_) => {}
        }
        Ok(false)
    }

    async fn start(&mut self, connection: &Connection, start: v1::StartRank) -> Result<()> {
        if self.running.contains_key(&start.fence) {
            // Said again after a reconnect.
            return Ok(());
        }
        self.told.lock().unwrap().push(Told::Start {
            task: start.task.clone(),
            fence: start.fence,
            rank: start.rank,
            world_size: start.world_size,
            resumed: start.resume.is_some(),
        });
        self.report(connection, &start, report::What::Started(v1::Started {}))
            .await?;
        connection
            .say(from_worker::Body::Logs(logs(&start)))
            .await?;
        if let Some((_, failure)) = self
            .manners
            .fail
            .clone()
            .filter(|(part, _)| start.task.contains(part))
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
            return Ok(());
        }
        self.finish(connection, start).await
    }

    async fn finish(&mut self, connection: &Connection, start: v1::StartRank) -> Result<()> {
        let mut outputs = BTreeMap::new();
        if start.rank == 0 {
            for name in &start.outputs {
                let digest = upload(connection, made_up(&start, name)).await?;
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

    async fn report(
        &mut self,
        connection: &Connection,
        start: &v1::StartRank,
        what: report::What,
    ) -> Result<()> {
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
    match serde_json::from_str(&start.spec).unwrap() {
        TaskSpec::Evaluate(spec) => {
            let report = testkit::score_report(
                (spec.iteration, spec.stage),
                spec.subject,
                0.25,
                0.5,
                Some(0.75),
            );
            serde_json::to_vec(&report).unwrap()
        }
        _ => format!(
            "{output} of {} {}",
            start.task,
            Digest::of(start.spec.as_bytes())
        )
        .into_bytes(),
    }
}

async fn upload(connection: &Connection, bytes: Vec<u8>) -> Result<Digest> {
    let digest = Digest::of(&bytes);
    send_artifact(connection.artifacts.clone(), digest, bytes).await?;
    Ok(digest)
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
