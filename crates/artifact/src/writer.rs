use std::io::Write;

use tempfile::NamedTempFile;
use types::Digest;

use crate::digest::finish;
use crate::{Error, Store};

/// An artifact in the making. Dropped before [`Writer::commit`], it leaves nothing.
#[derive(Debug)]
pub struct Writer {
    store: Store,
    aside: NamedTempFile,
    hasher: blake3::Hasher,
    written: u64,
}

impl Writer {
    pub(crate) fn new(store: Store, aside: NamedTempFile) -> Self {
        Self {
            store,
            aside,
            hasher: blake3::Hasher::new(),
            written: 0,
        }
    }

    /// Adds bytes at the end.
    ///
    /// # Errors
    /// When the disk is full or refuses.
    pub fn write(&mut self, bytes: &[u8]) -> Result<(), Error> {
        self.aside
            .write_all(bytes)
            .map_err(Error::io("writing", self.aside.path()))?;
        self.hasher.update(bytes);
        self.written += bytes.len() as u64;
        Ok(())
    }

    /// Bytes so far.
    #[must_use]
    pub fn written(&self) -> u64 {
        self.written
    }

    /// Makes it an artifact, on the disk for good when this returns. An artifact that is there already is replaced by these
    /// same bytes, which also mends a damaged one.
    ///
    /// # Errors
    /// [`Error::Mismatch`] if another digest was expected; otherwise when the disk is full or refuses. Nothing is left then.
    pub fn commit(self, expected: Option<Digest>) -> Result<Digest, Error> {
        let found = finish(&self.hasher);
        if let Some(expected) = expected
            && expected != found
        {
            return Err(Error::Mismatch { expected, found });
        }
        self.store.settle(self.aside.as_file(), self.aside.path())?;
        let aside = self.aside;
        self.store.appear(&found, |path| {
            aside.persist(path).map(drop).map_err(|error| error.error)
        })?;
        Ok(found)
    }
}
