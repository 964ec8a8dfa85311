//! What can go wrong, as an explicit list: it is what a failing seed is shrunk over, and what its story is told from.

use std::fmt;

use crate::chance::Chance;
use crate::scenario::Scenario;

/// A fault, and when it strikes (milliseconds of true time since the beginning).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Strike {
    /// When.
    pub at: u64,
    /// What.
    pub fault: Fault,
}

/// Something that goes wrong, or that a user does at a bad moment. Durations are milliseconds of true time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fault {
    /// The coordinator's process dies and comes back; with `machine`, what was not synced to its disk is lost.
    CoordinatorDies {
        /// How long it stays away.
        down: u64,
        /// Its machine dies with it.
        machine: bool,
    },
    /// It dies at the `nth` journal write from then on, before (or after) the write took effect.
    CoordinatorDiesAtWrite {
        /// Counted from then on, 1 is the next one.
        nth: u64,
        /// After the write took effect.
        written: bool,
        /// How long it stays away.
        down: u64,
        /// Its machine dies with it.
        machine: bool,
    },
    /// A user stops it in order, and starts it again later.
    CoordinatorStops {
        /// How long it stays away.
        down: u64,
    },
    /// It stands still for a while.
    CoordinatorPauses {
        /// How long.
        pause: u64,
    },
    /// A worker's process dies, and its ranks with it.
    WorkerDies {
        /// Whose: index from 0.
        worker: usize,
        /// How long it stays away.
        down: u64,
    },
    /// A worker stands still for a while; its ranks too (a suspended machine), or they go on.
    WorkerPauses {
        /// Whose: index from 0.
        worker: usize,
        /// How long.
        pause: u64,
        /// The whole machine is suspended.
        with_ranks: bool,
    },
    /// A worker is asked to leave by a signal, and comes back later.
    WorkerLeaves {
        /// Whose: index from 0.
        worker: usize,
        /// How long it stays away.
        down: u64,
    },
    /// A user drains a worker through the coordinator; it comes back later.
    Drain {
        /// Whose: index from 0.
        worker: usize,
        /// How long it stays away.
        down: u64,
    },
    /// One of a worker's rank processes is killed.
    RankKilled {
        /// Whose: index from 0.
        worker: usize,
    },
    /// One of them stands still for a while.
    RankHangs {
        /// Whose: index from 0.
        worker: usize,
        /// How long.
        pause: u64,
    },
    /// One of them fails by itself.
    RankFails {
        /// Whose: index from 0.
        worker: usize,
    },
    /// Nothing passes between a worker (or all) and the coordinator for a while.
    Partition {
        /// Whose: index from 0.
        worker: Option<usize>,
        /// How long.
        pause: u64,
    },
    /// A worker's connection breaks; some of what was on its way is lost. `noticed`: both ends learn of it.
    Cut {
        /// Whose: index from 0.
        worker: usize,
        /// Both ends learn of it soon.
        noticed: bool,
    },
    /// Every message takes longer for a while.
    Slow {
        /// Up to so much more.
        delay: u64,
        /// How long.
        pause: u64,
    },
    /// Calls and their answers get lost, or come twice, so often in a hundred.
    Lossy {
        /// Of 100 calls.
        percent: u64,
        /// How long.
        pause: u64,
    },
    /// There is no room on the coordinator's disk for a while.
    DiskFull {
        /// How long.
        pause: u64,
    },
}

impl Fault {
    /// How long it lasts.
    pub(crate) fn lasts(&self) -> u64 {
        match *self {
            Self::CoordinatorDies { down, .. }
            | Self::CoordinatorDiesAtWrite { down, .. }
            | Self::CoordinatorStops { down }
            | Self::WorkerDies { down, .. }
            | Self::WorkerLeaves { down, .. }
            | Self::Drain { down, .. } => down,
            Self::CoordinatorPauses { pause }
            | Self::WorkerPauses { pause, .. }
            | Self::RankHangs { pause, .. }
            | Self::Partition { pause, .. }
            | Self::Slow { pause, .. }
            | Self::Lossy { pause, .. }
            | Self::DiskFull { pause } => pause,
            Self::RankKilled { .. } | Self::RankFails { .. } | Self::Cut { .. } => 0,
        }
    }
}

/// Faults by chance, about one per `every` milliseconds, `count` of them, in order.
pub(crate) fn schedule(
    chance: &mut Chance,
    scenario: &Scenario,
    count: usize,
    every: u64,
) -> Vec<Strike> {
    let mut at = 1_000;
    (0..count)
        .map(|_| {
            at += chance.below(2 * every + 1);
            let fault = any_fault(chance, scenario);
            Strike { at, fault }
        })
        .collect()
}

fn any_fault(chance: &mut Chance, scenario: &Scenario) -> Fault {
    let worker = chance.below(scenario.workers.len() as u64) as usize;
    // mostly short; sometimes so long that leases end
    let lease = scenario.settings.lost_after.as_millis() as u64;
    let while_ = match chance.below(10) {
        0..4 => chance.between(50, 1_000),
        4..8 => chance.between(1_000, 8_000),
        8 => chance.between(8_000, lease),
        _ => chance.between(lease, 2 * lease + 10_000),
    };
    let machine = chance.one_in(2);
    match chance.below(36) {
        0..3 => Fault::CoordinatorDies {
            down: while_,
            machine,
        },
        3..7 => Fault::CoordinatorDiesAtWrite {
            nth: chance.between(1, 12),
            written: chance.one_in(2),
            down: while_,
            machine,
        },
        7 => Fault::CoordinatorStops { down: while_ },
        8 | 9 => Fault::CoordinatorPauses { pause: while_ },
        10..13 => Fault::WorkerDies {
            worker,
            down: while_,
        },
        13..15 => Fault::WorkerPauses {
            worker,
            pause: while_,
            with_ranks: chance.one_in(2),
        },
        15 => Fault::WorkerPauses {
            worker,
            pause: chance.between(lease, 3 * lease),
            with_ranks: false,
        },
        16 => Fault::WorkerLeaves {
            worker,
            down: while_,
        },
        17 => Fault::Drain {
            worker,
            down: while_,
        },
        18..21 => Fault::RankKilled { worker },
        21 => Fault::RankHangs {
            worker,
            pause: while_,
        },
        22 => Fault::RankFails { worker },
        23..27 => Fault::Partition {
            worker: (!chance.one_in(5)).then_some(worker),
            pause: while_,
        },
        27..32 => Fault::Cut {
            worker,
            noticed: !chance.one_in(3),
        },
        32 => Fault::Slow {
            delay: chance.between(50, 3_000),
            pause: while_,
        },
        33 | 34 => Fault::Lossy {
            percent: chance.between(5, 60),
            pause: while_,
        },
        _ => Fault::DiskFull { pause: while_ },
    }
}

/// Milliseconds for people.
pub(crate) struct Seconds(pub(crate) u64);

impl fmt::Display for Seconds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{} s", self.0 / 1000, self.0 % 1000 / 100)
    }
}

impl fmt::Display for Strike {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "at {} {}", Seconds(self.at), self.fault)
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let machine = |machine: &bool| if *machine { " with its machine" } else { "" };
        match self {
            Self::CoordinatorDies { down, machine: m } => {
                write!(
                    f,
                    "the coordinator dies{} for {}",
                    machine(m),
                    Seconds(*down)
                )
            }
            Self::CoordinatorDiesAtWrite {
                nth,
                written,
                down,
                machine: m,
            } => {
                let when = if *written {
                    "just after"
                } else {
                    "just before"
                };
                write!(
                    f,
                    "begins the wait for journal write {nth}, {when} which the coordinator dies{} for {}",
                    machine(m),
                    Seconds(*down)
                )
            }
            Self::CoordinatorStops { down } => {
                write!(
                    f,
                    "a user stops the coordinator in order, for {}",
                    Seconds(*down)
                )
            }
            Self::CoordinatorPauses { pause } => {
                write!(f, "the coordinator stands still for {}", Seconds(*pause))
            }
            Self::WorkerDies { worker, down } => {
                write!(f, "worker w{worker} dies for {}", Seconds(*down))
            }
            Self::WorkerPauses {
                worker,
                pause,
                with_ranks,
            } => {
                let ranks = if *with_ranks {
                    "with its ranks"
                } else {
                    "and its ranks go on"
                };
                write!(
                    f,
                    "worker w{worker} stands still for {} {ranks}",
                    Seconds(*pause)
                )
            }
            Self::WorkerLeaves { worker, down } => {
                write!(
                    f,
                    "worker w{worker} gets a signal to leave, for {}",
                    Seconds(*down)
                )
            }
            Self::Drain { worker, down } => {
                write!(f, "a user drains worker w{worker}, for {}", Seconds(*down))
            }
            Self::RankKilled { worker } => write!(f, "a rank of worker w{worker} is killed"),
            Self::RankHangs { worker, pause } => {
                write!(
                    f,
                    "a rank of worker w{worker} hangs for {}",
                    Seconds(*pause)
                )
            }
            Self::RankFails { worker } => write!(f, "a rank of worker w{worker} fails by itself"),
            Self::Partition { worker, pause } => match worker {
                Some(worker) => write!(f, "worker w{worker} is cut off for {}", Seconds(*pause)),
                None => write!(f, "every worker is cut off for {}", Seconds(*pause)),
            },
            Self::Cut { worker, noticed } => {
                let who = if *noticed {
                    ""
                } else {
                    ", which neither end notices"
                };
                write!(f, "the connection of worker w{worker} breaks{who}")
            }
            Self::Slow { delay, pause } => write!(
                f,
                "every message takes up to {} for {}",
                Seconds(*delay),
                Seconds(*pause)
            ),
            Self::Lossy { percent, pause } => write!(
                f,
                "{percent} of 100 calls get lost or come twice for {}",
                Seconds(*pause)
            ),
            Self::DiskFull { pause } => {
                write!(f, "the coordinator's disk is full for {}", Seconds(*pause))
            }
        }
    }
}
