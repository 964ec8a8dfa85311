use std::time::Duration;

use types::Timestamp;

/// A clock that moves when it is told to.
#[derive(Debug, Clone, Copy)]
pub struct Clock {
    now: Timestamp,
}

impl Default for Clock {
    /// Some Sunday: late enough that a forgotten conversion from zero is noticed.
    fn default() -> Self {
        Self {
            now: Timestamp(1_700_000_000_000),
        }
    }
}

impl Clock {
    /// The time.
    #[must_use]
    pub const fn now(&self) -> Timestamp {
        self.now
    }

    /// Lets time pass; the new time.
    pub fn advance(&mut self, by: Duration) -> Timestamp {
        self.now = self.now.after(by);
        self.now
    }

    /// Goes on to this time, never back; the new time.
    pub fn advance_to(&mut self, to: Timestamp) -> Timestamp {
        self.now = self.now.max(to);
        self.now
    }
}
