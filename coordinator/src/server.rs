//! The gRPC server: all services on one port, behind the token.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use proto::v1::artifacts_server::ArtifactsServer;
use proto::v1::users_server::UsersServer;
use proto::v1::workers_server::WorkersServer;
use proto::{LARGEST_MESSAGE, Token};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::Server;
use tonic::transport::server::TcpIncoming;
use tonic::{Request, Status};
use types::Digest;

use crate::rendezvous::Rendezvous;
use crate::run_dir::RunDir;
use crate::services::{artifacts, users::Users, workers::Workers};
use crate::shell::Handle;
use crate::submission::Submitter;

/// A peer that does not answer a ping within this is gone.
const KEEPALIVE: Duration = Duration::from_secs(10);

/// What the services work with.
pub(crate) struct Parts {
    pub(crate) shell: Handle,
    pub(crate) rendezvous: Arc<Rendezvous>,
    pub(crate) keeper: Arc<artifact::Keeper>,
    pub(crate) submitter: Arc<Submitter>,
    pub(crate) run_dir: RunDir,
    pub(crate) token: Token,
    /// Where damaged artifacts are told.
    pub(crate) lost: tokio::sync::mpsc::UnboundedSender<Digest>,
}

/// The running server.
pub(crate) struct Running {
    pub(crate) address: SocketAddr,
    stop: CancellationToken,
    task: JoinHandle<Result<(), tonic::transport::Error>>,
}

impl Running {
    /// Listens and serves.
    ///
    /// # Errors
    /// When the address cannot be listened on.
    pub(crate) async fn start(listen: SocketAddr, parts: Parts) -> Result<Self> {
        let listener = TcpListener::bind(listen).await.with_context(|| {
            format!("cannot listen on {listen} (is another coordinator running? --listen chooses another address)")
        })?;
        let address = listener.local_addr().context("the listening address")?;
        let token = parts.token;
        let guard =
            move |request: Request<()>| -> Result<Request<()>, Status> { token.check(request) };
        let workers = WorkersServer::new(Workers::new(parts.shell.clone(), parts.rendezvous))
            .max_decoding_message_size(LARGEST_MESSAGE);
        let artifacts = ArtifactsServer::new(artifacts::service(parts.keeper, parts.lost))
            .max_decoding_message_size(LARGEST_MESSAGE);
        let users = UsersServer::new(Users::new(parts.shell, parts.submitter, parts.run_dir))
            .max_decoding_message_size(LARGEST_MESSAGE);
        let (health, health_service) = tonic_health::server::health_reporter();
        health.set_serving::<UsersServer<Users>>().await;
        let reflection = tonic_reflection::server::Builder::configure()
            .register_encoded_file_descriptor_set(proto::v1::DESCRIPTORS)
            .build_v1()
            .context("the description of the services")?;
        let stop = CancellationToken::new();
        let router = Server::builder()
            .http2_keepalive_interval(Some(KEEPALIVE))
            .http2_keepalive_timeout(Some(KEEPALIVE))
            .add_service(InterceptedService::new(workers, guard.clone()))
            .add_service(InterceptedService::new(artifacts, guard.clone()))
            .add_service(InterceptedService::new(users, guard))
            .add_service(health_service)
            .add_service(reflection);
        // A listener of our own does not get `Server::tcp_nodelay`; without it each small answer waits 40 ms for an acknowledgement.
        let incoming = TcpIncoming::from(listener).with_nodelay(Some(true));
        let task = tokio::spawn(
            router.serve_with_incoming_shutdown(incoming, stop.clone().cancelled_owned()),
        );
        Ok(Self {
            address,
            stop,
            task,
        })
    }

    /// Takes no more calls and ends; calls that go on are cut after a moment.
    pub(crate) async fn stop(self) {
        const LIMIT: Duration = Duration::from_secs(1);
        self.stop.cancel();
        let abort = self.task.abort_handle();
        if tokio::time::timeout(LIMIT, self.task).await.is_err() {
            abort.abort();
        }
    }
}
