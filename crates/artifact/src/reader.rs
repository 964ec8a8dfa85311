use std::io::{self, Read};
use std::path::{Path, PathBuf};

use types::Digest;

use crate::digest::finish;
use crate::{Error, FileId, OpenFile};

/// Reads an artifact once, hashing what passes: who has got its end without an error has got the right bytes.
#[derive(Debug)]
pub struct Reader {
    file: Box<dyn OpenFile>,
    path: PathBuf,
    digest: Digest,
    hasher: blake3::Hasher,
}

impl Reader {
    pub(crate) fn new(file: Box<dyn OpenFile>, path: PathBuf, digest: Digest) -> Self {
        Self {
            file,
            path,
            digest,
            hasher: blake3::Hasher::new(),
        }
    }

    /// What is read.
    #[must_use]
    pub fn digest(&self) -> Digest {
        self.digest
    }

    /// Its file.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    pub(crate) fn id(&self) -> io::Result<FileId> {
        self.file.id()
    }

    /// The next bytes, at most `most`; fewer only at the end. Empty once all have been read and are as they should be.
    ///
    /// # Errors
    /// [`Error::Damaged`] at the end, if what was read has another digest; otherwise when the file cannot be read.
    pub fn next_chunk(&mut self, most: usize) -> Result<Vec<u8>, Error> {
        let mut chunk = Vec::with_capacity(most);
        (&mut self.file)
            .take(most as u64)
            .read_to_end(&mut chunk)
            .map_err(Error::io("reading", &self.path))?;
        self.hasher.update(&chunk);
        if chunk.is_empty() {
            let found = finish(&self.hasher);
            if found != self.digest {
                return Err(Error::Damaged {
                    path: self.path.clone(),
                    expected: self.digest,
                    found,
                });
            }
        }
        Ok(chunk)
    }
}
