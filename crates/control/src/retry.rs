use types::FailureClass;

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
