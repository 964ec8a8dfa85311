//! What a person sees while a run goes on: log lines, and below them a live view if stderr is a terminal.

mod live;
mod notices;
mod progress;
mod screen;

use std::sync::Arc;
use std::time::{Duration, Instant};

use control::Action;
use tokio::sync::{mpsc, watch};
use types::Timestamp;

use crate::board::Snapshot;

pub(crate) use notices::{LOG_LINES, failure_lines};
pub(crate) use screen::{init_tracing, say};

/// How often the live view is drawn anew.
const REDRAW_EVERY: Duration = Duration::from_millis(250);
/// How often running tasks are told about where there is no live view.
const TELL_EVERY: Duration = Duration::from_secs(15);

/// Shows a run until the senders are gone, or the future is dropped: notices that have come by then are still told.
pub(crate) async fn show(
    snapshots: watch::Receiver<Option<Arc<Snapshot>>>,
    notices: mpsc::UnboundedReceiver<Arc<Action>>,
) {
    let live = screen::is_live();
    let mut show = Show {
        snapshots,
        notices,
        screen: live.then(screen::Screen::new),
        began: None,
        newest: None,
    };
    let mut tick = tokio::time::interval(if live { REDRAW_EVERY } else { TELL_EVERY });
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            biased;
            notice = show.notices.recv() => match notice {
                Some(notice) => show.tell(&notice),
                None => return,
            },
            _ = tick.tick() => show.draw(),
        }
    }
}

struct Show {
    snapshots: watch::Receiver<Option<Arc<Snapshot>>>,
    notices: mpsc::UnboundedReceiver<Arc<Action>>,
    screen: Option<screen::Screen>,
    /// The time of the first snapshot: what was done before it says nothing about the speed of now.
    began: Option<Timestamp>,
    /// The time of the newest snapshot, and when it was first seen: time goes on between snapshots.
    newest: Option<(Timestamp, Instant)>,
}

impl Show {
    fn snapshot(&self) -> Option<Arc<Snapshot>> {
        self.snapshots.borrow().clone()
    }

    fn draw(&mut self) {
        let Some(snapshot) = self.snapshot() else {
            return;
        };
        let began = *self.began.get_or_insert(snapshot.now);
        let (at, seen) = match self.newest {
            Some(newest) if newest.0 == snapshot.now => newest,
            _ => *self.newest.insert((snapshot.now, Instant::now())),
        };
        let now = at.after(seen.elapsed());
        match &mut self.screen {
            Some(screen) => screen.draw(&live::lines(&snapshot, began, now)),
            None => {
                for line in progress::lines(&snapshot) {
                    tracing::info!("{line}");
                }
            }
        }
    }

    fn tell(&self, notice: &Action) {
        notices::tell(notice, self.snapshot().as_deref());
    }
}

impl Drop for Show {
    fn drop(&mut self) {
        if let Some(screen) = &mut self.screen {
            screen.clear();
        }
        while let Ok(notice) = self.notices.try_recv() {
            notices::tell(&notice, self.snapshot().as_deref());
        }
    }
}
