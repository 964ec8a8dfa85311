use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use coordinator::{Said, Told};
use types::{Digest, Fence, Incarnation, Timestamp, WorkerId};

use crate::chance::Chance;
use crate::gang::{Gang, Proc};
use crate::office::Office;
use crate::scenario::Scenario;
use crate::station::{Station, StationEvent};
use crate::watch::Watch;

/// Wall clocks begin here, give or take their skew.
const EPOCH: u64 = 1_700_000_000_000;
/// After the last fault everything must have ended within so much (milliseconds): back-offs, leases and the work itself included.
const PATIENCE: u64 = 40 * 60 * 1_000;

/// What happens next.
#[derive(Debug)]
pub(crate) enum Event {
    /// A message of this connection arrives at the coordinator.
    Up(u64),
    /// A message of this connection arrives at the worker.
    Down(u64),
    /// The coordinator learns that this connection has ended.
    OfficeEnd(u64),
    OfficeStart,
    /// The coordinator takes what has arrived; of this life of it.
    OfficeTurn(u64),
    OfficeResume,
    /// A user's wish, tried until it is heard.
    User(Wish),
    StationStart(usize),
    StationResume(usize),
    /// Something for a worker in this life of it.
    Station(usize, u64, StationEvent),
    /// A rank process has come up.
    RankUp(u64),
    RankResume(u64),
    /// A killed rank process is gone.
    RankGone(u64, duty::Exit),
    /// The ranks of an attempt go on together.
    GangStep(Fence),
    /// A rank has noticed that its gang is broken.
    PeerLost(u64),
    Strike(usize),
    /// Calls get through again.
    LossEnds,
    RoomAgain,
    /// The end, if everything has settled.
    Settled,
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Wish {
    Drain(WorkerId),
    Retry(types::TaskId),
}

/// From a worker, on a connection.
#[derive(Debug)]
pub(crate) enum Up {
    Hello(control::Input),
    Said(Said),
}

/// A connection between a worker's life and a coordinator's life.
#[derive(Debug)]
pub(crate) struct Wire {
    pub(crate) station: usize,
    pub(crate) life: u64,
    pub(crate) incarnation: Incarnation,
    pub(crate) office_life: u64,
    /// The clerk's number for it.
    pub(crate) number: Option<u64>,
    up: VecDeque<Up>,
    down: VecDeque<Told>,
    up_last: u64,
    down_last: u64,
    /// Nothing passes any more.
    pub(crate) dead: bool,
}

/// The network beside the connections.
#[derive(Debug, Default)]
pub(crate) struct Net {
    /// Until then nothing passes to or from this worker.
    parted: BTreeMap<usize, u64>,
    slow: (u64, u64),
    pub(crate) lossy: u64,
}

/// A broken promise.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// Which promise, in two or three words.
    pub check: &'static str,
    /// When, in milliseconds of true time.
    pub at: u64,
    /// What was found.
    pub detail: String,
}

/// What came of a simulation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    /// A digest of everything that happened, in order.
    pub trace: Digest,
    /// Milliseconds of true time.
    pub lasted: u64,
    /// Events.
    pub events: u64,
    /// Writes of the journal.
    pub writes: u64,
    /// Faults that struck before the end.
    pub struck: usize,
    /// Attempts that began.
    pub attempts: usize,
    /// The first broken promise.
    pub violation: Option<Violation>,
}

pub(crate) struct Sim {
    pub(crate) scenario: Arc<Scenario>,
    pub(crate) chance: Chance,
    pub(crate) now: u64,
    queue: BTreeMap<(u64, u64), Event>,
    number: u64,
    trace: blake3::Hasher,
    told: Option<Vec<String>>,
    events: u64,
    struck: usize,
    pub(crate) net: Net,
    pub(crate) wires: BTreeMap<u64, Wire>,
    last_wire: u64,
    pub(crate) office: Office,
    pub(crate) stations: Vec<Station>,
    pub(crate) procs: BTreeMap<u64, Proc>,
    pub(crate) last_proc: u64,
    pub(crate) gangs: BTreeMap<Fence, Gang>,
    pub(crate) watch: Watch,
    over: bool,
}

/// Plays a scenario to its end, or to the first broken promise.
#[must_use]
pub fn play(scenario: &Scenario) -> Outcome {
    Sim::new(scenario, false).run().0
}

/// Plays a scenario and tells everything that happened.
#[must_use]
pub fn tell(scenario: &Scenario) -> (Outcome, Vec<String>) {
    Sim::new(scenario, true).run()
}

impl Sim {
    pub(crate) fn new(scenario: &Scenario, told: bool) -> Self {
        let scenario = Arc::new(scenario.clone());
        let stations = (0..scenario.workers.len()).map(Station::new);
        Self {
            chance: Chance::new(scenario.seed, 2),
            now: 0,
            queue: BTreeMap::new(),
            number: 0,
            trace: blake3::Hasher::new(),
            told: told.then(Vec::new),
            events: 0,
            struck: 0,
            net: Net::default(),
            wires: BTreeMap::new(),
            last_wire: 0,
            office: Office::default(),
            stations: stations.collect(),
            procs: BTreeMap::new(),
            last_proc: 0,
            gangs: BTreeMap::new(),
            watch: Watch::new(&scenario),
            over: false,
            scenario,
        }
    }

    pub(crate) fn run(mut self) -> (Outcome, Vec<String>) {
        self.at(0, Event::OfficeStart);
        for index in 0..self.stations.len() {
            self.at(
                self.scenario.workers[index].joins,
                Event::StationStart(index),
            );
        }
        for (index, strike) in self.scenario.clone().strikes.iter().enumerate() {
            self.at(strike.at, Event::Strike(index));
        }
        let last = self.scenario.strikes.iter();
        let last = last.map(|strike| strike.at + strike.fault.lasts()).max();
        let work: u64 = self.scenario.steps.values().sum::<u64>() * self.scenario.step;
        let limit = last.unwrap_or(0) + PATIENCE + 3 * work;
        while !self.over && self.watch.violation.is_none() {
            let Some(((at, number), event)) = self.queue.pop_first() else {
                self.violate("the run ends", "nothing is left to happen".to_owned());
                break;
            };
            self.now = at;
            if at > limit {
                let why = self.why_not_over();
                self.violate("the run ends", why);
                break;
            }
            self.events += 1;
            self.trace.update(&at.to_le_bytes());
            self.trace.update(&number.to_le_bytes());
            self.dispatch(event);
        }
        if self.watch.violation.is_none() {
            self.check_the_end();
        }
        let outcome = Outcome {
            trace: Digest::from_bytes(*self.trace.finalize().as_bytes()),
            lasted: self.now,
            events: self.events,
            writes: self.office.writes(),
            struck: self.struck,
            attempts: self.watch.attempts(),
            violation: self.watch.violation.take(),
        };
        (outcome, self.told.unwrap_or_default())
    }

    fn dispatch(&mut self, event: Event) {
        match event {
            Event::Up(wire) => self.arrive_up(wire),
            Event::Down(wire) => self.arrive_down(wire),
            Event::OfficeEnd(wire) => self.office_end(wire),
            Event::OfficeStart => self.office_start(),
            Event::OfficeTurn(life) => self.office_turn(life),
            Event::OfficeResume => self.office_resume(),
            Event::User(wish) => self.user(wish),
            Event::StationStart(station) => self.station_start(station),
            Event::StationResume(station) => self.station_resume(station),
            Event::Station(station, life, event) => self.station_event(station, life, event),
            Event::RankUp(proc) => self.rank_up(proc),
            Event::RankResume(proc) => self.rank_resume(proc),
            Event::RankGone(proc, exit) => self.rank_gone(proc, exit),
            Event::GangStep(fence) => self.gang_step(fence),
            Event::PeerLost(proc) => self.peer_lost(proc),
            Event::Strike(index) => {
                self.struck += 1;
                let strike = self.scenario.strikes[index].clone();
                self.note(|| format!("FAULT: {}", strike.fault));
                self.strike(strike.fault);
            }
            Event::LossEnds => self.net.lossy = 0,
            Event::RoomAgain => self.office.disk.set_full(false),
            Event::Settled => {
                if self.is_settled() {
                    self.over = true;
                } else {
                    self.after(500, Event::Settled);
                }
            }
        }
    }

    pub(crate) fn at(&mut self, at: u64, event: Event) {
        self.number += 1;
        self.queue.insert((at.max(self.now), self.number), event);
    }

    pub(crate) fn after(&mut self, delay: u64, event: Event) {
        self.at(self.now + delay, event);
    }

    /// A line of the story, and a part of the trace's digest.
    pub(crate) fn note(&mut self, line: impl FnOnce() -> String) {
        let line = line();
        self.trace.update(line.as_bytes());
        if let Some(told) = &mut self.told {
            told.push(format!("{:>9.3} s  {line}", self.now as f64 / 1000.0));
        }
    }

    pub(crate) fn violate(&mut self, check: &'static str, detail: String) {
        self.note(|| format!("BROKEN: {check}: {detail}"));
        let at = self.now;
        self.watch
            .violation
            .get_or_insert(Violation { check, at, detail });
    }

    /// A worker's own clock: it never jumps, but it may be fast or slow.
    pub(crate) fn station_clock(&self, station: usize) -> Timestamp {
        let machine = &self.scenario.workers[station];
        let drift = i128::from(self.now) * i128::from(machine.fast) / 1_000_000;
        let set = machine.skew + self.stations[station].set_by;
        let now = i128::from(EPOCH + self.now) + i128::from(set) + drift;
        Timestamp(now as u64)
    }

    /// The wall clock of the coordinator's machine.
    pub(crate) fn office_wall(&self) -> Timestamp {
        Timestamp((EPOCH + self.now).saturating_add_signed(self.scenario.skew))
    }

    /// How long a message takes.
    pub(crate) fn latency(&mut self) -> u64 {
        let (until, delay) = self.net.slow;
        let usual = match self.chance.below(50) {
            0 => self.chance.between(20, 400),
            _ => self.chance.between(1, 15),
        };
        if self.now < until {
            usual + self.chance.below(delay + 1)
        } else {
            usual
        }
    }

    /// Until when nothing passes between this worker and the coordinator, if it is so now.
    pub(crate) fn parted(&self, station: usize) -> Option<u64> {
        let until = self.net.parted.get(&station).copied().unwrap_or(0);
        (until > self.now).then_some(until)
    }

    pub(crate) fn part(&mut self, station: usize, until: u64) {
        let known = self.net.parted.entry(station).or_default();
        *known = until.max(*known);
    }

    pub(crate) fn slow_down(&mut self, delay: u64, until: u64) {
        self.net.slow = (until, delay);
    }

    /// Whether a call (or its answer) gets lost now.
    pub(crate) fn call_is_lost(&mut self) -> bool {
        let percent = self.net.lossy;
        percent > 0 && self.chance.percent(percent)
    }

    pub(crate) fn open_wire(&mut self, station: usize, life: u64, incarnation: Incarnation) -> u64 {
        self.last_wire += 1;
        let wire = Wire {
            station,
            life,
            incarnation,
            office_life: self.office.life,
            number: None,
            up: VecDeque::new(),
            down: VecDeque::new(),
            up_last: 0,
            down_last: 0,
            dead: false,
        };
        self.wires.insert(self.last_wire, wire);
        self.last_wire
    }

    pub(crate) fn send_up(&mut self, id: u64, message: Up) {
        let latency = self.latency();
        let now = self.now;
        let Some(wire) = self.wires.get_mut(&id).filter(|wire| !wire.dead) else {
            return;
        };
        wire.up.push_back(message);
        wire.up_last = wire.up_last.max(now + latency);
        let at = wire.up_last;
        self.at(at, Event::Up(id));
    }

    pub(crate) fn send_down(&mut self, id: u64, told: Told) {
        let latency = self.latency();
        let now = self.now;
        let Some(wire) = self.wires.get_mut(&id).filter(|wire| !wire.dead) else {
            return;
        };
        wire.down.push_back(told);
        wire.down_last = wire.down_last.max(now + latency);
        let at = wire.down_last;
        self.at(at, Event::Down(id));
    }

    fn arrive_up(&mut self, id: u64) {
        let Some(station) = self.wires.get(&id).map(|wire| wire.station) else {
            return;
        };
        if let Some(until) = self.parted(station) {
            let latency = self.latency();
            self.at(until + latency, Event::Up(id));
            return;
        }
        let Some(wire) = self.wires.get_mut(&id) else {
            return;
        };
        let Some(message) = wire.up.pop_front() else {
            return;
        };
        if wire.office_life == self.office.life && self.office.is_up() {
            self.office_hears(id, message);
        } else {
            // nobody is there: the kernel says so at once
            self.lose_wire(id);
        }
    }

    fn arrive_down(&mut self, id: u64) {
        let Some(station) = self.wires.get(&id).map(|wire| wire.station) else {
            return;
        };
        if let Some(until) = self.parted(station) {
            let latency = self.latency();
            self.at(until + latency, Event::Down(id));
            return;
        }
        let Some(wire) = self.wires.get_mut(&id) else {
            return;
        };
        let life = wire.life;
        if let Some(told) = wire.down.pop_front() {
            self.station_event(station, life, StationEvent::Told(id, told));
        }
    }

    /// A connection is of no use any more; its worker learns of it, unless it cannot be reached.
    pub(crate) fn lose_wire(&mut self, id: u64) {
        let latency = self.latency();
        let Some(wire) = self.wires.get_mut(&id) else {
            return;
        };
        let (station, life) = (wire.station, wire.life);
        let at = wire.down_last.max(self.now + latency);
        if self.parted(station).is_none() {
            self.at(
                at,
                Event::Station(station, life, StationEvent::WireLost(id)),
            );
        }
    }

    /// A worker hangs up (or dies): what it sent still arrives, then the coordinator learns of it.
    pub(crate) fn hang_up(&mut self, id: u64) {
        let latency = self.latency();
        let Some(wire) = self.wires.get(&id) else {
            return;
        };
        let until = self.parted(wire.station).unwrap_or(0);
        let at = wire
            .up_last
            .max(self.now + latency)
            .max(until + latency + 1);
        self.at(at, Event::OfficeEnd(id));
    }

    /// A connection breaks. Of what is on its way, the last few messages are lost in each direction.
    pub(crate) fn cut(&mut self, station: usize, noticed: bool) {
        let Some(id) = self.stations[station].wire() else {
            return;
        };
        let Some(wire) = self.wires.get_mut(&id) else {
            return;
        };
        let (up, down) = (wire.up.len() as u64, wire.down.len() as u64);
        wire.dead = true;
        let life = wire.life;
        let keep_up = self.chance.below(up + 1) as usize;
        let keep_down = self.chance.below(down + 1) as usize;
        if let Some(wire) = self.wires.get_mut(&id) {
            wire.up.truncate(keep_up);
            wire.down.truncate(keep_down);
        }
        if noticed {
            let delay = self.chance.between(1, 1_500);
            self.after(
                delay,
                Event::Station(station, life, StationEvent::WireLost(id)),
            );
            let delay = self.chance.between(1, 1_500);
            self.after(delay, Event::OfficeEnd(id));
        } else {
            // by its keepalive
            let delay = self.chance.between(10_000, 20_000);
            self.after(delay, Event::OfficeEnd(id));
        }
    }

    /// The run is done: once everybody has heard it, the simulation is over.
    pub(crate) fn run_is_done(&mut self) {
        self.note(|| "the run is done".to_owned());
        self.after(200, Event::Settled);
    }
}
