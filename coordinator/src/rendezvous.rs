//! The keys by which the ranks of one attempt find each other. They live in memory, for as long as their attempt does.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use proto::v1;
use proto::v1::store_reply::Answer;
use proto::v1::store_request::Ask;
use tokio::sync::watch;
use tonic::Status;
use types::{Bug, Fence, Incarnation, Rank, WorkerId, planted};

/// Bytes of a key.
const LONGEST_KEY: usize = 1024;
/// Bytes of a value.
const LARGEST_VALUE: usize = 1024 * 1024;
/// Keys of one attempt.
const MOST_KEYS: usize = 100_000;
/// Bytes of one attempt, keys and values.
const MOST_BYTES: usize = 256 * 1024 * 1024;
/// Changes of one rank whose answers are kept for when it asks again; only its latest questions can be on their way.
const REMEMBERED: usize = 1024;

/// The rendezvous stores of all live attempts.
#[derive(Debug, Default)]
pub struct Rendezvous {
    gangs: Mutex<BTreeMap<Fence, Arc<Gang>>>,
}

#[derive(Debug)]
struct Gang {
    seats: BTreeMap<Rank, (WorkerId, Incarnation)>,
    /// Whoever waits is woken by every change of it, and looks again.
    board: watch::Sender<Board>,
}

#[derive(Debug, Default)]
struct Board {
    keys: BTreeMap<String, Vec<u8>>,
    bytes: usize,
    done: BTreeMap<Rank, BTreeMap<u64, Answer>>,
    closed: bool,
}

impl Rendezvous {
    /// An attempt has begun: its ranks may meet. What an attempt that is open already has stays as it is.
    pub fn open(&self, fence: Fence, ranks: Vec<(Rank, WorkerId, Incarnation)>) {
        self.gangs().entry(fence).or_insert_with(|| {
            let seats = ranks
                .into_iter()
                .map(|(rank, worker, incarnation)| (rank, (worker, incarnation)))
                .collect();
            Arc::new(Gang {
                seats,
                board: watch::Sender::default(),
            })
        });
    }

    /// An attempt has ended: whoever still waits for its keys is told so.
    pub fn close(&self, fence: Fence) {
        let gang = self.gangs().remove(&fence);
        if let Some(gang) = gang {
            gang.board.send_modify(|board| board.closed = true);
        }
    }

    /// Answers a rank; a question for keys that are not there yet waits for them as long as it says.
    ///
    /// # Errors
    /// `ABORTED` unless the fence is a live attempt's and the asker has that rank in it, also when the attempt ends
    /// meanwhile; `INVALID_ARGUMENT` for a request without a question.
    pub(crate) async fn ask(&self, request: v1::StoreRequest) -> Result<v1::StoreReply, Status> {
        if let Some(reply) = self.ask_now(&request)? {
            return Ok(reply);
        }
        let (fence, gang) = self.seat(&request)?;
        let answer = match request.ask {
            Some(Ask::Get(get)) => {
                let keys = [get.key];
                gang.wait(&keys, get.timeout_ms, |board| board.value(&keys[0]))
                    .await
            }
            Some(Ask::Wait(wait)) => {
                let done = |_: &Board| Answer::Done(v1::StoreDone {});
                gang.wait(&wait.keys, wait.timeout_ms, done).await
            }
            _ => None, // has been answered at once
        };
        let answer = Some(answer.ok_or_else(|| over(fence))?);
        Ok(v1::StoreReply { answer })
    }

    /// Answers a rank at once; `None` if the keys that it asks for are not there yet.
    ///
    /// # Errors
    /// As [`Rendezvous::ask`].
    pub fn ask_now(&self, request: &v1::StoreRequest) -> Result<Option<v1::StoreReply>, Status> {
        let (fence, gang) = self.seat(request)?;
        let rank = Rank(request.rank);
        let Some(ask) = request.ask.clone() else {
            return Err(proto::Invalid::new("StoreRequest", "ask", "not given").into());
        };
        let answer = match ask {
            Ask::Set(set) => gang.change(rank, request.request, |board| {
                board.put(set.key, set.value)?;
                Ok(Answer::Done(v1::StoreDone {}))
            }),
            Ask::Add(add) => gang.change(rank, request.request, |board| {
                board.add(add.key, add.amount).map(Answer::Counter)
            }),
            Ask::Check(check) => {
                let board = gang.board.borrow();
                (!board.closed).then(|| Answer::Truth(board.has(&check.keys)))
            }
            Ask::Get(get) => {
                let board = gang.board.borrow();
                if !board.closed && !board.keys.contains_key(&get.key) {
                    return Ok(None);
                }
                (!board.closed).then(|| board.value(&get.key))
            }
            Ask::Wait(wait) => {
                let board = gang.board.borrow();
                if !board.closed && !board.has(&wait.keys) {
                    return Ok(None);
                }
                (!board.closed).then_some(Answer::Done(v1::StoreDone {}))
            }
        };
        let answer = Some(answer.ok_or_else(|| over(fence))?);
        Ok(Some(v1::StoreReply { answer }))
    }

    /// The gang that is asked, if whoever asks has a seat in it.
    fn seat(&self, request: &v1::StoreRequest) -> Result<(Fence, Arc<Gang>), Status> {
        let fence = Fence(request.fence);
        let gang = self.gangs().get(&fence).cloned();
        let gang = gang.ok_or_else(|| over(fence))?;
        gang.admit(
            fence,
            Rank(request.rank),
            &request.worker,
            Incarnation(request.incarnation),
        )?;
        Ok((fence, gang))
    }

    fn gangs(&self) -> MutexGuard<'_, BTreeMap<Fence, Arc<Gang>>> {
        // a map of handles has no half-changed state that a panic could leave
        self.gangs.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Gang {
    fn admit(
        &self,
        fence: Fence,
        rank: Rank,
        worker: &str,
        incarnation: Incarnation,
    ) -> Result<(), Status> {
        match self.seats.get(&rank) {
            Some((seated, life)) if seated.as_str() == worker && *life == incarnation => Ok(()),
            Some((seated, life)) => Err(Status::aborted(format!(
                "rank {rank} of attempt {fence} is worker {seated} in its life {life}, not {worker:?} in its life {incarnation}"
            ))),
            None => Err(Status::aborted(format!(
                "attempt {fence} has {} ranks, there is no rank {rank}",
                self.seats.len()
            ))),
        }
    }

    /// Changes the board once per question, however often that is asked; `None` if the attempt is over.
    fn change(
        &self,
        rank: Rank,
        request: u64,
        change: impl FnOnce(&mut Board) -> Result<Answer, String>,
    ) -> Option<Answer> {
        let mut answer = None;
        self.board.send_if_modified(|board| {
            if board.closed {
                return false;
            }
            if let Some(known) = board.done.get(&rank).and_then(|done| done.get(&request)) {
                answer = Some(known.clone());
                return false;
            }
            match change(board) {
                Ok(new) => {
                    if !planted(Bug::AnswersForgotten) {
                        board.remember(rank, request, new.clone());
                    }
                    answer = Some(new);
                    true
                }
                Err(why) => {
                    answer = Some(Answer::Failed(why));
                    false
                }
            }
        });
        answer
    }

    /// Answers once all keys are there; `None` if the attempt ends first.
    async fn wait(
        &self,
        keys: &[String],
        timeout_ms: u64,
        answer: impl FnOnce(&Board) -> Answer,
    ) -> Option<Answer> {
        let limit = Duration::from_millis(timeout_ms);
        let mut board = self.board.subscribe();
        let there = board.wait_for(|board| board.closed || board.has(keys));
        // an error of `wait_for` would mean that there is no sender: this gang has it
        let _ = tokio::time::timeout(limit, there).await;
        let board = self.board.borrow();
        if board.closed {
            return None;
        }
        Some(match board.first_missing(keys) {
            None => answer(&board),
            Some(key) => Answer::Failed(format!("no key {key} within {limit:?}")),
        })
    }
}

impl Board {
    fn value(&self, key: &str) -> Answer {
        Answer::Value(self.keys.get(key).cloned().unwrap_or_default())
    }

    fn has(&self, keys: &[String]) -> bool {
        self.first_missing(keys).is_none()
    }

    fn first_missing<'a>(&self, keys: &'a [String]) -> Option<&'a String> {
        keys.iter().find(|key| !self.keys.contains_key(*key))
    }

    fn put(&mut self, key: String, value: Vec<u8>) -> Result<(), String> {
        if key.len() > LONGEST_KEY {
            return Err(format!(
                "a key of {} bytes, at most {LONGEST_KEY}",
                key.len()
            ));
        }
        if value.len() > LARGEST_VALUE {
            return Err(format!(
                "a value of {} bytes for {key}, at most {LARGEST_VALUE}",
                value.len()
            ));
        }
        let freed = match self.keys.get(&key) {
            Some(old) => key.len() + old.len(),
            None if self.keys.len() >= MOST_KEYS => {
                return Err(format!("no room for {key}: {MOST_KEYS} keys already"));
            }
            None => 0,
        };
        let bytes = self.bytes - freed + key.len() + value.len();
        if bytes > MOST_BYTES {
            return Err(format!("no room for {key}: {MOST_BYTES} bytes already"));
        }
        self.bytes = bytes;
        self.keys.insert(key, value);
        Ok(())
    }

    /// Counters are kept as decimal text, as c10d's own stores do.
    fn add(&mut self, key: String, amount: i64) -> Result<i64, String> {
        let before = match self.keys.get(&key) {
            None => 0,
            Some(text) => std::str::from_utf8(text)
                .ok()
                .and_then(|text| text.parse::<i64>().ok())
                .ok_or_else(|| format!("the value of {key} is no number to add to"))?,
        };
        let sum = before
            .checked_add(amount)
            .ok_or_else(|| format!("{key}: {before} + {amount} is too large"))?;
        self.put(key, sum.to_string().into_bytes())?;
        Ok(sum)
    }

    fn remember(&mut self, rank: Rank, request: u64, answer: Answer) {
        let done = self.done.entry(rank).or_default();
        done.insert(request, answer);
        if done.len() > REMEMBERED {
            done.pop_first();
        }
    }
}

fn over(fence: Fence) -> Status {
    Status::aborted(format!("attempt {fence} is over, or never was"))
}

#[cfg(test)]
mod tests;
