use std::time::Duration;

use types::{Bug, Timestamp, planted};

/// The lease of one worker (ARCHITECTURE.md, "The core"): when the last heartbeat that the coordinator acknowledged was *sent* so
/// long ago, every rank must have been stopped. Counting from sending keeps it on the safe side of the coordinator's
/// count, which begins when it hears.
#[derive(Debug, Clone)]
pub(crate) struct Lease {
    last_contact: Timestamp,
    lost_after: Duration,
}

/// The end of a killed process is not instant; the kill comes this much before the lease ends (or at half of a very short one).
const MARGIN: Duration = Duration::from_secs(2);

impl Lease {
    pub(crate) fn new(now: Timestamp, lost_after: Duration) -> Self {
        Self {
            last_contact: now,
            lost_after,
        }
    }

    /// The coordinator has said how long it is.
    pub(crate) fn set_length(&mut self, lost_after: Duration) {
        self.lost_after = if planted(Bug::WorkerLeaseLong) {
            lost_after * 2
        } else {
            lost_after
        };
    }

    /// The coordinator has heard what was sent at `sent_at`.
    pub(crate) fn renew(&mut self, sent_at: Timestamp) {
        self.last_contact = self.last_contact.max(sent_at);
    }

    /// Whether ranks have to be killed now.
    pub(crate) fn is_over(&self, now: Timestamp) -> bool {
        now.since(self.last_contact)
            >= self
                .lost_after
                .saturating_sub(MARGIN)
                .max(self.lost_after / 2)
    }

    /// How long ranks may still live if nothing more is heard.
    pub(crate) fn left(&self, now: Timestamp) -> Duration {
        self.lost_after.saturating_sub(self.silence(now))
    }

    /// How long nothing has been heard.
    pub(crate) fn silence(&self, now: Timestamp) -> Duration {
        now.since(self.last_contact)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranks_are_killed_before_the_lease_ends_and_not_long_before() {
        let mut lease = Lease::new(Timestamp(0), Duration::from_secs(120));
        assert!(!lease.is_over(Timestamp(117_999)));
        assert!(lease.is_over(Timestamp(118_000)));
        lease.renew(Timestamp(100_000));
        lease.renew(Timestamp(50_000)); // an old answer that comes late takes nothing back
        assert!(!lease.is_over(Timestamp(217_999)));
        assert!(lease.is_over(Timestamp(218_000)));
        assert_eq!(lease.left(Timestamp(218_000)), Duration::from_secs(2));
        assert_eq!(lease.left(Timestamp(230_000)), Duration::ZERO);
        lease.set_length(Duration::from_secs(1));
        assert!(lease.is_over(Timestamp(100_500)));
        assert!(!lease.is_over(Timestamp(100_499)));
    }
}
