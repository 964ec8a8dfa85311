use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use types::{Bug, Fence, Rank, RunId, SlotKind, TaskId, TaskNode, Timestamp, WorkerId, planted};

use crate::attempt::{Attempt, Seat, SeatState};
use crate::run::Phase;
use crate::state::{State, Turn, Urgency};
use crate::worker::{Occupant, Worker};
use crate::{DeviceKind, WorkerState};

/// The free slots, as they are offered to the ready tasks in order of urgency.
///
/// A gang takes the largest allowed size that fits into one kind of device. A task whose smallest gang does not fit now,
/// but could once others end, *reserves*: free devices of the kinds that could hold it are offered to no less urgent task
/// any more. So a large gang waits at most for what already runs, never for what comes after it.
pub(crate) struct Pool {
    devices: BTreeMap<DeviceKind, Devices>,
    hosts: Vec<WorkerId>,
    /// Workers in service, each with a host slot.
    in_service: u32,
    now: Timestamp,
    gather_until: Timestamp,
    pub(crate) silent: Vec<WorkerId>,
    pub(crate) quarantined: Vec<WorkerId>,
}

#[derive(Default)]
struct Devices {
    /// Free ones by machine.
    free: BTreeMap<String, Vec<WorkerId>>,
    in_service: u32,
    reserved_by: Option<TaskId>,
}

/// The pool's answer to a task.
#[derive(Debug)]
pub(crate) enum Fit {
    Gang(Vec<WorkerId>),
    /// It could have a smaller gang now, and waits a moment for a larger one.
    Gathering,
    /// Too few are free now.
    Slots {
        free: u32,
        need: u32,
    },
    Reserved(TaskId),
    /// Too few are in service at all.
    Workers {
        have: u32,
        need: u32,
    },
}

impl Devices {
    fn count(&self) -> u32 {
        u32::try_from(self.free.values().map(Vec::len).sum::<usize>()).unwrap_or(u32::MAX)
    }

    /// Takes so many: from the fullest machine that they just fit into, else from as few machines as possible.
    fn take(&mut self, size: usize) -> Vec<WorkerId> {
        let fits = self
            .free
            .iter()
            .filter(|(_, workers)| workers.len() >= size)
            .min_by_key(|(_, workers)| workers.len());
        if let Some((host, _)) = fits {
            let host = host.clone();
            return self
                .free
                .get_mut(&host)
                .map(|workers| workers.drain(..size).collect())
                .unwrap_or_default();
        }
        let mut hosts: Vec<_> = self.free.iter_mut().collect();
        hosts.sort_by_key(|(_, workers)| Reverse(workers.len()));
        let mut taken = Vec::new();
        for (_, workers) in hosts {
            let count = workers.len().min(size - taken.len());
            taken.extend(workers.drain(..count));
        }
        taken
    }
}

impl Pool {
    pub(crate) fn new(state: &State, now: Timestamp) -> Self {
        let mut pool = Self {
            devices: BTreeMap::new(),
            hosts: Vec::new(),
            in_service: 0,
            now,
            gather_until: state.gather_until,
            silent: Vec::new(),
            quarantined: Vec::new(),
        };
        for (name, worker) in &state.workers {
            pool.add(name, worker);
        }
        pool
    }

    fn add(&mut self, name: &WorkerId, worker: &Worker) {
        if worker.silent && !worker.gone {
            self.silent.push(name.clone());
        }
        if worker.state() == WorkerState::Quarantined {
            self.quarantined.push(name.clone());
        }
        if !worker.in_service() {
            // Right after a restart every worker is silent, and most will be back in a moment: large gangs count on them.
            let expected = worker.state() == WorkerState::Unknown && !worker.draining;
            if expected && self.now < self.gather_until {
                self.devices
                    .entry(worker.description.device)
                    .or_default()
                    .in_service += 1;
            }
            return;
        }
        self.in_service += 1;
        if worker.host.is_none() {
            self.hosts.push(name.clone());
        }
        let devices = self.devices.entry(worker.description.device).or_default();
        devices.in_service += 1;
        if worker.device.is_none() {
            devices
                .free
                .entry(worker.description.host.clone())
                .or_default()
                .push(name.clone());
        }
    }

    /// Nothing is left to offer.
    fn is_empty(&self, slot: SlotKind) -> bool {
        match slot {
            SlotKind::Host => self.hosts.is_empty(),
            SlotKind::Device => self
                .devices
                .values()
                .all(|devices| devices.reserved_by.is_some() || devices.count() == 0),
        }
    }

    /// Offers what is left to a task. What it takes or reserves is gone for the next. Workers that it avoids are for want of
    /// others.
    pub(crate) fn offer(
        &mut self,
        node: &TaskNode,
        avoids: &BTreeSet<WorkerId>,
        task: impl FnOnce() -> TaskId,
    ) -> Fit {
        match node.kind.slot() {
            SlotKind::Host if self.in_service == 0 => Fit::Workers { have: 0, need: 1 },
            SlotKind::Host => {
                if let Some(other) = self.hosts.iter().rposition(|host| !avoids.contains(host)) {
                    let worker = self.hosts.remove(other);
                    self.hosts.push(worker);
                }
                self.hosts
                    .pop()
                    .map_or(Fit::Slots { free: 0, need: 1 }, |worker| {
                        Fit::Gang(vec![worker])
                    })
            }
            SlotKind::Device => {
                let aside = self.set_aside(avoids);
                if self.largest(node).is_some() {
                    let fit = self.offer_devices(node, task);
                    self.put_back(aside);
                    fit
                } else {
                    self.put_back(aside);
                    self.offer_devices(node, task)
                }
            }
        }
    }

    /// Takes free devices of these workers out of the pool.
    fn set_aside(&mut self, workers: &BTreeSet<WorkerId>) -> Vec<(DeviceKind, String, WorkerId)> {
        let mut aside = Vec::new();
        if workers.is_empty() {
            return aside;
        }
        for (kind, devices) in &mut self.devices {
            for (host, free) in &mut devices.free {
                let avoided = free.extract_if(.., |worker| workers.contains(worker));
                aside.extend(avoided.map(|worker| (*kind, host.clone(), worker)));
            }
        }
        aside
    }

    fn put_back(&mut self, aside: Vec<(DeviceKind, String, WorkerId)>) {
        for (kind, host, worker) in aside {
            let devices = self.devices.entry(kind).or_default();
            devices.free.entry(host).or_default().push(worker);
        }
    }

    /// The largest gang for a task that fits now, and where; of equal ones that on GPUs.
    fn largest(&self, node: &TaskNode) -> Option<(u32, DeviceKind)> {
        let open = self
            .devices
            .iter()
            .filter(|(_, devices)| devices.reserved_by.is_none());
        let sizes = open.filter_map(|(kind, devices)| {
            let free = devices.count();
            let size = node.world_sizes.iter().rev().find(|size| **size <= free)?;
            Some((*size, *kind))
        });
        sizes.max()
    }

    fn offer_devices(&mut self, node: &TaskNode, task: impl FnOnce() -> TaskId) -> Fit {
        let (need, most) = (
            node.world_sizes.first().copied().unwrap_or(1),
            node.world_sizes.last().copied().unwrap_or(1),
        );
        match self.largest(node) {
            Some((size, kind)) if size == most || self.now >= self.gather_until => {
                let devices = self.devices.entry(kind).or_default();
                Fit::Gang(devices.take(size as usize))
            }
            Some(_) => {
                self.reserve(need, task());
                Fit::Gathering
            }
            None => self.no_gang(need, task),
        }
    }

    fn no_gang(&mut self, need: u32, task: impl FnOnce() -> TaskId) -> Fit {
        let have = self
            .devices
            .values()
            .map(|devices| devices.in_service)
            .max()
            .unwrap_or(0);
        if have < need {
            return Fit::Workers { have, need };
        }
        let fitting = self
            .devices
            .values()
            .filter(|devices| devices.in_service >= need);
        let ahead = fitting.clone().find_map(|devices| {
            devices
                .reserved_by
                .clone()
                .filter(|_| devices.count() >= need)
        });
        let free = fitting.map(Devices::count).max().unwrap_or(0);
        self.reserve(need, task());
        ahead.map_or(Fit::Slots { free, need }, Fit::Reserved)
    }

    fn reserve(&mut self, need: u32, task: TaskId) {
        for devices in self
            .devices
            .values_mut()
            .filter(|devices| devices.in_service >= need)
        {
            devices.reserved_by.get_or_insert_with(|| task.clone());
        }
    }
}

impl State {
    /// Gives free slots to ready tasks, most urgent first.
    pub(crate) fn place(&mut self, turn: &mut Turn) {
        if self.stopping || self.ready.is_empty() {
            return;
        }
        let mut pool = Pool::new(self, turn.now);
        let mut chosen = Vec::new();
        for slot in [SlotKind::Device, SlotKind::Host] {
            let first = Urgency {
                slot,
                remaining: Reverse(Duration::MAX),
                run: RunId(0),
                task: 0,
            };
            for urgency in self
                .ready
                .range(first..)
                .take_while(|urgency| urgency.slot == slot)
            {
                // Thousands may be ready; whoever comes after the last free slot need not be asked.
                if pool.is_empty(slot) {
                    break;
                }
                let (id, index) = (urgency.run, urgency.task);
                let run = &self.runs[&id];
                let Some(key) = run.tasks[index].key else {
                    continue;
                };
                let taken = |other: &(RunId, usize, _, _)| other.2 == key;
                let same_work = self.live_keys.contains_key(&key) || chosen.iter().any(taken);
                if same_work && !planted(Bug::SameWorkTwice) {
                    continue;
                }
                let node = &run.graph.tasks[index];
                let avoids = &run.tasks[index].avoids;
                if let Fit::Gang(workers) = pool.offer(node, avoids, || self.task_id(id, index)) {
                    chosen.push((id, index, key, workers));
                }
            }
        }
        for (id, index, key, workers) in chosen {
            self.begin(turn, id, index, key, &workers);
        }
    }

    fn begin(
        &mut self,
        turn: &mut Turn,
        id: RunId,
        index: usize,
        key: types::Digest,
        workers: &[WorkerId],
    ) {
        let slot = self.runs[&id].graph.tasks[index].kind.slot();
        let workers = if planted(Bug::PartialGang) {
            &workers[..1]
        } else {
            workers
        };
        let fence = self.last_fence.next();
        self.last_fence = fence;
        let mut seats = Vec::with_capacity(workers.len());
        for (name, rank) in workers.iter().zip(0..) {
            let Some(worker) = self.touch(turn, name) else {
                continue;
            };
            *worker.slot_mut(slot) = Some(Occupant {
                fence,
                rank: Rank(rank),
            });
            seats.push(Seat {
                worker: name.clone(),
                incarnation: worker.incarnation,
                state: SeatState::Starting,
            });
        }
        let attempt = Attempt {
            fence,
            run: id,
            task: index,
            key,
            slot,
            seats,
            began: turn.now,
            started: None,
            resumed: if planted(Bug::CheckpointOfAnotherKey) {
                self.checkpoints
                    .values()
                    .find_map(|kept| kept.last().copied())
            } else {
                self.newest_checkpoint(&key)
            },
            outputs: None,
            stop: None,
            broken: None,
            failures: Vec::new(),
        };
        self.unqueue(id, index);
        self.activate(id, index, fence);
        self.live_keys.insert(key, fence);
        turn.actions
            .push(attempt.began_action(self.task_id(id, index)));
        let view = attempt.view(None);
        for rank in (0..).take(attempt.seats.len()) {
            turn.actions
                .push(self.start_action(&view, id, index, Rank(rank)));
        }
        self.attempts.insert(fence, attempt);
    }

    fn activate(&mut self, id: RunId, index: usize, fence: Fence) {
        if let Some(run) = self.runs.get_mut(&id) {
            run.tasks[index].phase = Phase::Active(fence);
            run.open += 1;
        }
    }
}
