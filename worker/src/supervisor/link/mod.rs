//! The connection to a real coordinator.

mod artifacts;
mod stream;
mod wire;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use proto::v1;
use proto::v1::artifacts_client::ArtifactsClient;
use proto::v1::workers_client::WorkersClient;
use proto::{LARGEST_MESSAGE, Token};
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;
use tonic::service::Interceptor;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Request, Status};
use types::{Digest, Incarnation};

use duty::Backoff;
use duty::protocol::{StoreAnswer, StoreAsk};

use super::clock::Clock;
use super::coordinator::{Asker, Boxed, Coordinator, DepotError};
use super::settings::Settings;
use super::shell::Occurrence;
use super::transfer::wait;

/// Shows the cluster's secret, if there is one.
#[derive(Clone)]
struct Credentials(Option<Token>);

impl Interceptor for Credentials {
    fn call(&mut self, request: Request<()>) -> Result<Request<()>, Status> {
        match &mut self.0 {
            Some(token) => token.call(request),
            None => Ok(request),
        }
    }
}

type Service = InterceptedService<Channel, Credentials>;

/// Knows the coordinator's address, keeps a stream to it open, and asks it other things on the side.
pub(crate) struct Link {
    who: Arc<Who>,
    channel: Channel,
    credentials: Credentials,
    closed: watch::Receiver<bool>,
}

/// What a worker says of itself.
struct Who {
    settings: Settings,
    incarnation: Incarnation,
    clock: Clock,
}

impl Link {
    /// Begins to connect, and again whenever the connection is gone.
    pub(crate) fn open(
        settings: &Settings,
        clock: Clock,
        incarnation: Incarnation,
        teller: mpsc::Sender<Occurrence>,
    ) -> Result<Self> {
        /// A cut cable shows within ten seconds, well inside the lease.
        const SILENCE: Duration = Duration::from_secs(5);
        let endpoint = Endpoint::from_shared(settings.coordinator.clone())
            .with_context(|| {
                format!(
                    "--coordinator {:?} is no URL; expected something like http://host:7070",
                    settings.coordinator
                )
            })?
            .connect_timeout(Duration::from_secs(5))
            .tcp_nodelay(true)
            .http2_keep_alive_interval(SILENCE)
            .keep_alive_timeout(SILENCE)
            .keep_alive_while_idle(true);
        let channel = endpoint.connect_lazy();
        let credentials = Credentials(settings.token.clone());
        let who = Arc::new(Who {
            settings: settings.clone(),
            incarnation,
            clock,
        });
        let (close, closed) = watch::channel(false);
        let client = WorkersClient::with_interceptor(channel.clone(), credentials.clone())
            .max_decoding_message_size(LARGEST_MESSAGE);
        tokio::spawn(stream::keep_open(Arc::clone(&who), client, teller, close));
        Ok(Self {
            who,
            channel,
            credentials,
            closed,
        })
    }

    fn artifacts(&self) -> ArtifactsClient<Service> {
        ArtifactsClient::with_interceptor(self.channel.clone(), self.credentials.clone())
            .max_decoding_message_size(LARGEST_MESSAGE)
    }
}

impl Coordinator for Link {
    fn ask_store(
        &self,
        asker: Asker,
        ask: StoreAsk,
        limit: Duration,
    ) -> Boxed<'static, StoreAnswer> {
        let client =
            WorkersClient::with_interceptor(self.channel.clone(), self.credentials.clone())
                .max_decoding_message_size(LARGEST_MESSAGE);
        let request = v1::StoreRequest {
            worker: self.who.settings.name.to_string(),
            incarnation: self.who.incarnation.0,
            fence: asker.fence.0,
            rank: asker.rank.0,
            request: asker.request,
            ask: None,
        };
        Box::pin(ask_store(client, request, ask, limit))
    }

    fn download<'a>(&'a self, digest: Digest, to: &'a Path) -> Boxed<'a, Result<(), DepotError>> {
        Box::pin(artifacts::download(self.artifacts(), digest, to))
    }

    fn upload<'a>(&'a self, digest: Digest, file: &'a Path) -> Boxed<'a, Result<(), DepotError>> {
        Box::pin(artifacts::upload(self.artifacts(), digest, file))
    }

    fn closed(&self) -> Boxed<'_, ()> {
        let mut closed = self.closed.clone();
        Box::pin(async move {
            // an error means that the connection's task has ended, which is the same
            let _ = closed.wait_for(|closed| *closed).await;
        })
    }
}

/// Asks until there is an answer. A coordinator that is away is waited for: its answer may still come in time.
async fn ask_store(
    mut client: WorkersClient<Service>,
    request: v1::StoreRequest,
    mut ask: StoreAsk,
    limit: Duration,
) -> StoreAnswer {
    /// For the way there and back.
    const MARGIN: Duration = Duration::from_secs(2);
    let limit = match &ask {
        StoreAsk::Get { timeout_ms, .. } | StoreAsk::Wait { timeout_ms, .. } => {
            Duration::from_millis(*timeout_ms)
        }
        StoreAsk::Set { .. } | StoreAsk::Add { .. } | StoreAsk::Check { .. } => limit,
    };
    let deadline = Instant::now() + limit;
    let mut pause = Backoff::default();
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        if let StoreAsk::Get { timeout_ms, .. } | StoreAsk::Wait { timeout_ms, .. } = &mut ask {
            *timeout_ms = u64::try_from(left.as_millis()).unwrap_or(u64::MAX);
        }
        let request = v1::StoreRequest {
            ask: Some(wire::ask_to_wire(ask.clone())),
            ..request.clone()
        };
        let reason = match tokio::time::timeout(left + MARGIN, client.ask_store(request)).await {
            Ok(Ok(reply)) => return wire::answer_from_wire(reply.into_inner()),
            Ok(Err(status)) if !is_away(&status) => {
                return StoreAnswer::Failed {
                    reason: format!("the gang's store: {}", status.message()),
                };
            }
            Ok(Err(status)) => status.message().to_owned(),
            Err(_) => "no answer".to_owned(),
        };
        if Instant::now() >= deadline {
            return StoreAnswer::Failed {
                reason: format!(
                    "the gang's store was out of reach for {limit:.0?} (last: {reason})"
                ),
            };
        }
        wait(&mut pause).await;
    }
}

/// Whether the coordinator may be there again later: it is down, restarting, or the way to it is broken.
fn is_away(status: &Status) -> bool {
    matches!(
        status.code(),
        Code::Unavailable
            | Code::Unknown
            | Code::Cancelled
            | Code::DeadlineExceeded
            | Code::Internal
            | Code::ResourceExhausted
    )
}

#[cfg(test)]
mod tests;
