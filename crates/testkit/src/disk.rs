use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::io::{self, Cursor, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use artifact::{About, FileId, NewFile, OpenFile};

/// A disk in memory that keeps exactly what it must: after [`Disk::crash`], bytes that were not settled and names whose folder was
/// not synced are there, or not, or in part. What happens to each is drawn from a seed. It can also be full for a while.
///
/// Clones are the same disk.
#[derive(Clone)]
pub struct Disk(Arc<Mutex<State>>);

struct State {
    random: u64,
    /// Bytes that fit.
    capacity: u64,
    next_file: u64,
    /// Crashes so far: a file that was opened before one is of no use after it.
    crashes: u64,
    /// What running programs see.
    names: BTreeMap<PathBuf, Entry>,
    /// What is left for sure.
    safe: BTreeMap<PathBuf, Entry>,
    /// What leads from `safe` to `names`, in order.
    changes: Vec<Change>,
}

#[derive(Clone)]
enum Entry {
    Folder,
    File(u64, Arc<Mutex<Content>>),
}

#[derive(Default)]
struct Content {
    bytes: Vec<u8>,
    /// So many of them are safe.
    settled: usize,
}

/// One step of a folder, or of two; it is there after a crash as a whole or not at all.
struct Change(Vec<(PathBuf, Option<Entry>)>);

impl fmt::Debug for Disk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Disk")
            .field("names", &self.state().names.keys())
            .finish_non_exhaustive()
    }
}

impl Disk {
    /// An empty disk without end.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self(Arc::new(Mutex::new(State {
            random: seed,
            capacity: u64::MAX,
            next_file: 1,
            crashes: 0,
            names: BTreeMap::new(),
            safe: BTreeMap::new(),
            changes: Vec::new(),
        })))
    }

    /// Lets so many bytes fit, those that are there included; fewer than there are is a full disk.
    pub fn set_capacity(&self, bytes: u64) {
        self.state().capacity = bytes;
    }

    /// Bytes of all files.
    #[must_use]
    pub fn used(&self) -> u64 {
        self.state().used()
    }

    /// The machine loses its power and comes back. Files that were open cannot be written any more.
    pub fn crash(&self) {
        self.state().crash();
    }

    /// Goes on writing at the end of a file that is there.
    ///
    /// # Errors
    /// When there is no such file.
    pub fn append(&self, path: &Path) -> io::Result<File> {
        let state = self.state();
        let (_, content) = state.file(path)?;
        let crashes = state.crashes;
        drop(state);
        Ok(File {
            disk: self.clone(),
            content,
            crashes,
        })
    }

    /// Cuts a file to its first bytes; like any other write it is safe once the file has been settled.
    ///
    /// # Errors
    /// When there is no such file.
    pub fn cut(&self, path: &Path, bytes: usize) -> io::Result<()> {
        let (_, content) = self.state().file(path)?;
        let mut content = lock(&content);
        content.bytes.truncate(bytes);
        content.settled = content.settled.min(bytes);
        Ok(())
    }

    /// All bytes of a file.
    ///
    /// # Errors
    /// When there is no such file.
    pub fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        let (_, content) = self.state().file(path)?;
        let bytes = lock(&content).bytes.clone();
        Ok(bytes)
    }

    /// Paths of all files, sorted.
    #[must_use]
    pub fn files(&self) -> Vec<PathBuf> {
        let state = self.state();
        let files = state.names.iter();
        files
            .filter(|(_, entry)| matches!(entry, Entry::File(..)))
            .map(|(path, _)| path.clone())
            .collect()
    }

    /// Changes one byte of a file where it lies, as a failing disk does.
    ///
    /// # Errors
    /// When there is no such file or byte.
    pub fn rot(&self, path: &Path, at: usize) -> io::Result<()> {
        let (_, content) = self.state().file(path)?;
        let mut content = lock(&content);
        let byte = content.bytes.get_mut(at);
        *byte.ok_or(io::ErrorKind::UnexpectedEof)? ^= 0x55;
        Ok(())
    }

    fn state(&self) -> MutexGuard<'_, State> {
        lock(&self.0)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // a test that panicked is over
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl State {
    /// Splitmix64: the next number below `end`.
    fn draw(&mut self, end: usize) -> usize {
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.random;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((mixed ^ (mixed >> 31)) % end.max(1) as u64) as usize
    }

    fn used(&self) -> u64 {
        let contents = self.names.values().filter_map(|entry| match entry {
            Entry::Folder => None,
            Entry::File(_, content) => Some(lock(content).bytes.len() as u64),
        });
        contents.sum()
    }

    fn file(&self, path: &Path) -> io::Result<(u64, Arc<Mutex<Content>>)> {
        match self.names.get(path) {
            Some(Entry::File(id, content)) => Ok((*id, Arc::clone(content))),
            Some(Entry::Folder) => Err(io::ErrorKind::IsADirectory.into()),
            None => Err(io::ErrorKind::NotFound.into()),
        }
    }

    fn need_folder(&self, path: Option<&Path>) -> io::Result<()> {
        match path {
            None => Ok(()),
            Some(root) if root.parent().is_none() => Ok(()),
            Some(folder) => match self.names.get(folder) {
                Some(Entry::Folder) => Ok(()),
                Some(Entry::File(..)) => Err(io::ErrorKind::NotADirectory.into()),
                None => Err(io::ErrorKind::NotFound.into()),
            },
        }
    }

    fn change(&mut self, steps: Vec<(PathBuf, Option<Entry>)>) {
        apply(&mut self.names, &steps);
        self.changes.push(Change(steps));
    }

    /// Makes the changes of a folder safe, and with each those before it that have to do with the same names.
    fn sync_folder(&mut self, folder: &Path) {
        let mut touched: BTreeSet<PathBuf> = BTreeSet::new();
        let mut keep = Vec::new();
        let mut sync = Vec::new();
        for change in std::mem::take(&mut self.changes).into_iter().rev() {
            let steps = &change.0;
            let is_due = steps
                .iter()
                .any(|(path, _)| path.parent() == Some(folder) || touched.contains(path));
            if is_due {
                touched.extend(steps.iter().map(|(path, _)| path.clone()));
                sync.push(change);
            } else {
                keep.push(change);
            }
        }
        for change in sync.into_iter().rev() {
            apply(&mut self.safe, &change.0);
        }
        keep.reverse();
        self.changes = keep;
    }

    fn crash(&mut self) {
        self.crashes += 1;
        for change in std::mem::take(&mut self.changes) {
            if self.draw(2) == 0 {
                apply(&mut self.safe, &change.0);
            }
        }
        let left = std::mem::take(&mut self.safe);
        let mut names: BTreeMap<PathBuf, Entry> = BTreeMap::new();
        // a folder comes before what is in it
        for (path, entry) in left {
            let is_there = path.parent().is_none_or(|folder| {
                folder.parent().is_none() || matches!(names.get(folder), Some(Entry::Folder))
            });
            if !is_there {
                continue;
            }
            if let Entry::File(_, content) = &entry {
                self.lose_unsettled(content);
            }
            names.insert(path, entry);
        }
        self.safe = names.clone();
        self.names = names;
    }

    /// Of what was written and not settled, a part is there; of that part the end may be zeros: its length was written, its bytes
    /// were not.
    fn lose_unsettled(&mut self, content: &Mutex<Content>) {
        let mut content = lock(content);
        let settled = content.settled;
        let survivors = self.draw(content.bytes.len() - settled + 1);
        content.bytes.truncate(settled + survivors);
        let zeros = self.draw(survivors + 1);
        let end = content.bytes.len();
        content.bytes[end - zeros..].fill(0);
        content.settled = end;
    }
}

fn apply(names: &mut BTreeMap<PathBuf, Entry>, steps: &[(PathBuf, Option<Entry>)]) {
    for (path, entry) in steps {
        match entry {
            Some(entry) => names.insert(path.clone(), entry.clone()),
            None => names.remove(path),
        };
    }
}

/// A file of a [`Disk`] that is being written, at its end.
pub struct File {
    disk: Disk,
    content: Arc<Mutex<Content>>,
    crashes: u64,
}

impl fmt::Debug for File {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("File").finish_non_exhaustive()
    }
}

impl Write for File {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let state = self.disk.state();
        if state.crashes != self.crashes {
            return Err(io::Error::other(
                "the machine has crashed since it was opened",
            ));
        }
        let free = match state.capacity {
            u64::MAX => u64::MAX,
            capacity => capacity.saturating_sub(state.used()),
        };
        let taken = bytes.len().min(usize::try_from(free).unwrap_or(usize::MAX));
        if taken == 0 && !bytes.is_empty() {
            return Err(io::ErrorKind::StorageFull.into());
        }
        lock(&self.content).bytes.extend(&bytes[..taken]);
        Ok(taken)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl NewFile for File {}

/// What was in a file when it was opened: nobody here changes a file that others read.
#[derive(Debug)]
struct Opened {
    id: FileId,
    bytes: Cursor<Vec<u8>>,
}

impl Read for Opened {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.bytes.read(buffer)
    }
}

impl Seek for Opened {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        self.bytes.seek(to)
    }
}

impl OpenFile for Opened {
    fn id(&self) -> io::Result<FileId> {
        Ok(self.id)
    }
}

impl artifact::Disk for Disk {
    fn create(&self, path: &Path) -> io::Result<Box<dyn NewFile>> {
        {
            let mut state = self.state();
            state.need_folder(path.parent())?;
            if state.names.contains_key(path) {
                return Err(io::ErrorKind::AlreadyExists.into());
            }
            let id = state.next_file;
            state.next_file += 1;
            let entry = Entry::File(id, Arc::default());
            state.change(vec![(path.to_owned(), Some(entry))]);
        }
        Ok(Box::new(self.append(path)?))
    }

    fn open(&self, path: &Path) -> io::Result<Box<dyn OpenFile>> {
        let (id, content) = self.state().file(path)?;
        let bytes = lock(&content).bytes.clone();
        Ok(Box::new(Opened {
            id: (0, id),
            bytes: Cursor::new(bytes),
        }))
    }

    fn settle(&self, path: &Path) -> io::Result<()> {
        let (_, content) = self.state().file(path)?;
        let mut content = lock(&content);
        content.settled = content.bytes.len();
        Ok(())
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut state = self.state();
        let (id, content) = state.file(from)?;
        state.need_folder(to.parent())?;
        if matches!(state.names.get(to), Some(Entry::Folder)) {
            return Err(io::ErrorKind::IsADirectory.into());
        }
        let steps = vec![
            (from.to_owned(), None),
            (to.to_owned(), Some(Entry::File(id, content))),
        ];
        state.change(steps);
        Ok(())
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let mut state = self.state();
        state.file(path)?;
        state.change(vec![(path.to_owned(), None)]);
        Ok(())
    }

    fn create_folder(&self, path: &Path) -> io::Result<()> {
        let mut state = self.state();
        let mut above: Vec<&Path> = path.ancestors().collect();
        above.reverse();
        for folder in above.into_iter().filter(|folder| folder.parent().is_some()) {
            match state.names.get(folder) {
                Some(Entry::Folder) => {}
                Some(Entry::File(..)) => return Err(io::ErrorKind::NotADirectory.into()),
                None => state.change(vec![(folder.to_owned(), Some(Entry::Folder))]),
            }
        }
        Ok(())
    }

    fn sync_folder(&self, path: &Path) -> io::Result<()> {
        let mut state = self.state();
        state.need_folder(Some(path))?;
        state.sync_folder(path);
        Ok(())
    }

    fn list(&self, folder: &Path) -> io::Result<Vec<PathBuf>> {
        let state = self.state();
        state.need_folder(Some(folder))?;
        let inside = state.names.keys();
        let inside = inside.filter(|path| path.parent() == Some(folder));
        Ok(inside.cloned().collect())
    }

    fn about(&self, path: &Path) -> io::Result<About> {
        let state = self.state();
        match state.names.get(path) {
            None => Err(io::ErrorKind::NotFound.into()),
            Some(Entry::Folder) => Ok(About {
                id: (0, 0),
                size: 0,
                is_file: false,
                names: 1,
            }),
            Some(Entry::File(id, content)) => Ok(About {
                id: (0, *id),
                size: lock(content).bytes.len() as u64,
                is_file: true,
                names: 1,
            }),
        }
    }

    fn free(&self, _path: &Path) -> io::Result<u64> {
        let state = self.state();
        Ok(state.capacity.saturating_sub(state.used()))
    }
}
