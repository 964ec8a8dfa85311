//! The end of a run: the table of scores, the report's files, and where everything is.

use std::io::{IsTerminal, Write};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result};
use control::{RunView, TaskState, TaskView};
use plan::Plan;
use types::{Timestamp, human};

use crate::page::{Moment, PageWriter};
use crate::report_files;
use crate::run_dir::RunDir;
use crate::scores::{self, executed};
use crate::{score_table, terminal};

/// What is known when a run ends, or is interrupted.
pub(crate) struct Finished<'a> {
    pub(crate) plan: &'a Plan,
    pub(crate) run: &'a RunView,
    pub(crate) page: &'a PageWriter,
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
/// When scores cannot be read (an artifact is damaged), or a file of the report cannot be written; the table is printed then all the
/// same.
pub(crate) fn print(finished: &Finished<'_>) -> Result<()> {
    let (text, written) = report(finished)?;
    // A reader that has gone needs nothing more.
    let _ = std::io::stdout().lock().write_all(text.as_bytes());
    written.context("the report is not complete, the results are; the same command writes it again")
}

/// What to print, and whether the files were written.
fn report(finished: &Finished<'_>) -> Result<(String, Result<()>)> {
    let since = start_of_call(finished.elapsed);
    let rows = scores::rows(finished.plan, finished.tasks, finished.store, since)?;
    let folder = finished.run_dir.report();
    let files = report_files::write_scores(&folder, finished.plan, &rows)
        .and_then(|()| report_files::link_results(&folder, finished.tasks, finished.store));
    let moment = Moment {
        run: finished.run,
        tasks: finished.tasks,
        interrupted: finished.interrupted,
        now: start_of_call(Duration::ZERO),
    };
    let paged = finished.page.write(&moment, &rows);
    if let Err(error) = &paged {
        tracing::warn!("the page of the run was not written: {error:#}");
    }
    let coloured = std::io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none();
    let mut text = String::new();
    if !rows.is_empty() {
        text.push_str(&format!(
            "\n{}\n",
            score_table::render(&rows, finished.plan.evaluation(), coloured)
        ));
        if let Some(notice) = finished.plan.notice() {
            text.push_str(&format!("{}\n", report_files::printable(notice)));
        }
    }
    text.push_str(&summary(finished, since));
    if paged.is_ok() {
        let place = finished.page.path();
        text.push_str(&format!("  {:14} {}\n", "report", place.display()));
    }
    if let Ok(files) = &files {
        for (what, place) in places(finished, files, !rows.is_empty()) {
            text.push_str(&format!("  {what:14} {place}\n"));
        }
    }
    Ok((text, files.map(drop)))
}

/// The wall clock when this call began; `control` counts from the same one.
fn start_of_call(elapsed: Duration) -> Timestamp {
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    Timestamp(0).after(now.saturating_sub(elapsed))
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
            for line in terminal::failure_lines(failure, terminal::LOG_LINES) {
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
    files: &report_files::Links,
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
        let path = folder.join(report_files::CHECKPOINTS);
        places.push((
            "checkpoints",
            format!("{}/ ({})", path.display(), files.checkpoints),
        ));
    }
    if files.pseudo_labels > 0 {
        let path = folder.join(report_files::PSEUDO_LABELS);
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
    use std::sync::Arc;

    use control::{RunOutcome, WaitingFor};
    use plan::Options;
    use types::{Digest, MemberName, RunId, ScoreReport, Subject, TaskId, TaskKind, TaskName};

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
            avoids: std::collections::BTreeSet::new(),
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
        let store = Arc::new(artifact::Store::open(run_dir.artifacts()).unwrap());
        let plan = Arc::new(Plan::load(Path::new(PLAN), Options::default()).unwrap());
        let page = PageWriter::new(
            Arc::clone(&plan),
            &plan.graph(Digest::of(b"manifest")),
            Arc::clone(&store),
            run_dir.clone(),
        )
        .unwrap();
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
        let run = RunView {
            run: RunId(1),
            name: "demo".to_owned(),
            submitted: Timestamp(5),
            ended: Some((Timestamp(now), RunOutcome::Done)),
            counts: BTreeMap::new(),
            remembered: 0,
        };
        let torn = "{\"fence\":1,\"step\":1,\"values\":{\"loss\":0.5}}\n{\"fence\":1,";
        std::fs::write(run_dir.metrics(&tasks[2].task.name), torn).unwrap();
        let finished = Finished {
            plan: &plan,
            run: &run,
            page: &page,
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
        // where the files cannot be written, people read the table all the same
        std::fs::remove_file(run_dir.report().join("scores.tsv")).unwrap();
        std::fs::create_dir(run_dir.report().join("scores.tsv")).unwrap();
        let (text, written) = report(&finished).unwrap();
        assert!(
            text.contains("0.2000") && text.contains("4 of 4 tasks done"),
            "{text}"
        );
        assert!(!text.contains("scores.tsv"), "{text}");
        written.unwrap_err();
        std::fs::remove_dir(run_dir.report().join("scores.tsv")).unwrap();
        print(&finished).unwrap();

        let html = std::fs::read_to_string(page.path()).unwrap();
        assert!(html.contains("4 of 4 tasks done") && html.contains("0.30000000000000004"));
        assert!(html.contains("fpasst: loss"), "the curve's whole line");
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
