use std::collections::BTreeMap;

use types::{Fence, Rank, TaskId, WorkerId};

/// What waits for room on a disk, in words for people: the coordinator itself, and ranks by what their workers say. It goes on by
/// itself once there is room.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Pauses {
    own: Option<String>,
    ranks: BTreeMap<(Fence, Rank), RankPause>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct RankPause {
    task: TaskId,
    worker: WorkerId,
    reason: String,
}

impl Pauses {
    /// The coordinator waits, for this reason, or goes on.
    pub(crate) fn set_own(&mut self, reason: Option<String>) {
        self.own = reason;
    }

    /// A rank waits, for this reason, or goes on.
    pub(crate) fn set(
        &mut self,
        (fence, rank): (Fence, Rank),
        task: TaskId,
        worker: WorkerId,
        reason: Option<String>,
    ) {
        match reason {
            Some(reason) => {
                let pause = RankPause {
                    task,
                    worker,
                    reason,
                };
                self.ranks.insert((fence, rank), pause);
            }
            None => {
                self.ranks.remove(&(fence, rank));
            }
        }
    }

    /// An attempt is over.
    pub(crate) fn end(&mut self, fence: Fence) {
        self.ranks.retain(|(other, _), _| *other != fence);
    }

    /// Why the coordinator waits.
    pub(crate) fn own(&self) -> Option<&str> {
        self.own.as_deref()
    }

    /// What of a task waits, and why.
    pub(crate) fn of_task(&self, task: &TaskId) -> Option<String> {
        let pauses = self.ranks.values().filter(|pause| pause.task == *task);
        let texts: Vec<String> = pauses
            .map(|pause| format!("{} on worker {}", pause.reason, pause.worker))
            .collect();
        (!texts.is_empty()).then(|| texts.join("; "))
    }

    /// A line for each, the coordinator's first.
    pub(crate) fn lines(&self) -> Vec<String> {
        let own = self.own.iter().map(|reason| format!("paused: {reason}"));
        let ranks = self.ranks.values().map(|pause| {
            format!(
                "paused: {}, {} on worker {}",
                pause.task.name, pause.reason, pause.worker
            )
        });
        own.chain(ranks).collect()
    }
}

#[cfg(test)]
mod tests {
    use types::{RunId, TaskName};

    use super::*;

    #[test]
    fn what_waits_is_named_until_it_goes_on_or_ends() {
        let task = |name| TaskId {
            run: RunId(1),
            name: TaskName::new(name).unwrap(),
        };
        let worker = || WorkerId::new("w").unwrap();
        let mut pauses = Pauses::default();
        let reason = || Some("no room on /cache (2 needed, 1 free)".to_owned());
        pauses.set((Fence(1), Rank(0)), task("a"), worker(), reason());
        pauses.set((Fence(2), Rank(1)), task("b"), worker(), reason());
        pauses.set_own(Some("no room on /run".to_owned()));
        assert_eq!(
            pauses.lines(),
            [
                "paused: no room on /run",
                "paused: a, no room on /cache (2 needed, 1 free) on worker w",
                "paused: b, no room on /cache (2 needed, 1 free) on worker w",
            ]
        );
        assert_eq!(
            pauses.of_task(&task("a")).unwrap(),
            "no room on /cache (2 needed, 1 free) on worker w"
        );
        pauses.set((Fence(1), Rank(0)), task("a"), worker(), None);
        pauses.set_own(None);
        pauses.end(Fence(2));
        assert_eq!(pauses, Pauses::default());
    }
}
