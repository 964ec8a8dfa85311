use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use types::Digest;

use crate::digest::{digest_of, each_block};
use crate::{Disk, Error, OpenFile, Reader, RealDisk, Writer};

/// What a name needs on a disk, roughly.
pub(crate) const BLOCK: u64 = 4096;

/// A folder of artifacts. Cheap to clone; all clones are the same store. Any number of threads may use it, but only one
/// process at a time: opening it clears away what an earlier life was writing.
#[derive(Debug, Clone)]
pub struct Store(Arc<Folder>);

#[derive(Debug)]
struct Folder {
    disk: Arc<dyn Disk>,
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
        Self::open_on(Arc::new(RealDisk), root)
    }

    /// Opens the store in this folder of this disk.
    ///
    /// # Errors
    /// As [`Store::open`].
    pub fn open_on(disk: Arc<dyn Disk>, root: impl Into<PathBuf>) -> Result<Self, Error> {
        let store = Self::look_on(disk, root);
        let aside = &store.0.aside;
        let disk = store.disk();
        disk.create_folder(aside)
            .map_err(Error::io("creating", aside))?;
        for left in disk.list(aside).map_err(Error::io("clearing", aside))? {
            disk.remove(&left).map_err(Error::io("clearing", &left))?;
        }
        // A process that died between a name's appearance and the sync after it left a name that is there, but not for good.
        for folder in store.folders()?.iter().chain([&store.0.root]) {
            (store.disk().sync_folder(folder)).map_err(Error::io("syncing", folder))?;
        }
        Ok(store)
    }

    /// The store in this folder as it is, for who only looks: nothing is made and nothing is cleared away.
    #[must_use]
    pub fn look(root: impl Into<PathBuf>) -> Self {
        Self::look_on(Arc::new(RealDisk), root)
    }

    fn look_on(disk: Arc<dyn Disk>, root: impl Into<PathBuf>) -> Self {
        let root = root.into();
        let aside = root.join("aside");
        Self(Arc::new(Folder {
            disk,
            root,
            aside,
            next_aside: AtomicU64::new(0),
            names: Mutex::new(()),
        }))
    }

    pub(crate) fn disk(&self) -> &dyn Disk {
        &*self.0.disk
    }

    /// The folder.
    #[must_use]
    pub fn root(&self) -> &Path {
        &self.0.root
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
        let about = self.disk().about(&self.path(digest)).ok()?;
        about.is_file.then_some(about.size)
    }

    /// Every artifact with its bytes, in the order of the digests. Files with other names are left out.
    ///
    /// # Errors
    /// When the folder cannot be read.
    pub fn list(&self) -> Result<Vec<(Digest, u64)>, Error> {
        let mut found = Vec::new();
        for folder in self.folders()? {
            for path in self.list_folder(&folder)? {
                let name = path.file_name().and_then(|name| name.to_str());
                let digest = name.and_then(|name| name.parse::<Digest>().ok());
                if let Some(digest) = digest
                    && let Some(size) = self.size(&digest)
                {
                    found.push((digest, size));
                }
            }
        }
        Ok(found)
    }

    /// The folders that artifacts are in.
    fn folders(&self) -> Result<Vec<PathBuf>, Error> {
        let mut folders = self.list_folder(&self.0.root)?;
        folders.retain(|folder| folder.file_name().is_some_and(|name| name.len() == 2));
        Ok(folders)
    }

    fn list_folder(&self, folder: &Path) -> Result<Vec<PathBuf>, Error> {
        match self.disk().list(folder) {
            // gone meanwhile, or not yet there
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
            listed => listed.map_err(Error::io("reading", folder)),
        }
    }

    /// Bytes that may still be written on its disk.
    ///
    /// # Errors
    /// When the system does not say.
    pub fn free(&self) -> Result<u64, Error> {
        let root = &self.0.root;
        self.disk().free(root).map_err(Error::io("reading", root))
    }

    /// Whether so many bytes have room, with `reserve` more for others on the same disk. A promise it is not: others write, too.
    ///
    /// # Errors
    /// [`Error::DiskFull`], with what is needed and what is free.
    pub fn need_room(&self, bytes: u64, reserve: u64) -> Result<(), Error> {
        let free = self.free()?;
        let needed = bytes.saturating_add(reserve);
        if free >= needed {
            return Ok(());
        }
        Err(Error::DiskFull {
            doing: "writing",
            path: self.0.root.clone(),
            needed,
            free,
        })
    }

    /// A new artifact, to be written piece by piece.
    ///
    /// # Errors
    /// When the disk is full or refuses.
    pub fn begin(&self) -> Result<Writer, Error> {
        Writer::create(self.clone())
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
        let about = self.disk().about(file);
        let about = about.map_err(Error::io("opening", file))?;
        // another name of the same file could go on changing it; a link is not the file
        if !about.is_file || about.names > 1 {
            return self.copy_and_remove(file, expected);
        }
        let opened = self.disk().open(file);
        let mut opened = opened.map_err(Error::io("opening", file))?;
        let found = digest_of(&mut opened, file)?;
        if let Some(expected) = expected
            && expected != found
        {
            return Err(Error::Mismatch { expected, found });
        }
        let settled = self.disk().settle(file);
        settled.map_err(self.trouble("writing", file, about.size))?;
        match self.appear(&found, file) {
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
        let file = self.open_file(digest, &path)?;
        Ok(Reader::new(file, path, *digest))
    }

    /// An artifact's file, at its beginning, after its bytes have been checked.
    ///
    /// # Errors
    /// [`Error::Missing`], [`Error::Damaged`], or when the file cannot be read.
    pub fn open_verified(&self, digest: &Digest) -> Result<Box<dyn OpenFile>, Error> {
        let path = self.path(digest);
        let mut file = self.open_file(digest, &path)?;
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
        let path = reader.path();
        let read = reader.id().map_err(Error::io("reading", path))?;
        match self.disk().about(path) {
            Ok(there) if there.id == read => self.unlink(&reader.digest()),
            _ => Ok(()),
        }
    }

    /// Has a settled file appear under its name, for good.
    pub(crate) fn appear(&self, digest: &Digest, aside: &Path) -> Result<(), Error> {
        let path = self.path(digest);
        let folder = path.parent().unwrap_or(&self.0.root);
        let made = self.disk().create_folder(folder);
        made.map_err(self.trouble("creating", folder, BLOCK))?;
        {
            let _names = self.names();
            let renamed = self.disk().rename(aside, &path);
            renamed.map_err(self.trouble("writing", &path, BLOCK))?;
        }
        // the folder's own name too: another thread may have made it just now
        for folder in [folder, &self.0.root] {
            if types::planted(types::Bug::ArtifactNameNotSynced) {
                break;
            }
            let synced = self.disk().sync_folder(folder);
            synced.map_err(self.trouble("writing", folder, BLOCK))?;
        }
        Ok(())
    }

    fn copy(&self, file: &Path, expected: Option<Digest>) -> Result<Digest, Error> {
        let source = self.disk().open(file);
        let mut source = source.map_err(Error::io("opening", file))?;
        let mut writer = self.begin()?;
        each_block(&mut source, file, |block| writer.write(block))?;
        writer.commit(expected)
    }

    fn copy_and_remove(&self, file: &Path, expected: Option<Digest>) -> Result<Digest, Error> {
        let digest = self.copy(file, expected)?;
        let removed = self.disk().remove(file);
        removed.map_err(Error::io("removing", file))?;
        Ok(digest)
    }

    fn unlink(&self, digest: &Digest) -> Result<(), Error> {
        let path = self.path(digest);
        match self.disk().remove(&path) {
            Ok(()) => Ok(()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(error) => Err(Error::io("removing", &path)(error)),
        }
    }

    fn names(&self) -> std::sync::MutexGuard<'_, ()> {
        // it guards no data that a panic could leave half changed
        self.0.names.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn open_file(&self, digest: &Digest, path: &Path) -> Result<Box<dyn OpenFile>, Error> {
        self.disk().open(path).map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => Error::Missing {
                digest: *digest,
                path: path.to_owned(),
            },
            _ => Error::io("opening", path)(error),
        })
    }

    /// For `map_err` of what needs `needed` more bytes: what a full disk has left belongs to the message.
    pub(crate) fn trouble(
        &self,
        doing: &'static str,
        path: &Path,
        needed: u64,
    ) -> impl FnOnce(io::Error) -> Error {
        let path = path.to_owned();
        move |error| match error.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Error::DiskFull {
                doing,
                needed,
                free: self.free().unwrap_or(0),
                path,
            },
            _ => Error::io(doing, &path)(error),
        }
    }
}
