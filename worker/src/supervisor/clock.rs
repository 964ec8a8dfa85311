use std::time::{SystemTime, UNIX_EPOCH};

use nix::time::{ClockId, clock_gettime};
use types::Timestamp;

/// A clock that never goes back and that counts while the machine sleeps, so that a laptop's lease ends in its sleep.
/// It begins at the wall clock's time and is not moved when that is set.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Clock {
    epoch_ms: u64,
    boot_ms: u64,
}

impl Clock {
    pub(crate) fn new() -> Self {
        let epoch = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        Self {
            epoch_ms: u64::try_from(epoch.as_millis()).unwrap_or(u64::MAX),
            boot_ms: since_boot_ms(),
        }
    }

    pub(crate) fn now(&self) -> Timestamp {
        Timestamp(
            self.epoch_ms
                .saturating_add(since_boot_ms().saturating_sub(self.boot_ms)),
        )
    }
}

fn since_boot_ms() -> u64 {
    let clock =
        clock_gettime(ClockId::CLOCK_BOOTTIME).or_else(|_| clock_gettime(ClockId::CLOCK_MONOTONIC));
    clock.map_or(0, |time| {
        u64::try_from(time.tv_sec()).unwrap_or(0) * 1000
            + u64::try_from(time.tv_nsec()).unwrap_or(0) / 1_000_000
    })
}
