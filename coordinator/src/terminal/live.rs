use std::collections::BTreeMap;
use std::time::Duration;

use control::{TaskState, TaskView, WaitingFor, WorkerState};
use types::{TaskKind, Timestamp, human};

use crate::board::Snapshot;
use crate::terminal::progress::{amount, live_attempt, loss, speed, time_left};
use crate::terminal::screen::clock;

/// Running tasks shown one by one.
const SHOWN: usize = 16;
/// Characters of a bar.
const BAR: u64 = 16;

/// The live view: what is going on, in a few lines. `began` is when this process started to look.
/// A snapshot is made only when something has changed, so it may be older than `now`.
pub(super) fn lines(snapshot: &Snapshot, began: Timestamp, now: Timestamp) -> Vec<String> {
    let mut lines = vec![header(snapshot, began, now)];
    let running: Vec<&TaskView> = snapshot
        .tasks
        .iter()
        .filter(|task| matches!(task.state, TaskState::Running | TaskState::Assigned))
        .collect();
    let width = running
        .iter()
        .take(SHOWN)
        .map(|task| task.task.name.as_str().len())
        .max()
        .unwrap_or(0);
    lines.extend(
        running
            .iter()
            .take(SHOWN)
            .map(|task| running_line(task, snapshot, now, width)),
    );
    if running.len() > SHOWN {
        lines.push(format!("  and {} more tasks", running.len() - SHOWN));
    }
    lines.extend(snapshot.paused.iter().map(|line| format!("  {line}")));
    lines.extend(waiting(snapshot));
    lines.push(workers(snapshot));
    lines
}

/// `demo, run 1 · 4:12 · 23 of 58 tasks done · about 8 min left`.
fn header(snapshot: &Snapshot, began: Timestamp, now: Timestamp) -> String {
    let run = &snapshot.run;
    let count = |state| run.counts.get(&state).copied().unwrap_or(0);
    let all: u32 = run.counts.values().sum();
    let mut parts = vec![
        format!("{}, run {}", run.name, run.run),
        clock(now.since(began).as_secs()),
        format!("{} of {all} tasks done", count(TaskState::Done)),
    ];
    if run.remembered > 0 {
        parts.push(format!("{} remembered", run.remembered));
    }
    if count(TaskState::Failed) > 0 {
        parts.push(format!("{} failed", count(TaskState::Failed)));
    }
    parts.extend(all_left(snapshot, began, now).map(|left| format!("about {} left", human(left))));
    parts.join(" · ")
}

fn running_line(task: &TaskView, snapshot: &Snapshot, now: Timestamp, width: usize) -> String {
    let name = task.task.name.as_str();
    let Some(attempt) = live_attempt(task) else {
        return format!("  {name}");
    };
    let gang = match attempt.gang.as_slice() {
        [one] => one.worker.to_string(),
        many => format!("gang of {}", many.len()),
    };
    let Some(progress) = snapshot
        .progress
        .get(&task.task)
        .filter(|_| task.state == TaskState::Running)
    else {
        let what = if task.state == TaskState::Running {
            "starts"
        } else {
            "ranks are meeting"
        };
        return format!("  {name:width$}  {gang:9}  {what}");
    };
    let filled = (BAR * progress.done)
        .checked_div(progress.total)
        .unwrap_or(0)
        .min(BAR) as usize;
    let bar = format!(
        "{}{}",
        "━".repeat(filled),
        "─".repeat(BAR as usize - filled)
    );
    let mut parts = vec![format!("{:13}", amount(progress))];
    parts.extend(progress.loss.map(loss));
    parts.extend(progress.clips_per_second.map(speed));
    parts.extend(time_left(attempt, progress, now).map(|left| format!("{} left", human(left))));
    format!("  {name:width$}  {gang:9}  {bar} {}", parts.join("  "))
}

/// `waiting: 30 for inputs, 2 for a device`, and a sentence about whatever else keeps a task.
fn waiting(snapshot: &Snapshot) -> Vec<String> {
    let mut counts: BTreeMap<(u8, &str), usize> = BTreeMap::new();
    let mut special = None;
    for task in snapshot
        .tasks
        .iter()
        .filter(|task| !task.state.is_final() && task.state != TaskState::Running)
    {
        let (order, group, notable) = match task.waiting {
            WaitingFor::Inputs { .. } | WaitingFor::SameWork { .. } => (0, "for inputs", false),
            WaitingFor::FailedInput { .. } => (1, "after a failed task", false),
            WaitingFor::Slots { .. } | WaitingFor::Reserved { .. } => (2, "for a slot", false),
            WaitingFor::Gathering { .. } => (3, "for a larger gang", false),
            WaitingFor::Workers { .. } => (4, "for workers", true),
            WaitingFor::BackOff { .. } => (5, "before they are tried again", true),
            WaitingFor::SilentWorker { .. } => (6, "for a silent worker", true),
            WaitingFor::Stopping { .. } | WaitingFor::Closing { .. } => {
                (7, "for ranks to end", true)
            }
            WaitingFor::Meeting { .. } | WaitingFor::Running { .. } | WaitingFor::Done { .. } => {
                continue;
            }
            WaitingFor::NoSuchTask
            | WaitingFor::Failed { .. }
            | WaitingFor::RunEnded { .. }
            | WaitingFor::Shutdown => (8, "not started any more", false),
        };
        *counts.entry((order, group)).or_default() += 1;
        if notable && special.is_none() {
            special = Some(format!("  {} {}", task.task.name, task.waiting));
        }
    }
    if counts.is_empty() {
        return Vec::new();
    }
    let groups: Vec<String> = counts
        .iter()
        .map(|((_, group), count)| format!("{count} {group}"))
        .collect();
    std::iter::once(format!("waiting: {}", groups.join(", ")))
        .chain(special)
        .collect()
}

/// `workers: 2 busy, 1 unknown (local-1)`.
fn workers(snapshot: &Snapshot) -> String {
    let mut by_state: BTreeMap<WorkerState, Vec<&str>> = BTreeMap::new();
    for worker in &snapshot.workers {
        by_state
            .entry(worker.state)
            .or_default()
            .push(worker.worker.as_str());
    }
    let gone = by_state.remove(&WorkerState::Gone).unwrap_or_default();
    let mut parts: Vec<String> = by_state
        .iter()
        .map(|(state, names)| match state {
            WorkerState::Idle | WorkerState::Busy => format!("{} {state}", names.len()),
            _ if names.len() > 3 => {
                format!("{} {state} ({}, ...)", names.len(), names[..3].join(", "))
            }
            _ => format!("{} {state} ({})", names.len(), names.join(", ")),
        })
        .collect();
    if parts.is_empty() {
        parts.push("none".to_owned());
    }
    if !gone.is_empty() {
        parts.push(format!("{} gone", gone.len()));
    }
    format!("workers: {}", parts.join(", "))
}

/// What kind of work a task is, for comparing durations: stages differ much in their speed.
type Work<'a> = (&'a str, TaskKind);

/// Time until all is done: the work that is left, compared with the work done since `began`, going by the durations of tasks
/// of the same kind. None before one task of every kind of training and prediction has been seen.
fn all_left(snapshot: &Snapshot, began: Timestamp, now: Timestamp) -> Option<Duration> {
    let mut samples: BTreeMap<Work<'_>, (f64, u32)> = BTreeMap::new();
    let (mut spent, mut shares) = (0.0, Vec::new());
    for task in &snapshot.tasks {
        let work = work(task);
        let Some(attempt) = task.attempts.last() else {
            if !task.state.is_final() {
                shares.push((work, 1.0));
            }
            continue;
        };
        let Some(started) = attempt.started else {
            if !task.state.is_final() {
                shares.push((work, 1.0));
            }
            continue;
        };
        let ended = attempt.ended.as_ref().map_or(now, |(at, _)| *at);
        let here = ended.since(started.max(began)).as_secs_f64();
        if ended >= began {
            spent += here;
        }
        if task.state == TaskState::Done && attempt.resumed.is_none() {
            let sample = samples.entry(work).or_default();
            *sample = (sample.0 + ended.since(started).as_secs_f64(), sample.1 + 1);
        } else if !task.state.is_final() {
            let left = snapshot
                .progress
                .get(&task.task)
                .filter(|_| attempt.ended.is_none())
                .and_then(|progress| {
                    Some((
                        time_left(attempt, progress, now)?,
                        progress.done.max(1),
                        progress.total,
                    ))
                });
            match left {
                Some((left, done, total)) => {
                    let left_share = 1.0 - done as f64 / total.max(1) as f64;
                    if left_share > 0.0 && attempt.resumed.is_none() {
                        let sample = samples.entry(work).or_default();
                        *sample = (sample.0 + left.as_secs_f64() / left_share, sample.1 + 1);
                    }
                    shares.push((work, left_share));
                }
                None => shares.push((work, 1.0)),
            }
        }
    }
    let mean = |work: &Work<'_>| {
        let of_kind = |(key, _): &(&Work<'_>, &(f64, u32))| key.1 == work.1;
        let fallback = samples.iter().find(of_kind).map(|(_, sample)| sample);
        let (sum, count) = samples.get(work).or(fallback)?;
        Some(sum / f64::from(*count))
    };
    let mut left = 0.0;
    for (work, share) in &shares {
        left += share
            * match mean(work) {
                Some(mean) => mean,
                // Averaging and scoring take next to nothing.
                None if work.1.slot() == types::SlotKind::Host => 0.0,
                None => return None,
            };
    }
    let wall = now.since(began).as_secs_f64();
    // The first seconds say nothing.
    if spent < 5.0 || wall < 5.0 || shares.is_empty() {
        return None;
    }
    Duration::try_from_secs_f64(left * wall / spent).ok()
}

fn work(task: &TaskView) -> Work<'_> {
    (
        task.task.name.as_str().split('.').nth(1).unwrap_or(""),
        task.kind,
    )
}

#[cfg(test)]
pub(super) mod tests {
    use control::{AttemptView, DeviceKind, GangMember, RunView, WorkerDescription, WorkerView};
    use types::{
        Fence, Incarnation, Progress, ProgressUnit, Rank, RunId, SlotKind, TaskId, TaskName,
        WorkerId,
    };

    use super::*;

    fn worker(name: &str) -> WorkerId {
        WorkerId::new(name).unwrap()
    }

    fn task(name: &str, kind: TaskKind, state: TaskState, waiting: WaitingFor) -> TaskView {
        TaskView {
            task: TaskId {
                run: RunId(1),
                name: TaskName::new(name).unwrap(),
            },
            kind,
            state,
            waiting,
            key: None,
            inputs: BTreeMap::new(),
            outputs: BTreeMap::new(),
            remembered: false,
            attempts: Vec::new(),
            checkpoint: None,
            budget_left: 2,
            avoids: std::collections::BTreeSet::new(),
            ended: None,
        }
    }

    /// One gang of two in the middle of its training, and what waits behind it.
    pub(crate) fn snapshot() -> Snapshot {
        let now = Timestamp(1_000_000);
        let gang = [("local-0", 0), ("local-1", 1)].map(|(name, rank)| GangMember {
            rank: Rank(rank),
            worker: worker(name),
            incarnation: Incarnation(1),
        });
        let workers = vec![worker("local-0"), worker("local-1")];
        let mut train = task(
            "i1.s1.atst_a.train",
            TaskKind::Train,
            TaskState::Running,
            WaitingFor::Running {
                fence: Fence(3),
                workers,
            },
        );
        train.attempts.push(AttemptView {
            fence: Fence(3),
            gang: gang.to_vec(),
            began: Timestamp(959_000),
            started: Some(Timestamp(960_000)),
            resumed: None,
            ended: None,
            failures: Vec::new(),
        });
        let before = |name: &str| WaitingFor::Inputs {
            tasks: vec![TaskName::new(name).unwrap()],
        };
        let tasks = vec![
            train.clone(),
            task(
                "i1.s1.atst_b.train",
                TaskKind::Train,
                TaskState::Ready,
                WaitingFor::Slots {
                    slot: SlotKind::Device,
                    free: 0,
                    need: 2,
                },
            ),
            task(
                "i1.s2.atst_a.train",
                TaskKind::Train,
                TaskState::Blocked,
                before("i1.s1.atst_a.train"),
            ),
            task(
                "i1.s2.atst_b.train",
                TaskKind::Train,
                TaskState::Blocked,
                before("i1.s1.atst_b.train"),
            ),
        ];
        let progress = Progress {
            unit: ProgressUnit::Steps,
            done: 120,
            total: 294,
            loss: Some(0.5123),
            clips_per_second: Some(38.2),
        };
        let description = WorkerDescription {
            host: "here".to_owned(),
            device: DeviceKind::Cpu,
            device_name: "2 cores".to_owned(),
        };
        let worker_views = [
            ("local-0", WorkerState::Busy),
            ("local-1", WorkerState::Unknown),
        ]
        .map(|(name, state)| WorkerView {
            worker: worker(name),
            incarnation: Incarnation(1),
            state,
            quarantined: None,
            description: description.clone(),
            device: None,
            host: None,
            heard: Some(now),
        });
        Snapshot {
            paused: Vec::new(),
            run: RunView {
                run: RunId(1),
                name: "demo".to_owned(),
                submitted: Timestamp(950_000),
                ended: None,
                counts: BTreeMap::from([
                    (TaskState::Running, 1),
                    (TaskState::Ready, 1),
                    (TaskState::Blocked, 2),
                ]),
                remembered: 0,
            },
            progress: BTreeMap::from([(train.task, progress)]),
            tasks,
            workers: worker_views.to_vec(),
            now,
        }
    }

    #[test]
    fn the_view_says_what_runs_what_waits_and_who_works() {
        assert_eq!(
            lines(&snapshot(), Timestamp(955_000), Timestamp(1_000_000)),
            [
                "demo, run 1 · 0:45 · 0 of 4 tasks done · about 7 min left",
                "  i1.s1.atst_a.train  gang of 2  ━━━━━━────────── 120/294 steps  loss 0.512  38 clips/s  58 s left",
                "waiting: 2 for inputs, 1 for a slot",
                "workers: 1 busy, 1 unknown (local-1)",
            ]
        );
    }

    #[test]
    fn what_keeps_a_task_in_an_unusual_way_is_said_in_a_sentence() {
        let mut snapshot = snapshot();
        snapshot.tasks[1].waiting = WaitingFor::Workers {
            slot: SlotKind::Device,
            have: 1,
            need: 2,
            silent: vec![worker("local-1")],
            quarantined: Vec::new(),
        };
        assert_eq!(
            lines(&snapshot, Timestamp(955_000), snapshot.now)[2..4],
            [
                "waiting: 2 for inputs, 1 for workers",
                "  i1.s1.atst_b.train needs 2 devices of one kind, and the workers in service have 1 (silent: local-1)",
            ]
        );
    }

    #[test]
    fn before_anything_has_run_no_time_is_promised() {
        let mut snapshot = snapshot();
        snapshot.progress.clear();
        let lines = lines(&snapshot, Timestamp(955_000), snapshot.now);
        assert_eq!(lines[0], "demo, run 1 · 0:45 · 0 of 4 tasks done");
        assert_eq!(lines[1], "  i1.s1.atst_a.train  gang of 2  starts");
    }
}
