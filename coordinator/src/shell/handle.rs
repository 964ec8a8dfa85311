use std::collections::BTreeMap;

use control::{Cluster, Input, Rejection};
use proto::v1;
use tokio::sync::{mpsc, oneshot};
use tonic::Status;
use types::{Incarnation, Progress, TaskId, WorkerId};

use crate::pauses::Pauses;
use crate::words::Said;

/// What a worker's stream takes.
pub(crate) type ToWorkerSender = mpsc::Sender<Result<v1::ToWorker, Status>>;

/// A call to the shell that changed nothing.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ShellError {
    /// The core's answer.
    #[error(transparent)]
    Rejected(#[from] Rejection),
    /// The shell has ended.
    #[error("the coordinator is ending")]
    Gone,
}

pub(super) type Reply<T> = oneshot::Sender<Result<T, ShellError>>;

/// What the shell can be asked.
pub(super) enum Request {
    Input(Input, Reply<()>),
    Attach {
        hello: Input,
        worker: WorkerId,
        incarnation: Incarnation,
        to_worker: ToWorkerSender,
        reply: Reply<u64>,
    },
    Said {
        worker: WorkerId,
        connection: u64,
        said: Said,
    },
    Detached {
        worker: WorkerId,
        connection: u64,
    },
    Query(Box<dyn FnOnce(&View<'_>) + Send>),
    LeaveLocal(Vec<WorkerId>),
}

/// What a query may look at.
pub(crate) struct View<'a> {
    pub(crate) cluster: &'a Cluster,
    pub(crate) progress: &'a BTreeMap<TaskId, Progress>,
    pub(crate) pauses: &'a Pauses,
}

/// Talks to the shell. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Handle(pub(super) mpsc::Sender<Request>);

impl Handle {
    /// Gives the core an input; the answer comes once it is in the journal.
    pub(crate) async fn input(&self, input: Input) -> Result<(), ShellError> {
        let (reply, answer) = oneshot::channel();
        self.send(Request::Input(input, reply)).await?;
        answer.await.map_err(|_| ShellError::Gone)?
    }

    /// Introduces a worker's new connection; gives its number.
    pub(crate) async fn attach(
        &self,
        hello: Input,
        worker: WorkerId,
        incarnation: Incarnation,
        to_worker: ToWorkerSender,
    ) -> Result<u64, ShellError> {
        let (reply, answer) = oneshot::channel();
        self.send(Request::Attach {
            hello,
            worker,
            incarnation,
            to_worker,
            reply,
        })
        .await?;
        answer.await.map_err(|_| ShellError::Gone)?
    }

    pub(crate) async fn said(
        &self,
        worker: WorkerId,
        connection: u64,
        said: Said,
    ) -> Result<(), ShellError> {
        self.send(Request::Said {
            worker,
            connection,
            said,
        })
        .await
    }

    pub(crate) async fn detached(&self, worker: WorkerId, connection: u64) {
        // A shell that has ended has no use for it.
        let _ = self.send(Request::Detached { worker, connection }).await;
    }

    /// Tells these workers to leave.
    pub(crate) async fn leave(&self, workers: Vec<WorkerId>) {
        let _ = self.send(Request::LeaveLocal(workers)).await;
    }

    /// Looks at the state.
    pub(crate) async fn query<T: Send + 'static>(
        &self,
        look: impl FnOnce(&View<'_>) -> T + Send + 'static,
    ) -> Result<T, ShellError> {
        let (reply, answer) = oneshot::channel();
        let look = Box::new(move |view: &View<'_>| {
            // Whoever asked may have gone.
            let _ = reply.send(look(view));
        });
        self.send(Request::Query(look)).await?;
        answer.await.map_err(|_| ShellError::Gone)
    }

    async fn send(&self, request: Request) -> Result<(), ShellError> {
        self.0.send(request).await.map_err(|_| ShellError::Gone)
    }
}
