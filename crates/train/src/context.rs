use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use collective::ProcessGroup;
use tch::Device;
use types::{MetricPoint, Progress, Section, Step};

use crate::Error;

/// The supervisor as a task sees it.
pub trait Host {
    /// How far the task is.
    fn progress(&mut self, progress: Progress);
    /// The values of one optimizer step; only rank 0 reports them.
    fn metrics(&mut self, point: MetricPoint);
    /// Who takes checkpoints over.
    fn depot(&self) -> Arc<dyn Depot>;
    /// A section of the work begins: the host knows by it whether the task still moves.
    fn section(&mut self, _section: Section) {}
    /// Whether the task should stop at the next step's end. Ranks may be asked at different times: they agree on the step.
    fn stop_requested(&self) -> bool;
}

/// Takes files over, from whatever thread: checkpoints are written while the training goes on.
pub trait Depot: Send + Sync {
    /// A complete checkpoint after `step`; only rank 0 makes them. The file is the depot's from then on.
    ///
    /// # Errors
    /// When it cannot take it. The checkpoint is lost then, and the task goes on.
    fn checkpoint(&self, step: Step, file: &Path) -> Result<(), Error>;
    /// There is no room in this folder for so many bytes; said again and again until [`Depot::goes_on`].
    fn waits_for_room(&self, folder: &Path, needed: u64);
    /// What waited for room has it, or is not wanted any more.
    fn goes_on(&self);
}

/// Where and with whom a task runs; nothing in it can change a result.
pub struct RankContext<'a> {
    /// Where every tensor is made.
    pub device: Device,
    /// The gang.
    pub group: &'a ProcessGroup,
    /// Input files by role.
    pub inputs: &'a BTreeMap<String, PathBuf>,
    /// The last checkpoint of an earlier attempt at this very task.
    pub resume: Option<&'a Path>,
    /// The data manifest that the coordinator made; the data here is held against it.
    pub manifest: Option<&'a Path>,
    /// An empty folder.
    pub scratch: &'a Path,
    /// The supervisor.
    pub host: &'a mut dyn Host,
}

impl RankContext<'_> {
    pub(crate) fn input(&self, role: &str) -> Result<&Path, Error> {
        self.inputs
            .get(role)
            .map(PathBuf::as_path)
            .ok_or_else(|| Error::MissingInput {
                role: role.to_owned(),
            })
    }

    pub(crate) fn is_first(&self) -> bool {
        self.group.rank() == 0
    }
}

/// How a task ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// Output name to file in `scratch`, on rank 0; empty on other ranks.
    Finished(BTreeMap<String, PathBuf>),
    /// The host asked for it; where the task trains, a checkpoint was handed over first.
    Stopped,
}

impl Outcome {
    pub(crate) fn one(name: &str, file: PathBuf) -> Self {
        Self::Finished(BTreeMap::from([(name.to_owned(), file)]))
    }
}
