//! What a seed stands for: the machines, the work, and the faults.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::Arc;
use std::time::Duration;

use control::{DeviceKind, Settings};
use types::{Digest, TaskGraph, TaskKind, TaskName, TaskNode, content_key};

use crate::chance::Chance;
use crate::fault::{Strike, schedule};

/// All that a simulation is made from. The same scenario plays the same way, to the last byte.
#[derive(Debug, Clone)]
pub struct Scenario {
    /// Where the rest came from; chance on the way is drawn from it too.
    pub seed: u64,
    /// What goes wrong, in order.
    pub strikes: Vec<Strike>,
    pub(crate) settings: Settings,
    pub(crate) workers: Vec<Machine>,
    /// By how much the coordinator's wall clock is ahead, in milliseconds.
    pub(crate) skew: i64,
    pub(crate) graph: Arc<TaskGraph>,
    /// Optimizer updates of each training.
    pub(crate) steps: BTreeMap<TaskName, u64>,
    pub(crate) checkpoint_every: u64,
    /// Milliseconds of true time per step.
    pub(crate) step: u64,
}

/// A worker's machine.
#[derive(Debug, Clone)]
pub(crate) struct Machine {
    pub(crate) host: String,
    pub(crate) device: DeviceKind,
    /// When its worker is started for the first time.
    pub(crate) joins: u64,
    /// By how much its wall clock is ahead, in milliseconds.
    pub(crate) skew: i64,
    /// By how many millionths its clock is fast.
    pub(crate) fast: i64,
}

impl Scenario {
    /// Some machines, a small run, and a dozen or two faults.
    #[must_use]
    pub fn from_seed(seed: u64) -> Self {
        let mut chance = Chance::new(seed, 1);
        let mut scenario = Self::quiet(seed, &mut chance, (15, 110), None);
        let count = chance.between(4, 24) as usize;
        let every = chance.between(1_000, 8_000);
        scenario.strikes = schedule(&mut chance, &scenario, count, every);
        scenario
    }

    /// A long run, and on average one fault per 15 seconds.
    #[must_use]
    pub fn storm(seed: u64, faults: usize) -> Self {
        let mut chance = Chance::new(seed, 1);
        let mut scenario = Self::quiet(seed, &mut chance, (1_500, 1_900), Some(30));
        scenario.strikes = schedule(&mut chance, &scenario, faults, 15_000);
        scenario
    }

    /// A small run without any fault.
    #[must_use]
    pub fn undisturbed(seed: u64) -> Self {
        Self::quiet(seed, &mut Chance::new(seed, 1), (12, 24), None)
    }

    fn quiet(
        seed: u64,
        chance: &mut Chance,
        (fewest, most): (u64, u64),
        iterations: Option<u64>,
    ) -> Self {
        let mixed = chance.one_in(4);
        let count = chance.between(2 + u64::from(mixed), 5);
        let workers = (0..count)
            .map(|index| Machine {
                host: format!("host{}", index / 2),
                device: if mixed && index == 0 {
                    DeviceKind::Cuda
                } else {
                    DeviceKind::Cpu
                },
                joins: if index < 2 + u64::from(mixed) {
                    chance.below(500)
                } else {
                    chance.below(20_000)
                },
                skew: chance.between(0, 10_000) as i64 - 5_000,
                fast: chance.between(0, 20_000) as i64 - 10_000,
            })
            .collect();
        let graph = graph(chance, iterations);
        // the same work has the same number of steps
        let mut lengths = BTreeMap::new();
        let mut steps = BTreeMap::new();
        for node in &graph.tasks {
            let length = lengths
                .entry(node.material)
                .or_insert_with(|| match node.kind {
                    TaskKind::Train => chance.between(fewest, most),
                    _ => chance.between(2, 6),
                });
            steps.insert(node.name.clone(), *length);
        }
        Self {
            seed,
            strikes: Vec::new(),
            settings: Settings {
                lost_after: Duration::from_secs(if chance.one_in(8) { 120 } else { 20 }),
                backoff_max: Duration::from_secs(60),
                ..Settings::default()
            },
            workers,
            skew: chance.between(0, 10_000) as i64 - 5_000,
            graph: Arc::new(graph),
            steps,
            checkpoint_every: chance.between(3, 9),
            step: chance.between(200, 900),
        }
    }

    /// How many tasks its run has.
    #[must_use]
    pub fn tasks(&self) -> usize {
        self.graph.tasks.len()
    }

    /// What every task must hand in, whatever happens on the way: by task, output name to artifact.
    #[must_use]
    pub fn expected(&self) -> BTreeMap<TaskName, BTreeMap<String, Digest>> {
        let mut all: BTreeMap<TaskName, BTreeMap<String, Digest>> = BTreeMap::new();
        for node in &self.graph.tasks {
            let mut inputs = node.files.clone();
            for input in &node.inputs {
                if let Some(digest) = all
                    .get(&input.task)
                    .and_then(|made| made.get(&input.output))
                {
                    inputs.insert(input.role.clone(), *digest);
                }
            }
            let work = Work::new(node, &inputs, self.steps[&node.name]);
            let mut state = work.beginning();
            for step in 1..=work.steps {
                state = work.step(state, step);
            }
            let outputs = node.outputs.iter();
            let made = outputs.map(|name| (name.clone(), Digest::of(&work.output(state, name))));
            all.insert(node.name.clone(), made.collect());
        }
        all
    }
}

/// A run of two iterations: members are trained, their predictions become pseudo-labels, and so on.
fn graph(chance: &mut Chance, iterations: Option<u64>) -> TaskGraph {
    let mut text = String::new();
    let members = chance.between(1, 3);
    let usual = chance.between(1, 2);
    let iterations = iterations.unwrap_or(usual);
    let sizes = |chance: &mut Chance| match chance.below(5) {
        0 => "1",
        1 => "2",
        2 => "1,2,4",
        _ => "1,2",
    };
    for iteration in 1..=iterations {
        for member in 0..members {
            let size = sizes(chance);
            // one member is the same work as another, now and then
            let same = if member > 0 && chance.one_in(6) {
                0
            } else {
                member
            };
            let pseudo = if iteration > 1 {
                format!(" pseudo=i{}.labels", iteration - 1)
            } else {
                String::new()
            };
            let takes = 60 - 10 * member;
            let _ = writeln!(
                text,
                "train i{iteration}.m{member} sizes={size} takes={takes} as=i{iteration}.{same}{pseudo} init=file:weights{same}"
            );
        }
        let roles: String = (0..members)
            .map(|member| format!(" m{member}=i{iteration}.m{member}"))
            .collect();
        let _ = writeln!(text, "pseudo_label i{iteration}.labels{roles}");
        if chance.one_in(2) {
            let _ = writeln!(text, "evaluate i{iteration}.scores{roles}");
        }
    }
    testkit::graph(&text).expect("the words above are a graph")
}

/// What a task does, as a model: its result is a hash over its key and every step in order, so that a step that was left out,
/// done twice, or mixed with another attempt's shows in the result.
#[derive(Debug, Clone)]
pub(crate) struct Work {
    pub(crate) key: Digest,
    pub(crate) steps: u64,
}

/// Where a training is.
pub(crate) type WorkState = [u8; 32];

impl Work {
    pub(crate) fn new(node: &TaskNode, inputs: &BTreeMap<String, Digest>, steps: u64) -> Self {
        Self {
            key: content_key(&node.material, inputs),
            steps,
        }
    }

    pub(crate) fn beginning(&self) -> WorkState {
        mix(&[self.key.as_bytes()])
    }

    pub(crate) fn step(&self, state: WorkState, step: u64) -> WorkState {
        mix(&[&state, &step.to_le_bytes()])
    }

    pub(crate) fn checkpoint(&self, state: WorkState, step: u64) -> Vec<u8> {
        let mut bytes = state.to_vec();
        bytes.extend(step.to_le_bytes());
        bytes
    }

    /// `None` if the bytes are no checkpoint. That it belongs to this work is not looked at, as in real ones.
    pub(crate) fn resume(bytes: &[u8]) -> Option<(WorkState, u64)> {
        let state = bytes.get(..32)?.try_into().ok()?;
        let step = u64::from_le_bytes(bytes.get(32..40)?.try_into().ok()?);
        Some((state, step))
    }

    pub(crate) fn output(&self, state: WorkState, name: &str) -> Vec<u8> {
        [&state, name.as_bytes()].concat()
    }
}

/// One state out of several, in this order.
pub(crate) fn mix(parts: &[&[u8]]) -> WorkState {
    let mut hasher = blake3::Hasher::new();
    for part in parts {
        hasher.update(part);
    }
    *hasher.finalize().as_bytes()
}
