//! What the clerk reaches.

use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use artifact::Disk as _;
use control::Action;
use coordinator::{Line, Onlooker, RecordFiles, Surroundings, Told};

use super::disk::OfficeDisk;
use super::lock;

/// What the clerk wants done, until its turn is over.
#[derive(Default)]
pub(super) struct Out {
    pub(super) told: Vec<(u64, Told)>,
    pub(super) hung_up: Vec<u64>,
    pub(super) notices: Vec<Action>,
}

pub(super) struct SimLine {
    pub(super) wire: u64,
    pub(super) out: Arc<Mutex<Out>>,
}

impl Line for SimLine {
    fn tell(&self, told: Told) -> bool {
        lock(&self.out).told.push((self.wire, told));
        true
    }
}

impl Drop for SimLine {
    fn drop(&mut self) {
        lock(&self.out).hung_up.push(self.wire);
    }
}

pub(super) type SimWorld = Surroundings<SimFiles, Watcher>;

pub(super) struct Watcher(pub(super) Arc<Mutex<Out>>);

pub(super) struct SimFiles {
    pub(super) disk: OfficeDisk,
    pub(super) dirty: BTreeSet<PathBuf>,
}

impl RecordFiles for SimFiles {
    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        self.disk.read(path)
    }

    fn cut(&mut self, path: &Path, bytes: u64) -> io::Result<()> {
        self.disk.0.cut(path, bytes as usize)
    }

    fn append(&mut self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        self.dirty.insert(path.to_owned());
        self.disk.append(path, bytes)
    }

    fn sync(&mut self) -> io::Result<()> {
        for path in std::mem::take(&mut self.dirty) {
            match self.disk.0.settle(&path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        Ok(())
    }

    fn close(&mut self, _: &Path) {}
}

impl Onlooker for Watcher {
    fn notice(&mut self, action: Action) {
        lock(&self.0).notices.push(action);
    }
}
