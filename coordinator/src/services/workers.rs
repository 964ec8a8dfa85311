use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use control::{DeviceKind, Input, LiveRank, RankReport, WorkerDescription};
use proto::v1::{self, from_worker, report};
use proto::{Invalid, digest_from_wire, digests_from_wire};
use tokio::sync::mpsc;
use tokio_stream::Stream;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming};
use types::{Fence, Incarnation, Progress, Rank, SlotKind, Step, WorkerId};

use crate::rendezvous::Rendezvous;
use crate::shell::Handle;
use crate::words::{Said, SaidReport};

/// A worker that has connected says hello at once.
const HELLO_LIMIT: Duration = Duration::from_secs(10);
/// Commands and acknowledgements on their way; a worker that lets so many pile up is cut off and comes back.
const QUEUE: usize = 4096;

pub(crate) struct Workers {
    shell: Handle,
    rendezvous: Arc<Rendezvous>,
}

impl Workers {
    pub(crate) fn new(shell: Handle, rendezvous: Arc<Rendezvous>) -> Self {
        Self { shell, rendezvous }
    }
}

#[tonic::async_trait]
impl v1::workers_server::Workers for Workers {
    type AttachStream = Pin<Box<dyn Stream<Item = Result<v1::ToWorker, Status>> + Send>>;

    async fn attach(
        &self,
        request: Request<Streaming<v1::FromWorker>>,
    ) -> Result<Response<Self::AttachStream>, Status> {
        let mut messages = request.into_inner();
        let first = tokio::time::timeout(HELLO_LIMIT, messages.message())
            .await
            .map_err(|_| Status::deadline_exceeded("the worker connected and said nothing"))??;
        let Some(from_worker::Body::Hello(hello)) = first.and_then(|message| message.body) else {
            return Err(Status::failed_precondition("a worker says Hello first"));
        };
        let (worker, incarnation, hello) = convert_hello(hello)?;
        let (to_worker, commands) = mpsc::channel(QUEUE);
        let connection = self
            .shell
            .attach(hello, worker.clone(), incarnation, to_worker)
            .await?;
        tokio::spawn(listen(self.shell.clone(), worker, connection, messages));
        Ok(Response::new(Box::pin(ReceiverStream::new(commands))))
    }

    async fn ask_store(
        &self,
        request: Request<v1::StoreRequest>,
    ) -> Result<Response<v1::StoreReply>, Status> {
        self.rendezvous
            .ask(request.into_inner())
            .await
            .map(Response::new)
    }
}

/// Passes on what a worker says until its connection ends.
async fn listen(
    shell: Handle,
    worker: WorkerId,
    connection: u64,
    mut messages: Streaming<v1::FromWorker>,
) {
    loop {
        let message = match messages.message().await {
            Ok(Some(message)) => message,
            Ok(None) => break,
            Err(status) => {
                tracing::debug!("the connection of worker {worker} ended: {status}");
                break;
            }
        };
        match convert(message) {
            Ok(said) => {
                if shell.said(worker.clone(), connection, said).await.is_err() {
                    return;
                }
            }
            // Another version or a fault: nothing is guessed, the rest of the stream is still good.
            Err(invalid) => {
                tracing::warn!("worker {worker} sent a message that makes no sense: {invalid}")
            }
        }
    }
    shell.detached(worker, connection).await;
}

fn convert_hello(hello: v1::Hello) -> Result<(WorkerId, Incarnation, Input), Status> {
    if hello.protocol != proto::PROTOCOL {
        return Err(Status::failed_precondition(format!(
            "the worker speaks protocol {}, this coordinator {} (use the same build on both sides)",
            hello.protocol,
            proto::PROTOCOL
        )));
    }
    let device = match hello.device() {
        v1::DeviceKind::Cpu => DeviceKind::Cpu,
        v1::DeviceKind::Cuda => DeviceKind::Cuda,
        v1::DeviceKind::Unspecified => {
            return Err(Invalid::new("Hello", "device", "not given").into());
        }
    };
    let worker = WorkerId::new(hello.worker)
        .map_err(|error| Invalid::new("Hello", "worker", error.to_string()))?;
    let live = hello
        .held
        .iter()
        .map(|held| {
            Ok(LiveRank {
                fence: Fence(held.fence),
                rank: Rank(held.rank),
                slot: SlotKind::try_from(held.slot())?,
            })
        })
        .collect::<Result<_, Invalid>>()?;
    let incarnation = Incarnation(hello.incarnation);
    let description = WorkerDescription {
        host: hello.host,
        device,
        device_name: hello.device_name,
    };
    let input = Input::Hello {
        worker: worker.clone(),
        incarnation,
        description,
        live,
    };
    Ok((worker, incarnation, input))
}

fn convert(message: v1::FromWorker) -> Result<Said, Invalid> {
    let body = message
        .body
        .ok_or_else(|| Invalid::new("FromWorker", "body", "empty"))?;
    Ok(match body {
        from_worker::Body::Hello(_) => {
            return Err(Invalid::new(
                "FromWorker",
                "hello",
                "a second hello on one connection",
            ));
        }
        from_worker::Body::Heartbeat(heartbeat) => Said::Heartbeat {
            sent_at: heartbeat.sent_at,
        },
        from_worker::Body::Report(report) => Said::Report {
            sequence: report.sequence,
            fence: Fence(report.fence),
            rank: Rank(report.rank),
            what: convert_report(report.what)?,
        },
        from_worker::Body::Progress(note) => Said::Progress {
            fence: Fence(note.fence),
            rank: Rank(note.rank),
            progress: Progress::try_from(&note)?,
        },
        from_worker::Body::Logs(batch) => Said::Logs {
            fence: Fence(batch.fence),
            rank: Rank(batch.rank),
            first: batch.first_line,
            lines: batch.lines,
        },
        from_worker::Body::Paused(paused) => Said::Waits {
            fence: Fence(paused.fence),
            rank: Rank(paused.rank),
            reason: paused.reason,
        },
        from_worker::Body::Draining(_) => Said::Draining,
        from_worker::Body::Goodbye(_) => Said::Goodbye,
        from_worker::Body::Quarantined(said) => Said::Quarantined {
            reason: said.reason,
        },
    })
}

fn convert_report(what: Option<report::What>) -> Result<SaidReport, Invalid> {
    let what = what.ok_or_else(|| Invalid::new("Report", "what", "empty"))?;
    Ok(SaidReport::Rank(match what {
        report::What::Metrics(point) => return Ok(SaidReport::Metrics(point.into())),
        report::What::Started(_) => RankReport::Started,
        report::What::Stopped(_) => RankReport::Stopped,
        report::What::Checkpoint(checkpoint) => RankReport::Checkpoint {
            step: Step(checkpoint.step),
            digest: digest_from_wire("Checkpoint", "digest", &checkpoint.digest)?,
        },
        report::What::Finished(finished) => RankReport::Finished {
            outputs: digests_from_wire("Finished", "outputs", finished.outputs)?,
        },
        report::What::Failed(failure) => RankReport::Failed {
            failure: failure.try_into()?,
        },
    }))
}
