//! A worker: the shipped `duty`, in a shell that has no process, no socket and no clock of its own.

mod calls;
mod line;

use std::collections::{BTreeMap, VecDeque};
use std::path::PathBuf;
use std::time::Duration;

use control::StartRank;
use coordinator::{Said, Told};
use duty::protocol::{Command, Message, StoreAnswer};
use duty::{Action, Backoff, Deed, Duty, Exit, Happening, Input, Limits, Upload};
use types::{Digest, Failure, FailureClass, Fence, Incarnation, Rank, WorkerId};

use crate::gang::Proc;
use crate::log_cursor::LogCursor;
use crate::scenario::Work;
use crate::sim::{Event, Sim};
use calls::Call;
use line::report;

/// How often deadlines are looked at (milliseconds). The worker's own shell does it five times as often.
const TICK: u64 = 500;
/// A connection on which nothing is heard for so long is given up.
const SILENCE: u64 = 5_000;
/// So long a worker waits for the answer to its hello.
const PROMPTLY: u64 = 10_000;
/// So long a question to the gang's store is asked again and again.
const STORE_LIMIT: u64 = 20_000;
/// Lines per batch, and batches on their way.
const LOG_BATCH: u64 = 5;
const LOG_WINDOW: usize = 4;

/// Something that reaches a worker.
#[derive(Debug)]
pub(crate) enum StationEvent {
    Tick,
    Connect,
    Told(u64, Told),
    WireLost(u64),
    Said(Fence, Message),
    Logged(Fence, String),
    Exited(Fence, Exit),
    FetchTry(Fence, u32),
    UploadTry(Fence, Upload, PathBuf, u64, u32),
    Ask(Call),
    Answered(Fence, u64, StoreAnswer),
    Interrupt,
}

/// A worker's machine and, mostly, its process.
#[derive(Debug)]
pub(crate) struct Station {
    pub(crate) name: WorkerId,
    /// Grows with every start; what is meant for an earlier life is not heard.
    pub(crate) life: u64,
    pub(crate) process: Option<Process>,
    pub(crate) paused_until: Option<u64>,
    deferred: Vec<(u64, StationEvent)>,
    /// What its disk keeps: the cache of artifacts, and the newest life of the worker.
    cache: BTreeMap<Digest, Vec<u8>>,
    last_incarnation: Option<Incarnation>,
    pub(crate) files: BTreeMap<PathBuf, Vec<u8>>,
    /// By how much its wall clock was off when its process began, beside its usual skew.
    pub(crate) set_by: i64,
    /// After it has left in order.
    pub(crate) comes_back_after: u64,
}

#[derive(Debug)]
pub(crate) struct Process {
    incarnation: Incarnation,
    duty: Duty,
    link: Link,
    backoff: Backoff,
    heartbeat: u64,
    last_heartbeat: u64,
    ranks: BTreeMap<Fence, Handle>,
    logs: BTreeMap<Fence, Log>,
}

#[derive(Debug)]
enum Link {
    Closed,
    Opening { wire: u64, since: u64 },
    Open { wire: u64, heard: u64 },
}

#[derive(Debug, Default)]
struct Handle {
    proc: Option<u64>,
    /// Uploads begun before are given up.
    uploads: u64,
    fetching: bool,
}

#[derive(Debug)]
struct Log {
    rank: Rank,
    cursor: LogCursor,
    lines: Vec<String>,
}

impl Station {
    pub(crate) fn new(index: usize) -> Self {
        Self {
            name: WorkerId::new(format!("w{index}")).expect("a good name"),
            life: 0,
            process: None,
            paused_until: None,
            deferred: Vec::new(),
            cache: BTreeMap::new(),
            last_incarnation: None,
            files: BTreeMap::new(),
            set_by: 0,
            comes_back_after: 0,
        }
    }

    /// Its connection, if it has one.
    pub(crate) fn wire(&self) -> Option<u64> {
        match self.process.as_ref()?.link {
            Link::Closed => None,
            Link::Opening { wire, .. } | Link::Open { wire, .. } => Some(wire),
        }
    }

    /// Nothing is left that it has to tell.
    pub(crate) fn is_quiet(&self) -> bool {
        self.process.as_ref().is_some_and(|process| {
            matches!(process.link, Link::Open { .. })
                && process.ranks.is_empty()
                && process.logs.is_empty()
                && process.duty.held().is_empty()
                && !process.duty.owes_reports()
        })
    }
}

impl Sim {
    pub(crate) fn station_start(&mut self, index: usize) {
        if self.stations[index].process.is_some() {
            return;
        }
        // clocks are set now and then
        self.stations[index].set_by = self.chance.between(0, 8_000) as i64 - 4_000;
        let now = self.station_clock(index);
        let lost_after = self.scenario.settings.lost_after;
        let station = &mut self.stations[index];
        station.life += 1;
        station.paused_until = None;
        station.deferred.clear();
        station.files.clear();
        let incarnation = duty::next_incarnation(now, station.last_incarnation);
        station.last_incarnation = Some(incarnation);
        station.process = Some(Process {
            incarnation,
            duty: Duty::new(now, lost_after, Limits::default()),
            link: Link::Closed,
            backoff: Backoff::default(),
            heartbeat: 500,
            last_heartbeat: 0,
            ranks: BTreeMap::new(),
            logs: BTreeMap::new(),
        });
        let life = station.life;
        self.note(|| format!("worker w{index} starts (life {life})"));
        self.after(1, Event::Station(index, life, StationEvent::Connect));
        self.after(TICK, Event::Station(index, life, StationEvent::Tick));
    }

    pub(crate) fn station_dies(&mut self, index: usize, down: u64) {
        if self.stations[index].process.is_none() {
            return;
        }
        self.end_station(index, false);
        self.after(down, Event::StationStart(index));
    }

    /// The process is gone. `owing_nothing`: it had told everything before.
    fn end_station(&mut self, index: usize, owing_nothing: bool) {
        let wire = self.stations[index].wire();
        let life = self.stations[index].life;
        self.note(|| format!("worker w{index} is gone (life {life})"));
        self.stations[index].process = None;
        self.stations[index].deferred.clear();
        self.stations[index].paused_until = None;
        self.orphans_die(index, life);
        self.watch.life_ends((index, life), owing_nothing);
        if let Some(wire) = wire {
            self.hang_up(wire);
        }
    }

    pub(crate) fn station_pauses(&mut self, index: usize, pause: u64, with_ranks: bool) {
        if self.stations[index].process.is_none() {
            return;
        }
        let until = self.now + pause;
        let known = self.stations[index].paused_until.unwrap_or(0);
        self.stations[index].paused_until = Some(known.max(until));
        self.at(until, Event::StationResume(index));
        if with_ranks {
            for id in self.live_procs(index) {
                // it wakes with its worker, not before
                self.sleep_proc(id, until + 1);
            }
        }
    }

    pub(crate) fn station_resume(&mut self, index: usize) {
        let station = &mut self.stations[index];
        if station.paused_until.is_none_or(|until| until > self.now) {
            return;
        }
        station.paused_until = None;
        let deferred = std::mem::take(&mut station.deferred);
        self.note(|| format!("worker w{index} goes on"));
        // its timers first: they were due long ago
        let (timers, others): (Vec<_>, Vec<_>) = deferred
            .into_iter()
            .partition(|(_, event)| matches!(event, StationEvent::Tick));
        for (life, event) in timers.into_iter().chain(others) {
            self.station_event(index, life, event);
        }
    }

    pub(crate) fn station_leaves(&mut self, index: usize, down: u64) {
        let station = &mut self.stations[index];
        station.comes_back_after = down;
        let life = station.life;
        self.after(0, Event::Station(index, life, StationEvent::Interrupt));
    }

    pub(crate) fn station_event(&mut self, index: usize, life: u64, event: StationEvent) {
        let station = &mut self.stations[index];
        if station.life != life || station.process.is_none() {
            return;
        }
        if station.paused_until.is_some() {
            station.deferred.push((life, event));
            return;
        }
        match event {
            StationEvent::Tick => self.station_tick(index),
            StationEvent::Connect => self.connect(index),
            StationEvent::Told(wire, told) => self.station_told(index, wire, told),
            StationEvent::WireLost(wire) => {
                if self.stations[index].wire() == Some(wire) {
                    self.disconnect(index);
                }
            }
            StationEvent::Said(fence, Message::Store { request, ask }) => {
                self.begin_ask(index, fence, request, ask);
            }
            StationEvent::Said(fence, message) => {
                self.happens(index, fence, Happening::Said(message));
            }
            StationEvent::Logged(fence, line) => {
                if let Some(process) = &mut self.stations[index].process
                    && let Some(log) = process.logs.get_mut(&fence)
                {
                    log.lines.push(line);
                    log.cursor.written();
                }
            }
            StationEvent::Exited(fence, exit) => self.happens(
                index,
                fence,
                Happening::Exited {
                    exit,
                    log_tail: Vec::new(),
                },
            ),
            StationEvent::FetchTry(fence, tries) => self.fetch(index, fence, tries),
            StationEvent::UploadTry(fence, what, file, generation, tries) => {
                self.upload(index, fence, what, file, generation, tries);
            }
            StationEvent::Ask(call) => self.call(index, call),
            StationEvent::Answered(fence, request, answer) => {
                let proc = self.handle(index, fence).and_then(|handle| handle.proc);
                if let Some(proc) = proc {
                    self.proc_answered(proc, request, answer);
                }
            }
            StationEvent::Interrupt => self.apply(index, Input::Interrupt),
        }
        self.tidy(index);
        self.send_logs(index);
    }

    fn handle(&mut self, index: usize, fence: Fence) -> Option<&mut Handle> {
        self.stations[index].process.as_mut()?.ranks.get_mut(&fence)
    }

    fn happens(&mut self, index: usize, fence: Fence, happening: Happening) {
        self.apply(index, Input::Rank { fence, happening });
    }

    /// Gives `duty` an input and does what it wants.
    fn apply(&mut self, index: usize, input: Input) {
        let mut todo = VecDeque::from(self.decide(index, input));
        while let Some(action) = todo.pop_front() {
            match action {
                Action::Rank { fence, deed } => todo.extend(self.perform(index, fence, deed)),
                Action::Send(numbered) => {
                    let said = Said::Report {
                        sequence: numbered.sequence,
                        fence: numbered.fence,
                        rank: numbered.rank,
                        what: report(numbered.report),
                    };
                    self.say(index, said);
                }
                Action::Progress(note) => self.say(
                    index,
                    Said::Progress {
                        fence: note.fence,
                        rank: note.rank,
                        progress: note.progress,
                    },
                ),
                Action::Draining => self.say(index, Said::Draining),
                Action::Quarantined(reason) => self.say(index, Said::Quarantined { reason }),
                Action::Exit { connected } => {
                    if connected {
                        self.say(index, Said::Goodbye);
                    }
                    self.leave(index, connected);
                    return;
                }
                Action::ExitNow => {
                    self.say(index, Said::Goodbye);
                    self.leave(index, false);
                    return;
                }
            }
        }
    }

    fn leave(&mut self, index: usize, in_order: bool) {
        let logs_told = self.stations[index]
            .process
            .as_ref()
            .is_some_and(|process| process.logs.is_empty() && !process.duty.owes_reports());
        self.end_station(index, in_order && logs_told);
        let down = self.stations[index].comes_back_after;
        self.after(down + 200, Event::StationStart(index));
    }

    fn decide(&mut self, index: usize, input: Input) -> Vec<Action> {
        let now = self.station_clock(index);
        let Some(process) = &mut self.stations[index].process else {
            return Vec::new();
        };
        process.duty.apply(now, input)
    }

    fn perform(&mut self, index: usize, fence: Fence, deed: Deed) -> Vec<Action> {
        let life = self.stations[index].life;
        match deed {
            Deed::Fetch => {
                let Some(process) = &mut self.stations[index].process else {
                    return Vec::new();
                };
                let Some(assignment) = process.duty.assignment(fence) else {
                    return Vec::new();
                };
                let log = Log {
                    rank: assignment.rank,
                    cursor: LogCursor::default(),
                    lines: Vec::new(),
                };
                process.logs.insert(fence, log);
                let handle = Handle {
                    fetching: true,
                    ..Handle::default()
                };
                process.ranks.insert(fence, handle);
                let delay = self.latency();
                let event = StationEvent::FetchTry(fence, 0);
                self.after(delay, Event::Station(index, life, event));
            }
            Deed::AbortFetch => {
                if let Some(handle) = self.handle(index, fence) {
                    handle.fetching = false;
                }
            }
            Deed::Launch => {
                let launched = self.launch(index, fence);
                let happening = Happening::Launched(launched);
                return self.decide(index, Input::Rank { fence, happening });
            }
            Deed::Tell(Command::Stop) => {
                if let Some(proc) = self.handle(index, fence).and_then(|handle| handle.proc) {
                    self.proc_stop(proc);
                }
            }
            Deed::Tell(Command::Lease { left_ms }) => {
                if let Some(proc) = self.handle(index, fence).and_then(|handle| handle.proc) {
                    self.proc_lease(proc, left_ms);
                }
            }
            Deed::Tell(_) => {}
            Deed::Terminate => self.signal(index, fence, 15),
            Deed::Kill => self.signal(index, fence, 9),
            Deed::Upload { what, file } => {
                let Some(handle) = self.handle(index, fence) else {
                    return Vec::new();
                };
                let generation = handle.uploads;
                let delay = self.chance.between(20, 900);
                let event = StationEvent::UploadTry(fence, what, file, generation, 0);
                self.after(delay, Event::Station(index, life, event));
            }
            Deed::AbortUploads => {
                if let Some(handle) = self.handle(index, fence) {
                    handle.uploads += 1;
                }
            }
            Deed::Discard(file) => {
                self.stations[index].files.remove(&file);
            }
        }
        Vec::new()
    }

    fn signal(&mut self, index: usize, fence: Fence, signal: i32) {
        if let Some(proc) = self.handle(index, fence).and_then(|handle| handle.proc) {
            self.kill_proc(proc, signal, signal == 9);
        }
    }

    fn launch(&mut self, index: usize, fence: Fence) -> Result<(), Failure> {
        let station = &self.stations[index];
        let broken = |what: &str| Err(Failure::new(FailureClass::Artifact, what));
        let Some(assignment) = station
            .process
            .as_ref()
            .and_then(|process| process.duty.assignment(fence))
        else {
            return Err(Failure::new(FailureClass::TransientIo, "it is over"));
        };
        let Some(node) = self.scenario.graph.get(&assignment.task) else {
            return broken("no such task");
        };
        let steps = self.scenario.steps[&assignment.task];
        let work = Work::new(node, &assignment.inputs, steps);
        let from = match assignment.resume {
            None => (work.beginning(), 0),
            Some(digest) => match station
                .cache
                .get(&digest)
                .and_then(|bytes| Work::resume(bytes))
            {
                Some(from) => from,
                None => return broken("the checkpoint cannot be read"),
            },
        };
        let proc = Proc::new(
            (index, station.life),
            (fence, assignment.rank, assignment.world_size),
            node.kind,
            assignment.task.clone(),
            work,
            assignment.outputs.clone(),
            from,
        );
        let id = self.start_proc(index, proc);
        if let Some(handle) = self.handle(index, fence) {
            handle.proc = Some(id);
        }
        Ok(())
    }

    // ---- the connection -----------------------------------------------------------------------------------------------

    fn station_tick(&mut self, index: usize) {
        let life = self.stations[index].life;
        self.after(TICK, Event::Station(index, life, StationEvent::Tick));
        let now = self.now;
        let Some(process) = &mut self.stations[index].process else {
            return;
        };
        let too_long = match process.link {
            Link::Closed => false,
            Link::Opening { since, .. } => now >= since + PROMPTLY,
            Link::Open { heard, .. } => now >= heard + SILENCE,
        };
        let beats = matches!(process.link, Link::Open { .. })
            && now >= process.last_heartbeat + process.heartbeat;
        if too_long {
            self.disconnect(index);
        } else if beats {
            process.last_heartbeat = now;
            let sent_at = self.station_clock(index).0;
            self.say(index, Said::Heartbeat { sent_at });
        }
        self.apply(index, Input::Tick);
    }

    /// The coordinator gives only what it has every reason to think free.
    fn check_slot(&mut self, index: usize, start: &StartRank) {
        let Some(process) = &self.stations[index].process else {
            return;
        };
        let taken = process.duty.held().into_iter().find(|held| {
            held.slot == start.kind.slot()
                && held.fence < start.fence
                && process.duty.assignment(held.fence).is_some()
        });
        if let Some(taken) = taken {
            let detail = format!(
                "w{index} is told to start attempt {} while attempt {} has its slot",
                start.fence, taken.fence
            );
            self.violate("one gang per device", detail);
        }
    }

    fn tidy(&mut self, index: usize) {
        let Some(process) = &mut self.stations[index].process else {
            return;
        };
        let duty = &process.duty;
        process
            .ranks
            .retain(|fence, _| duty.assignment(*fence).is_some());
        process
            .logs
            .retain(|fence, log| duty.assignment(*fence).is_some() || !log.cursor.is_delivered());
    }
}

fn millis(duration: Duration) -> u64 {
    duration.as_millis() as u64
}
