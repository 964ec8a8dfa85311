//! `coordinator plan check | show | keys`: looking at a plan without running it. Nothing here writes a file.

use std::collections::BTreeMap;
use std::io::{IsTerminal, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use control::{Cluster, TaskState};
use dataset::{Manifest, Purpose};
use plan::{Memory, Options, Plan, Preview, Previous, Problems, SettingsTable, Sizing};
use types::{Digest, RunId, TaskId, TaskName};

use crate::exit;
use crate::external;
use crate::replay::replay;
use crate::run_dir::RunDir;

/// The arguments of `plan show`.
#[derive(Debug, clap::Args)]
pub(crate) struct Show {
    /// The plan file
    plan: PathBuf,
    /// For scripts
    #[arg(long)]
    json: bool,
    /// Where earlier results are [default: runs/<the plan's name>]
    #[arg(long, value_name = "DIR")]
    run_dir: Option<PathBuf>,
    /// Estimate the time on so many devices
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    devices: u32,
    /// Estimate for CPU workers rather than for GPUs
    #[arg(long)]
    cpu: bool,
    /// Only the settings of every training task
    #[arg(long)]
    settings: bool,
}

/// Columns where the output is no terminal.
const WIDTH_OF_FILES: usize = 140;

/// What `plan show --json` prints.
#[derive(serde::Serialize)]
struct Shown {
    #[serde(flatten)]
    preview: Preview,
    settings: SettingsTable,
}

/// Prints everything that is wrong with a plan, or one line that says what it is.
pub(crate) fn check(path: &Path) -> u8 {
    match Plan::load(path, Options { check_files: true }) {
        Ok(plan) => {
            print(&format!("{}\n", summary(&plan, path)));
            exit::OK
        }
        Err(problems) => tell_problems(&problems),
    }
}

/// Prints the problems; in colours where a person looks.
pub(crate) fn tell_problems(problems: &Problems) -> u8 {
    let stderr = std::io::stderr();
    let coloured = stderr.is_terminal() && std::env::var_os("NO_COLOR").is_none();
    // A reader that has gone needs nothing more.
    let _ = stderr
        .lock()
        .write_all(problems.render(coloured).as_bytes());
    exit::USAGE
}

/// Prints the reference of all keys.
pub(crate) fn keys() -> u8 {
    print(&plan::keys_reference());
    exit::OK
}

/// Prints what running the plan would do.
///
/// # Errors
/// When the data cannot be read (missing data is said, and is no error), or the journal cannot.
pub(crate) fn show(arguments: &Show) -> Result<u8> {
    let plan = match Plan::load(&arguments.plan, Options::default()) {
        Ok(plan) => plan,
        Err(problems) => return Ok(tell_problems(&problems)),
    };
    if arguments.settings {
        let shown = if arguments.json {
            format!(
                "{}\n",
                serde_json::to_string_pretty(&plan.settings_table())?
            )
        } else {
            settings(&plan)
        };
        print(&shown);
        return Ok(exit::OK);
    }
    let root = arguments
        .run_dir
        .clone()
        .unwrap_or_else(|| Path::new("runs").join(plan.name()));
    let run_dir = RunDir::at(&root);
    let past = Past::read(&run_dir)?;
    let manifest = Manifest::look(plan.data(), Some(&run_dir.manifest_cache()));
    let (digest, missing) = match &manifest {
        Ok(manifest) => (manifest.digest(), None),
        Err(error) => (
            Digest::of(b"data that cannot be read"),
            Some(error.to_string()),
        ),
    };
    let sizing = sizing(
        &plan,
        if arguments.cpu {
            Sizing::CPU
        } else {
            Sizing::GPU
        },
    );
    let files = external::look(&plan.files(), &run_dir);
    let graph = plan.graph_of(digest, &files, &sizing);
    let preview = past.preview(&graph, arguments.devices);
    if let Some(missing) = &missing {
        crate::terminal::say(&format!(
            "note: the data cannot be read, so no earlier result counts here and the run would stop at once: {missing}"
        ));
    }
    if arguments.json {
        let shown = Shown {
            preview,
            settings: plan.settings_table(),
        };
        print(&format!("{}\n", serde_json::to_string_pretty(&shown)?));
        return Ok(exit::OK);
    }
    print(&format!(
        "{}\n\n{}\n{}",
        summary(&plan, &arguments.plan),
        settings(&plan),
        preview.table()
    ));
    Ok(exit::OK)
}

/// The plan in one line.
fn summary(plan: &Plan, path: &Path) -> String {
    let tasks = plan.graph(Digest::of(b"counting only")).tasks.len();
    let count = |number: usize, noun: &str| {
        format!("{number} {noun}{}", if number == 1 { "" } else { "s" })
    };
    format!(
        "{}: plan {} is valid: {}, {}, {}",
        path.display(),
        plan.name(),
        count(plan.members().len(), "member"),
        count(plan.iterations().len(), "iteration"),
        count(tasks, "task"),
    )
}

/// The settings of every training task, as wide as the terminal.
fn settings(plan: &Plan) -> String {
    let width = comfy_table::Table::new()
        .width()
        .map_or(WIDTH_OF_FILES, usize::from);
    plan.settings_table().render(width)
}

/// What estimates go by: as many clips as there are, where the data can be listed.
pub(crate) fn sizing(plan: &Plan, operations_per_second: f64) -> Sizing {
    let data = plan.data();
    let clips = data
        .sources
        .keys()
        .filter_map(|split| {
            let clips = dataset::clips(data, *split, Purpose::Evaluation).ok()?;
            Some((*split, clips.len() as u64))
        })
        .collect();
    Sizing {
        clips,
        operations_per_second,
    }
}

/// What earlier runs in a run directory left, from its journal.
pub(crate) struct Past {
    cluster: Cluster,
    /// The latest run in which a task of that name was done.
    done: BTreeMap<TaskName, RunId>,
}

impl Past {
    /// Reads the journal if there is one; a coordinator may be writing it.
    ///
    /// # Errors
    /// When there is a journal that cannot be read.
    pub(crate) fn read(run_dir: &RunDir) -> Result<Self> {
        let path = run_dir.journal();
        let cluster = if path.exists() {
            replay(journal::JournalReader::open(&path)?.records())
                .with_context(|| format!("{}", path.display()))?
        } else {
            Cluster::new()
        };
        let mut done = BTreeMap::new();
        for run in cluster.runs() {
            let finished = cluster
                .tasks(run.run)
                .into_iter()
                .filter(|task| task.state == TaskState::Done);
            done.extend(finished.map(|task| (task.task.name, run.run)));
        }
        Ok(Self { cluster, done })
    }

    /// Compares a graph with it.
    pub(crate) fn preview(&self, graph: &types::TaskGraph, devices: u32) -> Preview {
        let memory = Memory {
            outputs: &|key| self.cluster.remembered(key).cloned(),
            previous: &|name| self.previous(name),
        };
        Preview::new(graph, &memory, devices)
    }

    fn previous(&self, name: &TaskName) -> Option<Previous> {
        let run = *self.done.get(name)?;
        let node = self.cluster.graph(run)?.get(name)?;
        let task = self.cluster.task(&TaskId {
            run,
            name: name.clone(),
        })?;
        let known = node
            .inputs
            .iter()
            .all(|input| task.inputs.contains_key(&input.role));
        Some(Previous {
            spec: node.spec.to_string(),
            inputs: known.then_some(task.inputs),
        })
    }
}

fn print(text: &str) {
    // A reader that has gone (`| head`) needs nothing more.
    let _ = std::io::stdout().lock().write_all(text.as_bytes());
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use control::{Input, Settings};
    use journal::Journal;
    use types::{TaskGraph, Timestamp};

    use super::*;

    const PLAN: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../configs/demo.toml");

    fn graph() -> TaskGraph {
        Plan::load(Path::new(PLAN), Options::default())
            .unwrap()
            .graph(Digest::of(b"data"))
    }

    #[test]
    fn a_folder_without_a_journal_remembers_nothing_and_stays_empty() {
        let folder = tempfile::tempdir().unwrap();
        let past = Past::read(&RunDir::at(folder.path())).unwrap();
        let preview = past.preview(&graph(), 2);
        assert_eq!(preview.totals.done, 0);
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
    }

    #[test]
    fn a_journal_is_read_while_it_is_open() {
        let folder = tempfile::tempdir().unwrap();
        let run_dir = RunDir::at(folder.path());
        let mut journal = journal::SqliteJournal::open(&run_dir.journal()).unwrap();
        let inputs = [
            Input::CoordinatorStarted {
                settings: Settings::default(),
            },
            Input::Submit {
                run: RunId(1),
                name: "demo".to_owned(),
                graph: Arc::new(graph()),
            },
        ];
        for input in inputs {
            journal
                .append(&[control::Record {
                    at: Timestamp(1),
                    input,
                }])
                .unwrap();
        }
        let past = Past::read(&run_dir).unwrap();
        assert_eq!(past.cluster.runs().len(), 1);
        assert_eq!(past.preview(&graph(), 2).totals.done, 0);
    }

    #[test]
    fn the_demo_is_summed_up_in_one_line() {
        let plan = Plan::load(Path::new(PLAN), Options::default()).unwrap();
        let line = summary(&plan, Path::new("demo.toml"));
        assert!(
            line.starts_with("demo.toml: plan demo is valid: 3 members, 2 iterations, "),
            "{line}"
        );
        let shown = settings(&plan);
        assert!(shown.contains("i2.s2") && shown.contains("The same for all 12 training tasks"));
    }
}
