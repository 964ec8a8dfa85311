//! Actions and views as short lines.

use std::collections::{BTreeMap, BTreeSet};

use control::{Action, AttemptOutcome, Cluster, Input, StartRank, StopMode, WorkerView};
use types::Digest;

/// Digests of a script by the names that it gave them.
#[derive(Default)]
pub(crate) struct Names(BTreeMap<Digest, String>);

impl Names {
    pub(crate) fn remember(&mut self, digest: Digest, name: &str) {
        self.0.insert(digest, name.to_owned());
    }

    fn name(&self, digest: &Digest) -> String {
        self.0
            .get(digest)
            .cloned()
            .unwrap_or_else(|| digest.short())
    }

    /// Names in alphabetical order.
    pub(crate) fn set(&self, artifacts: &BTreeSet<Digest>) -> String {
        let names: BTreeSet<String> = artifacts.iter().map(|digest| self.name(digest)).collect();
        Vec::from_iter(names).join(" ")
    }

    fn list(&self, artifacts: &BTreeMap<String, Digest>) -> String {
        artifacts
            .iter()
            .map(|(name, digest)| format!(" {name}={}", self.name(digest)))
            .collect()
    }

    pub(crate) fn action(&self, action: &Action) -> String {
        match action {
            Action::AttemptBegan { task, fence, gang } => {
                let gang: String = gang
                    .iter()
                    .map(|member| format!(" {}", member.worker))
                    .collect();
                format!("begin {task} as {fence}:{gang}")
            }
            Action::StartRank(start) => self.start(start),
            Action::StopRank {
                worker,
                fence,
                mode,
                reason,
                ..
            } => {
                let mode = match mode {
                    StopMode::Checkpoint => "after a checkpoint",
                    StopMode::Now => "now",
                };
                format!("stop {worker}: {fence} {mode} ({reason})")
            }
            Action::AttemptEnded {
                task,
                fence,
                outcome,
            } => format!(
                "end {task} as {fence}: {}",
                match outcome {
                    AttemptOutcome::Finished => "finished".to_owned(),
                    AttemptOutcome::Stopped { reason } => format!("stopped ({reason})"),
                    AttemptOutcome::Failed { failure } => failure.to_string(),
                }
            ),
            Action::TaskDone {
                task,
                outputs,
                fence,
                ..
            } => {
                let how = if fence.is_some() {
                    "done"
                } else {
                    "remembered"
                };
                format!("{how} {task}{}", self.list(outputs))
            }
            Action::TaskRetried {
                task, budget_left, ..
            } => format!("retry {task}, {budget_left} left"),
            Action::TaskFailed { task, failure } => format!("failed {task}: {failure}"),
            Action::WorkerChanged { worker, from, to } => {
                let from = from.map_or("new", |state| state.as_str());
                format!("{worker} {from} -> {to}")
            }
            Action::WorkerDrained { worker, .. } => format!("{worker} may leave"),
            Action::RunFinished { run, outcome } => format!("run {run} {outcome}"),
            Action::Drained => "drained".to_owned(),
        }
    }

    fn start(&self, start: &StartRank) -> String {
        let StartRank {
            worker,
            fence,
            rank,
            gang,
            inputs,
            resume,
            ..
        } = start;
        let resume = resume.map_or_else(String::new, |checkpoint| {
            format!(
                " from step {} ({})",
                checkpoint.step,
                self.name(&checkpoint.digest)
            )
        });
        format!(
            "start {worker}: {fence} rank {rank} of {}{}{resume}",
            gang.len(),
            self.list(inputs)
        )
    }
}

pub(crate) fn due(input: &Input) -> String {
    match input {
        Input::WorkerSilent { worker, .. } => format!("{worker} is silent"),
        Input::WorkerBack { worker, .. } => format!("{worker} is heard again"),
        Input::LeaseEnded { worker, .. } => format!("the lease of {worker} ends"),
        Input::Tick => "a wait is over".to_owned(),
        other => panic!("time alone brought {other:?}"),
    }
}

pub(crate) fn workers(cluster: &Cluster) -> Vec<String> {
    let slot = |view: &WorkerView| {
        let slots = [("device", &view.device), ("host", &view.host)];
        let taken = slots
            .into_iter()
            .filter_map(|(name, slot)| slot.as_ref().map(|slot| (name, slot)));
        taken
            .map(|(name, slot)| format!(", {name}: {}.{}", slot.fence, slot.rank))
            .collect::<String>()
    };
    cluster
        .workers()
        .iter()
        .map(|view| format!("{} {}{}", view.worker, view.state, slot(view)))
        .collect()
}
