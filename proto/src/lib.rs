//! The wire: messages of `tutti/v1/*.proto`, the code generated from them, and conversions that validate.
//!
//! Rules of the protocol stand in the `.proto` files next to the fields they are about. Inner rooms never see a generated struct:
//! what arrives is turned into plain data here, and what cannot be is refused by name.

mod auth;
mod convert;

pub use auth::{Token, TokenError};
pub use convert::{Invalid, digest_from_wire, digest_to_wire, digests_from_wire, digests_to_wire};

/// The version of the protocol that this build speaks; a coordinator refuses workers of any other.
pub const PROTOCOL: u32 = 1;

/// The port that a coordinator listens on unless told otherwise.
pub const DEFAULT_PORT: u16 = 7070;

/// Bytes of an artifact in one message.
pub const CHUNK: usize = 256 * 1024;

/// The largest message that either side takes.
pub const LARGEST_MESSAGE: usize = 16 * 1024 * 1024;

/// The generated messages, clients and servers.
#[allow(
    missing_docs,
    clippy::all,
    clippy::pedantic,
    reason = "generated; the .proto files have the comments"
)]
pub mod v1 {
    tonic::include_proto!("tutti.v1");

    /// All of the above, encoded, for gRPC reflection.
    pub const DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/tutti.bin"));
}
