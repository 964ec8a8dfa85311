//! Rank processes, played by a model of them.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use duty::Exit;
use duty::protocol::{Message, StoreAnswer, StoreAsk};
use types::{
    FailureClass, Fence, MetricPoint, Progress, ProgressUnit, Rank, SlotKind, Step, TaskKind,
    TaskName,
};

use crate::scenario::{Work, WorkState, mix};
use crate::sim::{Event, Sim};
use crate::station::StationEvent;

/// A collective that does not get on for so long gives up (milliseconds).
const COLLECTIVE: u64 = 60_000;
/// A rank that woke up has so long to learn that it must not live any more.
pub(crate) const GRACE: u64 = 2_000;

/// One rank process.
#[derive(Debug)]
pub(crate) struct Proc {
    pub(crate) station: usize,
    /// The life of the worker that started it.
    pub(crate) life: u64,
    pub(crate) fence: Fence,
    pub(crate) rank: Rank,
    pub(crate) world: u32,
    pub(crate) slot: SlotKind,
    pub(crate) kind: TaskKind,
    pub(crate) task: TaskName,
    pub(crate) work: Work,
    pub(crate) outputs: Vec<String>,
    /// Where it begins.
    pub(crate) from: (WorkState, u64),
    pub(crate) alive: bool,
    /// A signal that ends it is on its way.
    dying: bool,
    pub(crate) asleep_until: u64,
    pub(crate) woke: Option<u64>,
    /// What its worker last said of its lease.
    lease_until: u64,
    met: bool,
    said_last_word: bool,
    lines: u64,
    pub(crate) request: u64,
}

/// The ranks of one attempt, once they have met.
#[derive(Debug, Default)]
pub(crate) struct Gang {
    members: BTreeMap<Rank, u64>,
    met: BTreeSet<Rank>,
    state: WorkState,
    step: u64,
    began: bool,
    stop: bool,
    broken: bool,
    stuck_since: Option<u64>,
}

impl Sim {
    /// A worker starts a rank process.
    pub(crate) fn start_proc(&mut self, station: usize, proc: Proc) -> u64 {
        self.last_proc += 1;
        let id = self.last_proc;
        self.note(|| {
            format!(
                "rank {} of {} starts on w{station} (attempt {}, {}, from step {})",
                proc.rank, proc.world, proc.fence, proc.task, proc.from.1
            )
        });
        self.check_rank_start(&proc);
        let gang = self.gangs.entry(proc.fence).or_default();
        gang.members.insert(proc.rank, id);
        self.procs.insert(id, proc);
        let delay = self.chance.between(50, 600);
        self.after(delay, Event::RankUp(id));
        id
    }

    fn proc_says(&mut self, id: u64, message: Message) {
        let Some(proc) = self.procs.get(&id) else {
            return;
        };
        let (station, life, fence) = (proc.station, proc.life, proc.fence);
        self.after(
            1,
            Event::Station(station, life, StationEvent::Said(fence, message)),
        );
    }

    fn proc_logs(&mut self, id: u64, line: String) {
        let Some(proc) = self.procs.get_mut(&id) else {
            return;
        };
        proc.lines += 1;
        let (station, life, fence, rank) = (proc.station, proc.life, proc.fence, proc.rank);
        self.watch.logs_line((station, life), fence, rank, &line);
        self.after(
            1,
            Event::Station(station, life, StationEvent::Logged(fence, line)),
        );
    }

    pub(crate) fn rank_up(&mut self, id: u64) {
        let Some(proc) = self.procs.get(&id).filter(|proc| proc.alive) else {
            return;
        };
        if proc.asleep_until > self.now {
            self.at(proc.asleep_until, Event::RankUp(id));
            return;
        }
        let (rank, fence) = (proc.rank, proc.fence);
        self.proc_logs(id, format!("rank {rank} of attempt {fence} is up"));
        let key = "arrived".to_owned();
        self.ask(id, StoreAsk::Add { key, amount: 1 });
    }

    fn ask(&mut self, id: u64, ask: StoreAsk) {
        let Some(proc) = self.procs.get_mut(&id) else {
            return;
        };
        proc.request += 1;
        let (station, life, fence, request) = (proc.station, proc.life, proc.fence, proc.request);
        let message = Message::Store { request, ask };
        self.after(
            1,
            Event::Station(station, life, StationEvent::Said(fence, message)),
        );
    }

    /// The answers come in the order of the questions, for there is one at a time.
    pub(crate) fn proc_answered(&mut self, id: u64, request: u64, answer: StoreAnswer) {
        let Some(proc) = self.procs.get(&id) else {
            return;
        };
        if !proc.alive || proc.said_last_word || proc.request != request {
            return;
        }
        let (rank, world, fence) = (proc.rank, proc.world, proc.fence);
        match (request, answer) {
            (1, StoreAnswer::Counter { .. }) => self.ask(
                id,
                StoreAsk::Set {
                    key: format!("rank/{rank}"),
                    value: vec![1],
                },
            ),
            (2, StoreAnswer::Done) => self.ask(
                id,
                StoreAsk::Wait {
                    keys: (0..world).map(|rank| format!("rank/{rank}")).collect(),
                    timeout_ms: 20_000,
                },
            ),
            (3, StoreAnswer::Done) => {
                let key = "arrived".to_owned();
                self.ask(id, StoreAsk::Add { key, amount: 0 });
            }
            (4, StoreAnswer::Counter { value }) if value == i64::from(world) => self.met(id),
            // fewer: a coordinator that came back meanwhile has forgotten who was there
            (4, StoreAnswer::Counter { value }) if value > i64::from(world) => {
                let detail = format!("attempt {fence} has {world} ranks, {value} arrived");
                self.violate("everybody arrives once", detail);
            }
            (_, answer) => {
                let message = format!("the gang did not meet: {answer:?}");
                self.last_word(
                    id,
                    Message::Failed {
                        class: FailureClass::PeerLost,
                        message,
                    },
                    1,
                );
            }
        }
    }

    fn met(&mut self, id: u64) {
        let Some(proc) = self.procs.get_mut(&id) else {
            return;
        };
        proc.met = true;
        let (fence, rank) = (proc.fence, proc.rank);
        self.proc_says(id, Message::Met);
        let step = self.scenario.step;
        let Some(gang) = self.gangs.get_mut(&fence) else {
            return;
        };
        let first = gang.met.is_empty();
        gang.met.insert(rank);
        if first {
            self.after(step, Event::GangStep(fence));
        }
    }

    pub(crate) fn proc_lease(&mut self, id: u64, left: u64) {
        let now = self.now;
        if let Some(proc) = self.procs.get_mut(&id) {
            proc.lease_until = now + left;
        }
    }

    pub(crate) fn proc_stop(&mut self, id: u64) {
        let Some(proc) = self.procs.get(&id).filter(|proc| proc.alive) else {
            return;
        };
        if let Some(gang) = self.gangs.get_mut(&proc.fence) {
            gang.stop = true;
        }
    }

    /// One step of all ranks together, or what keeps them from it.
    pub(crate) fn gang_step(&mut self, fence: Fence) {
        let Some(gang) = self.gangs.get(&fence) else {
            return;
        };
        if gang.broken {
            return;
        }
        let members: Vec<u64> = gang.members.values().copied().collect();
        let Some(first) = members.first().and_then(|id| self.procs.get(id)) else {
            return;
        };
        let (world, step_time) = (first.world as usize, self.scenario.step);
        let stuck = gang.stuck_since.unwrap_or(self.now);
        let met = gang.met.len();
        // a rank that stands still finds out when it goes on, before anything else
        let expired: Vec<u64> = members
            .iter()
            .filter(|id| {
                let proc = self.procs.get(id);
                proc.is_some_and(|proc| {
                    proc.alive && proc.lease_until <= self.now && proc.asleep_until <= self.now
                })
            })
            .copied()
            .collect();
        for id in expired {
            let exit = Exit {
                code: Some(3),
                ..Exit::default()
            };
            self.rank_gone(id, exit);
        }
        let gone = |id: &u64| {
            let proc = self.procs.get(id);
            proc.is_none_or(|proc| !proc.alive || proc.said_last_word)
        };
        let dead = members.iter().any(gone);
        if dead || self.now.saturating_sub(stuck) > COLLECTIVE {
            self.break_gang(fence, &members);
            return;
        }
        let held_up = met < world
            || members.iter().any(|id| {
                self.procs
                    .get(id)
                    .is_some_and(|proc| proc.asleep_until > self.now)
            });
        if held_up {
            if let Some(gang) = self.gangs.get_mut(&fence) {
                gang.stuck_since.get_or_insert(self.now);
            }
            self.after(100, Event::GangStep(fence));
            return;
        }
        self.go_on(fence, &members);
        self.after(step_time, Event::GangStep(fence));
    }

    fn break_gang(&mut self, fence: Fence, members: &[u64]) {
        if let Some(gang) = self.gangs.get_mut(&fence) {
            gang.broken = true;
        }
        for id in members {
            let delay = self.chance.between(100, 1_500);
            self.after(delay, Event::PeerLost(*id));
        }
    }

    fn go_on(&mut self, fence: Fence, members: &[u64]) {
        self.check_step(fence, members);
        let Some(gang) = self.gangs.get_mut(&fence) else {
            return;
        };
        gang.stuck_since = None;
        let procs: Vec<&Proc> = members.iter().filter_map(|id| self.procs.get(id)).collect();
        let Some(first) = procs.first() else {
            return;
        };
        if !gang.began {
            gang.began = true;
            gang.step = first.from.1;
            gang.state = if procs.iter().all(|proc| proc.from == first.from) {
                first.from.0
            } else {
                let states: Vec<&[u8]> = procs.iter().map(|proc| &proc.from.0[..]).collect();
                mix(&states)
            };
        }
        let work = first.work.clone();
        let trains = first.kind == TaskKind::Train;
        let outputs = first.outputs.clone();
        if gang.step < work.steps && !gang.stop {
            gang.step += 1;
            gang.state = work.step(gang.state, gang.step);
        }
        let (step, state, stop) = (gang.step, gang.state, gang.stop);
        let leader = members[0];
        for id in members {
            self.proc_logs(*id, format!("attempt {fence} step {step}"));
        }
        if step >= work.steps {
            let mut files = BTreeMap::new();
            for name in outputs {
                let file = PathBuf::from(format!("{fence}/out.{name}"));
                self.hand_over(leader, &file, work.output(state, &name));
                files.insert(name, file);
            }
            for id in members {
                let outputs = if *id == leader {
                    files.clone()
                } else {
                    BTreeMap::new()
                };
                self.proc_logs(*id, format!("attempt {fence} ends"));
                self.last_word(*id, Message::Finished { outputs }, 0);
            }
            return;
        }
        if trains && !stop {
            let point = MetricPoint {
                step: Step(step),
                values: BTreeMap::from([("loss".to_owned(), f64::from(state[0]))]),
            };
            self.proc_says(leader, Message::Metrics(point));
            let progress = Progress {
                done: step,
                total: work.steps,
                unit: ProgressUnit::Steps,
                loss: None,
                clips_per_second: None,
            };
            self.proc_says(leader, Message::Progress(progress));
        }
        if trains && (stop || step.is_multiple_of(self.scenario.checkpoint_every)) {
            let file = PathBuf::from(format!("{fence}/{step}"));
            self.hand_over(leader, &file, work.checkpoint(state, step));
            let step = Step(step);
            self.proc_says(leader, Message::Checkpoint { step, file });
        }
        if stop {
            for id in members {
                self.last_word(*id, Message::Stopped, 0);
            }
        }
    }

    fn hand_over(&mut self, id: u64, file: &std::path::Path, bytes: Vec<u8>) {
        if let Some(proc) = self.procs.get(&id) {
            let station = &mut self.stations[proc.station];
            station.files.insert(file.to_owned(), bytes);
        }
    }

    /// A rank says its last word and goes.
    fn last_word(&mut self, id: u64, message: Message, code: i32) {
        let Some(proc) = self.procs.get_mut(&id) else {
            return;
        };
        if proc.said_last_word || !proc.alive {
            return;
        }
        proc.said_last_word = true;
        self.proc_says(id, message);
        let exit = Exit {
            code: Some(code),
            ..Exit::default()
        };
        let delay = self.chance.between(2, 300);
        self.after(delay, Event::RankGone(id, exit));
    }

    pub(crate) fn peer_lost(&mut self, id: u64) {
        let Some(proc) = self.procs.get(&id).filter(|proc| proc.alive) else {
            return;
        };
        if proc.asleep_until > self.now {
            self.at(proc.asleep_until + 200, Event::PeerLost(id));
            return;
        }
        self.proc_logs(id, "a peer is gone".to_owned());
        let message = "a peer is gone".to_owned();
        let class = FailureClass::PeerLost;
        self.last_word(id, Message::Failed { class, message }, 1);
    }

    /// A signal that a process cannot refuse. It takes a moment, and sometimes seconds.
    pub(crate) fn kill_proc(&mut self, id: u64, signal: i32, by_order: bool) {
        let slow = self.chance.one_in(20);
        let delay = if slow {
            self.chance.between(500, 5_000)
        } else {
            self.chance.between(1, 50)
        };
        let Some(proc) = self.procs.get_mut(&id).filter(|proc| proc.alive) else {
            return;
        };
        if std::mem::replace(&mut proc.dying, true) {
            return;
        }
        let exit = Exit {
            signal: Some(signal),
            by_order,
            ..Exit::default()
        };
        self.after(delay, Event::RankGone(id, exit));
    }

    pub(crate) fn rank_gone(&mut self, id: u64, exit: Exit) {
        let Some(proc) = self.procs.get_mut(&id).filter(|proc| proc.alive) else {
            return;
        };
        proc.alive = false;
        let (station, life, fence, rank) = (proc.station, proc.life, proc.fence, proc.rank);
        self.note(|| format!("rank {rank} of attempt {fence} on w{station} is gone"));
        self.after(
            2,
            Event::Station(station, life, StationEvent::Exited(fence, exit)),
        );
        self.wake_gang(fence);
    }

    /// A gang whose ranks were waiting finds out that one is gone.
    fn wake_gang(&mut self, fence: Fence) {
        if let Some(gang) = self.gangs.get(&fence)
            && !gang.broken
            && !gang.met.is_empty()
        {
            self.after(50, Event::GangStep(fence));
        }
    }

    /// The worker is dead: the kernel kills its ranks.
    pub(crate) fn orphans_die(&mut self, station: usize, life: u64) {
        let orphans: Vec<u64> = self
            .procs
            .iter()
            .filter(|(_, proc)| proc.station == station && proc.life == life && proc.alive)
            .map(|(id, _)| *id)
            .collect();
        for id in orphans {
            let mut fence = None;
            if let Some(proc) = self.procs.get_mut(&id) {
                proc.alive = false;
                fence = Some(proc.fence);
            }
            if let Some(fence) = fence {
                self.wake_gang(fence);
            }
        }
    }

    pub(crate) fn live_procs(&self, station: usize) -> Vec<u64> {
        self.procs
            .iter()
            .filter(|(_, proc)| proc.station == station && proc.alive)
            .map(|(id, _)| *id)
            .collect()
    }

    fn some_rank(&mut self, station: usize) -> Option<u64> {
        let live = self.live_procs(station);
        let index = self.chance.below(live.len() as u64) as usize;
        live.get(index).copied()
    }

    pub(crate) fn kill_some_rank(&mut self, station: usize) {
        if let Some(id) = self.some_rank(station) {
            self.kill_proc(id, 9, false);
        }
    }

    pub(crate) fn hang_some_rank(&mut self, station: usize, pause: u64) {
        if let Some(id) = self.some_rank(station) {
            self.sleep_proc(id, self.now + pause);
        }
    }

    pub(crate) fn fail_some_rank(&mut self, station: usize) {
        if let Some(id) = self.some_rank(station) {
            let task = self.procs[&id].task.clone();
            self.watch.fails(&task);
            let message = "the loss is not a number".to_owned();
            let class = FailureClass::NotANumber;
            self.last_word(id, Message::Failed { class, message }, 1);
        }
    }

    pub(crate) fn sleep_proc(&mut self, id: u64, until: u64) {
        if let Some(proc) = self.procs.get_mut(&id) {
            proc.asleep_until = proc.asleep_until.max(until);
            let at = proc.asleep_until;
            self.at(at, Event::RankResume(id));
        }
    }

    pub(crate) fn rank_resume(&mut self, id: u64) {
        let now = self.now;
        if let Some(proc) = self.procs.get_mut(&id).filter(|proc| proc.alive)
            && proc.asleep_until <= now
        {
            proc.woke = Some(now);
        }
    }
}

impl Proc {
    pub(crate) fn new(
        (station, life): (usize, u64),
        (fence, rank, world): (Fence, Rank, u32),
        kind: TaskKind,
        task: TaskName,
        work: Work,
        outputs: Vec<String>,
        from: (WorkState, u64),
    ) -> Self {
        Self {
            station,
            life,
            fence,
            rank,
            world,
            slot: kind.slot(),
            kind,
            task,
            work,
            outputs,
            from,
            alive: true,
            dying: false,
            asleep_until: 0,
            woke: None,
            lease_until: u64::MAX,
            met: false,
            said_last_word: false,
            lines: 0,
            request: 0,
        }
    }
}
