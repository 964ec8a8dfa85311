//! What follows from a failure: the one table of it.

use std::fmt;
use std::time::Duration;

use types::FailureClass;

use crate::Settings;

/// What follows from a failed attempt, by the class of its first cause.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decision {
    /// The same again would fail the same: the task has failed.
    Never,
    /// The task's own fault, perhaps by chance: tried again, and the budget pays.
    Budget,
    /// Not the task's fault: tried again as often as it takes. The wait between attempts still grows while no new
    /// checkpoint is committed, so a broken machine does not keep the cluster spinning.
    Free,
}

/// How long to wait before the first retry; it doubles with each further failure without a new checkpoint in between, up to
/// [`Settings::backoff_max`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wait {
    /// [`Settings::backoff_first`].
    Short,
    /// Ten times that: what is in the way needs time to go.
    Long,
}

/// How much a failure explains of its gang's end. The first cause is the best explanation; of equals, the one that arrived
/// first: it alone comes from a rank that had not yet been told to stop.
///
/// The order in which reports arrive, and every clock but the coordinator's, say nothing else about the cause.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Evidence {
    /// The rank's own, and it says why: a signal from outside, memory, data, numbers, a limit that it exceeded.
    Own,
    /// The rank's own, but a peer's death can bring it about as well: a crash, a failed read or write.
    Unexplained,
    /// Somebody is not there any more, and cannot say why.
    Absence,
    /// Somebody else is missed: always the echo of another rank's end.
    Echo,
}

/// A class of failures with all that is decided about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rule {
    /// The class.
    pub class: FailureClass,
    /// Whether it is tried again, and who pays.
    pub decision: Decision,
    /// How long before.
    pub wait: Wait,
    /// Whether the next attempt prefers other workers than that of the rank that failed. It takes that worker rather than
    /// none.
    pub avoids_worker: bool,
    /// What it is worth as an explanation.
    pub evidence: Evidence,
}

impl Rule {
    /// What is decided about a class.
    #[must_use]
    pub const fn of(class: FailureClass) -> Self {
        use Decision::{Budget, Free, Never};
        use Evidence::{Absence, Echo, Own, Unexplained};
        use FailureClass as C;
        use Wait::{Long, Short};
        let (decision, wait, avoids_worker, evidence) = match class {
            C::Configuration | C::Data | C::Artifact => (Never, Short, false, Own),
            C::NotANumber => (Budget, Short, false, Own),
            C::OutOfMemory => (Budget, Long, true, Own),
            C::Hang => (Budget, Short, true, Own),
            C::Crash => (Budget, Short, true, Unexplained),
            C::TransientIo => (Free, Short, true, Unexplained),
            C::Killed => (Free, Short, false, Own),
            C::WorkerLost => (Free, Short, false, Absence),
            C::PeerLost => (Free, Short, false, Echo),
        };
        Self {
            class,
            decision,
            wait,
            avoids_worker,
            evidence,
        }
    }
}

impl fmt::Display for Decision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Never => "never",
            Self::Budget => "yes, the budget pays",
            Self::Free => "yes, as often as it takes",
        })
    }
}

impl fmt::Display for Wait {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Short => "1 s",
            Self::Long => "10 s",
        })
    }
}

impl fmt::Display for Evidence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Own => "1 own",
            Self::Unexplained => "2 own, unexplained",
            Self::Absence => "3 absence",
            Self::Echo => "4 echo",
        })
    }
}

/// All rules as a table in Markdown, as docs/failure.md has it.
#[must_use]
pub fn table() -> String {
    let mut text = "| class | tried again | first wait | prefers other workers | evidence |\n\
                    | --- | --- | --- | --- | --- |\n"
        .to_owned();
    for rule in FailureClass::ALL.map(Rule::of) {
        let wait = match rule.decision {
            Decision::Never => "-".to_owned(),
            Decision::Budget | Decision::Free => rule.wait.to_string(),
        };
        text.push_str(&format!(
            "| {} | {} | {wait} | {} | {} |\n",
            rule.class,
            rule.decision,
            if rule.avoids_worker { "yes" } else { "-" },
            rule.evidence
        ));
    }
    text
}

/// How long a task waits after so many failures in a row without a new checkpoint; at least one.
pub(crate) fn back_off(settings: &Settings, wait: Wait, fruitless: u32) -> Duration {
    let first = match wait {
        Wait::Short => settings.backoff_first,
        Wait::Long => settings.backoff_first.saturating_mul(10),
    };
    let doublings = fruitless.saturating_sub(1).min(31);
    first
        .saturating_mul(1 << doublings)
        .min(settings.backoff_max)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn back_off_doubles_up_to_its_limit() {
        let settings = Settings::default();
        let seconds = |wait| {
            [1, 2, 3, 9, 10, u32::MAX].map(|count| back_off(&settings, wait, count).as_secs())
        };
        assert_eq!(seconds(Wait::Short), [1, 2, 4, 256, 300, 300]);
        assert_eq!(seconds(Wait::Long), [10, 20, 40, 300, 300, 300]);
    }

    #[test]
    fn waits_are_shown_as_they_are() {
        let settings = Settings::default();
        for wait in [Wait::Short, Wait::Long] {
            let shown = format!("{} s", back_off(&settings, wait, 1).as_secs());
            assert_eq!(wait.to_string(), shown);
        }
    }

    #[test]
    fn the_page_on_failure_has_this_table() {
        let page = include_str!("../../../docs/failure.md");
        assert!(
            page.contains(&table()),
            "docs/failure.md should have this:\n{}",
            table()
        );
    }
}
