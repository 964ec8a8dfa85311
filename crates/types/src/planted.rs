//! Bugs for tests that show that tests can fail.
//!
//! Each is a condition at the place in the house where somebody could make that very mistake. Without the feature `planted`, which no
//! program is built with, [`planted`] is the constant `false` and the conditions are not compiled into anything.

macro_rules! bugs {
    ($($(#[$doc:meta])* $name:ident,)*) => {
        /// A mistake that somebody could make.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
        pub enum Bug { $($(#[$doc])* $name,)* }

        impl Bug {
            /// All of them.
            pub const ALL: &[Self] = &[$(Self::$name,)*];
        }
    };
}

bugs! {
    /// `control`: a report counts for whatever its worker is busy with, whatever its fence.
    FenceCheckDropped,
    /// `control`: the lease is half as long as the worker thinks.
    LeaseShort,
    /// `control`: a task is given away as soon as the lease ends, without the margin for clocks and slow deaths.
    MarginDropped,
    /// `control`: nobody says when a back-off is over.
    BackOffNotWoken,
    /// `control`: nobody says when the wait for a broken gang's causes is over.
    GraceNotWoken,
    /// `control`: the first checkpoint is kept, later ones are not.
    OldCheckpointKept,
    /// `control`: an attempt goes on from whatever checkpoint comes first.
    CheckpointOfAnotherKey,
    /// `control`: an attempt begins with one worker, whatever the task needs.
    PartialGang,
    /// `control`: a failed task is tried again at once.
    BackOffForgotten,
    /// `control`: the retry budget pays for lost workers.
    BudgetPaysForWorkers,
    /// `control`: results are remembered under their task's material, not their key.
    MemoUnderWrongKey,
    /// `control`: two tasks with the same content are done at the same time.
    SameWorkTwice,
    /// `control`: ranks that a worker still holds after their attempt was given up take no slot.
    StrangersIgnored,
    /// `control`: slots are free as soon as their ranks are told to stop.
    SlotFreedEarly,
    /// `control`: after a restart the leases of workers that stay away never end.
    LeasesNotRestarted,
    /// `coordinator`: effects come before the journal.
    EffectsBeforeJournal,
    /// `coordinator`: reports are acknowledged before they are in the journal.
    AckBeforeJournal,
    /// `coordinator`: points of curves that could not be written are acknowledged.
    LostPointAcknowledged,
    /// `coordinator`: log lines that could not be written are never asked for again.
    LostLinesNotRepeated,
    /// `coordinator`: curves and logs are acknowledged before they are on the disk for good.
    RecordsNotSynced,
    /// `coordinator`: what was meant for an older connection goes out on the new one, before its welcome.
    WelcomeNotFirst,
    /// `coordinator`: a question that is asked twice is answered anew.
    AnswersForgotten,
    /// `coordinator`: log lines that are sent again are added again.
    LinesTwice,
    /// The journal's disk is not told to sync.
    JournalNotSynced,
    /// `artifact`: files get their names before their bytes are on the disk for good.
    ArtifactNotSynced,
    /// `artifact`: the name of an artifact is not made safe.
    ArtifactNameNotSynced,
    /// `duty`: ranks are killed long after the lease has ended.
    WorkerLeaseLong,
    /// `duty`: rank processes do not know of the lease and outlive it when their worker stands still.
    RankLeaseForgotten,
    /// `duty`: a worker that reconnects does not say which ranks it holds.
    HeldForgotten,
    /// `duty`: reports that were on their way when the connection broke are not sent again.
    OutboxNotRewound,
    /// `duty`: reports count from 1 again on each connection.
    SequencesReset,
    /// `duty`: a worker's life is numbered by its clock alone.
    LifeFromClockAlone,
}

/// Whether the bugs can be switched on in this build.
pub const PLANTABLE: bool = cfg!(feature = "planted");

#[cfg(feature = "planted")]
mod switch {
    use std::cell::Cell;

    use super::Bug;

    thread_local! {
        static PLANTED: Cell<Option<Bug>> = const { Cell::new(None) };
    }

    /// Switches one bug on in this thread, and every other off.
    pub fn plant(bug: Option<Bug>) {
        PLANTED.set(bug);
    }

    /// Whether this bug is switched on in this thread.
    #[must_use]
    pub fn planted(bug: Bug) -> bool {
        PLANTED.get() == Some(bug)
    }
}

#[cfg(feature = "planted")]
pub use switch::{plant, planted};

/// Whether this bug is switched on: never, in this build.
#[cfg(not(feature = "planted"))]
#[must_use]
pub const fn planted(_: Bug) -> bool {
    false
}
