//! What running a plan would do: which tasks are done already, which would run, and why.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde::Serialize;
use serde_json::Value;
use types::{Digest, TaskGraph, TaskKind, TaskName, TaskNode, content_key};

use crate::key::significant;
use crate::schedule::time_on;

/// What earlier runs left behind, asked for by a [`Preview`].
pub struct Memory<'a> {
    /// The outputs remembered under a content key.
    pub outputs: &'a dyn Fn(&Digest) -> Option<BTreeMap<String, Digest>>,
    /// The last finished task of that name.
    pub previous: &'a dyn Fn(&TaskName) -> Option<Previous>,
}

/// How a task was when it last finished.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Previous {
    /// Its `TaskSpec` as JSON.
    pub spec: String,
    /// Its inputs by role, if they are known.
    pub inputs: Option<BTreeMap<String, Digest>>,
}

/// What a plan would do.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Preview {
    /// In the graph's order.
    pub tasks: Vec<TaskPreview>,
    /// The sums.
    pub totals: Totals,
}

/// One task of a [`Preview`].
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct TaskPreview {
    /// Its name.
    pub name: TaskName,
    /// What it does.
    pub kind: TaskKind,
    /// Whether it would run.
    #[serde(flatten)]
    pub state: TaskState,
    /// The tasks whose outputs it reads, sorted.
    pub after: Vec<TaskName>,
    /// Gang sizes that the plan allows; none for a task that takes no device.
    pub devices: Vec<u32>,
    /// Seconds that it takes on one device, roughly.
    pub estimate_seconds: f64,
    /// Its content key, where the digests of all inputs are known.
    pub key: Option<Digest>,
}

/// Whether a task would run.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(tag = "state", rename_all = "snake_case")]
pub enum TaskState {
    /// Its result is there.
    Done {
        /// Digests by output.
        outputs: BTreeMap<String, Digest>,
    },
    /// It would run,
    WouldRun {
        /// for these reasons; at least one.
        why: Vec<Reason>,
    },
}

/// Why a task would run.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(tag = "reason", rename_all = "snake_case")]
pub enum Reason {
    /// No task of this name has finished here.
    FirstRun,
    /// A setting has another value than when it last finished.
    Setting {
        /// Its place in the task's settings, in dots.
        setting: String,
        /// Then; null if it was not there.
        was: Value,
        /// Now; null if it is gone.
        is: Value,
    },
    /// The data is not the same.
    Data,
    /// A task that makes one of its inputs would run.
    Upstream {
        /// That task.
        task: TaskName,
    },
    /// An input has another content than when it last finished.
    Input {
        /// What the input is to the task.
        role: String,
        /// The task that makes it.
        task: Option<TaskName>,
    },
    /// A file from outside the run has another content than when it last finished, or was none of its inputs then.
    File {
        /// What the file is to the task.
        role: String,
    },
    /// Settings and inputs are as they were: our numerics changed since (`NUMERICS_VERSION`).
    Numerics,
    /// Settings are as they were; the inputs of then are not known.
    InputsOrNumerics,
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::FirstRun => f.write_str("first run"),
            Self::Setting { setting, was, is } => {
                write!(
                    f,
                    "setting changed: {setting}: {} -> {}",
                    brief(was),
                    brief(is)
                )
            }
            Self::Data => f.write_str("data changed"),
            Self::Upstream { task } => write!(f, "input from {task}, which will run"),
            Self::Input {
                role,
                task: Some(task),
            } => write!(f, "input {role} from {task} changed"),
            Self::Input { role, task: None } => write!(f, "input {role} is gone"),
            Self::File { role } => write!(f, "file {role} changed"),
            Self::Numerics => f.write_str("numerics changed with this version of the program"),
            Self::InputsOrNumerics => f.write_str("inputs or numerics changed"),
        }
    }
}

/// A value in a sentence.
fn brief(value: &Value) -> String {
    match value {
        Value::Null => "none".to_owned(),
        Value::Number(number) => match number.as_f64() {
            Some(real) if number.is_f64() => {
                if real != 0.0 && !(1e-3..1e6).contains(&real.abs()) {
                    format!("{real:e}")
                } else {
                    real.to_string()
                }
            }
            _ => number.to_string(),
        },
        other => {
            let text = other.to_string();
            if text.chars().count() > 60 {
                text.chars().take(57).chain("...".chars()).collect()
            } else {
                text
            }
        }
    }
}

/// Sums of a [`Preview`].
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Totals {
    /// All tasks.
    pub tasks: usize,
    /// Those whose result is there.
    pub done: usize,
    /// Those that would run.
    pub to_run: usize,
    /// The devices that the estimate is for.
    pub devices: u32,
    /// Seconds until all is done on so many devices, roughly; none if a task needs more devices.
    pub estimate_seconds: Option<f64>,
}

impl Preview {
    /// Compares a graph with what is remembered. `devices` is the number that the total estimate is for.
    #[must_use]
    pub fn new(graph: &TaskGraph, memory: &Memory<'_>, devices: u32) -> Self {
        let mut known: BTreeMap<&TaskName, BTreeMap<String, Digest>> = BTreeMap::new();
        let mut tasks: Vec<TaskPreview> = Vec::with_capacity(graph.tasks.len());
        for node in &graph.tasks {
            let inputs: Option<BTreeMap<String, Digest>> = node
                .inputs
                .iter()
                .map(|input| {
                    let digest = known.get(&input.task)?.get(&input.output)?;
                    Some((input.role.clone(), *digest))
                })
                .chain(
                    node.files
                        .iter()
                        .map(|(role, digest)| Some((role.clone(), *digest))),
                )
                .collect();
            let key = inputs
                .as_ref()
                .map(|inputs| content_key(&node.material, inputs));
            let remembered = key.as_ref().and_then(|key| (memory.outputs)(key));
            // A result that lacks an output that is read would have to be made again.
            let remembered =
                remembered.filter(|found| node.outputs.iter().all(|name| found.contains_key(name)));
            let state = match remembered {
                Some(outputs) => {
                    known.insert(&node.name, outputs.clone());
                    TaskState::Done { outputs }
                }
                None => {
                    let upstream = |task: &TaskName| !known.contains_key(task);
                    TaskState::WouldRun {
                        why: why(
                            node,
                            (memory.previous)(&node.name),
                            inputs.as_ref(),
                            &upstream,
                        ),
                    }
                }
            };
            let after: BTreeSet<&TaskName> = node.inputs.iter().map(|input| &input.task).collect();
            tasks.push(TaskPreview {
                name: node.name.clone(),
                kind: node.kind,
                state,
                after: after.into_iter().cloned().collect(),
                devices: match node.kind.slot() {
                    types::SlotKind::Device => node.world_sizes.clone(),
                    types::SlotKind::Host => Vec::new(),
                },
                estimate_seconds: node.estimate.as_secs_f64(),
                key,
            });
        }
        let done = tasks
            .iter()
            .filter(|task| matches!(task.state, TaskState::Done { .. }))
            .count();
        let estimate_seconds = time_on(devices, &tasks).map(|time| time.as_secs_f64());
        let totals = Totals {
            tasks: tasks.len(),
            done,
            to_run: tasks.len() - done,
            devices,
            estimate_seconds,
        };
        Self { tasks, totals }
    }
}

fn why(
    node: &TaskNode,
    previous: Option<Previous>,
    inputs: Option<&BTreeMap<String, Digest>>,
    upstream: &dyn Fn(&TaskName) -> bool,
) -> Vec<Reason> {
    let Some(previous) = previous else {
        return vec![Reason::FirstRun];
    };
    let mut reasons = Vec::new();
    // A spec of an older format cannot be compared: then everything about it counts as changed, in one reason.
    let parse = |text: &str| {
        serde_json::from_str::<Value>(text)
            .map(significant)
            .unwrap_or(Value::Null)
    };
    differences("", &parse(&previous.spec), &parse(&node.spec), &mut reasons);
    let waiting: BTreeSet<&TaskName> = node
        .inputs
        .iter()
        .map(|input| &input.task)
        .filter(|task| upstream(task))
        .collect();
    reasons.extend(
        waiting
            .into_iter()
            .map(|task| Reason::Upstream { task: task.clone() }),
    );
    if reasons.is_empty() {
        match (&previous.inputs, inputs) {
            (Some(was), Some(is)) => reasons.extend(changed_inputs(node, was, is)),
            _ => reasons.push(Reason::InputsOrNumerics),
        }
    }
    if reasons.is_empty() {
        reasons.push(Reason::Numerics);
    }
    reasons
}

fn changed_inputs(
    node: &TaskNode,
    was: &BTreeMap<String, Digest>,
    is: &BTreeMap<String, Digest>,
) -> Vec<Reason> {
    let roles: BTreeSet<&String> = was.keys().chain(is.keys()).collect();
    let changed = roles
        .into_iter()
        .filter(|role| was.get(*role) != is.get(*role));
    changed
        .map(|role| match node.files.contains_key(role) {
            true => Reason::File { role: role.clone() },
            false => Reason::Input {
                role: role.clone(),
                task: node
                    .inputs
                    .iter()
                    .find(|input| &input.role == role)
                    .map(|input| input.task.clone()),
            },
        })
        .collect()
}

/// The settings in which two specs differ, leaf by leaf.
fn differences(path: &str, was: &Value, is: &Value, reasons: &mut Vec<Reason>) {
    if was == is {
        return;
    }
    if path == "data.manifest" {
        reasons.push(Reason::Data);
        return;
    }
    if let (Value::Object(was), Value::Object(is)) = (was, is) {
        let keys: BTreeSet<&String> = was.keys().chain(is.keys()).collect();
        for key in keys {
            let inner = if path.is_empty() {
                key.clone()
            } else {
                format!("{path}.{key}")
            };
            let null = Value::Null;
            differences(
                &inner,
                was.get(key).unwrap_or(&null),
                is.get(key).unwrap_or(&null),
                reasons,
            );
        }
        return;
    }
    let setting = if path.is_empty() {
        "format of the settings".to_owned()
    } else {
        path.to_owned()
    };
    reasons.push(Reason::Setting {
        setting,
        was: was.clone(),
        is: is.clone(),
    });
}
