use std::collections::BTreeMap;
use std::time::Duration;

use types::{Section, Timestamp};

/// How long a section of a rank's work may take: `floor + factor × (the slowest of its kind so far)`, and `first` before one
/// has been seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HangLimits {
    /// For the first of a kind.
    pub first: Duration,
    /// Added to every learned limit.
    pub floor: Duration,
    /// Times the slowest so far.
    pub factor: u32,
}

impl Default for HangLimits {
    fn default() -> Self {
        Self {
            // the first set-up on a host digests all data
            first: Duration::from_secs(7200),
            floor: Duration::from_secs(60),
            factor: 10,
        }
    }
}

/// A rank lets its worker know this often that it lives, and whether it waits for a peer.
pub const PULSE: Duration = Duration::from_millis(500);

/// A pulse that is older says nothing any more.
const FRESH: Duration = Duration::from_secs(2);

/// A worker that has not looked for so long did not run itself: that time says nothing about its rank.
const ABSENCE: Duration = Duration::from_secs(1);

/// A rank's way through its sections, and how slow each kind has been.
///
/// A rank that waits for a peer in a collective says so with every pulse, and is not overdue for as long as it does: the
/// peer is, or the collective's own time limit ends the wait. A rank that is stopped has no pulse, wherever it was stopped. So of a
/// gang in which one hangs, that one's worker alone calls it a hang.
#[derive(Debug)]
pub(crate) struct Pace {
    limits: HangLimits,
    section: Section,
    since: Timestamp,
    slowest: BTreeMap<Section, Duration>,
    /// When it last said that it waits for a peer.
    waited: Option<Timestamp>,
    looked: Timestamp,
}

/// A section that takes too long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Overdue {
    pub(crate) section: Section,
    pub(crate) took: Duration,
    pub(crate) limit: Duration,
    /// What the limit comes from, if one was seen.
    pub(crate) slowest: Option<Duration>,
}

impl Pace {
    pub(crate) fn new(now: Timestamp, limits: HangLimits) -> Self {
        Self {
            limits,
            section: Section::SetUp,
            since: now,
            slowest: BTreeMap::new(),
            waited: None,
            looked: now,
        }
    }

    /// The rank begins a section: the one before has ended.
    pub(crate) fn enter(&mut self, now: Timestamp, section: Section) {
        let took = now.since(self.since);
        let slowest = self.slowest.entry(self.section).or_default();
        *slowest = took.max(*slowest);
        self.section = section;
        self.since = now;
        self.waited = None;
    }

    /// The rank lives.
    pub(crate) fn pulse(&mut self, now: Timestamp, waits: bool) {
        self.waited = waits.then_some(now);
    }

    /// To be asked several times a second.
    pub(crate) fn overdue(&mut self, now: Timestamp) -> Option<Overdue> {
        let absent = now.since(self.looked);
        self.looked = now;
        if absent > ABSENCE {
            self.since = self.since.after(absent).min(now);
            self.waited = self.waited.map(|waited| waited.after(absent).min(now));
        }
        if self.waited.is_some_and(|waited| now.since(waited) < FRESH) {
            return None;
        }
        let slowest = self.slowest.get(&self.section).copied();
        let limit = slowest.map_or(self.limits.first, |slowest| {
            self.limits.floor + slowest.saturating_mul(self.limits.factor)
        });
        let took = now.since(self.since);
        (took > limit).then_some(Overdue {
            section: self.section,
            took,
            limit,
            slowest,
        })
    }
}

impl std::fmt::Display for Overdue {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let seconds = |duration: Duration| format!("{:.1} s", duration.as_secs_f64());
        write!(
            f,
            "its {} has not ended after {}; the limit is {}",
            self.section,
            seconds(self.took),
            seconds(self.limit)
        )?;
        match self.slowest {
            Some(slowest) => write!(f, ", the slowest before took {}", seconds(slowest)),
            None => f.write_str(", there was none before"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: HangLimits = HangLimits {
        first: Duration::from_secs(100),
        floor: Duration::from_secs(1),
        factor: 10,
    };

    /// Looks ten times a second, as a worker does; when it first finds the rank overdue.
    fn overdue_at(
        pace: &mut Pace,
        from: u64,
        to: u64,
        pulse: impl Fn(u64) -> Option<bool>,
    ) -> Option<(u64, Overdue)> {
        (from..to).step_by(100).find_map(|now| {
            if let Some(waits) = pulse(now) {
                pace.pulse(Timestamp(now), waits);
            }
            Some((now, pace.overdue(Timestamp(now))?))
        })
    }

    #[test]
    fn each_section_has_the_limit_that_it_was_seen_to_need() {
        let mut pace = Pace::new(Timestamp(0), LIMITS);
        let (at, overdue) = overdue_at(&mut pace, 0, 200_000, |_| Some(false)).unwrap();
        assert_eq!((at, overdue.section), (100_100, Section::SetUp));
        assert!(overdue.to_string().contains("there was none before"));

        let mut pace = Pace::new(Timestamp(0), LIMITS);
        pace.enter(Timestamp(20_000), Section::Step);
        pace.enter(Timestamp(20_500), Section::Step);
        pace.enter(Timestamp(20_700), Section::Step);
        pace.looked = Timestamp(20_700);
        let (at, overdue) = overdue_at(&mut pace, 20_700, 200_000, |_| Some(false)).unwrap();
        assert_eq!((at, overdue.limit), (26_800, Duration::from_secs(6)));
        assert_eq!(
            overdue.to_string(),
            "its step has not ended after 6.1 s; the limit is 6.0 s, the slowest before took 0.5 s"
        );
        // a checkpoint has never been seen
        pace.enter(Timestamp(26_800), Section::Checkpoint);
        assert_eq!(overdue_at(&mut pace, 26_800, 120_000, |_| None), None);
    }

    #[test]
    fn a_rank_that_waits_for_a_peer_is_not_the_one_that_hangs() {
        let in_a_step = || {
            let mut pace = Pace::new(Timestamp(0), LIMITS);
            pace.enter(Timestamp(100), Section::Step);
            pace.enter(Timestamp(200), Section::Step);
            pace
        };
        let beat = |now: u64| now.is_multiple_of(500);
        // it says that it waits, on and on
        let waits = |now| beat(now).then_some(true);
        assert_eq!(overdue_at(&mut in_a_step(), 200, 500_000, waits), None);
        // it does not wait, and lives
        let computes = |now| beat(now).then_some(false);
        let (at, _) = overdue_at(&mut in_a_step(), 200, 500_000, computes).unwrap();
        assert_eq!(at, 2_300);
        // it was stopped in the middle of a collective
        let stopped = |now| (beat(now) && now < 1_000).then_some(true);
        let (at, _) = overdue_at(&mut in_a_step(), 200, 500_000, stopped).unwrap();
        assert!(at <= 2_500 + 200, "{at}");
    }

    #[test]
    fn a_worker_that_was_stopped_itself_blames_nobody() {
        let mut pace = Pace::new(Timestamp(0), LIMITS);
        pace.enter(Timestamp(100), Section::Step);
        pace.enter(Timestamp(200), Section::Step);
        assert_eq!(pace.overdue(Timestamp(300)), None);
        assert_eq!(pace.overdue(Timestamp(60_300)), None);
        assert_eq!(pace.overdue(Timestamp(61_000)), None);
        assert!(pace.overdue(Timestamp(61_900)).is_none());
        assert!(pace.overdue(Timestamp(62_400)).is_some());
    }
}
