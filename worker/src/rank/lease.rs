use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use nix::time::{ClockId, clock_gettime};

/// How long this rank may live unless its worker says more: for the case that the worker itself stands still and cannot end it.
#[derive(Debug, Default)]
pub(super) struct RankLease {
    /// Milliseconds since boot; 0 until the worker has said something.
    ends_at: AtomicU64,
}

/// How often it is looked at.
const TICK: Duration = Duration::from_millis(200);

impl RankLease {
    /// The worker says that it is so long from now on.
    pub(super) fn renew(&self, left_ms: u64) {
        let ends_at = since_boot_ms().saturating_add(left_ms).max(1);
        self.ends_at.store(ends_at, Ordering::Release);
    }

    fn is_over(&self, now_ms: u64) -> bool {
        let ends_at = self.ends_at.load(Ordering::Acquire);
        ends_at != 0 && now_ms >= ends_at
    }

    /// Returns when it is over.
    pub(super) fn wait_for_its_end(&self) {
        while !self.is_over(since_boot_ms()) {
            thread::sleep(TICK);
        }
    }
}

/// A clock that counts while the machine sleeps.
fn since_boot_ms() -> u64 {
    let clock =
        clock_gettime(ClockId::CLOCK_BOOTTIME).or_else(|_| clock_gettime(ClockId::CLOCK_MONOTONIC));
    clock.map_or(0, |time| {
        u64::try_from(time.tv_sec()).unwrap_or(0) * 1000
            + u64::try_from(time.tv_nsec()).unwrap_or(0) / 1_000_000
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_ends_when_the_worker_has_been_silent_for_so_long() {
        let lease = RankLease::default();
        assert!(!lease.is_over(u64::MAX), "nothing has been said yet");
        lease.renew(60_000);
        let ends_at = lease.ends_at.load(Ordering::Acquire);
        assert!(!lease.is_over(ends_at - 1) && lease.is_over(ends_at));
        lease.renew(0);
        lease.wait_for_its_end();
    }
}
