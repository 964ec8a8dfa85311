//! A store in a folder, for ranks that are processes of one machine.

use std::fs;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use crate::StoreBackend;

/// Between two looks for a key.
const PAUSE: Duration = Duration::from_millis(2);

/// Keeps each key in a file of its own. Every process opens one on the same folder; what was set stays there.
#[derive(Debug)]
pub struct FolderStore {
    folder: PathBuf,
}

impl FolderStore {
    /// A store in `folder`, which is made if it is not there.
    ///
    /// # Errors
    /// When the folder cannot be made.
    pub fn new(folder: impl Into<PathBuf>) -> std::io::Result<Self> {
        let folder = folder.into();
        fs::create_dir_all(&folder)?;
        Ok(Self { folder })
    }

    fn file(&self, key: &str) -> PathBuf {
        self.folder.join(blake3::hash(key.as_bytes()).to_string())
    }
}

impl StoreBackend for FolderStore {
    fn set(&self, key: &str, value: &[u8]) -> Result<(), String> {
        let file = self.file(key);
        let aside = file.with_extension(std::process::id().to_string());
        fs::write(&aside, value)
            .and_then(|()| fs::rename(&aside, &file))
            .map_err(|error| format!("{}: {error}", file.display()))
    }

    fn get(&self, key: &str, timeout: Duration) -> Result<Vec<u8>, String> {
        self.wait(&[key], timeout)?;
        let file = self.file(key);
        fs::read(&file).map_err(|error| format!("{}: {error}", file.display()))
    }

    /// Files cannot count; process groups do not ask for it.
    fn add(&self, key: &str, _amount: i64) -> Result<i64, String> {
        Err(format!("no counters in a folder (asked for {key})"))
    }

    fn check(&self, keys: &[&str]) -> Result<bool, String> {
        Ok(keys.iter().all(|key| self.file(key).exists()))
    }

    fn wait(&self, keys: &[&str], timeout: Duration) -> Result<(), String> {
        let started = Instant::now();
        while !self.check(keys)? {
            if started.elapsed() > timeout {
                return Err(format!("no {keys:?} within {timeout:?}"));
            }
            std::thread::sleep(PAUSE);
        }
        Ok(())
    }
}
