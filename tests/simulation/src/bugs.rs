//! Bugs on purpose: each has to be found.

use types::Bug;

use crate::scenario::Scenario;
use crate::shrink::{shrink, story};
use crate::sim::{Violation, play};

/// Bugs that break no promise here, because something else keeps it: ranks keep the lease themselves, so the coordinator's margin
/// is a second defence; whatever a worker says wakes the core as well as its own timer for a broken gang does; a worker refuses
/// what its slot is still taken for, and is asked again.
pub const SHIELDED: &[Bug] = &[
    Bug::MarginDropped,
    Bug::GraceNotWoken,
    Bug::StrangersIgnored,
];

/// How a planted bug was found.
#[derive(Debug, Clone)]
pub struct Found {
    /// Which.
    pub bug: Bug,
    /// The seed, and the promise that the bug broke in it.
    pub by: Option<(u64, Violation)>,
    /// Seeds played for it.
    pub played: u64,
}

/// Plants each bug in turn and plays seeds until one shows it, at most so many.
pub fn find_planted(from: u64, seeds: u64) -> impl Iterator<Item = Found> {
    Bug::ALL.iter().map(move |bug| find(*bug, from, seeds))
}

/// Plants a bug in this thread and plays seeds until one shows it.
#[must_use]
pub fn find(bug: Bug, from: u64, seeds: u64) -> Found {
    types::plant(Some(bug));
    let by = (from..from + seeds).find_map(|seed| {
        let violation = play(&Scenario::from_seed(seed)).violation?;
        Some((seed, violation))
    });
    types::plant(None);
    let played = by.as_ref().map_or(seeds, |(seed, _)| seed - from + 1);
    Found { bug, by, played }
}

/// The shortest story of a planted bug in a seed that shows it.
#[must_use]
pub fn story_of(bug: Bug, seed: u64) -> String {
    types::plant(Some(bug));
    let text = story(&shrink(&Scenario::from_seed(seed)));
    types::plant(None);
    text
}
