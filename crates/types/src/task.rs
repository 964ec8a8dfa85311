use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::{Digest, DigestHasher, TaskName};

/// What a task does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TaskKind {
    /// Trains one member through one stage.
    Train,
    /// Writes one member's frame logits for one split.
    Predict,
    /// Averages the members' logits.
    PseudoLabel,
    /// Scores predictions against the ground truth.
    Evaluate,
}

impl TaskKind {
    /// The name in task names, tables and messages.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Train => "train",
            Self::Predict => "predict",
            Self::PseudoLabel => "pseudo_label",
            Self::Evaluate => "evaluate",
        }
    }

    /// Which slot of a worker it takes, so that no device waits for arithmetic on the CPU.
    #[must_use]
    pub const fn slot(self) -> SlotKind {
        match self {
            Self::Train | Self::Predict => SlotKind::Device,
            Self::PseudoLabel | Self::Evaluate => SlotKind::Host,
        }
    }
}

impl fmt::Display for TaskKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// A worker offers one of each.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SlotKind {
    /// The device (GPU, or the CPU for tensors).
    Device,
    /// Plain arithmetic beside it.
    Host,
}

/// An input of a task: one output of a task before it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct InputRef {
    /// What the input is to the task that reads it: `checkpoint`, `pseudo_labels`, `logits/<member>/<split>/<shard>`.
    pub role: String,
    /// The task that makes it.
    pub task: TaskName,
    /// Which of that task's outputs.
    pub output: String,
}

/// A node of the task graph.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TaskNode {
    /// Unique in its graph.
    pub name: TaskName,
    /// What it does; also which slot it takes.
    pub kind: TaskKind,
    /// Gang sizes that the plan allows, growing and never empty; `[1]` for host tasks.
    pub world_sizes: Vec<u32>,
    /// Sorted by role; roles are unique.
    pub inputs: Vec<InputRef>,
    /// Inputs that no task makes, by role: files from outside the run, imported into its artifact store. No role is among
    /// those of `inputs`. Roles: `pretrained`, `pseudo_labels/<split>`.
    #[serde(default)]
    pub files: BTreeMap<String, Digest>,
    /// Names of the outputs that a finished attempt must hand in.
    pub outputs: Vec<String>,
    /// Digest of everything about this task that can change its result, its inputs excepted (see [`content_key`]).
    pub material: Digest,
    /// The task's `TaskSpec` as JSON; `control` carries it unopened.
    pub spec: Arc<str>,
    /// A guess of how long it takes on one device, for "longest remaining path first".
    pub estimate: Duration,
    /// How many of its newest checkpoints stay until it is done; at least one.
    #[serde(default = "default_keep_checkpoints")]
    pub keep_checkpoints: u32,
}

/// The one to go on from, and the one before should it turn out to be damaged.
#[must_use]
pub const fn default_keep_checkpoints() -> u32 {
    2
}

/// A run's tasks. `plan` guarantees: names unique, every input's task and output exist, no cycle, listed so that every
/// task stands after those it depends on.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct TaskGraph {
    /// In an order that respects the dependencies.
    pub tasks: Vec<TaskNode>,
}

impl TaskGraph {
    /// The node of that name.
    #[must_use]
    pub fn get(&self, name: &TaskName) -> Option<&TaskNode> {
        self.tasks.iter().find(|node| &node.name == name)
    }
}

/// The key under which a task's outputs are remembered (promise 4): two tasks with equal keys have equal results, so the
/// second need not run. `inputs` maps each role to the digest of the artifact that plays it.
#[must_use]
pub fn content_key(material: &Digest, inputs: &BTreeMap<String, Digest>) -> Digest {
    let mut hasher = DigestHasher::new();
    hasher.part(b"task key 1").part(material.as_bytes());
    for (role, digest) in inputs {
        hasher.part(role.as_bytes()).part(digest.as_bytes());
    }
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_of_an_older_journal_has_no_files_and_keeps_two_checkpoints() {
        let node = TaskNode {
            name: TaskName::new("a").unwrap(),
            kind: TaskKind::Train,
            world_sizes: vec![1],
            inputs: Vec::new(),
            files: BTreeMap::from([("pretrained".to_owned(), Digest::of(b"weights"))]),
            outputs: Vec::new(),
            material: Digest::of(b"material"),
            spec: "{}".into(),
            estimate: Duration::ZERO,
            keep_checkpoints: 2,
        };
        let mut written = serde_json::to_value(&node).unwrap();
        assert_eq!(
            serde_json::from_value::<TaskNode>(written.clone()).unwrap(),
            node
        );
        for newer in ["files", "keep_checkpoints"] {
            written.as_object_mut().unwrap().remove(newer).unwrap();
        }
        let read: TaskNode = serde_json::from_value(written).unwrap();
        assert_eq!(
            read,
            TaskNode {
                files: BTreeMap::new(),
                ..node
            }
        );
    }
}
