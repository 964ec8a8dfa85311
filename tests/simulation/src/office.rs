//! The coordinator: the shipped clerk, records, rendezvous and artifact store, on a disk that forgets.

mod disk;
mod world;

use std::collections::BTreeSet;
use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use control::{Action, Cluster, Input, RunOutcome};
use coordinator::{Clerk, Greeting, Records, Rendezvous, Said, opening, replay};
use duty::protocol::{StoreAnswer, StoreAsk};
use journal::Journal;
use proto::v1::{self, store_reply::Answer, store_request::Ask};
use types::{Digest, Fence, Incarnation, Rank, RunId, Timestamp, WorkerId};

use crate::sim::{Event, Sim, Up, Wish};
use disk::{DiskJournal, Doom, JOURNAL, OfficeDisk, Plan};
use world::{Out, SimFiles, SimLine, SimWorld, Watcher};

/// How soon a disk that was full is tried again (milliseconds).
const JOURNAL_PAUSE: u64 = 2_000;
/// So long a stop in order may take.
const DRAIN_LIMIT: u64 = 120_000;
/// Inputs taken together.
const BATCH: usize = 256;

/// The coordinator's machine and, mostly, its process.
#[derive(Default)]
pub(crate) struct Office {
    pub(crate) life: u64,
    process: Option<Process>,
    pub(crate) disk: OfficeDisk,
    paused_until: Option<u64>,
    doom: Arc<Mutex<Doom>>,
    /// A stop in order: until when it may take, and how long the coordinator stays away then.
    stopping: Option<(u64, u64)>,
}

struct Process {
    clerk: Clerk<SimLine, SimWorld>,
    out: Arc<Mutex<Out>>,
    rendezvous: Arc<Rendezvous>,
    store: artifact::Store,
    inbox: Vec<Request>,
    turn_due: Option<u64>,
    origin: (Timestamp, u64),
    /// A commit that has to be tried again.
    stuck: bool,
    run: RunId,
}

enum Request {
    Hello(u64, Input),
    Said(u64, Said),
    Ended(u64),
    User(Input),
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // one thread: never poisoned unless the simulation is over
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Office {
    pub(crate) fn is_up(&self) -> bool {
        self.process.is_some()
    }

    pub(crate) fn is_paused(&self) -> bool {
        self.paused_until.is_some()
    }

    pub(crate) fn writes(&self) -> u64 {
        lock(&self.doom).writes
    }

    pub(crate) fn cluster(&self) -> Option<&Cluster> {
        Some(self.process.as_ref()?.clerk.cluster())
    }

    pub(crate) fn run(&self) -> Option<RunId> {
        Some(self.process.as_ref()?.run)
    }

    /// From now on the `nth` write of the journal is fatal.
    pub(crate) fn doom(&mut self, nth: u64, written: bool, down: u64, machine: bool) {
        let mut doom = lock(&self.doom);
        let at = doom.writes + nth;
        doom.plan = Some(Plan {
            at,
            written,
            down,
            machine,
        });
    }

    /// An artifact's bytes, as they are given to whoever downloads it.
    pub(crate) fn artifact(&self, digest: &Digest) -> Option<Vec<u8>> {
        let store = &self.process.as_ref()?.store;
        let mut file = store.open_verified(digest).ok()?;
        let mut bytes = Vec::new();
        io::Read::read_to_end(&mut file, &mut bytes).ok()?;
        Some(bytes)
    }

    /// Stores what a worker sends.
    pub(crate) fn put(&self, bytes: &[u8]) -> Result<Digest, artifact::Error> {
        match &self.process {
            Some(process) => process.store.put_bytes(bytes),
            None => Err(artifact::Error::Mismatch {
                expected: Digest::of(bytes),
                found: Digest::of(b""),
            }),
        }
    }

    /// A log file, or a curve, as people read it.
    pub(crate) fn lines(&self, path: &str) -> Vec<String> {
        let bytes = self.disk.read(Path::new(path)).unwrap_or_default();
        // a line that a crash tore is none
        let whole = bytes.iter().rposition(|byte| *byte == b'\n');
        let text = String::from_utf8_lossy(&bytes[..whole.map_or(0, |end| end + 1)]);
        text.lines().map(str::to_owned).collect()
    }

    /// Asks the rendezvous; `None` if there is no answer yet.
    pub(crate) fn ask(
        &self,
        worker: &WorkerId,
        incarnation: Incarnation,
        fence: Fence,
        rank: Rank,
        request: u64,
        ask: &StoreAsk,
    ) -> Option<StoreAnswer> {
        let ask = match ask.clone() {
            StoreAsk::Set { key, value } => Ask::Set(v1::StoreSet { key, value }),
            StoreAsk::Get { key, timeout_ms } => Ask::Get(v1::StoreGet { key, timeout_ms }),
            StoreAsk::Add { key, amount } => Ask::Add(v1::StoreAdd { key, amount }),
            StoreAsk::Check { keys } => Ask::Check(v1::StoreCheck { keys }),
            StoreAsk::Wait { keys, timeout_ms } => Ask::Wait(v1::StoreWait { keys, timeout_ms }),
        };
        let request = v1::StoreRequest {
            worker: worker.to_string(),
            incarnation: incarnation.0,
            fence: fence.0,
            rank: rank.0,
            request,
            ask: Some(ask),
        };
        let process = self.process.as_ref()?;
        match process.rendezvous.ask_now(&request) {
            Ok(None) => None,
            Ok(Some(reply)) => Some(match reply.answer? {
                Answer::Done(_) => StoreAnswer::Done,
                Answer::Value(value) => StoreAnswer::Value { value },
                Answer::Counter(value) => StoreAnswer::Counter { value },
                Answer::Truth(value) => StoreAnswer::Truth { value },
                Answer::Failed(reason) => StoreAnswer::Failed { reason },
            }),
            Err(status) => Some(StoreAnswer::Failed {
                reason: status.message().to_owned(),
            }),
        }
    }
}

impl Sim {
    pub(crate) fn office_now(&self) -> Timestamp {
        let (origin, since) = self
            .office
            .process
            .as_ref()
            .map_or((self.office_wall(), self.now), |process| process.origin);
        Timestamp(origin.0 + (self.now - since))
    }

    pub(crate) fn office_start(&mut self) {
        if self.office.is_up() {
            return;
        }
        self.office.paused_until = None;
        self.office.stopping = None;
        let Some(store) = self.open_store() else {
            // no room even to begin
            self.after(JOURNAL_PAUSE, Event::OfficeStart);
            return;
        };
        let mut journal = DiskJournal {
            disk: self.office.disk.clone(),
            length: 0,
            doom: Arc::clone(&self.office.doom),
        };
        let records = journal.records().map_err(anyhow_like);
        let cluster = match records.and_then(|records| replay(records).map_err(anyhow_like)) {
            Ok(cluster) => cluster,
            Err(error) => {
                self.violate("the journal replays", error);
                return;
            }
        };
        journal.length = self
            .office
            .disk
            .read(Path::new(JOURNAL))
            .map_or(0, |bytes| bytes.len());
        self.check_replay(&cluster);
        let scenario = Arc::clone(&self.scenario);
        let has = |digest: &Digest| store.has(digest);
        let (run, inputs) = opening(&cluster, scenario.settings, "plan", &scenario.graph, has);
        self.note(|| format!("the coordinator starts, run {run}"));
        let out = Arc::new(Mutex::new(Out::default()));
        let rendezvous = Arc::new(Rendezvous::default());
        let world = SimWorld {
            store: Arc::new(store.clone()),
            rendezvous: Arc::clone(&rendezvous),
            records: Records::new(
                Path::new("/run"),
                SimFiles {
                    disk: self.office.disk.clone(),
                    dirty: BTreeSet::new(),
                },
            ),
            onlooker: Watcher(Arc::clone(&out)),
        };
        let greeting = Greeting {
            heartbeat: scenario.settings.heartbeat,
            lost_after: scenario.settings.lost_after,
            journal: Timestamp::default(),
        };
        let origin = (self.office_wall().max(cluster.clock()), self.now);
        self.office.life += 1;
        self.office.process = Some(Process {
            clerk: Clerk::new(cluster, Box::new(journal), world, greeting),
            out,
            rendezvous,
            store,
            inbox: Vec::new(),
            turn_due: None,
            origin,
            stuck: false,
            run,
        });
        for input in inputs {
            if let Input::ArtifactLost { digest } = &input {
                self.violate(
                    "nothing committed is lost",
                    format!("artifact {digest} is gone"),
                );
            }
            self.office_take(Request::User(input));
        }
    }

    /// The artifact store, with what the run needs from outside in it.
    fn open_store(&self) -> Option<artifact::Store> {
        let disk = Arc::new(self.office.disk.0.clone());
        let store = artifact::Store::open_on(disk, "/run/artifacts").ok()?;
        for member in 0..3 {
            let weights = format!("weights{member}");
            if !store.has(&Digest::of(weights.as_bytes())) {
                store.put_bytes(weights.as_bytes()).ok()?;
            }
        }
        Some(store)
    }

    pub(crate) fn office_dies(&mut self, down: u64, machine: bool) {
        if !self.office.is_up() {
            return;
        }
        self.end_office(machine);
        self.after(down, Event::OfficeStart);
    }

    fn end_office(&mut self, machine: bool) {
        self.note(|| "the coordinator is gone".to_owned());
        self.office.process = None;
        self.office.paused_until = None;
        self.office.stopping = None;
        self.office.life += 1;
        if machine {
            self.office.disk.0.crash();
        }
        let open: Vec<u64> = self
            .stations
            .iter()
            .filter_map(crate::station::Station::wire)
            .collect();
        for wire in open {
            self.lose_wire(wire);
        }
    }

    pub(crate) fn office_stops(&mut self, down: u64) {
        if self.office.is_up() && self.office.stopping.is_none() {
            self.office.stopping = Some((self.now + DRAIN_LIMIT, down));
            self.office_take(Request::User(Input::Shutdown));
        }
    }

    pub(crate) fn office_pauses(&mut self, pause: u64) {
        if self.office.is_up() {
            let until = self.now + pause;
            let known = self.office.paused_until.unwrap_or(0);
            self.office.paused_until = Some(known.max(until));
            self.at(until, Event::OfficeResume);
        }
    }

    pub(crate) fn office_resume(&mut self) {
        if self
            .office
            .paused_until
            .is_some_and(|until| until <= self.now)
        {
            self.office.paused_until = None;
            self.office_turn_at(self.now, self.office.life);
        }
    }

    pub(crate) fn user(&mut self, wish: Wish) {
        if !self.office.is_up() || self.office.is_paused() {
            self.after(1_000, Event::User(wish));
            return;
        }
        let input = match wish {
            Wish::Drain(worker) => Input::Drain { worker },
            Wish::Retry(task) => Input::Retry { task },
        };
        self.office_take(Request::User(input));
    }

    pub(crate) fn office_hears(&mut self, wire: u64, message: Up) {
        let request = match message {
            Up::Hello(hello) => Request::Hello(wire, hello),
            Up::Said(said) => Request::Said(wire, said),
        };
        self.office_take(request);
    }

    pub(crate) fn office_end(&mut self, wire: u64) {
        let same_life = self
            .wires
            .get(&wire)
            .is_some_and(|wire| wire.office_life == self.office.life);
        if same_life && self.office.is_up() {
            self.office_take(Request::Ended(wire));
        }
    }

    /// What arrives waits for the next turn, together with whatever else arrives until then.
    fn office_take(&mut self, request: Request) {
        let delay = match self.chance.below(40) {
            0 => self.chance.between(10, 800), // a slow disk
            _ => self.chance.below(4),
        };
        let at = self.now + delay;
        let life = self.office.life;
        let Some(process) = &mut self.office.process else {
            return;
        };
        process.inbox.push(request);
        self.office_turn_at(at, life);
    }

    fn office_turn_at(&mut self, at: u64, life: u64) {
        let now = self.now;
        let Some(process) = &mut self.office.process else {
            return;
        };
        if process.turn_due.is_none_or(|due| due <= now || at < due) {
            process.turn_due = Some(at);
            self.at(at, Event::OfficeTurn(life));
        }
    }

    pub(crate) fn office_turn(&mut self, life: u64) {
        if life != self.office.life || self.office.is_paused() {
            return;
        }
        let (now, this) = (self.office_now(), self.now);
        let Some(process) = &mut self.office.process else {
            return;
        };
        if process.turn_due.is_none_or(|due| due > this) {
            return; // it has had this turn sooner
        }
        process.turn_due = None;
        if !process.stuck {
            let batch = process.inbox.len().min(BATCH);
            let requests: Vec<Request> = process.inbox.drain(..batch).collect();
            for request in requests {
                self.office_request(now, request);
            }
        }
        let Some(process) = &mut self.office.process else {
            return;
        };
        if !process.stuck {
            process.clerk.pass_time(now);
        }
        match process.clerk.commit() {
            Ok(()) => process.stuck = false,
            Err(error) if error.may_pass() => {
                process.stuck = true;
                let at = self.now + JOURNAL_PAUSE;
                self.office_turn_at(at, life);
                return;
            }
            Err(error) => {
                // whatever was said before, however wrongly, is on its way
                self.office_effects();
                let struck = lock(&self.office.doom).struck.take();
                match struck {
                    Some(plan) => self.office_dies(plan.down, plan.machine),
                    None => self.violate("the journal can be written", error.to_string()),
                }
                return;
            }
        }
        self.office_effects();
        self.office_afterwards(life);
    }

    fn office_request(&mut self, now: Timestamp, request: Request) {
        let Some(process) = &mut self.office.process else {
            return;
        };
        match request {
            Request::Hello(id, hello) => {
                let Some(wire) = self.wires.get_mut(&id) else {
                    return;
                };
                let worker = self.stations[wire.station].name.clone();
                let line = SimLine {
                    wire: id,
                    out: Arc::clone(&process.out),
                };
                match process
                    .clerk
                    .attach(now, hello, worker, wire.incarnation, line)
                {
                    Ok(number) => wire.number = Some(number),
                    Err(rejection) => {
                        let name = self.stations[wire.station].name.clone();
                        self.note(|| format!("the coordinator refuses {name}: {rejection}"));
                    }
                }
            }
            Request::Said(id, said) => {
                let Some(wire) = self.wires.get(&id) else {
                    return;
                };
                let Some(number) = wire.number else {
                    return;
                };
                let (station, life) = (wire.station, wire.life);
                let worker = self.stations[station].name.clone();
                if process.clerk.is_current(&worker, number) {
                    self.watch.hears(
                        process.clerk.cluster(),
                        wire.office_life,
                        (station, life),
                        &said,
                    );
                }
                process.clerk.said(now, worker, number, said);
            }
            Request::Ended(id) => {
                if let Some(wire) = self.wires.remove(&id)
                    && let Some(number) = wire.number
                {
                    let worker = self.stations[wire.station].name.clone();
                    process.clerk.detached(&worker, number);
                }
            }
            Request::User(input) => {
                if let Err(rejection) = process.clerk.input(now, input) {
                    self.note(|| format!("a user is refused: {rejection}"));
                }
            }
        }
    }

    /// What the clerk wanted, after its write.
    fn office_effects(&mut self) {
        let Some(process) = &mut self.office.process else {
            return;
        };
        let dirty = process.clerk.take_dirty();
        let out = std::mem::take(&mut *lock(&process.out));
        let mut retried = None;
        for action in &out.notices {
            match action {
                Action::TaskRetried { task, .. } => retried = Some(task),
                Action::AttemptBegan { task, .. } if retried == Some(task) => {
                    self.violate("retries wait", format!("{task} is tried again at once"));
                }
                _ => {}
            }
            self.notice(action);
        }
        for (wire, told) in out.told {
            self.send_down(wire, told);
        }
        for wire in out.hung_up {
            self.lose_wire(wire);
        }
        if dirty {
            self.check_cluster();
        }
    }

    fn notice(&mut self, action: &Action) {
        match action {
            Action::AttemptBegan { task, fence, gang } => {
                self.note(|| {
                    let names: Vec<&str> = gang.iter().map(|seat| seat.worker.as_str()).collect();
                    format!("attempt {fence} at {task} on {}", names.join(", "))
                });
                self.check_attempt(task, *fence, gang);
            }
            Action::AttemptEnded { fence, outcome, .. } => {
                self.note(|| format!("attempt {fence} is over: {outcome:?}"));
            }
            Action::TaskDone {
                task,
                key,
                outputs,
                fence,
            } => {
                self.note(|| format!("{task} is done"));
                self.check_done(task, *key, outputs, *fence);
            }
            Action::TaskFailed { task, failure } => {
                self.note(|| format!("{task} has failed: {failure}"));
                self.check_failed(task, failure);
                let delay = self.chance.between(1_000, 10_000);
                self.after(delay, Event::User(Wish::Retry(task.clone())));
            }
            Action::StartRank(start) => self.check_start(start),
            Action::RunFinished { run, outcome } => {
                self.note(|| format!("run {run} is over: {outcome}"));
            }
            Action::WorkerChanged { worker, to, .. } => {
                self.note(|| format!("worker {worker} is {to}"));
            }
            Action::Drained => {
                if let Some((_, down)) = self.office.stopping {
                    self.office.stopping = Some((self.now + 50, down));
                }
            }
            Action::StopRank { .. } | Action::TaskRetried { .. } | Action::WorkerDrained { .. } => {
            }
        }
    }

    fn office_afterwards(&mut self, life: u64) {
        let Some(process) = &self.office.process else {
            return;
        };
        let anew = process.starting_anew();
        let run = process.run;
        let ended = process.clerk.cluster().ended(run);
        let more = !process.inbox.is_empty();
        let deadline = process.clerk.cluster().next_deadline();
        let (origin, since) = process.origin;
        let done = matches!(ended, Some((_, RunOutcome::Done)));
        if done && self.watch.run_done() {
            self.run_is_done();
        }
        if ended.is_some() && !done && !anew {
            // the program ends, and its user calls it again
            let down = self.chance.between(500, 5_000);
            self.office_dies(down, false);
            return;
        }
        if let Some((limit, down)) = self.office.stopping
            && self.now >= limit
        {
            self.office_dies(down, false);
            return;
        }
        if more {
            self.office_turn_at(self.now, life);
        }
        let due = deadline.map(|deadline| since + deadline.0.saturating_sub(origin.0));
        let limit = self.office.stopping.map(|(limit, _)| limit);
        for at in due.into_iter().chain(limit) {
            self.office_turn_at(at.max(self.now + 1), life);
        }
    }
}

impl Process {
    /// The inputs with which a life begins have not all been taken.
    fn starting_anew(&self) -> bool {
        self.inbox
            .iter()
            .any(|request| matches!(request, Request::User(Input::Submit { .. })))
    }
}

fn anyhow_like(error: impl std::fmt::Display) -> String {
    error.to_string()
}
