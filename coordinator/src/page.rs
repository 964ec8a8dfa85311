//! The page of a run, `report/index.html`: what it shows is gathered here, and room `report` draws it.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result};
use control::{AttemptOutcome, AttemptView, RunOutcome, RunView, TaskState, TaskView, WaitingFor};
use plan::Plan;
use report::{Attempt, Curves, RunPage, RunState, Settings, Task};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use types::{
    RunId, ShownClips, Subject, TaskGraph, TaskKind, TaskName, TaskNode, TaskSpec, Timestamp,
};

use crate::board::Snapshot;
use crate::records;
use crate::report_files::write_aside;
use crate::run_dir::RunDir;
use crate::scores::{self, Row};
use crate::terminal;

/// While a run goes on, its page is not written more often than this.
const PAUSE: Duration = Duration::from_secs(5);

/// Writes the page, again and again.
pub(crate) struct PageWriter {
    plan: Arc<Plan>,
    nodes: BTreeMap<TaskName, (Place, Vec<TaskName>)>,
    store: Arc<artifact::Store>,
    run_dir: RunDir,
    /// What a curve's file held at that length: those of tasks that are over are read once.
    curves: Mutex<BTreeMap<TaskName, (u64, Curves)>>,
}

/// Where a task stands in the procedure.
#[derive(Debug, Clone)]
struct Place {
    iteration: u32,
    stage: Option<u32>,
    subject: Subject,
}

/// A run at some moment.
pub(crate) struct Moment<'a> {
    pub(crate) run: &'a RunView,
    /// In the graph's order.
    pub(crate) tasks: &'a [TaskView],
    pub(crate) interrupted: bool,
    pub(crate) now: Timestamp,
}

impl PageWriter {
    /// # Errors
    /// When the graph's specs are not those of this program.
    pub(crate) fn new(
        plan: Arc<Plan>,
        graph: &TaskGraph,
        store: Arc<artifact::Store>,
        run_dir: RunDir,
    ) -> Result<Self> {
        let nodes = graph.tasks.iter().map(|node| {
            let after = node.inputs.iter().map(|input| input.task.clone());
            Ok((node.name.clone(), (place(node)?, after.collect())))
        });
        Ok(Self {
            plan,
            nodes: nodes.collect::<Result<_>>()?,
            store,
            run_dir,
            curves: Mutex::default(),
        })
    }

    pub(crate) fn path(&self) -> PathBuf {
        self.run_dir.report().join("index.html")
    }

    /// # Errors
    /// When the file cannot be written; the old one is whole then.
    pub(crate) fn write(&self, moment: &Moment<'_>, rows: &[Row]) -> Result<()> {
        let html = report::run_html(&self.page(moment, rows));
        write_aside(&self.path(), html.as_bytes())
    }

    fn page(&self, moment: &Moment<'_>, rows: &[Row]) -> RunPage {
        let Moment { run, tasks, .. } = moment;
        RunPage {
            plan: self.plan.name().to_owned(),
            notice: self.plan.notice().map(str::to_owned),
            state: match run.ended {
                Some((_, RunOutcome::Done)) => RunState::Done,
                Some((_, RunOutcome::Failed)) => RunState::Failed,
                Some(_) => RunState::Ended,
                None if moment.interrupted => RunState::Interrupted,
                None => RunState::Running,
            },
            began: run.submitted,
            ended: run.ended.map(|(at, _)| at),
            now: moment.now,
            evaluation: self.plan.evaluation().clone(),
            scores: rows.iter().map(|row| row.scores.clone()).collect(),
            curves: tasks
                .iter()
                .filter(|task| task.kind == TaskKind::Train)
                .filter_map(|task| self.curves(&task.task.name))
                .collect(),
            tasks: tasks.iter().filter_map(|task| self.task(task)).collect(),
            clips: self.clips(tasks),
            settings: settings(&self.plan),
            plan_text: self.plan.text().to_owned(),
        }
    }

    fn task(&self, view: &TaskView) -> Option<Task> {
        let name = view.task.name.clone();
        let (place, after) = self.nodes.get(&name)?.clone();
        let failure = match &view.waiting {
            WaitingFor::Failed { failure } => terminal::failure_lines(failure, terminal::LOG_LINES),
            _ => Vec::new(),
        };
        let told = view.state == TaskState::Done || !failure.is_empty();
        Some(Task {
            name,
            kind: view.kind,
            iteration: place.iteration,
            stage: place.stage,
            subject: place.subject,
            after,
            state: match view.state {
                TaskState::Blocked | TaskState::Ready => report::TaskState::Waiting,
                TaskState::Assigned | TaskState::Running => report::TaskState::Running,
                TaskState::Done if view.remembered => report::TaskState::Remembered,
                TaskState::Done => report::TaskState::Done,
                TaskState::Failed => report::TaskState::Failed,
                TaskState::Cancelled => report::TaskState::Cancelled,
            },
            reason: (!told).then(|| view.waiting.to_string()),
            failure,
            attempts: view.attempts.iter().map(attempt).collect(),
        })
    }

    /// What cannot be read is left out: no picture is worth a run.
    fn curves(&self, name: &TaskName) -> Option<Curves> {
        let (place, _) = self.nodes.get(name)?;
        let (Some(stage), Subject::Member(member)) = (place.stage, &place.subject) else {
            return None;
        };
        let path = self.run_dir.metrics(name);
        let length = fs::metadata(&path).ok()?.len();
        let mut known = self.curves.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, curves)) = known.get(name).filter(|(at, _)| *at == length) {
            return Some(curves.clone());
        }
        let points = records::curve(&path)
            .inspect_err(|error| {
                tracing::warn!("the page lacks the curves in {}: {error}", path.display());
            })
            .ok()?;
        let curves = Curves::new(place.iteration, stage, member.clone(), &points);
        known.insert(name.clone(), (length, curves.clone()));
        Some(curves)
    }

    /// Of the last evaluation that has some.
    fn clips(&self, tasks: &[TaskView]) -> Option<ShownClips> {
        let evaluations = tasks
            .iter()
            .rev()
            .filter(|task| task.kind == TaskKind::Evaluate);
        let digest = evaluations
            .into_iter()
            .find_map(|task| task.outputs.get("clips"))?;
        scores::read_json(&self.store, digest)
            .inspect_err(|error| tracing::warn!("the page lacks its clips: {error:#}"))
            .ok()
    }

    fn write_snapshot(&self, snapshot: &Snapshot) -> Result<()> {
        let tasks = &snapshot.tasks;
        let rows = scores::rows(&self.plan, tasks, &self.store, snapshot.run.submitted)?;
        let moment = Moment {
            run: &snapshot.run,
            tasks,
            interrupted: false,
            now: snapshot.now,
        };
        self.write(&moment, &rows)
    }
}

/// Writes the page of a run that goes on, whenever more of its tasks are over, until it is told to stop.
pub(crate) async fn follow(
    writer: Arc<PageWriter>,
    mut snapshots: watch::Receiver<Option<Arc<Snapshot>>>,
    run: RunId,
    stop: CancellationToken,
) {
    let mut shown = None;
    loop {
        let snapshot = snapshots.borrow_and_update().clone();
        let over = |snapshot: &Snapshot| {
            let over = snapshot.tasks.iter().filter(|task| task.state.is_final());
            over.count()
        };
        let snapshot = snapshot.filter(|snapshot| {
            snapshot.run.run == run && shown.is_none_or(|shown| shown != over(snapshot))
        });
        let written = snapshot.is_some();
        if let Some(snapshot) = snapshot {
            shown = Some(over(&snapshot));
            let writer = Arc::clone(&writer);
            let writing = tokio::task::spawn_blocking(move || writer.write_snapshot(&snapshot));
            match writing.await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => tracing::warn!("the page of the run was not written: {error:#}"),
                Err(error) => tracing::warn!("the page of the run was not written: {error}"),
            }
        }
        let next = async {
            if written {
                tokio::time::sleep(PAUSE).await;
            }
            snapshots.changed().await
        };
        tokio::select! {
            () = stop.cancelled() => return,
            changed = next => if changed.is_err() { return },
        }
    }
}

fn place(node: &TaskNode) -> Result<Place> {
    let spec: TaskSpec = serde_json::from_str(&node.spec)
        .with_context(|| format!("the settings of task {}", node.name))?;
    let (iteration, stage, subject) = match spec {
        TaskSpec::Train(spec) => (
            spec.iteration,
            Some(spec.stage),
            Subject::Member(spec.member),
        ),
        TaskSpec::Predict(spec) => (
            spec.iteration,
            Some(spec.stage),
            Subject::Member(spec.member),
        ),
        TaskSpec::PseudoLabel(spec) => (spec.iteration, None, Subject::Ensemble),
        TaskSpec::Evaluate(spec) => (spec.iteration, Some(spec.stage), spec.subject),
    };
    Ok(Place {
        iteration,
        stage,
        subject,
    })
}

fn attempt(view: &AttemptView) -> Attempt {
    let cause = view.ended.as_ref().and_then(|(_, outcome)| match outcome {
        AttemptOutcome::Finished => None,
        AttemptOutcome::Stopped { reason } => Some(format!("stopped because {reason}")),
        AttemptOutcome::Failed { failure } => Some(failure.to_string()),
    });
    Attempt {
        began: view.began,
        ended: view.ended.as_ref().map(|(at, _)| *at),
        workers: view
            .gang
            .iter()
            .map(|seat| seat.worker.to_string())
            .collect(),
        cause,
    }
}

fn settings(plan: &Plan) -> Settings {
    let table = plan.settings_table();
    let mut settings = Settings {
        tasks: table.tasks,
        ..Settings::default()
    };
    for row in table.settings {
        match row.common().map(str::to_owned) {
            Some(value) => settings.same.push((row.setting, value)),
            None => settings.different.push((row.setting, row.values)),
        }
    }
    settings
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use journal::{Journal, SqliteJournal};
    use plan::Options;

    use super::*;
    use crate::replay::replay;

    /// A copy of a run directory that `cargo xtask demo` made becomes the fixture of room `report`.
    #[test]
    #[ignore = "remakes crates/report/tests/demo.json; TUTTI_DEMO_RUN names a copy of the demo's run directory"]
    fn the_demo_becomes_a_fixture() {
        let root = std::env::var("TUTTI_DEMO_RUN").unwrap();
        let run_dir = RunDir::create(Path::new(&root)).unwrap();
        let journal = SqliteJournal::open(&run_dir.journal()).unwrap();
        let cluster = replay(journal.records().unwrap()).unwrap();
        let run = cluster.runs().pop().unwrap();
        let text = fs::read_to_string(run_dir.plan()).unwrap();
        let folder = Path::new(env!("CARGO_MANIFEST_DIR"));
        let path = folder.join("../configs/demo.toml");
        let plan = Arc::new(Plan::parse(&text, &path, Options::default()).unwrap());
        let store = Arc::new(artifact::Store::open(run_dir.artifacts()).unwrap());
        let graph = cluster.graph(run.run).unwrap();
        let tasks = cluster.tasks(run.run);
        let rows = scores::rows(&plan, &tasks, &store, Timestamp(0)).unwrap();
        let writer = PageWriter::new(plan, graph, store, run_dir).unwrap();
        let moment = Moment {
            run: &run,
            tasks: &tasks,
            interrupted: false,
            now: run.ended.as_ref().unwrap().0,
        };
        let mut page = writer.page(&moment, &rows);
        // the best one and the worst one are enough
        let clips = &mut page.clips.as_mut().unwrap().clips;
        clips.drain(1..clips.len() - 1);
        let json = serde_json::to_vec(&page).unwrap();
        fs::write(folder.join("../crates/report/tests/demo.json"), json).unwrap();
    }
}
