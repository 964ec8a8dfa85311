//! The gRPC services: each validates, asks the shell or the store, and maps the answer. None decides anything.

pub(crate) mod artifacts;
pub(crate) mod users;
pub(crate) mod workers;

use control::Rejection;
use tonic::Status;

use crate::shell::ShellError;

impl From<ShellError> for Status {
    fn from(error: ShellError) -> Self {
        match error {
            ShellError::Gone => Self::unavailable("the coordinator is ending"),
            ShellError::Rejected(rejection) => {
                let text = rejection.to_string();
                match rejection {
                    Rejection::StaleFence { .. } | Rejection::StaleIncarnation { .. } => {
                        Self::aborted(text)
                    }
                    Rejection::UnknownWorker { .. }
                    | Rejection::UnknownRun { .. }
                    | Rejection::UnknownTask { .. } => Self::not_found(text),
                    Rejection::RunNumberTaken { .. } => Self::already_exists(text),
                    Rejection::BadGraph { .. } => Self::invalid_argument(text),
                    Rejection::RunOver { .. } | Rejection::NothingToRetry { .. } => {
                        Self::failed_precondition(text)
                    }
                    Rejection::ShuttingDown => Self::unavailable(text),
                }
            }
        }
    }
}
