//! From a plan's text to a run: the data's manifest, the task graph, and whether anything is left to do.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, Result, anyhow};
use artifact::Keeper;
use control::{Cluster, Input, RunOutcome, Settings};
use plan::{Options, Plan};
use types::{CallId, Digest, RunId, TaskGraph};

use crate::external;
use crate::plan_commands;
use crate::run_dir::RunDir;
use crate::shell::Handle;

/// Prepares plans for one run directory.
pub(crate) struct Submitter {
    run_dir: RunDir,
    keeper: Arc<Keeper>,
    operations_per_second: f64,
}

/// A plan ready to be run.
pub(crate) struct Prepared {
    pub(crate) name: String,
    pub(crate) graph: Arc<TaskGraph>,
}

impl Submitter {
    pub(crate) fn new(run_dir: RunDir, keeper: Arc<Keeper>, operations_per_second: f64) -> Self {
        Self {
            run_dir,
            keeper,
            operations_per_second,
        }
    }

    /// Lists and hashes the data (only what has changed since the last time), stores the manifest, imports the files from
    /// outside the run, makes the graph.
    ///
    /// # Errors
    /// When data is missing or cannot be read, or the store cannot be written.
    pub(crate) fn prepare(&self, plan: &Plan) -> Result<Prepared> {
        let manifest = dataset::Manifest::build(plan.data(), Some(&self.run_dir.manifest_cache()))
            .with_context(|| format!("the data of plan {}", plan.name()))?;
        let store = self.keeper.store();
        store
            .put_bytes(&manifest.to_json())
            .context("storing the data manifest")?;
        let files = external::import(&plan.files(), &self.run_dir, store)?;
        let graph = plan.graph_of(
            manifest.digest(),
            &files,
            &plan_commands::sizing(plan, self.operations_per_second),
        );
        Ok(Prepared {
            name: plan.name().to_owned(),
            graph: Arc::new(graph),
        })
    }

    /// Keeps the plan's text beside its results.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub(crate) fn keep(&self, plan: &Plan) -> Result<()> {
        let path = self.run_dir.plan();
        let aside = path.with_extension("toml.new");
        fs::write(&aside, plan.text())
            .and_then(|()| fs::rename(&aside, &path))
            .with_context(|| format!("cannot write {}", path.display()))
    }

    /// Submits a plan that somebody sent.
    ///
    /// # Errors
    /// All problems of the plan, missing data, a shell that refuses.
    pub(crate) async fn submit_text(
        self: &Arc<Self>,
        shell: &Handle,
        text: &str,
        path: &Path,
        call: Option<CallId>,
    ) -> Result<RunId> {
        let plan = Plan::parse(text, path, Options { check_files: true })
            .map_err(|problems| anyhow!("{problems}"))?;
        // until the run is there, nothing refers to what it brings
        let _hold = self.keeper.hold();
        let this = Arc::clone(self);
        let prepared = tokio::task::spawn_blocking(move || {
            this.keep(&plan)?;
            this.prepare(&plan)
        })
        .await??;
        let known = Arc::clone(&prepared.graph);
        // The graph of the run that is there, submitted again, changes nothing; but the call is remembered.
        let (run, joined) = shell
            .query(move |view| match current_run(view.cluster, &known) {
                Some(run) => (run, view.cluster.run(run).map(|run| run.name)),
                None => (view.cluster.next_run(), None),
            })
            .await?;
        if joined.is_none() || call.is_some() {
            let submit = Input::Submit {
                run,
                name: joined.unwrap_or(prepared.name),
                graph: prepared.graph,
            };
            shell.input(called(call, submit)).await?;
        }
        Ok(run)
    }
}

/// An input that a user's call is about, under the call's number if it has one.
pub(crate) fn called(call: Option<CallId>, input: Input) -> Input {
    match call {
        Some(call) => Input::Called {
            call,
            wish: Box::new(input),
        },
        None => input,
    }
}

/// What a coordinator that has just rebuilt its cluster tells it first, in order, and the run that it then works on.
pub fn opening(
    cluster: &Cluster,
    settings: Settings,
    name: &str,
    graph: &Arc<TaskGraph>,
    has: impl Fn(&Digest) -> bool,
) -> (RunId, Vec<Input>) {
    let mut inputs = vec![Input::CoordinatorStarted { settings }];
    let lost = lost_artifacts(cluster, graph, has);
    let current = if lost.is_empty() {
        current_run(cluster, graph)
    } else {
        None
    };
    inputs.extend(
        lost.into_iter()
            .map(|digest| Input::ArtifactLost { digest }),
    );
    let run = current.unwrap_or_else(|| cluster.next_run());
    if current.is_none() {
        inputs.push(Input::Submit {
            run,
            name: name.to_owned(),
            graph: Arc::clone(graph),
        });
    }
    (run, inputs)
}

/// The latest run, if it is this very graph and either goes on or is done: then there is nothing to submit. A run that failed or
/// was cancelled is submitted anew, so that the same command tries again; what is done is remembered all the same.
pub(crate) fn current_run(cluster: &Cluster, graph: &TaskGraph) -> Option<RunId> {
    let run = cluster.runs().pop()?;
    let same = cluster
        .graph(run.run)
        .is_some_and(|known| **known == *graph);
    let usable = run
        .ended
        .is_none_or(|(_, outcome)| outcome == RunOutcome::Done);
    (same && usable).then_some(run.run)
}

/// Remembered outputs of this graph's tasks that are not in the store any more.
fn lost_artifacts(
    cluster: &Cluster,
    graph: &TaskGraph,
    has: impl Fn(&Digest) -> bool,
) -> Vec<Digest> {
    let mut lost = Vec::new();
    let mut outputs = std::collections::BTreeMap::new();
    for node in &graph.tasks {
        let inputs: Option<std::collections::BTreeMap<String, Digest>> = node
            .inputs
            .iter()
            .map(|input| {
                outputs
                    .get(&(&input.task, &input.output))
                    .map(|digest| (input.role.clone(), *digest))
            })
            .chain(
                node.files
                    .iter()
                    .map(|(role, digest)| Some((role.clone(), *digest))),
            )
            .collect();
        let Some(inputs) = inputs else { continue };
        let Some(remembered) = cluster.remembered(&types::content_key(&node.material, &inputs))
        else {
            continue;
        };
        for (output, digest) in remembered {
            outputs.insert((&node.name, output), *digest);
            if !has(digest) {
                lost.push(*digest);
            }
        }
    }
    lost
}
