//! Calls of a worker beside its connection: artifacts, and the gang's store.

use std::path::PathBuf;
use std::time::Duration;

use duty::protocol::{StoreAnswer, StoreAsk};
use duty::{Backoff, Happening, Upload};
use types::{Digest, Failure, FailureClass, Fence, Rank};

use super::{STORE_LIMIT, StationEvent, millis};
use crate::sim::{Event, Sim};

/// A question on its way to the coordinator's rendezvous store.
#[derive(Debug, Clone)]
pub(crate) struct Call {
    fence: Fence,
    rank: Rank,
    request: u64,
    ask: StoreAsk,
    until: u64,
    tries: u32,
    /// A copy that the network made: whoever asked has its answer already.
    stray: bool,
}

impl Sim {
    /// Whether the coordinator can be reached for a call now.
    fn reachable(&self, index: usize) -> bool {
        self.parted(index).is_none() && self.office.is_up() && !self.office.is_paused()
    }

    fn pause(&mut self, tries: u32) -> u64 {
        let mut backoff = Backoff::default();
        let mut pause = Duration::ZERO;
        for _ in 0..=tries.min(8) {
            pause = backoff.pause(0.75);
        }
        millis(pause) + self.chance.below(100)
    }

    pub(super) fn fetch(&mut self, index: usize, fence: Fence, tries: u32) {
        if self
            .handle(index, fence)
            .is_none_or(|handle| !handle.fetching)
        {
            return;
        }
        let Some(assignment) = self.stations[index]
            .process
            .as_ref()
            .and_then(|process| process.duty.assignment(fence))
        else {
            return;
        };
        let life = self.stations[index].life;
        let wanted: Vec<Digest> = assignment
            .artifacts()
            .filter(|digest| !self.stations[index].cache.contains_key(digest))
            .collect();
        let result = if wanted.is_empty() {
            Ok(())
        } else if !self.reachable(index) || self.call_is_lost() {
            let pause = self.pause(tries);
            let event = StationEvent::FetchTry(fence, tries + 1);
            self.after(pause, Event::Station(index, life, event));
            return;
        } else {
            let mut missing = None;
            for digest in wanted {
                match self.office.artifact(&digest) {
                    Some(bytes) => {
                        self.stations[index].cache.insert(digest, bytes);
                    }
                    None => missing = Some(digest),
                }
            }
            match missing {
                None => Ok(()),
                Some(digest) => Err(Failure::new(
                    FailureClass::Artifact,
                    format!("the coordinator has no artifact {digest}"),
                )),
            }
        };
        if let Some(handle) = self.handle(index, fence) {
            handle.fetching = false;
        }
        self.happens(index, fence, Happening::Fetched(result));
    }

    pub(super) fn upload(
        &mut self,
        index: usize,
        fence: Fence,
        what: Upload,
        file: PathBuf,
        generation: u64,
        tries: u32,
    ) {
        if self
            .handle(index, fence)
            .is_none_or(|handle| handle.uploads != generation)
        {
            return;
        }
        let Some(bytes) = self.stations[index].files.get(&file).cloned() else {
            let failure = Failure::new(FailureClass::TransientIo, "the file is gone");
            let result = Err(failure);
            self.happens(index, fence, Happening::Uploaded { what, result });
            return;
        };
        let request_lost = !self.reachable(index) || self.call_is_lost();
        let stored = !request_lost && self.office.put(&bytes).is_ok();
        if !stored || self.call_is_lost() {
            let life = self.stations[index].life;
            let pause = self.pause(tries);
            let event = StationEvent::UploadTry(fence, what, file, generation, tries + 1);
            self.after(pause, Event::Station(index, life, event));
            return;
        }
        let digest = Digest::of(&bytes);
        self.stations[index].cache.insert(digest, bytes);
        self.happens(
            index,
            fence,
            Happening::Uploaded {
                what,
                result: Ok(digest),
            },
        );
    }

    pub(super) fn begin_ask(&mut self, index: usize, fence: Fence, request: u64, ask: StoreAsk) {
        let Some(assignment) = self.stations[index]
            .process
            .as_ref()
            .and_then(|process| process.duty.assignment(fence))
        else {
            return;
        };
        let call = Call {
            fence,
            rank: assignment.rank,
            request,
            ask,
            until: self.now + STORE_LIMIT,
            tries: 0,
            stray: false,
        };
        let life = self.stations[index].life;
        let delay = self.latency();
        self.after(delay, Event::Station(index, life, StationEvent::Ask(call)));
    }

    /// A question arrives at the coordinator, or does not.
    pub(super) fn call(&mut self, index: usize, call: Call) {
        let Some(incarnation) = self.stations[index]
            .process
            .as_ref()
            .map(|process| process.incarnation)
        else {
            return;
        };
        let life = self.stations[index].life;
        if !call.stray && self.net.lossy > 0 && self.chance.one_in(3) {
            let delay = self.chance.below(3_000);
            let copy = Call {
                stray: true,
                ..call.clone()
            };
            self.after(delay, Event::Station(index, life, StationEvent::Ask(copy)));
        }
        let answer = if !self.reachable(index) || self.call_is_lost() {
            None
        } else {
            let name = self.stations[index].name.clone();
            self.office.ask(
                &name,
                incarnation,
                call.fence,
                call.rank,
                call.request,
                &call.ask,
            )
        };
        if call.stray {
            return;
        }
        let answer = match answer {
            Some(answer) if !self.call_is_lost() => answer,
            _ if self.now >= call.until => StoreAnswer::Failed {
                reason: "the gang's store was out of reach".to_owned(),
            },
            _ => {
                let pause = self.pause(call.tries.min(2));
                let again = Call {
                    tries: call.tries + 1,
                    ..call
                };
                self.after(pause, Event::Station(index, life, StationEvent::Ask(again)));
                return;
            }
        };
        let delay = self.latency();
        let event = StationEvent::Answered(call.fence, call.request, answer);
        self.after(delay, Event::Station(index, life, event));
    }
}
