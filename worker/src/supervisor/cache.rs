use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use artifact::{Error, Store};
use types::{Bytes, Digest};

/// Artifacts on this host's disk. What was used longest ago goes when there are too many, but never what a rank uses.
#[derive(Debug)]
pub(crate) struct Cache {
    store: Store,
    /// Bytes that it may take, as far as ranks do not use more.
    limit: u64,
    entries: Mutex<BTreeMap<Digest, Entry>>,
}

#[derive(Debug, Clone, Copy)]
struct Entry {
    bytes: u64,
    used: SystemTime,
    /// Who uses it now, or waits for it.
    pins: usize,
}

/// Keeps an artifact for as long as it lives.
#[derive(Debug)]
pub(crate) struct Pin {
    cache: Arc<Cache>,
    digest: Digest,
}

impl Drop for Pin {
    fn drop(&mut self) {
        if let Some(entry) = self.cache.entries().get_mut(&self.digest) {
            entry.pins -= 1;
        }
    }
}

impl Cache {
    /// The cache in this folder. Without a limit it may take half of what it and the free space are together now.
    ///
    /// # Errors
    /// When the folder cannot be made or read.
    pub(crate) fn open(folder: PathBuf, limit: Option<u64>) -> Result<Self, Error> {
        let store = Store::open(folder)?;
        let mut entries = BTreeMap::new();
        for (digest, bytes) in store.list()? {
            let about = fs::metadata(store.path(&digest));
            let used = about.and_then(|about| about.modified());
            let entry = Entry {
                bytes,
                used: used.unwrap_or(SystemTime::UNIX_EPOCH),
                pins: 0,
            };
            entries.insert(digest, entry);
        }
        let taken: u64 = entries.values().map(|entry| entry.bytes).sum();
        let limit = match limit {
            Some(limit) => limit,
            None => store.free()?.saturating_add(taken) / 2,
        };
        let cache = Self {
            store,
            limit,
            entries: Mutex::new(entries),
        };
        cache.trim();
        Ok(cache)
    }

    pub(crate) fn store(&self) -> &Store {
        &self.store
    }

    /// Where an artifact is, or would be.
    pub(crate) fn path(&self, digest: &Digest) -> PathBuf {
        self.store.path(digest)
    }

    /// Keeps an artifact, whether it is here already or on its way.
    pub(crate) fn pin(self: &Arc<Self>, digest: Digest) -> Pin {
        let mut entries = self.entries();
        let entry = entries.entry(digest).or_insert(Entry {
            bytes: self.store.size(&digest).unwrap_or(0),
            used: SystemTime::UNIX_EPOCH,
            pins: 0,
        });
        entry.pins += 1;
        entry.used = SystemTime::now();
        // so that the next life of this worker knows it, too
        let file = File::open(self.path(&digest));
        let _ = file.and_then(|file| file.set_modified(entry.used));
        Pin {
            cache: Arc::clone(self),
            digest,
        }
    }

    /// Takes a file in and makes room for it by what was used longest ago.
    ///
    /// # Errors
    /// As [`Store::take_file`].
    pub(crate) fn take(&self, file: &Path, digest: Digest) -> Result<(), Error> {
        self.store.take_file(file, Some(digest))?;
        {
            let mut entries = self.entries();
            let entry = entries.entry(digest).or_insert(Entry {
                bytes: 0,
                used: SystemTime::now(),
                pins: 0,
            });
            entry.bytes = self.store.size(&digest).unwrap_or(0);
        }
        self.trim();
        Ok(())
    }

    /// Removes what was used longest ago; whether there was anything that no rank uses.
    pub(crate) fn evict_one(&self) -> bool {
        let mut entries = self.entries();
        let oldest = entries
            .iter()
            .filter(|(_, entry)| entry.pins == 0)
            .min_by_key(|(_, entry)| entry.used);
        let Some((&digest, &entry)) = oldest else {
            return false;
        };
        entries.remove(&digest);
        match self.store.remove(&digest) {
            Ok(()) => tracing::debug!(
                "artifact {} leaves the cache, {} of room",
                digest.short(),
                Bytes(entry.bytes)
            ),
            Err(error) => tracing::warn!("the cache cannot be made smaller: {error}"),
        }
        true
    }

    fn trim(&self) {
        loop {
            let taken: u64 = self.entries().values().map(|entry| entry.bytes).sum();
            if taken <= self.limit || !self.evict_one() {
                return;
            }
        }
    }

    fn entries(&self) -> MutexGuard<'_, BTreeMap<Digest, Entry>> {
        // changed in single steps, so that a panic leaves it whole
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn put(cache: &Cache, name: &str) -> Digest {
        let aside = cache.store().aside();
        fs::write(&aside, [name.as_bytes(), &[0; 90]].concat()).unwrap();
        let digest = artifact::digest_of_file(&aside).unwrap();
        cache.take(&aside, digest).unwrap();
        // times of files are coarser than this test is fast
        std::thread::sleep(Duration::from_millis(15));
        digest
    }

    fn open(folder: &tempfile::TempDir, limit: u64) -> Arc<Cache> {
        Arc::new(Cache::open(folder.path().join("cache"), Some(limit)).unwrap())
    }

    #[test]
    fn what_was_used_longest_ago_goes_first_and_what_is_used_stays() {
        let folder = tempfile::tempdir().unwrap();
        let cache = open(&folder, 300);
        let [a, b, c] = ["a", "b", "c"].map(|name| put(&cache, name));
        drop(cache.pin(a));
        let kept = cache.pin(b);
        let d = put(&cache, "d");
        let e = put(&cache, "e");
        let there = |cache: &Cache| [a, b, c, d, e].map(|digest| cache.store().has(&digest));
        // c was used longest ago, then b, which is in use, then a
        assert_eq!(there(&cache), [false, true, false, true, true]);
        drop(kept);

        drop(cache.pin(d));
        drop(cache);
        let cache = open(&folder, 100);
        assert_eq!(there(&cache), [false, false, false, true, false]);
    }

    #[test]
    fn more_than_the_limit_stays_while_it_is_used() {
        let folder = tempfile::tempdir().unwrap();
        let cache = open(&folder, 50);
        let digest = artifact::digest_of_file(&{
            let file = folder.path().join("x");
            fs::write(&file, [b"x".as_slice(), &[0; 90]].concat()).unwrap();
            file
        })
        .unwrap();
        let pin = cache.pin(digest);
        assert_eq!(put(&cache, "x"), digest);
        assert!(cache.store().has(&digest));
        assert!(!cache.evict_one());
        drop(pin);
        assert!(cache.evict_one());
        assert!(!cache.evict_one());
        assert!(!cache.store().has(&digest));
    }

    #[test]
    fn without_a_limit_it_leaves_half_of_the_room_to_others() {
        let folder = tempfile::tempdir().unwrap();
        let cache = Cache::open(folder.path().join("cache"), None).unwrap();
        assert!(cache.limit > 0);
        assert!(cache.limit <= cache.store().free().unwrap());
    }
}
