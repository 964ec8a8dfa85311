//! A store in memory, for the threads of one process and for tests.

use std::collections::BTreeMap;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::StoreBackend;

/// Keys in memory.
#[derive(Default)]
pub struct MemoryStore {
    keys: Mutex<BTreeMap<String, Vec<u8>>>,
    changed: Condvar,
}

impl MemoryStore {
    /// An empty store.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Vec<u8>>> {
        // No code that holds the lock can leave the map half-changed.
        self.keys.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn lock_when_there(
        &self,
        keys: &[&str],
        timeout: Duration,
    ) -> Result<MutexGuard<'_, BTreeMap<String, Vec<u8>>>, String> {
        let started = Instant::now();
        let mut map = self.lock();
        loop {
            let Some(missing) = keys.iter().find(|key| !map.contains_key(**key)) else {
                return Ok(map);
            };
            let Some(left) = timeout.checked_sub(started.elapsed()) else {
                return Err(format!(
                    "key {missing} did not appear within {} ms",
                    timeout.as_millis()
                ));
            };
            map = self
                .changed
                .wait_timeout(map, left)
                .unwrap_or_else(PoisonError::into_inner)
                .0;
        }
    }
}

impl StoreBackend for MemoryStore {
    fn set(&self, key: &str, value: &[u8]) -> Result<(), String> {
        self.lock().insert(key.to_owned(), value.to_owned());
        self.changed.notify_all();
        Ok(())
    }

    fn get(&self, key: &str, timeout: Duration) -> Result<Vec<u8>, String> {
        let map = self.lock_when_there(&[key], timeout)?;
        Ok(map.get(key).cloned().unwrap_or_default())
    }

    fn add(&self, key: &str, amount: i64) -> Result<i64, String> {
        let mut map = self.lock();
        let before = match map.get(key) {
            None => 0,
            Some(bytes) => std::str::from_utf8(bytes)
                .ok()
                .and_then(|text| text.parse::<i64>().ok())
                .ok_or_else(|| format!("key {key} holds {bytes:?}, expected a number"))?,
        };
        let sum = before
            .checked_add(amount)
            .ok_or_else(|| format!("key {key}: {before} + {amount} is too large"))?;
        map.insert(key.to_owned(), sum.to_string().into_bytes());
        drop(map);
        self.changed.notify_all();
        Ok(sum)
    }

    fn remove(&self, key: &str) -> Result<bool, String> {
        Ok(self.lock().remove(key).is_some())
    }

    fn check(&self, keys: &[&str]) -> Result<bool, String> {
        let map = self.lock();
        Ok(keys.iter().all(|key| map.contains_key(*key)))
    }

    fn count(&self) -> Result<i64, String> {
        Ok(i64::try_from(self.lock().len()).unwrap_or(i64::MAX))
    }

    fn wait(&self, keys: &[&str], timeout: Duration) -> Result<(), String> {
        self.lock_when_there(keys, timeout).map(drop)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[test]
    fn waits_for_another_thread() {
        let store = Arc::new(MemoryStore::new());
        let other = Arc::clone(&store);
        let thread = std::thread::spawn(move || other.get("late", Duration::from_secs(5)));
        std::thread::sleep(Duration::from_millis(20));
        store.set("late", b"value").unwrap();
        assert_eq!(thread.join().unwrap().unwrap(), b"value");
        assert!(store.check(&["late"]).unwrap());
        assert!(!store.check(&["late", "never"]).unwrap());
    }

    #[test]
    fn says_which_key_never_came() {
        let store = MemoryStore::new();
        store.set("here", b"").unwrap();
        let error = store
            .wait(&["here", "gone"], Duration::from_millis(10))
            .unwrap_err();
        assert_eq!(error, "key gone did not appear within 10 ms");
    }

    #[test]
    fn adds_numbers_only() {
        let store = MemoryStore::new();
        assert_eq!(store.add("n", 2).unwrap(), 2);
        assert_eq!(store.add("n", -5).unwrap(), -3);
        store.set("text", b"x").unwrap();
        assert!(
            store
                .add("text", 1)
                .unwrap_err()
                .contains("expected a number")
        );
    }
}
