use std::sync::Arc;
use std::time::Duration;

use collective::StoreBackend;
use duty::protocol::{StoreAnswer, StoreAsk};

use super::pipe::Pipe;

/// The gang's rendezvous store: asks the worker, which asks the coordinator, which keeps the keys of one fence.
pub(super) struct WorkerStore {
    pipe: Arc<Pipe>,
    /// For questions that bring no time limit of their own.
    timeout: Duration,
}

impl WorkerStore {
    pub(super) fn new(pipe: Arc<Pipe>, timeout: Duration) -> Self {
        Self { pipe, timeout }
    }
}

fn unexpected(answer: &StoreAnswer) -> String {
    format!("the worker's answer does not fit the question: {answer:?}")
}

fn milliseconds(timeout: Duration) -> u64 {
    u64::try_from(timeout.as_millis()).unwrap_or(u64::MAX)
}

fn owned(keys: &[&str]) -> Vec<String> {
    keys.iter().map(|&key| key.to_owned()).collect()
}

impl StoreBackend for WorkerStore {
    fn set(&self, key: &str, value: &[u8]) -> Result<(), String> {
        let ask = StoreAsk::Set {
            key: key.to_owned(),
            value: value.to_vec(),
        };
        match self.pipe.ask(ask, self.timeout)? {
            StoreAnswer::Done => Ok(()),
            other => Err(unexpected(&other)),
        }
    }

    fn get(&self, key: &str, timeout: Duration) -> Result<Vec<u8>, String> {
        let ask = StoreAsk::Get {
            key: key.to_owned(),
            timeout_ms: milliseconds(timeout),
        };
        match self.pipe.ask(ask, timeout)? {
            StoreAnswer::Value { value } => Ok(value),
            other => Err(unexpected(&other)),
        }
    }

    fn add(&self, key: &str, amount: i64) -> Result<i64, String> {
        let ask = StoreAsk::Add {
            key: key.to_owned(),
            amount,
        };
        match self.pipe.ask(ask, self.timeout)? {
            StoreAnswer::Counter { value } => Ok(value),
            other => Err(unexpected(&other)),
        }
    }

    fn check(&self, keys: &[&str]) -> Result<bool, String> {
        let ask = StoreAsk::Check { keys: owned(keys) };
        match self.pipe.ask(ask, self.timeout)? {
            StoreAnswer::Truth { value } => Ok(value),
            other => Err(unexpected(&other)),
        }
    }

    fn wait(&self, keys: &[&str], timeout: Duration) -> Result<(), String> {
        let ask = StoreAsk::Wait {
            keys: owned(keys),
            timeout_ms: milliseconds(timeout),
        };
        match self.pipe.ask(ask, timeout)? {
            StoreAnswer::Done => Ok(()),
            other => Err(unexpected(&other)),
        }
    }
}
