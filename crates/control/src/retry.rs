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

impl Decision {
    /// The decision for a class.
    #[must_use]
    pub const fn of(class: FailureClass) -> Self {
        match class {
            FailureClass::Configuration | FailureClass::Data | FailureClass::Artifact => {
                Self::Never
            }
            FailureClass::NotANumber
            | FailureClass::OutOfMemory
            | FailureClass::Crash
            | FailureClass::Hang => Self::Budget,
            FailureClass::TransientIo
            | FailureClass::PeerLost
            | FailureClass::WorkerLost
            | FailureClass::Killed => Self::Free,
        }
    }
}

/// How long a task waits after so many failures in a row without a new checkpoint; at least one.
pub(crate) fn back_off(settings: &Settings, fruitless: u32) -> Duration {
    let doublings = fruitless.saturating_sub(1).min(31);
    settings
        .backoff_first
        .saturating_mul(1 << doublings)
        .min(settings.backoff_max)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn back_off_doubles_up_to_its_limit() {
        let settings = Settings::default();
        let seconds: Vec<_> = [1, 2, 3, 9, 10, u32::MAX]
            .map(|count| back_off(&settings, count).as_secs())
            .into();
        assert_eq!(seconds, [1, 2, 4, 256, 300, 300]);
    }
}
