use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use duty::protocol::Message;
use train::{Error, Host};
use types::{MetricPoint, Progress, Section, Step};

use super::pipe::Pipe;

/// The worker as the training sees it.
pub(super) struct WorkerHost {
    pipe: Arc<Pipe>,
    handover: PathBuf,
}

impl WorkerHost {
    pub(super) fn new(pipe: Arc<Pipe>, handover: PathBuf) -> Self {
        Self { pipe, handover }
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

    /// Costs the training a rename; hashing and sending are the worker's, meanwhile.
    fn checkpoint(&mut self, step: Step, file: &Path) -> Result<(), Error> {
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

    fn stop_requested(&self) -> bool {
        self.pipe.stop_requested()
    }
}
