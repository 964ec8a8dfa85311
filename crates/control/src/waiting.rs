use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use types::{Failure, Fence, Rank, SlotKind, TaskId, TaskName, WorkerId};

use crate::StopReason;

/// The one main reason why a task is not running (or that it is, or needs not): `Display` is one sentence for a person.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "waiting", rename_all = "snake_case")]
pub enum WaitingFor {
    /// There is no such task.
    NoSuchTask,
    /// It is done: nothing to wait for.
    Done {
        /// Its result was remembered from before, and nothing was executed.
        remembered: bool,
    },
    /// It failed for good.
    Failed {
        /// The first cause of its last attempt.
        failure: Failure,
    },
    /// Its run was ended before it was done.
    RunEnded {
        /// Why.
        reason: StopReason,
    },
    /// It runs: nothing to wait for.
    Running {
        /// The attempt.
        fence: Fence,
        /// Its gang, by rank.
        workers: Vec<WorkerId>,
    },
    /// Tasks before it are not done.
    Inputs {
        /// Those that it needs itself, in the graph's order.
        tasks: Vec<TaskName>,
    },
    /// A task before it (at any distance) has failed for good, so it cannot run.
    FailedInput {
        /// The nearest failed one.
        task: TaskName,
        /// Its cause.
        failure: Failure,
    },
    /// It failed and waits before it is tried again.
    BackOff {
        /// For how long still.
        left: Duration,
        /// Why it failed.
        failure: Failure,
    },
    /// Another task does the very same work; its result will be taken.
    SameWork {
        /// Which.
        task: TaskId,
    },
    /// Larger gangs are allowed than would fit now, and workers have just arrived: more are waited for.
    Gathering {
        /// For how long still.
        left: Duration,
    },
    /// There are too few workers in service, however long one waits.
    Workers {
        /// Which slot it takes.
        slot: SlotKind,
        /// Workers in service with one kind of device.
        have: u32,
        /// The smallest gang that is allowed.
        need: u32,
        /// Workers that are silent but may come back.
        silent: Vec<WorkerId>,
        /// Workers whose device is unusable until they are restarted.
        quarantined: Vec<WorkerId>,
    },
    /// There are enough workers, but too few are free.
    Slots {
        /// Which slot it takes.
        slot: SlotKind,
        /// Free now.
        free: u32,
        /// The smallest gang that is allowed.
        need: u32,
    },
    /// Free slots are kept for a more urgent task that needs a larger gang.
    Reserved {
        /// For which.
        task: TaskId,
    },
    /// A gang is chosen and its ranks are meeting.
    Meeting {
        /// The attempt.
        fence: Fence,
        /// Who has not started yet.
        missing: Vec<WorkerId>,
    },
    /// It ran, or may still run, on a worker that has fallen silent. Only the end of the lease, or evidence, lets it go on
    /// elsewhere.
    SilentWorker {
        /// Which.
        worker: WorkerId,
        /// Silent for so long,
        silent: Duration,
        /// the lease ends in so long.
        left: Duration,
    },
    /// Its attempt ends: ranks were told to stop and have not all done so.
    Stopping {
        /// Why.
        reason: StopReason,
        /// Who has not ended yet.
        remaining: Vec<WorkerId>,
    },
    /// Its gang broke: the other ranks are being ended and the causes collected.
    Closing {
        /// The first cause as far as known.
        failure: Failure,
        /// Who has not ended yet.
        remaining: Vec<WorkerId>,
    },
    /// Nothing is started any more.
    Shutdown,
}

fn slots(slot: SlotKind, count: u32) -> String {
    let word = match slot {
        SlotKind::Device => "device",
        SlotKind::Host => "host slot",
    };
    format!("{count} {word}{}", if count == 1 { "" } else { "s" })
}

fn list<T: fmt::Display>(items: &[T]) -> String {
    const SHOWN: usize = 4;
    let mut text = items
        .iter()
        .take(SHOWN)
        .map(ToString::to_string)
        .collect::<Vec<_>>()
        .join(", ");
    if items.len() > SHOWN {
        text.push_str(&format!(" and {} more", items.len() - SHOWN));
    }
    text
}

fn seconds(duration: Duration) -> String {
    if duration < Duration::from_secs(10) {
        format!("{:.1} s", duration.as_secs_f64())
    } else {
        format!("{} s", duration.as_secs())
    }
}

/// Rank and worker lists are short; a rank is its place in the list.
fn gang(workers: &[WorkerId]) -> String {
    workers
        .iter()
        .zip(0..)
        .map(|(worker, rank)| format!("{worker} (rank {})", Rank(rank)))
        .collect::<Vec<_>>()
        .join(", ")
}

impl fmt::Display for WaitingFor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoSuchTask => f.write_str("there is no such task"),
            Self::Done { remembered: false } => f.write_str("done"),
            Self::Done { remembered: true } => f.write_str(
                "done before: the same work has been finished earlier, nothing was executed",
            ),
            Self::Failed { failure } => write!(f, "failed for good: {failure}"),
            Self::RunEnded { reason } => write!(f, "not run any more: {reason}"),
            Self::Running { fence, workers } => {
                write!(f, "runs as attempt {fence} on {}", gang(workers))
            }
            Self::Inputs { tasks } => write!(f, "waits for {}", list(tasks)),
            Self::FailedInput { task, failure } => {
                write!(f, "cannot run because {task} failed: {failure}")
            }
            Self::BackOff { left, failure } => write!(
                f,
                "is tried again in {}, after a failure: {failure}",
                seconds(*left)
            ),
            Self::SameWork { task } => write!(f, "waits for {task}, which does the very same work"),
            Self::Gathering { left } => write!(
                f,
                "waits {} for more workers before it takes a smaller gang",
                seconds(*left)
            ),
            Self::Workers {
                slot,
                have,
                need,
                silent,
                quarantined,
            } => {
                write!(
                    f,
                    "needs {}{}, and the workers in service have {have}",
                    slots(*slot, *need),
                    if *need == 1 { "" } else { " of one kind" }
                )?;
                if !silent.is_empty() {
                    write!(f, " (silent: {})", list(silent))?;
                }
                if !quarantined.is_empty() {
                    write!(f, " (to be restarted: {})", list(quarantined))?;
                }
                Ok(())
            }
            Self::Slots { slot, free, need } => {
                write!(f, "waits for {}; {free} free now", slots(*slot, *need))
            }
            Self::Reserved { task } => write!(
                f,
                "lets {task} go first, which is more urgent and waits for a larger gang"
            ),
            Self::Meeting { fence, missing } => {
                write!(f, "attempt {fence} starts: {} to go", list(missing))
            }
            Self::SilentWorker {
                worker,
                silent,
                left,
            } => write!(
                f,
                "its worker {worker} has been silent for {} and may still be running it; unless heard, it is given up in {}",
                seconds(*silent),
                seconds(*left)
            ),
            Self::Stopping { reason, remaining } => write!(
                f,
                "is being stopped because {reason}; {} to go",
                list(remaining)
            ),
            Self::Closing { failure, remaining } => {
                write!(f, "its gang broke ({failure}); {} to go", list(remaining))
            }
            Self::Shutdown => {
                f.write_str("nothing is started any more: the coordinator is shutting down")
            }
        }
    }
}
