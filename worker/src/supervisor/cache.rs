use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use types::Digest;

/// The artifacts that this host has, by digest.
pub(crate) struct Cache {
    root: PathBuf,
    next_aside: AtomicU64,
}

impl Cache {
    pub(crate) fn open(root: PathBuf) -> io::Result<Self> {
        let aside = root.join("aside");
        if aside.exists() {
            fs::remove_dir_all(&aside)?;
        }
        fs::create_dir_all(&aside)?;
        Ok(Self {
            root,
            next_aside: AtomicU64::new(0),
        })
    }

    pub(crate) fn path(&self, digest: Digest) -> PathBuf {
        self.root.join(digest.to_string())
    }

    /// Whether it is here, whole.
    pub(crate) fn holds(&self, digest: Digest) -> io::Result<bool> {
        let path = self.path(digest);
        if !path.exists() {
            return Ok(false);
        }
        if Self::digest(&path)? == digest {
            return Ok(true);
        }
        tracing::warn!(
            "cached artifact {} is damaged; it is fetched again",
            path.display()
        );
        fs::remove_file(&path)?;
        Ok(false)
    }

    /// A place to write to.
    pub(crate) fn aside(&self) -> io::Result<PathBuf> {
        let number = self.next_aside.fetch_add(1, Ordering::Relaxed);
        Ok(self.root.join("aside").join(number.to_string()))
    }

    /// Takes a file in, if it is what it should be.
    pub(crate) fn take(&self, digest: Digest, aside: &Path) -> io::Result<()> {
        let found = Self::digest(aside)?;
        if found != digest {
            fs::remove_file(aside)?;
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                format!("what arrived as artifact {digest} has the digest {found}"),
            ));
        }
        File::open(aside)?.sync_all()?;
        fs::rename(aside, self.path(digest))
    }

    /// The name of a file's content.
    pub(crate) fn digest(file: &Path) -> io::Result<Digest> {
        let mut hasher = blake3::Hasher::new();
        hasher.update_mmap(file)?;
        Ok(Digest::from_bytes(*hasher.finalize().as_bytes()))
    }
}
