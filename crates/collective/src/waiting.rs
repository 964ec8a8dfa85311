//! Whether this process waits for its peers: what tells a rank that hangs from one that is kept waiting.

use std::sync::atomic::{AtomicUsize, Ordering};

static WAITS: AtomicUsize = AtomicUsize::new(0);

/// The process is inside a call that returns only when other ranks have made it too; for as long as this lives.
#[derive(Debug)]
pub struct Waiting(());

impl Waiting {
    /// The call begins.
    #[must_use]
    pub fn begin() -> Self {
        WAITS.fetch_add(1, Ordering::Relaxed);
        Self(())
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        WAITS.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Whether any thread of this process is inside such a call.
#[must_use]
pub fn is_waiting() -> bool {
    WAITS.load(Ordering::Relaxed) > 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wait_lasts_as_long_as_its_guard() {
        assert!(!is_waiting());
        let outer = Waiting::begin();
        drop(Waiting::begin());
        assert!(is_waiting());
        drop(outer);
        assert!(!is_waiting());
    }
}
