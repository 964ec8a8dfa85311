//! The end of a run: the table of scores, the report's files, and where everything is.

use std::io::{IsTerminal, Write};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result};
use control::{TaskState, TaskView};
use plan::{Plan, human};
use types::{Digest, ScoreReport, TaskKind, Timestamp};

use crate::report::{self, Row};
use crate::run_dir::RunDir;
use crate::{score_table, terminal};

/// What is known when a run ends, or is interrupted.
pub(crate) struct Finished<'a> {
    pub(crate) plan: &'a Plan,
    /// In the graph's order.
    pub(crate) tasks: &'a [TaskView],
    pub(crate) store: &'a artifact::Store,
    pub(crate) run_dir: &'a RunDir,
    pub(crate) interrupted: bool,
    /// Since this call of the program began.
    pub(crate) elapsed: Duration,
}

/// Writes the report's files and prints the table.
///
/// # Errors
/// When scores cannot be read (an artifact is damaged), or a file of the report cannot be written.
pub(crate) fn print(finished: &Finished<'_>) -> Result<()> {
    let since = start_of_call(finished.elapsed);
    let rows = rows(finished, since)?;
    let folder = finished.run_dir.report();
    report::write_scores(&folder, finished.plan, &rows)?;
    let files = report::link_results(&folder, finished.tasks, finished.store)?;
    let coloured = std::io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none();
    let mut text = String::new();
    if !rows.is_empty() {
        text.push_str(&format!(
            "\n{}\n",
            score_table::render(&rows, finished.plan.evaluation(), coloured)
        ));
        if let Some(notice) = finished.plan.notice() {
            text.push_str(&format!("{}\n", report::printable(notice)));
        }
    }
    text.push_str(&summary(finished, since));
    for (what, place) in places(finished, &files, !rows.is_empty()) {
        text.push_str(&format!("  {what:14} {place}\n"));
    }
    // A reader that has gone needs nothing more.
    let _ = std::io::stdout().lock().write_all(text.as_bytes());
    Ok(())
}

/// The wall clock when this call began; `control` counts from the same one.
fn start_of_call(elapsed: Duration) -> Timestamp {
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    Timestamp(0).after(now.saturating_sub(elapsed))
}

/// Whether this call executed a task. A task that an earlier call of the same run finished is remembered, too.
fn executed(task: &TaskView, since: Timestamp) -> bool {
    !task.remembered && task.ended.is_some_and(|ended| ended >= since)
}

/// The scores of every `evaluate` task that is done, in the order of the table.
fn rows(finished: &Finished<'_>, since: Timestamp) -> Result<Vec<Row>> {
    let mut rows = Vec::new();
    for task in finished
        .tasks
        .iter()
        .filter(|task| task.kind == TaskKind::Evaluate)
    {
        let Some(digest) = task.outputs.get("scores") else {
            continue;
        };
        let scores = read_scores(finished.store, digest)
            .with_context(|| format!("the scores of {}, artifact {digest}", task.task.name))?;
        rows.push(Row {
            task: task.task.name.clone(),
            executed: executed(task, since),
            scores,
        });
    }
    let members = finished.plan.members();
    rows.sort_by_key(|row| {
        let place = match &row.scores.subject {
            types::Subject::Member(name) => members.iter().position(|member| &member.name == name),
            types::Subject::Ensemble => None,
        };
        (
            row.scores.iteration,
            row.scores.stage,
            place.unwrap_or(members.len()),
        )
    });
    Ok(rows)
}

fn read_scores(store: &artifact::Store, digest: &Digest) -> Result<ScoreReport> {
    let file = store.open_verified(digest)?;
    Ok(serde_json::from_reader(std::io::BufReader::new(file))?)
}

/// How it went, in one line; failed tasks with their causes.
fn summary(finished: &Finished<'_>, since: Timestamp) -> String {
    let tasks = finished.tasks;
    let done: Vec<&TaskView> = tasks
        .iter()
        .filter(|task| task.state == TaskState::Done)
        .collect();
    let executed = done.iter().filter(|task| executed(task, since)).count();
    let counts = format!(
        "{} of {} tasks done ({executed} executed, {} remembered), {}",
        done.len(),
        tasks.len(),
        done.len() - executed,
        human(finished.elapsed)
    );
    let mut text = String::new();
    for task in tasks.iter().filter(|task| task.state == TaskState::Failed) {
        text.push_str(&format!("\n{} failed\n", task.task.name));
        if let control::WaitingFor::Failed { failure } = &task.waiting {
            for line in terminal::failure_lines(failure) {
                text.push_str(&format!("  {line}\n"));
            }
        }
        let logs = finished.run_dir.logs(&task.task.name);
        text.push_str(&format!("  all its logs: {}\n", logs.display()));
    }
    let failed = tasks.iter().any(|task| task.state == TaskState::Failed);
    let next = if finished.interrupted {
        "; interrupted, the same command goes on"
    } else if failed {
        "; once the cause is repaired, the same command tries again and keeps what is done"
    } else if done.len() < tasks.len() {
        "; the run was ended before the rest, the same command goes on"
    } else {
        ""
    };
    text.push_str(&format!("\n{counts}{next}\n"));
    text
}

/// Where things are.
fn places(
    finished: &Finished<'_>,
    files: &report::Links,
    scored: bool,
) -> Vec<(&'static str, String)> {
    let folder = finished.run_dir.report();
    let mut places = Vec::new();
    if scored {
        places.push((
            "scores",
            format!(
                "{} (and .json, with every class)",
                folder.join("scores.tsv").display()
            ),
        ));
    }
    if files.checkpoints > 0 {
        let path = folder.join(report::CHECKPOINTS);
        places.push((
            "checkpoints",
            format!("{}/ ({})", path.display(), files.checkpoints),
        ));
    }
    if files.pseudo_labels > 0 {
        let path = folder.join(report::PSEUDO_LABELS);
        places.push((
            "pseudo-labels",
            format!("{}/ ({})", path.display(), files.pseudo_labels),
        ));
    }
    if files.checkpoints > 0 {
        places.push(("curves", format!("{}/", folder.join("metrics").display())));
    }
    places
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::os::unix::fs::MetadataExt;
    use std::path::Path;

    use control::WaitingFor;
    use plan::Options;
    use types::{MemberName, RunId, Subject, TaskId, TaskName};

    use super::*;

    const PLAN: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../configs/demo.toml");

    fn done(name: &str, kind: TaskKind, output: &str, digest: Digest, ended: u64) -> TaskView {
        TaskView {
            task: TaskId {
                run: RunId(1),
                name: TaskName::new(name).unwrap(),
            },
            kind,
            state: TaskState::Done,
            waiting: WaitingFor::Done { remembered: false },
            key: None,
            inputs: BTreeMap::new(),
            outputs: BTreeMap::from([(output.to_owned(), digest)]),
            remembered: false,
            attempts: Vec::new(),
            checkpoint: None,
            budget_left: 2,
            ended: Some(Timestamp(ended)),
        }
    }

    fn scores(iteration: u32, subject: Subject, psds1: f64) -> ScoreReport {
        testkit::score_report((iteration, 2), subject, psds1, psds1 + 0.1, None)
    }

    #[test]
    fn the_report_holds_scores_and_links_and_is_made_again_without_a_trace() {
        let folder = tempfile::tempdir().unwrap();
        let run_dir = RunDir::create(folder.path()).unwrap();
        let store = artifact::Store::open(run_dir.artifacts()).unwrap();
        let plan = Plan::load(Path::new(PLAN), Options::default()).unwrap();
        let put = |report: &ScoreReport| {
            store
                .put_bytes(&serde_json::to_vec(report).unwrap())
                .unwrap()
        };
        let member = put(&scores(
            1,
            Subject::Member(MemberName::new("fpasst").unwrap()),
            0.1,
        ));
        let ensemble = put(&scores(1, Subject::Ensemble, 0.2));
        let checkpoint = store.put_bytes(b"weights").unwrap();
        let labels = store.put_bytes(b"labels").unwrap();
        let now = start_of_call(Duration::ZERO).0;
        let tasks = [
            done(
                "i1.s2.ensemble.evaluate",
                TaskKind::Evaluate,
                "scores",
                ensemble,
                now,
            ),
            done(
                "i1.s2.fpasst.evaluate",
                TaskKind::Evaluate,
                "scores",
                member,
                5,
            ),
            done(
                "i1.s2.fpasst.train",
                TaskKind::Train,
                "checkpoint",
                checkpoint,
                now,
            ),
            done(
                "i1.pseudo_label",
                TaskKind::PseudoLabel,
                "pseudo_labels",
                labels,
                now,
            ),
        ];
        let finished = Finished {
            plan: &plan,
            tasks: &tasks,
            store: &store,
            run_dir: &run_dir,
            interrupted: false,
            elapsed: Duration::from_secs(3),
        };
        let stale = run_dir
            .report()
            .join("checkpoints/i9.s1.old.train.safetensors");
        std::fs::create_dir_all(stale.parent().unwrap()).unwrap();
        std::fs::write(&stale, "old").unwrap();
        for _ in 0..2 {
            print(&finished).unwrap();
            let linked = run_dir
                .report()
                .join("checkpoints/i1.s2.fpasst.train.safetensors");
            let inode = |path: &Path| std::fs::metadata(path).unwrap().ino();
            assert_eq!(inode(&linked), inode(&store.path(&checkpoint)));
            assert!(
                run_dir
                    .report()
                    .join("pseudo_labels/1.safetensors")
                    .exists()
            );
            assert!(!stale.exists());
            let names = std::fs::read_dir(run_dir.report().join("checkpoints"))
                .unwrap()
                .count();
            assert_eq!(names, 1);
        }
        let tsv = std::fs::read_to_string(run_dir.report().join("scores.tsv")).unwrap();
        let lines: Vec<&str> = tsv.lines().collect();
        assert_eq!(
            lines[0],
            "iteration\tstage\tsubject\tsplit\tpost_processing\tmetric\tvalue\tlow\thigh\tresult"
        );
        assert!(
            lines.contains(&"1\t2\tfpasst\tdesed_validation\tmedian\tpsds1\t0.1\t\t\tremembered"),
            "{tsv}"
        );
        assert!(
            lines.contains(&"1\t2\tensemble\tdesed_validation\tcsebbs\tpsds1\t0.30000000000000004\t\t\texecuted"),
            "{tsv}"
        );
        let json = std::fs::read_to_string(run_dir.report().join("scores.json")).unwrap();
        let json: serde_json::Value = serde_json::from_str(&json).unwrap();
        assert_eq!(json["scores"][1]["subject"], "ensemble");
        let text = summary(&finished, Timestamp(now - 3000));
        assert_eq!(
            text,
            "\n4 of 4 tasks done (3 executed, 1 remembered), 3 s\n"
        );
    }
}
