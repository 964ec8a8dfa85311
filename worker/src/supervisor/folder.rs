use std::fs::{self, File, TryLockError};
use std::path::{Path, PathBuf};
use std::time::Duration;

use duty::next_incarnation;
use types::{Fence, Incarnation, Rank, Timestamp};

/// A worker's folder: `cache/` (artifacts), `ranks/` (files of running ranks), `logs/` (those of ranks until they are delivered).
#[derive(Debug)]
pub(crate) struct WorkFolder {
    root: PathBuf,
    /// Held for as long as the worker lives.
    _lock: File,
}

/// Why a folder cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FolderError {
    #[error(
        "work folder {} is in use by another worker; give each its own --name or --work-dir",
        .0.display()
    )]
    InUse(PathBuf),
    #[error("work folder {}: {source}; name another one with --work-dir", path.display())]
    Io {
        path: PathBuf,
        source: std::io::Error,
    },
}

impl WorkFolder {
    /// Makes or takes over a folder. What a former life left of its ranks is removed; the cache and undelivered logs stay.
    pub(crate) fn open(root: PathBuf) -> Result<Self, FolderError> {
        let failed = |source| FolderError::Io {
            path: root.clone(),
            source,
        };
        fs::create_dir_all(&root).map_err(failed)?;
        let root = fs::canonicalize(&root).map_err(failed)?;
        let lock = File::create(root.join("lock")).map_err(failed)?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(FolderError::InUse(root)),
            Err(TryLockError::Error(error)) => return Err(failed(error)),
        }
        let ranks = root.join("ranks");
        if ranks.exists() {
            fs::remove_dir_all(&ranks).map_err(failed)?;
        }
        for folder in [ranks, root.join("logs")] {
            fs::create_dir_all(&folder).map_err(failed)?;
        }
        Ok(Self { root, _lock: lock })
    }

    /// The number of the life that begins now: larger than that of any life before in this folder.
    pub(crate) fn new_life(&self, now: Timestamp) -> Result<Incarnation, FolderError> {
        let path = self.root.join("life");
        let failed = |source| FolderError::Io {
            path: path.clone(),
            source,
        };
        let last = match fs::read_to_string(&path) {
            Ok(text) => text.trim().parse().ok().map(Incarnation),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => None,
            Err(error) => return Err(failed(error)),
        };
        let life = next_incarnation(now, last);
        let aside = path.with_extension("new");
        fs::write(&aside, life.to_string())
            .and_then(|()| fs::rename(&aside, &path))
            .map_err(failed)?;
        Ok(life)
    }

    /// Where artifacts are kept.
    pub(crate) fn cache(&self) -> PathBuf {
        self.root.join("cache")
    }

    /// Where the log of a rank is kept until it is delivered.
    pub(crate) fn log(&self, of: LogOf) -> PathBuf {
        let LogOf {
            journal,
            fence,
            rank,
        } = of;
        self.root
            .join("logs")
            .join(format!("{journal}.{fence}.{rank}.log"))
    }

    /// The logs that former lives have not delivered. Those that nobody has asked for in a month are removed.
    pub(crate) fn logs_left(&self) -> Vec<LogOf> {
        const KEPT: Duration = Duration::from_secs(30 * 24 * 3600);
        let Ok(entries) = fs::read_dir(self.root.join("logs")) else {
            return Vec::new();
        };
        let mut left = Vec::new();
        for entry in entries.flatten() {
            let changed = entry.metadata().and_then(|metadata| metadata.modified());
            let age = changed.ok().and_then(|changed| changed.elapsed().ok());
            if age.is_some_and(|age| age > KEPT) {
                tracing::warn!(
                    "{} was never delivered and is removed",
                    entry.path().display()
                );
                let _ = fs::remove_file(entry.path()); // the next life tries again
            } else {
                left.extend(entry.file_name().to_str().and_then(LogOf::parse));
            }
        }
        left
    }

    /// Makes the folder of a rank.
    pub(crate) fn rank(&self, fence: Fence, rank: Rank) -> std::io::Result<RankFolder> {
        let root = self.root.join("ranks").join(format!("{fence}.{rank}"));
        let folder = RankFolder { root };
        fs::create_dir_all(folder.scratch())?;
        fs::create_dir_all(folder.handover())?;
        Ok(folder)
    }
}

/// Whose log a file is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct LogOf {
    /// Whose fences these are: when the coordinator's journal began, in milliseconds since the epoch.
    pub(crate) journal: u64,
    pub(crate) fence: Fence,
    pub(crate) rank: Rank,
}

impl LogOf {
    fn parse(name: &str) -> Option<Self> {
        let mut parts = name.strip_suffix(".log")?.split('.');
        let of = Self {
            journal: parts.next()?.parse().ok()?,
            fence: Fence(parts.next()?.parse().ok()?),
            rank: Rank(parts.next()?.parse().ok()?),
        };
        parts.next().is_none().then_some(of)
    }
}

/// The files of one rank; removed when dropped.
#[derive(Debug)]
pub(crate) struct RankFolder {
    root: PathBuf,
}

impl RankFolder {
    /// The rank's own.
    pub(crate) fn scratch(&self) -> PathBuf {
        self.root.join("scratch")
    }

    /// What the rank has handed over.
    pub(crate) fn handover(&self) -> PathBuf {
        self.root.join("handover")
    }

    /// Whether a file that a rank names is its own: the worker sends nothing else.
    pub(crate) fn holds(&self, file: &Path) -> bool {
        fs::canonicalize(file).is_ok_and(|file| file.starts_with(&self.root))
    }
}

impl Drop for RankFolder {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir_all(&self.root) {
            tracing::warn!("cannot remove {}: {error}", self.root.display());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_life_is_newer_than_the_last_one_even_if_the_clock_was_set_back() {
        let temporary = tempfile::tempdir().unwrap();
        let folder = WorkFolder::open(temporary.path().join("w")).unwrap();
        let live = |now| folder.new_life(Timestamp(now)).unwrap();
        assert_eq!(live(7_000), Incarnation(7_000));
        assert_eq!(live(2_000), Incarnation(7_001));
        assert_eq!(live(9_000), Incarnation(9_000));
    }

    #[test]
    fn a_folder_serves_one_worker_and_begins_clean() {
        let temporary = tempfile::tempdir().unwrap();
        let root = temporary.path().join("w");
        let folder = WorkFolder::open(root.clone()).unwrap();
        let rank = folder.rank(Fence(3), Rank(1)).unwrap();
        std::mem::forget(rank); // as if the worker were killed
        assert!(matches!(
            WorkFolder::open(root.clone()),
            Err(FolderError::InUse(_))
        ));
        let log = LogOf {
            journal: 17,
            fence: Fence(3),
            rank: Rank(1),
        };
        std::fs::write(folder.log(log), "a line").unwrap();
        std::fs::write(folder.log(log).with_extension("kept"), "{}").unwrap();
        drop(folder);
        assert!(root.join("ranks/3.1/scratch").exists());
        let folder = WorkFolder::open(root.clone()).unwrap();
        assert!(!root.join("ranks/3.1").exists());
        assert_eq!(folder.logs_left(), [log]);

        let rank = folder.rank(Fence(4), Rank(0)).unwrap();
        let own = rank.handover().join("x");
        std::fs::write(&own, "x").unwrap();
        assert!(rank.holds(&own));
        assert!(!rank.holds(Path::new("/etc/hostname")));
        drop(rank);
        assert!(!own.exists());
    }
}
