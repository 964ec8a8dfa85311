//! Follows inputs and actions from outside, with its own small model of who is where, and asserts what must never happen.

use std::collections::{BTreeMap, BTreeSet};

use control::{Action, Input, LiveRank, RankReport, StartRank};
use types::{Digest, Fence, Rank, SlotKind, TaskId, WorkerId};

#[derive(Default)]
pub(crate) struct Ledger {
    /// Who is in which slot, as far as anybody outside can know.
    slots: BTreeMap<(WorkerId, SlotKind), (Fence, Rank)>,
    /// Ranks whose end their worker has reported: named again, they are echoes.
    reported: BTreeSet<(WorkerId, Fence, Rank)>,
    /// Live gangs.
    gangs: BTreeMap<Fence, Gang>,
    /// Every fence ever, in order.
    last_fence: Fence,
    done: BTreeSet<TaskId>,
    incarnations: BTreeMap<WorkerId, u64>,
    /// Workers that nobody hears.
    silent: BTreeSet<WorkerId>,
    /// Workers whose device cannot be freed.
    quarantined: BTreeSet<WorkerId>,
}

struct Gang {
    task: TaskId,
    workers: Vec<WorkerId>,
    started: BTreeSet<Rank>,
    finished: BTreeSet<Rank>,
    result: Option<BTreeMap<String, Digest>>,
    outputs: Vec<String>,
}

impl Ledger {
    /// Ranks that this worker holds.
    pub(crate) fn held(&self, worker: &WorkerId) -> Vec<(SlotKind, Fence, Rank)> {
        let mine = self.slots.iter().filter(|((name, _), _)| name == worker);
        mine.map(|((_, slot), (fence, rank))| (*slot, *fence, *rank))
            .collect()
    }

    /// All of them.
    pub(crate) fn seats(&self) -> Vec<(WorkerId, Fence, Rank)> {
        self.slots
            .iter()
            .map(|((worker, _), (fence, rank))| (worker.clone(), *fence, *rank))
            .collect()
    }

    pub(crate) fn outputs(&self, fence: Fence) -> Vec<String> {
        self.gangs
            .get(&fence)
            .map(|gang| gang.outputs.clone())
            .unwrap_or_default()
    }

    /// What an accepted input says about slots.
    pub(crate) fn accepted(&mut self, input: &Input) {
        match input {
            Input::CoordinatorStarted { .. } => {
                self.silent.extend(self.incarnations.keys().cloned())
            }
            Input::WorkerSilent { worker, .. } => {
                self.silent.insert(worker.clone());
            }
            Input::WorkerBack { worker, .. } => {
                self.silent.remove(worker);
            }
            Input::Quarantine { worker, .. } => {
                self.quarantined.insert(worker.clone());
            }
            Input::Hello {
                worker,
                incarnation,
                live,
                ..
            } => {
                let newer =
                    self.incarnations.insert(worker.clone(), incarnation.0) != Some(incarnation.0);
                if newer {
                    self.quarantined.remove(worker);
                    self.reported.retain(|(name, _, _)| name != worker);
                }
                let listed =
                    |seat: &(Fence, Rank)| live.iter().any(|rank| (rank.fence, rank.rank) == *seat);
                self.slots
                    .retain(|(name, _), seat| name != worker || (!newer && listed(seat)));
                let reported = &self.reported;
                let is_echo =
                    |rank: &&LiveRank| reported.contains(&(worker.clone(), rank.fence, rank.rank));
                for rank in live.iter().filter(|rank| !is_echo(rank)) {
                    self.slots
                        .entry((worker.clone(), rank.slot))
                        .or_insert((rank.fence, rank.rank));
                }
            }
            Input::Goodbye { worker, .. }
            | Input::Exited { worker, .. }
            | Input::LeaseEnded { worker, .. } => {
                self.slots.retain(|(name, _), _| name != worker);
            }
            Input::Report(report) if report.what.is_end() => {
                let seat = (report.fence, report.rank);
                self.reported
                    .insert((report.worker.clone(), report.fence, report.rank));
                let before = self.slots.len();
                self.slots
                    .retain(|(name, _), held| name != &report.worker || *held != seat);
                let was_held = self.slots.len() < before;
                if let (RankReport::Finished { outputs }, true, Some(gang)) =
                    (&report.what, was_held, self.gangs.get_mut(&report.fence))
                {
                    // A stranger of the same fence may end too, without being of the gang.
                    if gang.workers.get(report.rank.0 as usize) != Some(&report.worker) {
                        return;
                    }
                    gang.finished.insert(report.rank);
                    if report.rank == Rank(0) {
                        gang.result = Some(outputs.clone());
                    }
                }
            }
            _ => {}
        }
    }

    /// What the actions of one input do, all of them together.
    pub(crate) fn perform(&mut self, actions: &[Action]) {
        let mut begun = BTreeSet::new();
        let mut ended = BTreeMap::new();
        for action in actions {
            match action {
                Action::AttemptBegan { task, fence, gang } => {
                    if self.gangs.contains_key(fence) {
                        continue;
                    }
                    assert!(
                        *fence > self.last_fence,
                        "fences grow: {fence} after {}",
                        self.last_fence
                    );
                    self.last_fence = *fence;
                    assert!(
                        self.gangs.values().all(|other| other.task != *task),
                        "two live gangs for {task}"
                    );
                    assert!(!self.done.contains(task), "{task} is done and runs again");
                    let workers: Vec<_> = gang.iter().map(|member| member.worker.clone()).collect();
                    let distinct: BTreeSet<_> = workers.iter().collect();
                    assert_eq!(
                        distinct.len(),
                        workers.len(),
                        "one worker has two ranks of a gang"
                    );
                    assert!(
                        gang.iter()
                            .zip(0..)
                            .all(|(member, rank)| member.rank == Rank(rank)),
                        "ranks are dense"
                    );
                    begun.insert(*fence);
                    let gang = Gang {
                        task: task.clone(),
                        workers,
                        started: BTreeSet::new(),
                        finished: BTreeSet::new(),
                        result: None,
                        outputs: Vec::new(),
                    };
                    self.gangs.insert(*fence, gang);
                }
                Action::StartRank(start) => self.start(start),
                Action::AttemptEnded { task, fence, .. } => {
                    // A gang that was given up may have ranks on silent workers; their slots stay taken here.
                    let gang = self.gangs.remove(fence).expect("only live attempts end");
                    assert_eq!(&gang.task, task);
                    let left = self.slots.iter().filter(|((worker, _), (of, rank))| {
                        of == fence && gang.workers.get(rank.0 as usize) == Some(worker)
                    });
                    for ((worker, _), _) in left {
                        assert!(
                            self.silent.contains(worker) || self.quarantined.contains(worker),
                            "{task} is given up while {worker} runs it and is heard"
                        );
                    }
                    ended.insert(*fence, gang);
                }
                Action::TaskDone {
                    task,
                    outputs,
                    fence,
                    ..
                } => {
                    assert!(self.done.insert(task.clone()), "{task} is done twice");
                    if let Some(fence) = fence {
                        let gang = ended
                            .get(fence)
                            .expect("a result comes with the end of a live attempt");
                        assert_eq!(&gang.task, task);
                        assert_eq!(
                            gang.finished.len(),
                            gang.workers.len(),
                            "all ranks have finished"
                        );
                        assert_eq!(
                            gang.result.as_ref(),
                            Some(outputs),
                            "the result is what rank 0 gave under this fence"
                        );
                    }
                }
                _ => {}
            }
        }
        for fence in begun {
            let gang = &self.gangs[&fence];
            assert_eq!(
                gang.started.len(),
                gang.workers.len(),
                "a gang starts whole"
            );
        }
    }

    fn start(&mut self, start: &StartRank) {
        let gang = self
            .gangs
            .get_mut(&start.fence)
            .expect("a rank starts after its attempt began");
        gang.started.insert(start.rank);
        gang.outputs.clone_from(&start.outputs);
        assert_eq!(gang.workers.len(), start.gang.len());
        assert_eq!(gang.workers[start.rank.0 as usize], start.worker);
        let seat = (start.fence, start.rank);
        let held = *self
            .slots
            .entry((start.worker.clone(), start.kind.slot()))
            .or_insert(seat);
        assert_eq!(held, seat, "two live ranks in one slot of {}", start.worker);
    }
}
