//! The content-addressed store: immutable files under the BLAKE3 digest of their bytes.
//!
//! Whatever is put here is hashed while it is copied, written aside, and appears under its name whole or not at all. What is
//! read is hashed again, so that a torn or rotten file is noticed by whoever asks for it and never passed on as good.
//!
//! ```text
//! <root>/aa/aabbcc...   an artifact; the folder is named by the first two of its 64 hex digits
//! <root>/aside/...      being written; whatever a process leaves behind here is gone at the next start
//! ```

mod digest;
mod disk;
mod error;
mod keeper;
mod reader;
mod store;
mod writer;

pub use digest::digest_of_file;
pub use disk::{About, Disk, FileId, NewFile, OpenFile, RealDisk};
pub use error::Error;
pub use keeper::{Hold, Keeper, Live, Sweep, Swept};
pub use reader::Reader;
pub use store::Store;
pub use writer::Writer;
