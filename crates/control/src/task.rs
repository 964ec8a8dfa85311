use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use types::{
    Bug, Digest, Failure, Fence, RunId, TaskGraph, TaskId, Timestamp, content_key, planted,
};

use crate::run::{Phase, Run, check_graph};
use crate::state::{State, Turn};
use crate::{Action, Rejection, RunOutcome, StopReason, TaskState};

impl State {
    pub(crate) fn next_run(&self) -> RunId {
        RunId(self.runs.last_key_value().map_or(1, |(last, _)| last.0 + 1))
    }

    pub(crate) fn submit(
        &mut self,
        turn: &mut Turn,
        id: RunId,
        name: String,
        graph: Arc<TaskGraph>,
    ) -> Result<(), Rejection> {
        if self
            .runs
            .get(&id)
            .is_some_and(|run| run.graph == graph && run.name == name)
        {
            return Ok(());
        }
        let next = self.next_run();
        if id < next {
            return Err(Rejection::RunNumberTaken { run: id, next });
        }
        if self.stopping {
            return Err(Rejection::ShuttingDown);
        }
        check_graph(&graph).map_err(|problem| Rejection::BadGraph { problem })?;
        let earlier: Vec<_> = self.runs.keys().copied().collect();
        for earlier in earlier {
            self.end_run(turn, earlier, StopReason::Superseded);
        }
        let run = Run::new(name, graph, turn.now);
        let first: Vec<_> = run
            .tasks
            .iter()
            .enumerate()
            .filter(|(_, task)| task.missing == 0)
            .map(|(task, _)| task)
            .collect();
        self.runs.insert(id, run);
        self.resolve(turn, id, first);
        Ok(())
    }

    pub(crate) fn cancel(&mut self, turn: &mut Turn, id: RunId) -> Result<(), Rejection> {
        let run = self
            .runs
            .get(&id)
            .ok_or(Rejection::UnknownRun { run: id })?;
        if let Some((_, outcome)) = run.ended {
            return Err(Rejection::RunOver { run: id, outcome });
        }
        self.end_run(turn, id, StopReason::Cancelled);
        Ok(())
    }

    pub(crate) fn retry(&mut self, turn: &mut Turn, id: &TaskId) -> Result<(), Rejection> {
        let run = self
            .runs
            .get(&id.run)
            .ok_or(Rejection::UnknownRun { run: id.run })?;
        let index = run
            .find(&id.name)
            .ok_or_else(|| Rejection::UnknownTask { task: id.clone() })?;
        let superseded = self
            .runs
            .last_key_value()
            .is_some_and(|(last, _)| *last != id.run);
        let over = match (run.ending, run.ended) {
            (Some(StopReason::Superseded), _) => Some(RunOutcome::Superseded),
            (Some(_), _) => Some(RunOutcome::Cancelled),
            (None, Some((_, outcome))) if superseded => Some(outcome),
            _ => None,
        };
        if let Some(outcome) = over {
            return Err(Rejection::RunOver {
                run: id.run,
                outcome,
            });
        }
        let phase = &run.tasks[index].phase;
        if !matches!(phase, Phase::Failed(_) | Phase::Ready { .. }) {
            return Err(Rejection::NothingToRetry {
                task: id.clone(),
                state: phase.state().to_string(),
            });
        }
        if self.stopping {
            return Err(Rejection::ShuttingDown);
        }
        self.unqueue(id.run, index);
        if let Some(run) = self.runs.get_mut(&id.run) {
            let task = &mut run.tasks[index];
            task.phase = Phase::Blocked;
            task.budget_used = 0;
            task.fruitless = 0;
            task.avoids.clear();
            task.ended = None;
            run.ended = None;
        }
        self.resolve(turn, id.run, vec![index]);
        Ok(())
    }

    pub(crate) fn artifact_lost(&mut self, digest: Digest) {
        self.memo
            .retain(|_, outputs| !outputs.values().any(|output| *output == digest));
        self.forget_checkpoint(digest);
    }

    /// Ends a run in order: what has not begun is cancelled, what runs is stopped.
    fn end_run(&mut self, turn: &mut Turn, id: RunId, reason: StopReason) {
        let Some(run) = self
            .runs
            .get(&id)
            .filter(|run| run.ended.is_none() && run.ending.is_none())
        else {
            return;
        };
        let mut waiting = Vec::new();
        let mut active = Vec::new();
        for (index, task) in run.tasks.iter().enumerate() {
            match task.phase {
                Phase::Blocked | Phase::Ready { .. } => waiting.push(index),
                Phase::Active(fence) => active.push(fence),
                Phase::Done { .. } | Phase::Failed(_) | Phase::Cancelled(_) => {}
            }
        }
        for index in waiting {
            self.unqueue(id, index);
            self.set_final(turn.now, id, index, Phase::Cancelled(reason));
        }
        if let Some(run) = self.runs.get_mut(&id) {
            run.ending = Some(reason);
        }
        for fence in active {
            self.order_stop(turn, fence, reason);
        }
    }

    /// Tasks whose inputs are all done: each gets its key, and either a remembered result or a place in the queue.
    /// Results so found resolve further tasks, and so on.
    fn resolve(&mut self, turn: &mut Turn, id: RunId, tasks: Vec<usize>) {
        let mut tasks = BTreeSet::from_iter(tasks);
        while let Some(index) = tasks.pop_first() {
            let Some(run) = self.runs.get_mut(&id) else {
                return;
            };
            let node = &run.graph.tasks[index];
            let mut inputs = node.files.clone();
            for input in &node.inputs {
                let source = run.find(&input.task).map(|source| &run.tasks[source].phase);
                if let Some(Phase::Done { outputs, .. }) = source
                    && let Some(digest) = outputs.get(&input.output)
                {
                    inputs.insert(input.role.clone(), *digest);
                }
            }
            let key = content_key(&node.material, &inputs);
            let remembered = self.memo.get(&key);
            let remembered = remembered
                .filter(|outputs| node.outputs.iter().all(|name| outputs.contains_key(name)))
                .cloned();
            let task = &mut run.tasks[index];
            task.inputs = inputs;
            task.key = Some(key);
            match remembered {
                Some(outputs) => tasks.extend(self.done(turn, id, index, outputs, None)),
                None => self.enqueue(id, index, turn.now, turn.now, None),
            }
        }
    }

    /// A task has its result: says so, and returns the tasks of its run that have all their inputs now.
    fn done(
        &mut self,
        turn: &mut Turn,
        id: RunId,
        index: usize,
        outputs: BTreeMap<String, Digest>,
        fence: Option<Fence>,
    ) -> Vec<usize> {
        let key = self
            .runs
            .get(&id)
            .and_then(|run| run.tasks[index].key)
            .unwrap_or(Digest::from_bytes([0; 32]));
        turn.actions.push(Action::TaskDone {
            task: self.task_id(id, index),
            key,
            outputs: outputs.clone(),
            fence,
        });
        self.set_final(
            turn.now,
            id,
            index,
            Phase::Done {
                outputs,
                remembered: fence.is_none(),
            },
        );
        let Some(run) = self.runs.get_mut(&id) else {
            return Vec::new();
        };
        let mut resolved = Vec::new();
        for later in run.dependents[index].clone() {
            let task = &mut run.tasks[later];
            task.missing = task.missing.saturating_sub(1);
            if task.missing == 0 && task.phase == Phase::Blocked {
                resolved.push(later);
            }
        }
        resolved
    }

    /// An attempt has made a task's result. Every task that waits for the same work has it too.
    pub(crate) fn remember(
        &mut self,
        turn: &mut Turn,
        id: RunId,
        index: usize,
        fence: Fence,
        key: Digest,
        outputs: BTreeMap<String, Digest>,
    ) {
        let name = if planted(Bug::MemoUnderWrongKey) {
            self.runs[&id].graph.tasks[index].material
        } else {
            key
        };
        self.memo.insert(name, outputs.clone());
        self.checkpoints.remove(&key);
        let next = self.done(turn, id, index, outputs, Some(fence));
        self.resolve(turn, id, next);
        for (run, task) in self.by_key.get(&key).cloned().unwrap_or_default() {
            self.unqueue(run, task);
            self.resolve(turn, run, vec![task]);
        }
    }

    /// Makes a task ready, now or later.
    pub(crate) fn enqueue(
        &mut self,
        id: RunId,
        index: usize,
        now: Timestamp,
        not_before: Timestamp,
        failure: Option<Failure>,
    ) {
        let Some(run) = self.runs.get_mut(&id) else {
            return;
        };
        let urgency = run.urgency(id, index);
        let task = &mut run.tasks[index];
        if !matches!(task.phase, Phase::Active(_) | Phase::Ready { .. }) {
            run.open += 1;
        }
        task.phase = Phase::Ready {
            not_before,
            failure,
        };
        if let Some(key) = task.key {
            self.by_key.entry(key).or_default().insert((id, index));
        }
        if not_before > now {
            self.backing_off.insert((not_before, id, index));
        } else {
            self.ready.insert(urgency);
        }
    }

    /// Takes a task out of the queue, if it is in it. Its phase is the caller's to change.
    pub(crate) fn unqueue(&mut self, id: RunId, index: usize) {
        let Some(run) = self.runs.get_mut(&id) else {
            return;
        };
        let Phase::Ready { not_before, .. } = run.tasks[index].phase else {
            return;
        };
        let urgency = run.urgency(id, index);
        run.open -= 1;
        run.tasks[index].phase = Phase::Blocked;
        self.ready.remove(&urgency);
        self.backing_off.remove(&(not_before, id, index));
        if let Some(key) = run.tasks[index].key
            && let Some(waiting) = self.by_key.get_mut(&key)
        {
            waiting.remove(&(id, index));
            if waiting.is_empty() {
                self.by_key.remove(&key);
            }
        }
    }

    /// Back-offs that are over.
    pub(crate) fn end_back_offs(&mut self, turn: &Turn) {
        while let Some(&(at, id, index)) = self.backing_off.first()
            && at <= turn.now
        {
            self.backing_off.pop_first();
            if let Some(run) = self.runs.get(&id) {
                self.ready.insert(run.urgency(id, index));
            }
        }
    }

    /// Gives a task its last phase.
    pub(crate) fn set_final(&mut self, now: Timestamp, id: RunId, index: usize, phase: Phase) {
        let Some(run) = self.runs.get_mut(&id) else {
            return;
        };
        let task = &mut run.tasks[index];
        if matches!(task.phase, Phase::Active(_) | Phase::Ready { .. }) {
            run.open -= 1;
        }
        run.done += usize::from(phase.state() == TaskState::Done);
        task.phase = phase;
        task.ended = Some(now);
    }

    /// A run is over when no task is ready or active: blocked ones then wait for failed ones.
    pub(crate) fn finish_runs(&mut self, turn: &mut Turn) {
        for (id, run) in &mut self.runs {
            if run.ended.is_some() || run.open > 0 {
                continue;
            }
            let outcome = match run.ending {
                _ if run.done == run.tasks.len() => RunOutcome::Done,
                Some(StopReason::Superseded) => RunOutcome::Superseded,
                Some(_) => RunOutcome::Cancelled,
                None => RunOutcome::Failed,
            };
            run.ended = Some((turn.now, outcome));
            turn.actions.push(Action::RunFinished { run: *id, outcome });
        }
    }
}
