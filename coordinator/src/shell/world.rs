use std::sync::Arc;

use control::Action;
use tokio::sync::{mpsc, watch};
use types::Digest;

use super::ToWorkerSender;
use super::command::to_wire;
use crate::clerk::Line;
use crate::records::OpenFiles;
use crate::surroundings::{Onlooker, Surroundings};
use crate::sweeper::Sweeper;
use crate::words::Told;

/// What the clerk reaches in a real coordinator.
pub(super) type ShellWorld = Surroundings<OpenFiles, Watchers>;

/// Who hears of what happens in a real coordinator.
pub(super) struct Watchers {
    pub(super) sweeper: Sweeper,
    pub(super) notices: mpsc::UnboundedSender<Arc<Action>>,
    pub(super) drained: watch::Sender<bool>,
}

impl Onlooker for Watchers {
    fn taken(&mut self, artifacts: &[Digest]) {
        self.sweeper.reported(artifacts);
    }

    fn notice(&mut self, action: Action) {
        self.sweeper.perform(&action);
        if matches!(action, Action::Drained) {
            self.drained.send_replace(true);
        }
        // The terminal may have ended before the shell.
        let _ = self.notices.send(Arc::new(action));
    }
}

impl Line for ToWorkerSender {
    fn tell(&self, told: Told) -> bool {
        self.try_send(Ok(to_wire(told))).is_ok()
    }
}
