use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use types::Timestamp;

/// The time for `control`: the wall clock when the program started, and from then on what has elapsed, so that it never jumps.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Clock {
    origin: Timestamp,
    started: Instant,
}

impl Clock {
    /// Starts not before `floor`, the time of the journal's last record.
    pub(crate) fn start(floor: Timestamp) -> Self {
        let wall = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or(Duration::ZERO);
        Self {
            origin: Timestamp(0).after(wall).max(floor),
            started: Instant::now(),
        }
    }

    pub(crate) fn now(&self) -> Timestamp {
        self.origin.after(self.started.elapsed())
    }

    /// The instant at which [`Clock::now`] will be `at`.
    pub(crate) fn instant(&self, at: Timestamp) -> Instant {
        self.started + at.since(self.origin)
    }
}
