//! The coordinator's disk and its journal: what was not synced is lost, and there may be no room.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use artifact::Disk as _;
use control::Record;
use journal::Journal;
use testkit::Disk;

use super::lock;

/// When the coordinator is to die at a write of its journal, and the count of all writes.
#[derive(Debug, Default)]
pub(super) struct Doom {
    pub(super) writes: u64,
    pub(super) plan: Option<Plan>,
    pub(super) struck: Option<Plan>,
}

#[derive(Debug, Clone, Copy)]
pub(super) struct Plan {
    pub(super) at: u64,
    pub(super) written: bool,
    pub(super) down: u64,
    pub(super) machine: bool,
}

/// The simulated disk, with room or without.
#[derive(Debug, Clone)]
pub(crate) struct OfficeDisk(pub(super) Disk);

impl Default for OfficeDisk {
    fn default() -> Self {
        let disk = Disk::new(7);
        for folder in ["/run", "/run/report/metrics", "/run/logs"] {
            let folder = Path::new(folder);
            // a new disk has room
            let _ = disk.create_folder(folder);
        }
        for folder in ["/", "/run", "/run/report"] {
            let _ = disk.sync_folder(Path::new(folder));
        }
        Self(disk)
    }
}

impl OfficeDisk {
    pub(crate) fn set_full(&self, full: bool) {
        self.0.set_capacity(if full { 0 } else { u64::MAX });
    }

    pub(super) fn append(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        let made = match self.0.append(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                if let Some(folder) = path.parent() {
                    self.0.create_folder(folder)?;
                    let above = folder.parent().unwrap_or(folder);
                    self.0.sync_folder(above)?;
                }
                let new = self.0.create(path)?;
                drop(new);
                self.0.sync_folder(path.parent().unwrap_or(path))?;
                self.0.append(path)
            }
            made => made,
        };
        io::Write::write_all(&mut made?, bytes)
    }

    pub(super) fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        match self.0.read(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
            read => read,
        }
    }
}

pub(super) const JOURNAL: &str = "/run/journal";

/// Records on the simulated disk: each is its length, a digest, and its text, so that a torn end is known as one.
pub(super) struct DiskJournal {
    pub(super) disk: OfficeDisk,
    /// Bytes so far.
    pub(super) length: usize,
    pub(super) doom: Arc<Mutex<Doom>>,
}

impl Journal for DiskJournal {
    fn append(&mut self, records: &[Record]) -> Result<(), journal::Error> {
        let plan = {
            let mut doom = lock(&self.doom);
            doom.writes += 1;
            let due = doom.plan.filter(|plan| doom.writes >= plan.at);
            if due.is_some() {
                doom.plan = None;
                doom.struck = due;
            }
            due
        };
        if plan.is_some_and(|plan| !plan.written) {
            return Err(dead());
        }
        let path = Path::new(JOURNAL);
        let mut bytes = Vec::new();
        for record in records {
            let text = record.to_json().expect("every record can be written");
            bytes.extend((text.len() as u32).to_le_bytes());
            bytes.extend(&blake3::hash(text.as_bytes()).as_bytes()[..8]);
            bytes.extend(text.as_bytes());
        }
        if self.disk.append(path, &bytes).is_err() {
            // all or nothing
            let _ = self.disk.0.cut(path, self.length);
            return Err(journal::Error::Full {
                path: PathBuf::from(JOURNAL),
            });
        }
        self.length += bytes.len();
        if !types::planted(types::Bug::JournalNotSynced) {
            self.disk.0.settle(path).map_err(|_| dead())?;
        }
        if plan.is_some() { Err(dead()) } else { Ok(()) }
    }

    fn records(&self) -> Result<journal::Records<'_>, journal::Error> {
        let path = Path::new(JOURNAL);
        let bytes = self.disk.read(path).map_err(|_| dead())?;
        let mut records = Vec::new();
        let mut rest = &bytes[..];
        while let Some((text, after)) = frame(rest) {
            records.push(text.to_owned());
            rest = after;
        }
        let torn = rest.len();
        if torn > 0 {
            let _ = self.disk.0.cut(path, bytes.len() - torn);
        }
        let records = records.into_iter().zip(1..).map(|(text, number)| {
            Record::from_json(&text).map_err(|source| journal::Error::Record {
                path: PathBuf::from(JOURNAL),
                number,
                source,
            })
        });
        Ok(Box::new(records))
    }
}

/// The next whole record, and what comes after it.
fn frame(bytes: &[u8]) -> Option<(&str, &[u8])> {
    let length = u32::from_le_bytes(bytes.get(..4)?.try_into().ok()?) as usize;
    let digest = bytes.get(4..12)?;
    let text = bytes.get(12..12 + length)?;
    let whole = length > 0 && &blake3::hash(text).as_bytes()[..8] == digest;
    whole.then_some((std::str::from_utf8(text).ok()?, &bytes[12 + length..]))
}

/// The process is gone, and whatever it was doing.
fn dead() -> journal::Error {
    journal::Error::Io {
        path: PathBuf::from(JOURNAL),
        doing: "go on",
        source: io::Error::other("the coordinator is dead"),
    }
}
