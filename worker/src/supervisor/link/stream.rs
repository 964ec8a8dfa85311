use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use duty::Backoff;
use duty::protocol::Device;
use proto::PROTOCOL;
use proto::v1;
use proto::v1::workers_client::WorkersClient;
use proto::v1::{from_worker, to_worker};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{MissedTickBehavior, timeout};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Status, Streaming};

use super::super::coordinator::{Opening, Uplink};
use super::super::shell::Occurrence;
use super::super::transfer::wait;
use super::wire::{downlink_from_wire, held_to_wire, message, uplink_to_wire};
use super::{Service, Who};

/// For everything that a coordinator that is well does at once.
const PROMPTLY: Duration = Duration::from_secs(10);

/// For the coordinator to hang up after a goodbye.
const FAREWELL: Duration = Duration::from_secs(1);

/// How a connection ended.
enum End {
    /// The worker has said goodbye.
    Goodbye,
    /// The shell is gone: the worker is ending.
    WorkerGone,
    /// To be tried again.
    Broken(String),
    /// The coordinator does not want this worker, for a reason that time does not mend.
    Refused(String),
}

/// Keeps a stream to the coordinator open until the worker ends.
pub(super) async fn keep_open(
    who: Arc<Who>,
    client: WorkersClient<Service>,
    teller: mpsc::Sender<Occurrence>,
    close: watch::Sender<bool>,
) {
    let mut pause = Backoff::default();
    let mut said_broken = false;
    let mut was_welcome = false;
    loop {
        let mut welcome = false;
        let end = converse(&who, client.clone(), &teller, &mut welcome).await;
        was_welcome |= welcome;
        if welcome {
            pause.reset();
            said_broken = false;
        }
        match end {
            End::Goodbye | End::WorkerGone => break,
            End::Refused(reason) if !was_welcome => {
                let _ = teller.send(Occurrence::Refused(reason)).await;
                break;
            }
            End::Refused(reason) | End::Broken(reason) => {
                // once per outage: a log full of retries hides what matters
                if said_broken {
                    tracing::debug!("the coordinator is out of reach: {reason}");
                } else {
                    tracing::warn!("the coordinator is out of reach, trying again: {reason}");
                    said_broken = true;
                }
                if teller.send(Occurrence::Closed).await.is_err() {
                    break;
                }
            }
        }
        wait(&mut pause).await;
    }
    let _ = close.send(true); // nobody may be waiting for it
}

async fn converse(
    who: &Who,
    mut client: WorkersClient<Service>,
    teller: &mpsc::Sender<Occurrence>,
    welcome: &mut bool,
) -> End {
    let (uplink, from_shell) = mpsc::channel(1024);
    let (told, held) = oneshot::channel();
    let opening = Opening { uplink, held: told };
    let asked = teller.send(Occurrence::Opened(opening)).await;
    let (Ok(()), Ok(held)) = (asked, held.await) else {
        return End::WorkerGone;
    };
    let (outgoing, requests) = mpsc::channel(64);
    let settings = &who.settings;
    let hello = v1::Hello {
        protocol: PROTOCOL,
        worker: settings.name.to_string(),
        incarnation: who.incarnation.0,
        host: settings.host.clone(),
        device: match settings.device {
            Device::Cpu => v1::DeviceKind::Cpu,
            Device::Gpu(_) => v1::DeviceKind::Cuda,
        }
        .into(),
        device_name: settings.device_name.clone(),
        held: held.iter().map(held_to_wire).collect(),
    };
    // a new channel has room for one
    let _ = outgoing.try_send(message(from_worker::Body::Hello(hello)));
    let attach = client.attach(ReceiverStream::new(requests));
    let mut incoming = match timeout(PROMPTLY, attach).await {
        Ok(Ok(response)) => response.into_inner(),
        Ok(Err(status)) => return ended(&status),
        Err(_) => return End::Broken("it does not answer".to_owned()),
    };
    let first = match timeout(PROMPTLY, incoming.message()).await {
        Ok(Ok(Some(first))) => first,
        Ok(Ok(None)) => return End::Broken("it hung up before its welcome".to_owned()),
        Ok(Err(status)) => return ended(&status),
        Err(_) => return End::Broken("it does not say welcome".to_owned()),
    };
    let Some(to_worker::Body::Welcome(greeting)) = first.body else {
        return End::Broken("its first word is not welcome".to_owned());
    };
    tracing::info!("connected to the coordinator");
    *welcome = true;
    let heartbeat = Duration::from_millis(greeting.heartbeat_ms.clamp(10, 60_000));
    if !pass_on(
        v1::ToWorker {
            body: Some(to_worker::Body::Welcome(greeting)),
        },
        teller,
    )
    .await
    {
        return End::WorkerGone;
    }
    let mut listening = pin!(listen(incoming, teller, heartbeat));
    let end = tokio::select! {
        end = &mut listening => end,
        end = speak(who, from_shell, outgoing, heartbeat) => end,
    };
    if matches!(end, End::Goodbye) {
        // the coordinator hangs up when it has heard it
        let _ = timeout(FAREWELL, listening).await;
    }
    end
}

/// Forwards what the coordinator says.
async fn listen(
    mut incoming: Streaming<v1::ToWorker>,
    teller: &mpsc::Sender<Occurrence>,
    heartbeat: Duration,
) -> End {
    // every heartbeat is answered
    let longest_silence = (heartbeat * 10).max(Duration::from_secs(5));
    loop {
        match timeout(longest_silence, incoming.message()).await {
            Ok(Ok(Some(said))) => {
                if !pass_on(said, teller).await {
                    return End::WorkerGone;
                }
            }
            Ok(Ok(None)) => return End::Broken("it has hung up".to_owned()),
            Ok(Err(status)) => return End::Broken(status.message().to_owned()),
            Err(_) => {
                return End::Broken(format!("nothing heard for {longest_silence:.0?}"));
            }
        }
    }
}

/// Whether somebody is there to take it.
async fn pass_on(said: v1::ToWorker, teller: &mpsc::Sender<Occurrence>) -> bool {
    match downlink_from_wire(said) {
        Ok(said) => teller.send(Occurrence::Coordinator(said)).await.is_ok(),
        Err(invalid) => {
            tracing::warn!("the coordinator said something that makes no sense: {invalid}");
            true
        }
    }
}

/// Forwards what the worker says, and lets it be heard.
async fn speak(
    who: &Who,
    mut from_shell: mpsc::Receiver<Uplink>,
    outgoing: mpsc::Sender<v1::FromWorker>,
    heartbeat: Duration,
) -> End {
    let mut beats = tokio::time::interval(heartbeat);
    beats.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let (said, is_goodbye) = tokio::select! {
            said = from_shell.recv() => match said {
                Some(said) => {
                    let is_goodbye = matches!(said, Uplink::Goodbye);
                    (uplink_to_wire(said), is_goodbye)
                }
                None => return End::WorkerGone,
            },
            _ = beats.tick() => {
                let sent_at = who.clock.now().0;
                (message(from_worker::Body::Heartbeat(v1::Heartbeat { sent_at })), false)
            }
        };
        if outgoing.send(said).await.is_err() {
            return End::Broken("it takes nothing any more".to_owned());
        }
        if is_goodbye {
            return End::Goodbye;
        }
    }
}

fn ended(status: &Status) -> End {
    let reason = status.message().to_owned();
    match status.code() {
        Code::Unauthenticated
        | Code::PermissionDenied
        | Code::InvalidArgument
        | Code::FailedPrecondition
        | Code::Unimplemented => End::Refused(reason),
        _ => End::Broken(reason),
    }
}
