use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use artifact::{Disk as _, RealDisk};
use duty::protocol::Message;
use train::{Depot, Error, Host};
use types::{Bytes, MetricPoint, Progress, Section, Step};

use super::pipe::Pipe;

/// The worker as the training sees it.
pub(super) struct WorkerHost {
    pipe: Arc<Pipe>,
    depot: Arc<WorkerDepot>,
}

impl WorkerHost {
    pub(super) fn new(pipe: Arc<Pipe>, handover: PathBuf) -> Self {
        let depot = Arc::new(WorkerDepot {
            pipe: Arc::clone(&pipe),
            handover,
        });
        Self { pipe, depot }
    }
}

impl Host for WorkerHost {
    fn progress(&mut self, progress: Progress) {
        self.pipe.say(&Message::Progress(progress));
    }

    fn metrics(&mut self, mut point: MetricPoint) {
        // JSON has no word for them, and no curve a place
        point.values.retain(|_, value| value.is_finite());
        self.pipe.say(&Message::Metrics(point));
    }

    fn section(&mut self, section: Section) {
        self.pipe.say(&Message::Section { section });
    }

    fn depot(&self) -> Arc<dyn Depot> {
        self.depot.clone()
    }

    fn stop_requested(&self) -> bool {
        self.pipe.stop_requested()
    }
}

/// Where finished checkpoints go.
struct WorkerDepot {
    pipe: Arc<Pipe>,
    handover: PathBuf,
}

impl Depot for WorkerDepot {
    /// Costs a rename; hashing and sending are the worker's, meanwhile.
    fn checkpoint(&self, step: Step, file: &Path) -> Result<(), Error> {
        let handed_over = self.handover.join(format!("checkpoint-{step}.safetensors"));
        fs::rename(file, &handed_over).map_err(|error| {
            Error::Host(format!(
                "cannot move {} to {}: {error}",
                file.display(),
                handed_over.display()
            ))
        })?;
        self.pipe.say(&Message::Checkpoint {
            step,
            file: handed_over,
        });
        Ok(())
    }

    fn waits_for_room(&self, folder: &Path, needed: u64) {
        let free = RealDisk.free(folder).map(Bytes).unwrap_or_default();
        let reason = format!(
            "no room on {} ({} needed, {free} free)",
            folder.display(),
            Bytes(needed)
        );
        self.pipe.say(&Message::Waits {
            reason: Some(reason),
        });
    }

    fn goes_on(&self) {
        self.pipe.say(&Message::Waits { reason: None });
    }
}
