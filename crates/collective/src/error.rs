//! What can go wrong between ranks, by what one would do about it.

use std::fmt;

/// The cause of an [`Error`], as far as libtorch lets it be known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The store gave no answer, or a key did not appear in time: most often a rank that never joined.
    Store,
    /// Ranks could not connect to each other.
    Network,
    /// The backend for CUDA tensors (NCCL) failed.
    Backend,
    /// A peer went away or stayed silent for longer than the group's timeout while ranks worked together.
    Peer,
    /// libtorch refused an operation.
    Torch,
    /// The caller broke a rule: shapes that differ between ranks, a tensor that is not contiguous, a rank out of range.
    Argument,
    /// The group has failed before and is closed.
    Closed,
    /// Anything else.
    Other,
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Store => "store",
            Self::Network => "network",
            Self::Backend => "backend",
            Self::Peer => "peer lost",
            Self::Torch => "libtorch",
            Self::Argument => "wrong use",
            Self::Closed => "group closed",
            Self::Other => "other",
        })
    }
}

/// A failed operation of this crate.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{doing}: {kind}: {message}")]
pub struct Error {
    kind: Kind,
    doing: &'static str,
    message: String,
}

impl Error {
    pub(crate) fn new(kind: Kind, doing: &'static str, message: impl Into<String>) -> Self {
        Self {
            kind,
            doing,
            message: message.into(),
        }
    }

    /// The error behind a number and a message of the shim, or of a plugin made with its headers (`Kind` in shim/shim.h).
    #[doc(hidden)]
    #[must_use]
    pub fn from_code(code: i32, doing: &'static str, message: impl Into<String>) -> Self {
        let kind = match code {
            1 => Kind::Store,
            2 => Kind::Network,
            3 => Kind::Backend,
            4 => Kind::Peer,
            5 => Kind::Torch,
            6 => Kind::Argument,
            _ => Kind::Other,
        };
        Self::new(kind, doing, message)
    }

    /// Sorts an error of tch from a backward pass that a [`crate::Reducer`] takes part in: a peer's loss reaches the caller
    /// through autograd, as text.
    #[must_use]
    pub fn from_backward(error: &tch::TchError) -> Self {
        /// How gloo and c10d speak of a peer that is gone or silent.
        const PEER: [&str; 8] = [
            "Connection closed by peer",
            "Connection reset by peer",
            "Broken pipe",
            "Timed out waiting",
            "Application timeout caused pair closure",
            "Socket closed",
            "gloo/transport",
            "Connection refused",
        ];
        let text = error.to_string();
        let kind = if PEER.iter().any(|sign| text.contains(sign)) {
            Kind::Peer
        } else if text.contains("NCCL") {
            Kind::Backend
        } else {
            Kind::Torch
        };
        // Below the first line libtorch lists its own stack.
        let first = text.lines().next().unwrap_or_default();
        Self::new(kind, "backward", first)
    }

    /// The cause.
    #[must_use]
    pub const fn kind(&self) -> Kind {
        self.kind
    }

    /// Whether this rank is healthy and another one (or the way to it) is to blame.
    #[must_use]
    pub const fn is_peer_lost(&self) -> bool {
        matches!(self.kind, Kind::Peer | Kind::Network | Kind::Closed)
    }
}
