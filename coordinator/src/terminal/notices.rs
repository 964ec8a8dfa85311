use control::{Action, AttemptOutcome, RunOutcome, TaskState, WorkerState};
use types::{Failure, Fence, TaskId};

use crate::board::Snapshot;
use crate::terminal::progress::live_attempt;

/// Lines of a log that are shown with a failure that is for good, and with one that is not.
pub(crate) const LOG_LINES: usize = 50;
const FEW_LOG_LINES: usize = 10;

/// Writes what happened to the log.
pub(super) fn tell(action: &Action, snapshot: Option<&Snapshot>) {
    let Some((level, text)) = line(action, snapshot) else {
        return;
    };
    match level {
        Level::Debug => tracing::debug!("{text}"),
        Level::Info => tracing::info!("{text}"),
        Level::Warn => tracing::warn!("{text}"),
        Level::Error => tracing::error!("{text}"),
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Level {
    Debug,
    Info,
    Warn,
    Error,
}

/// What a person should know of it.
fn line(action: &Action, snapshot: Option<&Snapshot>) -> Option<(Level, String)> {
    Some(match action {
        Action::AttemptBegan { task, fence, gang } => {
            let workers: Vec<&str> = gang.iter().map(|seat| seat.worker.as_str()).collect();
            (
                Level::Info,
                format!("{}: attempt {fence} on {}", task.name, workers.join(", ")),
            )
        }
        Action::AttemptEnded {
            task,
            fence,
            outcome,
        } => match outcome {
            AttemptOutcome::Finished => return None,
            AttemptOutcome::Stopped { reason } => (
                Level::Info,
                format!(
                    "{}: attempt {fence} has stopped because {reason}",
                    task.name
                ),
            ),
            // What comes of it is told next.
            AttemptOutcome::Failed { failure } => (
                Level::Debug,
                format!("{}: attempt {fence} failed: {failure}", task.name),
            ),
        },
        Action::TaskDone {
            task, fence: None, ..
        } => (
            Level::Debug,
            format!("{}: done before, nothing was executed", task.name),
        ),
        Action::TaskDone {
            task,
            fence: Some(fence),
            ..
        } => {
            let took = snapshot.and_then(|snapshot| took(snapshot, task, *fence));
            (
                Level::Info,
                format!("{}: done{}", task.name, took.unwrap_or_default()),
            )
        }
        Action::TaskRetried {
            task,
            failure,
            at,
            budget_left,
        } => {
            let pause = snapshot
                .map(|snapshot| at.since(snapshot.now))
                .filter(|pause| pause.as_millis() > 500);
            let when = pause.map_or("now".to_owned(), |pause| {
                format!("in {}", types::human(pause))
            });
            let text = format!(
                "{}: failed and is tried again {when} ({budget_left} more forgiven)",
                task.name
            );
            (
                Level::Warn,
                join(text, failure_lines(failure, FEW_LOG_LINES)),
            )
        }
        Action::TaskFailed { task, failure } => {
            let mut lines = failure_lines(failure, LOG_LINES);
            lines.push(format!(
                "what led there:  coordinator explain {}",
                task.name
            ));
            lines.push(format!("all its logs:    coordinator logs {}", task.name));
            lines.push(format!("once repaired:   coordinator retry {}", task.name));
            (
                Level::Error,
                join(format!("{}: failed for good", task.name), lines),
            )
        }
        Action::WorkerChanged { worker, from, to } => match (from, to) {
            (None | Some(WorkerState::Gone), WorkerState::Idle | WorkerState::Busy) => {
                (Level::Info, format!("worker {worker} is there"))
            }
            (Some(WorkerState::Unknown), WorkerState::Idle | WorkerState::Busy) => {
                (Level::Info, format!("worker {worker} is heard again"))
            }
            (_, WorkerState::Unknown) => (
                Level::Warn,
                format!(
                    "worker {worker} has fallen silent; what it runs goes on until its lease ends"
                ),
            ),
            (_, WorkerState::Draining) => (
                Level::Info,
                format!("worker {worker} gets nothing new and stops its ranks"),
            ),
            (_, WorkerState::Quarantined) => (
                Level::Error,
                format!("worker {worker} cannot free its device: restart it to use it again"),
            ),
            (_, WorkerState::Gone) => (Level::Info, format!("worker {worker} is gone")),
            (_, WorkerState::Idle | WorkerState::Busy) => return None,
        },
        Action::RunFinished { run, outcome } => {
            let level = if matches!(outcome, RunOutcome::Failed) {
                Level::Error
            } else {
                Level::Info
            };
            (level, format!("run {run}: {outcome}"))
        }
        Action::StartRank(_)
        | Action::StopRank { .. }
        | Action::WorkerDrained { .. }
        | Action::Drained => return None,
    })
}

/// `, after 91 s on local-0, local-1`.
fn took(snapshot: &Snapshot, task: &TaskId, fence: Fence) -> Option<String> {
    let task = snapshot.tasks.iter().find(|view| view.task == *task)?;
    let attempt = match task.state {
        TaskState::Done => task.attempts.iter().find(|attempt| attempt.fence == fence),
        _ => live_attempt(task).filter(|attempt| attempt.fence == fence),
    }?;
    let end = attempt.ended.as_ref().map_or(snapshot.now, |(at, _)| *at);
    Some(format!(" after {}", types::human(end.since(attempt.began))))
}

/// A failure's first cause and the end of its log, so many lines of it.
pub(crate) fn failure_lines(failure: &Failure, log_lines: usize) -> Vec<String> {
    let mut lines = vec![format!("first cause: {failure}")];
    let tail = &failure.log_tail;
    if !tail.is_empty() {
        let rank = failure
            .rank
            .map_or(String::new(), |rank| format!(" of rank {rank}"));
        lines.push(format!("the log{rank} ends with"));
        let shown = tail.iter().skip(tail.len().saturating_sub(log_lines));
        lines.extend(shown.map(|line| format!("  | {}", printable(line))));
    }
    lines
}

/// What a rank process wrote may hold anything; a terminal must not obey it.
fn printable(line: &str) -> String {
    line.chars()
        .map(|c| {
            if c.is_control() && c != '\t' {
                '\u{fffd}'
            } else {
                c
            }
        })
        .collect()
}

fn join(first: String, more: Vec<String>) -> String {
    more.into_iter()
        .fold(first, |text, line| format!("{text}\n    {line}"))
}

#[cfg(test)]
mod tests {
    use types::{FailureClass, Rank, RunId, Step, TaskName, Timestamp, WorkerId};

    use super::*;
    use crate::terminal::live::tests::snapshot;

    fn task() -> TaskId {
        TaskId {
            run: RunId(1),
            name: TaskName::new("i1.s1.atst_a.train").unwrap(),
        }
    }

    fn failure() -> Failure {
        Failure {
            rank: Some(Rank(1)),
            signal: Some(9),
            last_step: Some(Step(120)),
            log_tail: (1..=60)
                .map(|line| format!("line {line}\u{1b}[2J"))
                .collect(),
            ..Failure::new(FailureClass::Killed, "the rank process was killed")
        }
    }

    #[test]
    fn a_failure_says_cause_log_and_what_to_do() {
        let (level, text) = line(
            &Action::TaskFailed {
                task: task(),
                failure: failure(),
            },
            None,
        )
        .unwrap();
        assert_eq!(level, Level::Error);
        assert!(text.starts_with(
            "i1.s1.atst_a.train: failed for good\n    first cause: killed in rank 1, signal 9, after step 120: the rank"
        ));
        assert!(
            !text.contains("line 10\u{fffd}") && text.contains("  | line 11\u{fffd}[2J\n"),
            "{text}"
        );
        assert!(text.ends_with("coordinator retry i1.s1.atst_a.train"));
    }

    #[test]
    fn a_retry_says_when() {
        let snapshot = snapshot();
        let at = Timestamp(snapshot.now.0 + 4000);
        let action = Action::TaskRetried {
            task: task(),
            failure: failure(),
            at,
            budget_left: 1,
        };
        let (level, text) = line(&action, Some(&snapshot)).unwrap();
        assert_eq!(level, Level::Warn);
        assert!(
            text.contains("failed and is tried again in 4 s (1 more forgiven)\n"),
            "{text}"
        );
    }

    #[test]
    fn idle_and_busy_in_turn_are_no_news() {
        let worker = WorkerId::new("local-0").unwrap();
        let change = |from, to| {
            line(
                &Action::WorkerChanged {
                    worker: worker.clone(),
                    from,
                    to,
                },
                None,
            )
        };
        assert_eq!(change(Some(WorkerState::Idle), WorkerState::Busy), None);
        assert!(change(None, WorkerState::Idle).is_some());
        assert_eq!(
            change(Some(WorkerState::Busy), WorkerState::Unknown)
                .unwrap()
                .0,
            Level::Warn
        );
    }
}
