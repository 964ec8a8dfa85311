use std::fs::{self, File, Permissions};
use std::io::{self, Seek};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use types::Digest;

use crate::digest::{digest_of, digest_of_file, each_block};
use crate::{Error, Reader, Writer};

/// A folder of artifacts. Cheap to clone; all clones are the same store. Any number of threads may use it, but only one
/// process at a time: opening it clears away what an earlier life was writing.
#[derive(Debug, Clone)]
pub struct Store(Arc<Folder>);

#[derive(Debug)]
struct Folder {
    root: PathBuf,
    aside: PathBuf,
    next_aside: AtomicU64,
    /// Held while a name is given or taken away, so that a damaged file's good successor is never removed in its place.
    names: Mutex<()>,
}

impl Store {
    /// Opens the store in this folder, which is made if it is not there.
    ///
    /// # Errors
    /// When the folder cannot be made, or leftovers of an earlier life cannot be removed.
    pub fn open(root: impl Into<PathBuf>) -> Result<Self, Error> {
        let root = root.into();
        let aside = root.join("aside");
        match fs::remove_dir_all(&aside) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(Error::io("clearing", &aside)(error)),
        }
        fs::create_dir_all(&aside).map_err(Error::io("creating", &aside))?;
        Ok(Self(Arc::new(Folder {
            root,
            aside,
            next_aside: AtomicU64::new(0),
            names: Mutex::new(()),
        })))
    }

    /// Where an artifact is, or would be.
    #[must_use]
    pub fn path(&self, digest: &Digest) -> PathBuf {
        let name = digest.to_string();
        self.0.root.join(&name[..2]).join(name)
    }

    /// Whether there is such an artifact. Its bytes are not looked at.
    #[must_use]
    pub fn has(&self, digest: &Digest) -> bool {
        self.size(digest).is_some()
    }

    /// Bytes of an artifact's file; `None` if there is none.
    #[must_use]
    pub fn size(&self, digest: &Digest) -> Option<u64> {
        let metadata = fs::metadata(self.path(digest)).ok()?;
        metadata.is_file().then_some(metadata.len())
    }

    /// A new artifact, to be written piece by piece.
    ///
    /// # Errors
    /// When the disk is full or refuses.
    pub fn begin(&self) -> Result<Writer, Error> {
        let aside = tempfile::Builder::new()
            .tempfile_in(&self.0.aside)
            .map_err(Error::io("creating a file in", &self.0.aside))?;
        Ok(Writer::new(self.clone(), aside))
    }

    /// A name that is not in use, on the same file system as the artifacts: for a file that others write and
    /// [`Store::take_file`] takes in. It does not outlive this store's process.
    #[must_use]
    pub fn aside(&self) -> PathBuf {
        let number = self.0.next_aside.fetch_add(1, Ordering::Relaxed);
        self.0.aside.join(number.to_string())
    }

    /// Stores these bytes.
    ///
    /// # Errors
    /// When the disk is full or refuses.
    pub fn put_bytes(&self, bytes: &[u8]) -> Result<Digest, Error> {
        let mut writer = self.begin()?;
        writer.write(bytes)?;
        writer.commit(None)
    }

    /// Stores a copy of this file.
    ///
    /// # Errors
    /// When it cannot be read, or the disk is full or refuses.
    pub fn put_file(&self, file: &Path) -> Result<Digest, Error> {
        self.copy(file, None)
    }

    /// Stores this file itself: it is gone from where it was. `expected` is its digest, if that is known.
    ///
    /// # Errors
    /// [`Error::Mismatch`] if another digest was expected; otherwise when the file cannot be read, or the disk is full or
    /// refuses. The file stays where it is then.
    pub fn take_file(&self, file: &Path, expected: Option<Digest>) -> Result<Digest, Error> {
        let metadata = fs::symlink_metadata(file).map_err(Error::io("opening", file))?;
        // another name of the same file could go on changing it; a link is not the file
        if !metadata.is_file() || metadata.nlink() > 1 {
            return self.copy_and_remove(file, expected);
        }
        let found = digest_of_file(file)?;
        if let Some(expected) = expected
            && expected != found
        {
            return Err(Error::Mismatch { expected, found });
        }
        let handle = File::open(file).map_err(Error::io("opening", file))?;
        self.settle(&handle, file)?;
        match self.appear(&found, |path| fs::rename(file, path)) {
            Err(Error::Io { source, .. }) if source.kind() == io::ErrorKind::CrossesDevices => {
                self.copy_and_remove(file, Some(found))
            }
            Err(error) => Err(error),
            Ok(()) => Ok(found),
        }
    }

    /// An artifact's bytes, checked while they are read.
    ///
    /// # Errors
    /// [`Error::Missing`], or when the file cannot be opened.
    pub fn read(&self, digest: &Digest) -> Result<Reader, Error> {
        let path = self.path(digest);
        let file = open(digest, &path)?;
        Ok(Reader::new(file, path, *digest))
    }

    /// An artifact's file, at its beginning, after its bytes have been checked.
    ///
    /// # Errors
    /// [`Error::Missing`], [`Error::Damaged`], or when the file cannot be read.
    pub fn open_verified(&self, digest: &Digest) -> Result<File, Error> {
        let path = self.path(digest);
        let mut file = open(digest, &path)?;
        let found = digest_of(&mut file, &path)?;
        if found != *digest {
            return Err(Error::Damaged {
                path,
                expected: *digest,
                found,
            });
        }
        file.rewind().map_err(Error::io("reading", &path))?;
        Ok(file)
    }

    /// Checks an artifact's bytes.
    ///
    /// # Errors
    /// As [`Store::open_verified`].
    pub fn verify(&self, digest: &Digest) -> Result<(), Error> {
        self.open_verified(digest).map(drop)
    }

    /// Removes an artifact; nothing happens if there is none.
    ///
    /// # Errors
    /// When the disk refuses.
    pub fn remove(&self, digest: &Digest) -> Result<(), Error> {
        let _names = self.names();
        self.unlink(digest)
    }

    /// Removes the very file that this reader found damaged, unless a good one has taken its place meanwhile.
    ///
    /// # Errors
    /// When the disk refuses.
    pub fn remove_damaged(&self, reader: &Reader) -> Result<(), Error> {
        let _names = self.names();
        let read = reader
            .file()
            .metadata()
            .map_err(Error::io("reading", reader.path()))?;
        match fs::metadata(reader.path()) {
            Ok(there) if (there.dev(), there.ino()) == (read.dev(), read.ino()) => {
                self.unlink(&reader.digest())
            }
            _ => Ok(()),
        }
    }

    /// Brings a file's bytes to the disk and protects them from changes by accident.
    pub(crate) fn settle(&self, file: &File, path: &Path) -> Result<(), Error> {
        file.set_permissions(Permissions::from_mode(0o444))
            .and_then(|()| file.sync_all())
            .map_err(Error::io("writing", path))
    }

    /// Has a settled file appear under its name, for good.
    pub(crate) fn appear(
        &self,
        digest: &Digest,
        rename: impl FnOnce(&Path) -> io::Result<()>,
    ) -> Result<(), Error> {
        let path = self.path(digest);
        let folder = path.parent().unwrap_or(&self.0.root);
        fs::create_dir_all(folder).map_err(Error::io("creating", folder))?;
        {
            let _names = self.names();
            rename(&path).map_err(Error::io("writing", &path))?;
        }
        // the folder's own name too: another thread may have made it just now
        for folder in [folder, &self.0.root] {
            File::open(folder)
                .and_then(|folder| folder.sync_all())
                .map_err(Error::io("writing", folder))?;
        }
        Ok(())
    }

    fn copy(&self, file: &Path, expected: Option<Digest>) -> Result<Digest, Error> {
        let mut source = File::open(file).map_err(Error::io("opening", file))?;
        let mut writer = self.begin()?;
        each_block(&mut source, file, |block| writer.write(block))?;
        writer.commit(expected)
    }

    fn copy_and_remove(&self, file: &Path, expected: Option<Digest>) -> Result<Digest, Error> {
        let digest = self.copy(file, expected)?;
        fs::remove_file(file).map_err(Error::io("removing", file))?;
        Ok(digest)
    }

    fn unlink(&self, digest: &Digest) -> Result<(), Error> {
        let path = self.path(digest);
        match fs::remove_file(&path) {
            Ok(()) => Ok(()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(error) => Err(Error::io("removing", &path)(error)),
        }
    }

    fn names(&self) -> std::sync::MutexGuard<'_, ()> {
        // it guards no data that a panic could leave half changed
        self.0.names.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn open(digest: &Digest, path: &Path) -> Result<File, Error> {
    File::open(path).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => Error::Missing {
            digest: *digest,
            path: path.to_owned(),
        },
        _ => Error::io("opening", path)(error),
    })
}
