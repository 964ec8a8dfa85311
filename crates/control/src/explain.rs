//! What people are told: the reason why a task is not running, and the views for tables.

use std::collections::BTreeMap;

use types::{Failure, Fence, RunId, TaskId, WorkerId};

use crate::attempt::{Attempt, SeatState};
use crate::cluster::Contact;
use crate::placement::{Fit, Pool};
use crate::run::{Phase, Run};
use crate::state::State;
use crate::worker::Occupant;
use crate::{SlotView, TaskState, TaskView, WaitingFor, WorkerView};

pub(crate) fn explain(state: &State, contact: &Contact, task: &TaskId) -> WaitingFor {
    let found = state
        .runs
        .get(&task.run)
        .and_then(|run| Some((run, run.find(&task.name)?)));
    let Some((run, index)) = found else {
        return WaitingFor::NoSuchTask;
    };
    let queue = match run.tasks[index].phase {
        Phase::Ready { .. } => queue_reasons(state, contact, Some((task.run, index))),
        _ => BTreeMap::new(),
    };
    let failed = match run.tasks[index].phase {
        Phase::Blocked => nearest_failed(run),
        _ => Vec::new(),
    };
    reason(state, contact, (task.run, run), index, &queue, &failed)
}

pub(crate) fn task(state: &State, contact: &Contact, task: &TaskId) -> Option<TaskView> {
    let run = state.runs.get(&task.run)?;
    let index = run.find(&task.name)?;
    Some(view(
        state,
        (task.run, run),
        index,
        explain(state, contact, task),
    ))
}

pub(crate) fn tasks(state: &State, contact: &Contact, id: RunId) -> Vec<TaskView> {
    let Some(run) = state.runs.get(&id) else {
        return Vec::new();
    };
    let reasons = reasons(state, contact, id).into_iter();
    reasons
        .enumerate()
        .map(|(index, reason)| view(state, (id, run), index, reason))
        .collect()
}

/// The reason of every task of a run, in the graph's order.
pub(crate) fn reasons(state: &State, contact: &Contact, id: RunId) -> Vec<WaitingFor> {
    let Some(run) = state.runs.get(&id) else {
        return Vec::new();
    };
    let queue = queue_reasons(state, contact, None);
    let failed = nearest_failed(run);
    (0..run.tasks.len())
        .map(|index| reason(state, contact, (id, run), index, &queue, &failed))
        .collect()
}

pub(crate) fn workers(state: &State, contact: &Contact) -> Vec<WorkerView> {
    let slot = |occupant: Option<Occupant>| {
        occupant.map(|Occupant { fence, rank }| SlotView {
            fence,
            rank,
            task: state
                .attempts
                .get(&fence)
                .map(|attempt| state.task_id(attempt.run, attempt.task)),
        })
    };
    let views = state.workers.iter().map(|(name, worker)| WorkerView {
        worker: name.clone(),
        incarnation: worker.incarnation,
        state: worker.state(),
        quarantined: worker.quarantined.clone(),
        description: worker.description.clone(),
        device: slot(worker.device),
        host: slot(worker.host),
        heard: contact.workers.get(name).map(|last| last.since),
    });
    views.collect()
}

fn view(state: &State, (id, run): (RunId, &Run), index: usize, waiting: WaitingFor) -> TaskView {
    let node = &run.graph.tasks[index];
    let task = &run.tasks[index];
    let live = match task.phase {
        Phase::Active(fence) => state.attempts.get(&fence),
        _ => None,
    };
    let (outputs, remembered) = match &task.phase {
        Phase::Done {
            outputs,
            remembered,
        } => (outputs.clone(), *remembered),
        _ => (BTreeMap::new(), false),
    };
    let mut attempts = task.history.clone();
    attempts.extend(live.map(|attempt| attempt.view(None)));
    TaskView {
        task: TaskId {
            run: id,
            name: node.name.clone(),
        },
        kind: node.kind,
        state: live
            .filter(|attempt| attempt.started.is_none())
            .map_or(task.phase.state(), |_| TaskState::Assigned),
        waiting,
        key: task.key,
        inputs: task.inputs.clone(),
        outputs,
        remembered,
        attempts,
        checkpoint: task.key.and_then(|key| state.newest_checkpoint(&key)),
        budget_left: state.settings.retry_budget.saturating_sub(task.budget_used),
        avoids: task.avoids.clone(),
        ended: task.ended,
    }
}

fn reason(
    state: &State,
    contact: &Contact,
    (id, run): (RunId, &Run),
    index: usize,
    queue: &BTreeMap<(RunId, usize), WaitingFor>,
    failed: &[Option<usize>],
) -> WaitingFor {
    match &run.tasks[index].phase {
        Phase::Blocked => blocked(run, index, failed),
        Phase::Ready { .. } => queue
            .get(&(id, index))
            .cloned()
            .unwrap_or(WaitingFor::Shutdown),
        Phase::Active(fence) => active(state, contact, *fence),
        Phase::Done { remembered, .. } => WaitingFor::Done {
            remembered: *remembered,
        },
        Phase::Failed(failure) => WaitingFor::Failed {
            failure: failure.clone(),
        },
        Phase::Cancelled(reason) => WaitingFor::RunEnded { reason: *reason },
    }
}

/// For each task of a run, the nearest task before it that has failed for good.
fn nearest_failed(run: &Run) -> Vec<Option<usize>> {
    let mut nearest: Vec<Option<(u32, usize)>> = Vec::with_capacity(run.tasks.len());
    for (index, task) in run.tasks.iter().enumerate() {
        let found = if matches!(task.phase, Phase::Failed(_)) {
            Some((0, index))
        } else {
            let before = run.before[index].iter();
            before
                .filter_map(|earlier| nearest[*earlier])
                .min()
                .map(|(distance, failed)| (distance + 1, failed))
        };
        nearest.push(found);
    }
    nearest
        .into_iter()
        .map(|found| found.map(|(_, failed)| failed))
        .collect()
}

fn blocked(run: &Run, index: usize, failed: &[Option<usize>]) -> WaitingFor {
    if let Some(before) = failed.get(index).copied().flatten()
        && let Phase::Failed(failure) = &run.tasks[before].phase
    {
        let task = run.graph.tasks[before].name.clone();
        return WaitingFor::FailedInput {
            task,
            failure: failure.clone(),
        };
    }
    let before = run.before[index].iter();
    let missing = before.filter(|before| !matches!(run.tasks[**before].phase, Phase::Done { .. }));
    WaitingFor::Inputs {
        tasks: missing
            .map(|before| run.graph.tasks[*before].name.clone())
            .collect(),
    }
}

fn active(state: &State, contact: &Contact, fence: Fence) -> WaitingFor {
    let Some(attempt) = state.attempts.get(&fence) else {
        return WaitingFor::NoSuchTask;
    };
    let names = |state: Option<SeatState>| -> Vec<WorkerId> {
        let seats = attempt
            .remaining()
            .filter(|seat| state.is_none_or(|wanted| seat.state == wanted));
        seats.map(|seat| seat.worker.clone()).collect()
    };
    let silent = attempt.remaining().find(|seat| {
        state
            .workers
            .get(&seat.worker)
            .is_some_and(|worker| worker.silent)
    });
    if let Some(seat) = silent {
        let since = contact
            .workers
            .get(&seat.worker)
            .map_or(contact.now, |last| last.since);
        let silent = contact.now.since(since);
        let lease = state.settings.lost_after + state.settings.lease_margin;
        return WaitingFor::SilentWorker {
            worker: seat.worker.clone(),
            silent,
            left: lease.saturating_sub(silent),
        };
    }
    if attempt.broken.is_some() {
        return WaitingFor::Closing {
            failure: cause(attempt),
            remaining: names(None),
        };
    }
    if let Some(reason) = attempt.stop {
        return WaitingFor::Stopping {
            reason,
            remaining: names(None),
        };
    }
    if attempt.started.is_none() {
        return WaitingFor::Meeting {
            fence,
            missing: names(Some(SeatState::Starting)),
        };
    }
    WaitingFor::Running {
        fence,
        workers: attempt
            .seats
            .iter()
            .map(|seat| seat.worker.clone())
            .collect(),
    }
}

fn cause(attempt: &Attempt) -> Failure {
    attempt
        .cause()
        .cloned()
        .unwrap_or_else(|| Failure::new(types::FailureClass::PeerLost, "a rank ended too early"))
}

/// Why each ready task has no slot: the queue is gone through as `place` does, which has given away what could be given.
/// With `until`, only as far as that task.
fn queue_reasons(
    state: &State,
    contact: &Contact,
    until: Option<(RunId, usize)>,
) -> BTreeMap<(RunId, usize), WaitingFor> {
    let mut reasons = BTreeMap::new();
    if state.stopping {
        return reasons;
    }
    for (at, id, index) in &state.backing_off {
        if let Phase::Ready {
            failure: Some(failure),
            ..
        } = &state.runs[id].tasks[*index].phase
        {
            let left = at.since(contact.now);
            reasons.insert(
                (*id, *index),
                WaitingFor::BackOff {
                    left,
                    failure: failure.clone(),
                },
            );
        }
    }
    let mut pool = Pool::new(state, state.clock);
    for urgency in &state.ready {
        let (id, index) = (urgency.run, urgency.task);
        let run = &state.runs[&id];
        let same = run.tasks[index]
            .key
            .and_then(|key| state.live_keys.get(&key))
            .and_then(|fence| state.attempts.get(fence));
        let why = if let Some(attempt) = same {
            WaitingFor::SameWork {
                task: state.task_id(attempt.run, attempt.task),
            }
        } else {
            let node = &run.graph.tasks[index];
            let slot = node.kind.slot();
            match pool.offer(node, &run.tasks[index].avoids, || state.task_id(id, index)) {
                // Unreachable after `place`; said all the same, a free slot is what it waits for.
                Fit::Gang(_) => WaitingFor::Slots {
                    slot,
                    free: 0,
                    need: 1,
                },
                Fit::Gathering => WaitingFor::Gathering {
                    left: state.gather_until.since(contact.now),
                },
                Fit::Slots { free, need } => WaitingFor::Slots { slot, free, need },
                Fit::Reserved(task) => WaitingFor::Reserved { task },
                Fit::Workers { have, need } => WaitingFor::Workers {
                    slot,
                    have,
                    need,
                    silent: pool.silent.clone(),
                    quarantined: pool.quarantined.clone(),
                },
            }
        };
        reasons.insert((id, index), why);
        if until == Some((id, index)) {
            break;
        }
    }
    reasons
}
