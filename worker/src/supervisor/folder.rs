use std::fs::{self, File, TryLockError};
use std::path::{Path, PathBuf};

use types::{Fence, Rank};

/// A worker's folder: `cache/` (artifacts), `ranks/` (files of running ranks), `logs/` (lines not yet delivered).
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
    /// Makes or takes over a folder. What a former life left of its ranks is removed; the cache stays.
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
        for name in ["ranks", "logs"] {
            let folder = root.join(name);
            if folder.exists() {
                fs::remove_dir_all(&folder).map_err(failed)?;
            }
            fs::create_dir_all(&folder).map_err(failed)?;
        }
        Ok(Self { root, _lock: lock })
    }

    /// Where artifacts are kept.
    pub(crate) fn cache(&self) -> PathBuf {
        self.root.join("cache")
    }

    /// Where the log of a rank is kept until it is delivered.
    pub(crate) fn log(&self, fence: Fence, rank: Rank) -> PathBuf {
        self.root.join("logs").join(format!("{fence}.{rank}.log"))
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
        drop(folder);
        assert!(root.join("ranks/3.1/scratch").exists());
        let folder = WorkFolder::open(root.clone()).unwrap();
        assert!(!root.join("ranks/3.1").exists());

        let rank = folder.rank(Fence(4), Rank(0)).unwrap();
        let own = rank.handover().join("x");
        std::fs::write(&own, "x").unwrap();
        assert!(rank.holds(&own));
        assert!(!rank.holds(Path::new("/etc/hostname")));
        drop(rank);
        assert!(!own.exists());
    }
}
