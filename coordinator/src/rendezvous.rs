//! The keys by which the ranks of one attempt find each other. They live for as long as their attempt does, also over the end of
//! this process: every question that changed something is kept in a file until the attempt is over.

mod log;

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result};
use control::Cluster;
use proto::v1;
use proto::v1::store_reply::Answer;
use proto::v1::store_request::Ask;
use tokio::sync::watch;
use tonic::Status;
use types::{Bug, Fence, Incarnation, Rank, WorkerId, planted};

use log::Log;

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

/// Who sits where in a gang.
pub(crate) type Seats = Vec<(Rank, WorkerId, Incarnation)>;

/// The attempts of a cluster that are live.
pub(crate) fn live_gangs(cluster: &Cluster) -> Vec<(Fence, Seats)> {
    let runs = cluster.runs();
    let tasks = runs.iter().flat_map(|run| cluster.tasks(run.run));
    let attempts = tasks.flat_map(|task| task.attempts);
    attempts
        .filter(|attempt| attempt.ended.is_none())
        .map(|attempt| {
            let seats = attempt.gang.into_iter();
            let seats = seats.map(|seat| (seat.rank, seat.worker, seat.incarnation));
            (attempt.fence, seats.collect())
        })
        .collect()
}

/// The rendezvous stores of all live attempts.
#[derive(Debug, Default)]
pub struct Rendezvous {
    /// None keeps them in memory alone.
    folder: Option<PathBuf>,
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
    /// None where it cannot be written.
    log: Option<Log>,
}

impl Rendezvous {
    /// The stores of these attempts, each with what its ranks had told an earlier life of the coordinator. So a meeting goes on
    /// where it was, and nobody is turned away before its worker is back.
    ///
    /// # Errors
    /// When the folder cannot be made or read.
    pub(crate) fn reopen(folder: PathBuf, live: Vec<(Fence, Seats)>) -> Result<Self> {
        let failed = || format!("the rendezvous keys in {}", folder.display());
        std::fs::create_dir_all(&folder).with_context(failed)?;
        let rendezvous = Self {
            folder: Some(folder.clone()),
            gangs: Mutex::default(),
        };
        let known: BTreeSet<PathBuf> = live
            .iter()
            .map(|(fence, _)| folder.join(fence.to_string()))
            .collect();
        for entry in std::fs::read_dir(&folder).with_context(failed)? {
            let path = entry.with_context(failed)?.path();
            if !known.contains(&path) {
                std::fs::remove_file(&path)
                    .with_context(|| format!("cannot remove {}", path.display()))?;
            }
        }
        for (fence, seats) in live {
            rendezvous.open(fence, seats);
        }
        Ok(rendezvous)
    }

    /// An attempt has begun: its ranks may meet. What an attempt that is open already has stays as it is.
    pub fn open(&self, fence: Fence, ranks: Seats) {
        self.gangs().entry(fence).or_insert_with(|| {
            let seats = ranks
                .into_iter()
                .map(|(rank, worker, incarnation)| (rank, (worker, incarnation)))
                .collect();
            let mut board = Board::default();
            if let Some(folder) = &self.folder {
                let path = folder.join(fence.to_string());
                match Log::open(path, |request| board.hear_again(request)) {
                    Ok(log) => board.log = Some(log),
                    Err(error) => tracing::warn!(
                        "the keys of attempt {fence} would not survive a restart: {error}"
                    ),
                }
            }
            Arc::new(Gang {
                seats,
                board: watch::Sender::new(board),
            })
        });
    }

    /// An attempt has ended: whoever still waits for its keys is told so.
    pub fn close(&self, fence: Fence) {
        let gang = self.gangs().remove(&fence);
        if let Some(gang) = gang {
            gang.board.send_modify(|board| {
                board.closed = true;
                if let Some(log) = board.log.take() {
                    log.remove();
                }
            });
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
    /// As when a question waits: `ABORTED` or `INVALID_ARGUMENT`.
    pub fn ask_now(&self, request: &v1::StoreRequest) -> Result<Option<v1::StoreReply>, Status> {
        let (fence, gang) = self.seat(request)?;
        let rank = Rank(request.rank);
        let Some(ask) = &request.ask else {
            return Err(proto::Invalid::new("StoreRequest", "ask", "not given").into());
        };
        let answer = match ask {
            Ask::Set(_) | Ask::Add(_) => gang.change(rank, request),
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
    fn change(&self, rank: Rank, request: &v1::StoreRequest) -> Option<Answer> {
        let mut answer = None;
        self.board.send_if_modified(|board| {
            if board.closed {
                return false;
            }
            if let Some(known) = board.known_answer(rank, request.request) {
                answer = Some(known);
                return false;
            }
            match board.change(rank, request) {
                Ok(new) => {
                    board.write_down(request);
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
    fn known_answer(&self, rank: Rank, request: u64) -> Option<Answer> {
        self.done.get(&rank)?.get(&request).cloned()
    }

    /// Does what a question asks for, and remembers the answer.
    fn change(&mut self, rank: Rank, request: &v1::StoreRequest) -> Result<Answer, String> {
        let answer = match &request.ask {
            Some(Ask::Set(set)) => {
                self.put(set.key.clone(), set.value.clone())?;
                Answer::Done(v1::StoreDone {})
            }
            Some(Ask::Add(add)) => Answer::Counter(self.add(add.key.clone(), add.amount)?),
            Some(Ask::Get(_) | Ask::Check(_) | Ask::Wait(_)) | None => {
                return Err("nothing to change".to_owned());
            }
        };
        if !planted(Bug::AnswersForgotten) {
            self.remember(rank, request.request, answer.clone());
        }
        Ok(answer)
    }

    /// A question that an earlier life of the coordinator has answered.
    fn hear_again(&mut self, request: &v1::StoreRequest) {
        // it was possible then, on the same board, so it is now
        let _ = self.change(Rank(request.rank), request);
    }

    /// Before anybody hears the answer. A disk that is full costs only what a restart would have kept.
    fn write_down(&mut self, request: &v1::StoreRequest) {
        if let Some(log) = &mut self.log
            && let Err(error) = log.append(request)
        {
            tracing::warn!(
                "the keys of attempt {} would not survive a restart: {error}",
                request.fence
            );
            if let Some(log) = self.log.take() {
                log.remove();
            }
        }
    }

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
