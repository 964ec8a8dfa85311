//! The durable record of `control`'s inputs.
//!
//! A coordinator writes each durable input here *before* it replies or performs the actions that follow from it; after a
//! restart it gives the records to `control` again, in order. This room knows records as texts with a number: what they
//! mean is `control`'s to say, and no fact is kept here that is not in one of them.
//!
//! ```
//! use control::{Cluster, Input, Record, Settings};
//! use journal::{Journal, MemoryJournal};
//! use types::Timestamp;
//!
//! let mut journal = MemoryJournal::default();
//! let (at, input) = (Timestamp(1), Input::CoordinatorStarted { settings: Settings::default() });
//! journal.append(&[Record { at, input }])?;
//!
//! let mut cluster = Cluster::new();
//! for record in journal.records()? {
//!     let record = record?;
//!     cluster.apply(record.at, record.input).expect("only accepted inputs are recorded");
//! }
//! # Ok::<(), journal::Error>(())
//! ```

mod error;
mod lock;
mod memory;
mod sqlite;

pub use error::Error;
pub use memory::MemoryJournal;
pub use sqlite::{JournalReader, SqliteJournal};

use control::Record;

/// An append-only list of records.
pub trait Journal {
    /// Adds these records, all or none. When it returns `Ok`, they survive a crash of the process and of the machine.
    ///
    /// # Errors
    /// Nothing has been recorded then. If [`Error::may_pass`], the same call may be tried again later.
    fn append(&mut self, records: &[Record]) -> Result<(), Error>;

    /// All records, oldest first.
    ///
    /// # Errors
    /// When the records cannot be read. The iterator stops after its first error.
    fn records(&self) -> Result<Records<'_>, Error>;
}

/// See [`Journal::records`].
pub type Records<'a> = Box<dyn Iterator<Item = Result<Record, Error>> + 'a>;
