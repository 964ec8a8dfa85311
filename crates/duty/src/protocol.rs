//! What a worker and its rank process say to each other: one JSON object per line.
//!
//! Commands go to the rank's standard input; its end means that the worker is gone, and the rank ends too. Messages come
//! from the rank's standard output. Standard error carries log lines, whatever they are.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use types::{FailureClass, Fence, MetricPoint, Progress, Rank, Section, Step, TaskName, TaskSpec};

/// From the worker to its rank.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "command", rename_all = "snake_case")]
pub enum Command {
    /// The first line of all: what to do.
    Start(Box<Start>),
    /// Hand over a checkpoint after this step and end. Ranks agree among themselves which step that is.
    Stop,
    /// How long the rank may live unless it hears this again: its worker's lease, for the case that the worker itself stands still.
    Lease {
        /// From now on.
        left_ms: u64,
    },
    /// The answer to a [`Message::Store`].
    StoreReply {
        /// The `request` of the question.
        request: u64,
        /// What came of it.
        answer: StoreAnswer,
    },
}

/// Everything that a rank process needs to know.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Start {
    /// What is done, for messages.
    pub task: TaskName,
    /// The attempt.
    pub fence: Fence,
    /// This process's rank.
    pub rank: Rank,
    /// Ranks in the gang.
    pub world_size: u32,
    /// Where tensors live.
    pub device: Device,
    /// The address at which the other ranks reach this host.
    pub address: String,
    /// The task.
    pub spec: TaskSpec,
    /// Role to file; read-only.
    pub inputs: BTreeMap<String, PathBuf>,
    /// The checkpoint to go on from.
    pub resume: Option<PathBuf>,
    /// The data manifest that this host's copy of the data must match.
    pub manifest: Option<PathBuf>,
    /// An empty folder of this rank's own.
    pub scratch: PathBuf,
    /// Where files go that are the worker's from then on: on the same file system as `scratch`.
    pub handover: PathBuf,
    /// How long a collective operation, the store included, may take.
    pub timeout_ms: u64,
}

/// Where a worker's tensors live.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Device {
    /// In the host's memory.
    Cpu,
    /// On the GPU of this index.
    Gpu(u32),
}

impl std::fmt::Display for Device {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Cpu => f.write_str("CPU"),
            Self::Gpu(index) => write!(f, "GPU {index}"),
        }
    }
}

/// From a rank to its worker.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "says", rename_all = "snake_case")]
pub enum Message {
    /// The gang has met; work begins.
    Met,
    /// A question to the gang's rendezvous store.
    Store {
        /// Chosen by the rank; comes back with the answer.
        request: u64,
        /// The question.
        ask: StoreAsk,
    },
    /// A section of its work begins; the one before has ended.
    Section {
        /// Which.
        section: Section,
    },
    /// It lives; said every [`crate::PULSE`].
    Pulse {
        /// It is inside a call that ends only when other ranks have made it too.
        waits: bool,
    },
    /// How far it is.
    Progress(Progress),
    /// The values of one step.
    Metrics(MetricPoint),
    /// Rank 0: a complete checkpoint, handed over; the rank does not touch the file again.
    Checkpoint {
        /// Optimizer updates in it.
        step: Step,
        /// Where it is.
        file: PathBuf,
    },
    /// It waits for room on a disk, for this reason, or goes on. Said again and again while it waits.
    Waits {
        /// What there is no room for, how much is needed and free.
        reason: Option<String>,
    },
    /// The rank's part is done.
    Finished {
        /// Rank 0: output name to file; empty on other ranks.
        outputs: BTreeMap<String, PathBuf>,
    },
    /// Stopped as told, after handing over a checkpoint if the task has such.
    Stopped,
    /// It cannot go on.
    Failed {
        /// What kind of failure.
        class: FailureClass,
        /// What was found, where, what was expected.
        message: String,
    },
}

/// A question to the rendezvous store. Keys and values are c10d's.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "ask", rename_all = "snake_case")]
pub enum StoreAsk {
    /// Put a value.
    Set {
        /// Where.
        key: String,
        /// What.
        value: Vec<u8>,
    },
    /// The value of a key, once it is there.
    Get {
        /// Which.
        key: String,
        /// How long to wait for it.
        timeout_ms: u64,
    },
    /// Add to a counter (0 if it is not there).
    Add {
        /// Which.
        key: String,
        /// How much.
        amount: i64,
    },
    /// Whether all of these keys are there.
    Check {
        /// Which.
        keys: Vec<String>,
    },
    /// Wait until all of these keys are there.
    Wait {
        /// Which.
        keys: Vec<String>,
        /// How long.
        timeout_ms: u64,
    },
}

/// What the store answers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "answer", rename_all = "snake_case")]
pub enum StoreAnswer {
    /// It is done ([`StoreAsk::Set`], [`StoreAsk::Wait`]).
    Done,
    /// The value ([`StoreAsk::Get`]).
    Value {
        /// The bytes.
        value: Vec<u8>,
    },
    /// The counter's new value ([`StoreAsk::Add`]).
    Counter {
        /// The sum.
        value: i64,
    },
    /// Yes or no ([`StoreAsk::Check`]).
    Truth {
        /// Which of them.
        value: bool,
    },
    /// It did not work.
    Failed {
        /// Why, for a person.
        reason: String,
    },
}

/// One line, newline included.
///
/// # Errors
/// Only if a value cannot be written as JSON, which for these types means a path that is not UTF-8.
pub fn to_line<T: Serialize>(value: &T) -> Result<String, serde_json::Error> {
    let mut line = serde_json::to_string(value)?;
    line.push('\n');
    Ok(line)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_reads_back_as_what_was_written() {
        let message = Message::Store {
            request: 7,
            ask: StoreAsk::Set {
                key: "0".to_owned(),
                value: b"\0\nnewlines do not break lines".to_vec(),
            },
        };
        let line = to_line(&message).unwrap();
        assert_eq!(line.matches('\n').count(), 1);
        assert_eq!(serde_json::from_str::<Message>(&line).unwrap(), message);
    }
}
