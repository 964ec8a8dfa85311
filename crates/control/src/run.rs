use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use types::{
    Digest, Failure, Fence, RunId, SlotKind, TaskGraph, TaskName, TaskNode, Timestamp, WorkerId,
};

use crate::state::Urgency;
use crate::{AttemptView, RunOutcome, RunView, StopReason, TaskState};

/// One run: a graph, and how far it has come.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Run {
    pub(crate) name: String,
    pub(crate) graph: Arc<TaskGraph>,
    pub(crate) submitted: Timestamp,
    pub(crate) ended: Option<(Timestamp, RunOutcome)>,
    /// It shall end before its tasks are done.
    pub(crate) ending: Option<StopReason>,
    /// In the graph's order, like the next three.
    pub(crate) tasks: Vec<Task>,
    /// Tasks that this one reads something of, in the graph's order.
    pub(crate) before: Vec<Vec<usize>>,
    /// Tasks that read something of this one.
    pub(crate) dependents: Vec<Vec<usize>>,
    /// The longest path from this task, itself included, to the end of the graph.
    pub(crate) remaining: Vec<Duration>,
    index: BTreeMap<TaskName, usize>,
    /// Tasks that are ready or have an attempt: while there is one, the run goes on.
    pub(crate) open: usize,
    pub(crate) done: usize,
}

/// One task of a run.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Task {
    pub(crate) phase: Phase,
    /// Tasks before it that are not done.
    pub(crate) missing: usize,
    /// Role to artifact; complete once `missing` is zero.
    pub(crate) inputs: BTreeMap<String, Digest>,
    /// Once all inputs are known.
    pub(crate) key: Option<Digest>,
    /// Attempts that ended, oldest first.
    pub(crate) history: Vec<AttemptView>,
    /// Failures that its budget paid for.
    pub(crate) budget_used: u32,
    /// Failures since the last new checkpoint.
    pub(crate) fruitless: u32,
    /// Workers on which it failed in a way that may be theirs: others come first.
    pub(crate) avoids: BTreeSet<WorkerId>,
    pub(crate) ended: Option<Timestamp>,
}

/// Where a task is; fields exist in the phase that needs them.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Phase {
    Blocked,
    Ready {
        not_before: Timestamp,
        /// Why it is not the first time.
        failure: Option<Failure>,
    },
    Active(Fence),
    Done {
        outputs: BTreeMap<String, Digest>,
        remembered: bool,
    },
    Failed(Failure),
    Cancelled(StopReason),
}

impl Run {
    /// A run at its very beginning: every task blocked.
    pub(crate) fn new(name: String, graph: Arc<TaskGraph>, submitted: Timestamp) -> Self {
        let index: BTreeMap<_, _> = graph
            .tasks
            .iter()
            .map(|node| node.name.clone())
            .zip(0..)
            .collect();
        let mut dependents = vec![Vec::new(); graph.tasks.len()];
        let mut before = Vec::with_capacity(graph.tasks.len());
        for (task, node) in graph.tasks.iter().enumerate() {
            let inputs = node.inputs.iter();
            let earlier: BTreeSet<usize> = inputs
                .filter_map(|input| index.get(&input.task).copied())
                .collect();
            for earlier in &earlier {
                dependents[*earlier].push(task);
            }
            before.push(Vec::from_iter(earlier));
        }
        let mut remaining = vec![Duration::ZERO; graph.tasks.len()];
        for (task, node) in graph.tasks.iter().enumerate().rev() {
            let after = dependents[task]
                .iter()
                .map(|later| remaining[*later])
                .max()
                .unwrap_or_default();
            remaining[task] = node.estimate.saturating_add(after);
        }
        Self {
            name,
            graph,
            submitted,
            ended: None,
            ending: None,
            tasks: (before.iter().map(Vec::len)).map(Task::blocked).collect(),
            before,
            dependents,
            remaining,
            index,
            open: 0,
            done: 0,
        }
    }

    pub(crate) fn find(&self, name: &TaskName) -> Option<usize> {
        self.index.get(name).copied()
    }

    pub(crate) fn urgency(&self, run: RunId, task: usize) -> Urgency {
        Urgency {
            slot: self.graph.tasks[task].kind.slot(),
            remaining: Reverse(self.remaining[task]),
            run,
            task,
        }
    }

    pub(crate) fn view(&self, run: RunId) -> RunView {
        let mut counts = BTreeMap::new();
        let mut remembered = 0;
        for task in &self.tasks {
            // Whether an active task is only assigned is the attempt's knowledge; in this count it is running.
            *counts.entry(task.phase.state()).or_default() += 1;
            remembered += u32::from(matches!(
                task.phase,
                Phase::Done {
                    remembered: true,
                    ..
                }
            ));
        }
        RunView {
            run,
            name: self.name.clone(),
            submitted: self.submitted,
            ended: self.ended,
            counts,
            remembered,
        }
    }
}

impl Task {
    fn blocked(missing: usize) -> Self {
        Self {
            phase: Phase::Blocked,
            missing,
            inputs: BTreeMap::new(),
            key: None,
            history: Vec::new(),
            budget_used: 0,
            fruitless: 0,
            avoids: BTreeSet::new(),
            ended: None,
        }
    }
}

impl Phase {
    /// An active task counts as running.
    pub(crate) const fn state(&self) -> TaskState {
        match self {
            Self::Blocked => TaskState::Blocked,
            Self::Ready { .. } => TaskState::Ready,
            Self::Active(_) => TaskState::Running,
            Self::Done { .. } => TaskState::Done,
            Self::Failed(_) => TaskState::Failed,
            Self::Cancelled(_) => TaskState::Cancelled,
        }
    }
}

/// Holds a graph to the rules that `types::TaskGraph` states; `plan` keeps them, but a graph may come from elsewhere.
pub(crate) fn check_graph(graph: &TaskGraph) -> Result<(), String> {
    let mut before: BTreeMap<&TaskName, &TaskNode> = BTreeMap::new();
    for node in &graph.tasks {
        check_node(node)?;
        let mut roles: BTreeSet<&String> = node.files.keys().collect();
        for input in &node.inputs {
            if !roles.insert(&input.role) {
                return Err(format!(
                    "task {} has two inputs in the role {:?}, expected one for each role",
                    node.name, input.role
                ));
            }
            let Some(source) = before.get(&input.task) else {
                return Err(format!(
                    "task {} reads from {}, expected a task that stands before it",
                    node.name, input.task
                ));
            };
            if !source.outputs.contains(&input.output) {
                return Err(format!(
                    "task {} reads {:?} of {}, expected one of its outputs {:?}",
                    node.name, input.output, input.task, source.outputs
                ));
            }
        }
        if before.insert(&node.name, node).is_some() {
            return Err(format!(
                "two tasks are named {}, expected every name once",
                node.name
            ));
        }
    }
    Ok(())
}

fn check_node(node: &TaskNode) -> Result<(), String> {
    let sizes = &node.world_sizes;
    let growing = sizes.windows(2).all(|pair| pair[0] < pair[1]);
    if sizes.first().is_none_or(|first| *first == 0) || !growing {
        return Err(format!(
            "task {} allows gangs of {sizes:?}, expected growing sizes from 1",
            node.name
        ));
    }
    if node.kind.slot() == SlotKind::Host && sizes != &[1] {
        return Err(format!(
            "task {} ({}) allows gangs of {sizes:?}, expected [1]",
            node.name, node.kind
        ));
    }
    let unique: BTreeSet<_> = node.outputs.iter().collect();
    if unique.len() != node.outputs.len() {
        return Err(format!(
            "task {} has outputs {:?}, expected every name once",
            node.name, node.outputs
        ));
    }
    Ok(())
}
