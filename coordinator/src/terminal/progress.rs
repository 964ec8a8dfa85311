use std::time::Duration;

use control::{AttemptView, TaskState, TaskView};
use types::{Progress, ProgressUnit, Timestamp, human};

use crate::board::Snapshot;

/// The live attempt of a task.
pub(super) fn live_attempt(task: &TaskView) -> Option<&AttemptView> {
    task.attempts
        .last()
        .filter(|attempt| attempt.ended.is_none())
}

/// What waits for room, and one line for each running task that has said how far it is.
pub(super) fn lines(snapshot: &Snapshot) -> Vec<String> {
    let running = snapshot
        .tasks
        .iter()
        .filter(|task| task.state == TaskState::Running);
    let running = running.filter_map(|task| {
        let progress = snapshot.progress.get(&task.task)?;
        let left =
            live_attempt(task).and_then(|attempt| time_left(attempt, progress, snapshot.now));
        Some(format!("{}: {}", task.task.name, sentence(progress, left)))
    });
    snapshot.paused.iter().cloned().chain(running).collect()
}

/// `120/294 steps (40 %), loss 0.512, 38 clips/s, about 54 s left`.
fn sentence(progress: &Progress, left: Option<Duration>) -> String {
    let percent = (100 * progress.done)
        .checked_div(progress.total)
        .unwrap_or(0);
    let mut parts = vec![format!("{} ({percent} %)", amount(progress))];
    parts.extend(progress.loss.map(loss));
    parts.extend(progress.clips_per_second.map(speed));
    parts.extend(left.map(|left| format!("about {} left", human(left))));
    parts.join(", ")
}

/// `120/294 steps`.
pub(super) fn amount(progress: &Progress) -> String {
    let unit = match progress.unit {
        ProgressUnit::Steps => "steps",
        ProgressUnit::Clips => "clips",
    };
    format!("{}/{} {unit}", progress.done, progress.total)
}

/// `loss 0.512`.
pub(super) fn loss(loss: f64) -> String {
    if loss != 0.0 && !(1e-3..1e4).contains(&loss.abs()) {
        format!("loss {loss:.2e}")
    } else {
        format!("loss {loss:.3}")
    }
}

/// `38 clips/s`.
pub(super) fn speed(clips_per_second: f64) -> String {
    if clips_per_second < 10.0 {
        format!("{clips_per_second:.1} clips/s")
    } else {
        format!("{clips_per_second:.0} clips/s")
    }
}

/// How long an attempt still needs at the speed it had so far. What an earlier attempt did is not its speed.
pub(super) fn time_left(
    attempt: &AttemptView,
    progress: &Progress,
    now: Timestamp,
) -> Option<Duration> {
    let before = match progress.unit {
        ProgressUnit::Steps => attempt.resumed.map_or(0, |checkpoint| checkpoint.step.0),
        ProgressUnit::Clips => 0,
    };
    let own = progress.done.checked_sub(before).filter(|own| *own > 0)?;
    let spent = now.since(attempt.started?).as_secs_f64();
    let left = progress.total.saturating_sub(progress.done) as f64;
    Duration::try_from_secs_f64(spent * left / own as f64).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::terminal::live::tests::snapshot;

    #[test]
    fn a_running_task_is_one_plain_line() {
        let lines = lines(&snapshot());
        assert_eq!(
            lines,
            ["i1.s1.atst_a.train: 120/294 steps (40 %), loss 0.512, 38 clips/s, about 58 s left"]
        );
    }

    #[test]
    fn numbers_keep_a_readable_length() {
        assert_eq!(loss(0.000_012_3), "loss 1.23e-5");
        assert_eq!(loss(0.0), "loss 0.000");
        assert_eq!(speed(3.456), "3.5 clips/s");
    }
}
