use std::io::Write;
use std::path::PathBuf;

use types::Digest;

use crate::digest::finish;
use crate::store::BLOCK;
use crate::{Error, NewFile, Store};

/// An artifact in the making. Dropped before [`Writer::commit`], it leaves nothing.
#[derive(Debug)]
pub struct Writer {
    store: Store,
    file: Box<dyn NewFile>,
    aside: Aside,
    hasher: blake3::Hasher,
    written: u64,
}

/// The file's name until it is an artifact.
#[derive(Debug)]
struct Aside {
    store: Store,
    path: PathBuf,
    in_use: bool,
}

impl Drop for Aside {
    fn drop(&mut self) {
        if self.in_use {
            // what cannot be removed now is cleared away at the next start
            let _ = self.store.disk().remove(&self.path);
        }
    }
}

impl Writer {
    pub(crate) fn create(store: Store) -> Result<Self, Error> {
        let path = store.aside();
        let file = store.disk().create(&path);
        let file = file.map_err(store.trouble("creating", &path, BLOCK))?;
        Ok(Self {
            aside: Aside {
                store: store.clone(),
                path,
                in_use: true,
            },
            store,
            file,
            hasher: blake3::Hasher::new(),
            written: 0,
        })
    }

    /// Adds bytes at the end.
    ///
    /// # Errors
    /// When the disk is full or refuses; the artifact cannot be made any more then.
    pub fn write(&mut self, bytes: &[u8]) -> Result<(), Error> {
        let written = self.file.write_all(bytes);
        let path = &self.aside.path;
        written.map_err(self.store.trouble("writing", path, bytes.len() as u64))?;
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
    pub fn commit(mut self, expected: Option<Digest>) -> Result<Digest, Error> {
        let found = finish(&self.hasher);
        if let Some(expected) = expected
            && expected != found
        {
            return Err(Error::Mismatch { expected, found });
        }
        let path = &self.aside.path;
        let flushed = self.file.flush();
        flushed.map_err(self.store.trouble("writing", path, self.written))?;
        let settled = if types::planted(types::Bug::ArtifactNotSynced) {
            Ok(())
        } else {
            self.store.disk().settle(path)
        };
        settled.map_err(self.store.trouble("writing", path, self.written))?;
        self.store.appear(&found, path)?;
        self.aside.in_use = false;
        Ok(found)
    }
}
