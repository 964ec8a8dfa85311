//! A worker's connection to the coordinator, and what is said on it.

use std::sync::Arc;

use control::{LiveRank, RankReport, StartRank, StopMode};
use coordinator::{Said, SaidReport, Told};
use duty::{Assignment, Input, Report};
use types::{TaskKind, TaskSpec};

use super::{LOG_BATCH, LOG_WINDOW, Link, StationEvent, millis};
use crate::sim::{Event, Sim, Up};

impl Sim {
    pub(super) fn connect(&mut self, index: usize) {
        let parted = self.parted(index).is_some();
        let refused = !parted && !self.office.is_up();
        let life = self.stations[index].life;
        let name = self.stations[index].name.clone();
        let Some(process) = &mut self.stations[index].process else {
            return;
        };
        if !matches!(process.link, Link::Closed) {
            return;
        }
        if refused {
            let pause = process
                .backoff
                .pause(self.chance.between(500, 999) as f64 / 1000.0);
            self.after(
                millis(pause),
                Event::Station(index, life, StationEvent::Connect),
            );
            return;
        }
        let live = process.duty.held().into_iter().map(|held| LiveRank {
            fence: held.fence,
            rank: held.rank,
            slot: held.slot,
        });
        let machine = &self.scenario.workers[index];
        let hello = control::Input::Hello {
            worker: name,
            incarnation: process.incarnation,
            description: control::WorkerDescription {
                host: machine.host.clone(),
                device: machine.device,
                device_name: "a model".to_owned(),
            },
            live: live.collect(),
        };
        let incarnation = process.incarnation;
        let wire = self.open_wire(index, life, incarnation);
        if let Some(process) = &mut self.stations[index].process {
            process.link = Link::Opening {
                wire,
                since: self.now,
            };
        }
        self.send_up(wire, Up::Hello(hello));
    }

    pub(super) fn disconnect(&mut self, index: usize) {
        let Some(wire) = self.stations[index].wire() else {
            return;
        };
        self.note(|| format!("worker w{index} has lost its connection"));
        let jitter = self.chance.between(500, 999) as f64 / 1000.0;
        let life = self.stations[index].life;
        let Some(process) = &mut self.stations[index].process else {
            return;
        };
        process.link = Link::Closed;
        let pause = process.backoff.pause(jitter);
        self.hang_up(wire);
        self.after(
            millis(pause),
            Event::Station(index, life, StationEvent::Connect),
        );
        self.apply(index, Input::Detached);
    }

    pub(super) fn say(&mut self, index: usize, said: Said) {
        if let Some(Link::Open { wire, .. }) = self.stations[index]
            .process
            .as_ref()
            .map(|process| &process.link)
        {
            let wire = *wire;
            self.send_up(wire, Up::Said(said));
        }
    }

    pub(super) fn station_told(&mut self, index: usize, from: u64, told: Told) {
        let now = self.now;
        let Some(process) = &mut self.stations[index].process else {
            return;
        };
        match (&mut process.link, &told) {
            (Link::Opening { wire, .. }, Told::Welcome(greeting)) if *wire == from => {
                process.link = Link::Open {
                    wire: from,
                    heard: now,
                };
                process.backoff.reset();
                process.heartbeat = millis(greeting.heartbeat);
                for log in process.logs.values_mut() {
                    log.cursor.rewind();
                }
            }
            (Link::Opening { wire, .. }, _) if *wire == from => {
                // its first word is not welcome
                self.violate("welcome comes first", format!("w{index} was told {told:?}"));
                return;
            }
            (Link::Open { wire, heard }, _) if *wire == from => *heard = now,
            _ => return, // an older connection
        }
        let input = match told {
            Told::Welcome(greeting) => Input::Attached {
                lost_after: greeting.lost_after,
            },
            Told::Heard { sent_at } => Input::Heard {
                sent_at: types::Timestamp(sent_at),
            },
            Told::ReportsTaken { up_to } => {
                let office = self.wires.get(&from).map_or(0, |wire| wire.office_life);
                let life = self.stations[index].life;
                self.watch.acknowledged((index, life), up_to, office);
                Input::Acknowledged { up_to }
            }
            Told::LogsTaken { fence, rank, lines } => {
                self.watch.logs_acknowledged(fence, rank, lines);
                if let Some(process) = &mut self.stations[index].process
                    && let Some(log) = process.logs.get_mut(&fence)
                {
                    log.cursor.acknowledge(lines);
                }
                return;
            }
            Told::Start(start) => {
                self.note(|| {
                    format!(
                        "w{index} is told to start rank {} of attempt {}",
                        start.rank, start.fence
                    )
                });
                self.check_slot(index, &start);
                Input::Start(Arc::new(assignment(&start)))
            }
            Told::Stop {
                fence,
                mode,
                reason,
            } => {
                self.note(|| {
                    format!("w{index} is told to stop attempt {fence} ({mode:?}): {reason}")
                });
                let mode = match mode {
                    StopMode::Checkpoint => duty::StopMode::Checkpoint,
                    StopMode::Now => duty::StopMode::Now,
                };
                Input::Stop { fence, mode }
            }
            Told::Leave => Input::Leave,
        };
        self.apply(index, input);
    }

    pub(super) fn send_logs(&mut self, index: usize) {
        let Some(process) = &mut self.stations[index].process else {
            return;
        };
        if !matches!(process.link, Link::Open { .. }) {
            return;
        }
        let mut batches = Vec::new();
        for (fence, log) in &mut process.logs {
            while log.cursor.batches_on_their_way() < LOG_WINDOW {
                let first = log.cursor.next().line;
                let count = log.cursor.left().min(LOG_BATCH);
                if count == 0 {
                    break;
                }
                log.cursor.hand_out(count);
                batches.push(Said::Logs {
                    fence: *fence,
                    rank: log.rank,
                    first,
                    lines: log.lines[first as usize..(first + count) as usize].to_vec(),
                });
            }
        }
        for batch in batches {
            self.say(index, batch);
        }
    }

    // ---- calls beside the connection ------------------------------------------------------------------------------------
}

/// What the worker's side of the wire makes of a report.
pub(super) fn report(report: Report) -> SaidReport {
    SaidReport::Rank(match report {
        Report::Metrics(point) => return SaidReport::Metrics(point),
        Report::Started => RankReport::Started,
        Report::Checkpoint { step, digest } => RankReport::Checkpoint { step, digest },
        Report::Finished { outputs } => RankReport::Finished { outputs },
        Report::Failed(failure) => RankReport::Failed { failure },
        Report::Stopped => RankReport::Stopped,
    })
}

/// What the worker's side of the wire makes of a command. What is in the spec matters to nobody here but its kind.
fn assignment(start: &StartRank) -> Assignment {
    Assignment {
        fence: start.fence,
        task: start.task.name.clone(),
        rank: start.rank,
        world_size: start.gang.len() as u32,
        spec: spec(start.kind),
        inputs: start.inputs.clone(),
        outputs: start.outputs.clone(),
        resume: start.resume.map(|checkpoint| checkpoint.digest),
        manifest: None,
    }
}

fn spec(kind: TaskKind) -> TaskSpec {
    match kind {
        TaskKind::Train => testkit::train_spec(),
        _ => testkit::host_spec(),
    }
}
