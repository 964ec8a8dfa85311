//! A file in memory for readers that want a path.

use std::path::{Path, PathBuf};

use tempfile::TempDir;

/// A folder that is removed with its thread; in memory where the system has such a place.
pub(crate) struct Scratch(TempDir);

impl Scratch {
    pub(crate) fn new() -> Self {
        let memory = Path::new("/dev/shm");
        let folder = if memory.is_dir() {
            tempfile::tempdir_in(memory)
        } else {
            tempfile::tempdir()
        };
        Self(folder.expect("a temporary folder can be made"))
    }

    pub(crate) fn write(&self, name: &str, bytes: &[u8]) -> PathBuf {
        let path = self.0.path().join(name);
        std::fs::write(&path, bytes).expect("a temporary file can be written");
        path
    }

    #[allow(dead_code, reason = "not every check needs the folder itself")]
    pub(crate) fn path(&self) -> &Path {
        self.0.path()
    }
}
