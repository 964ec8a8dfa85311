//! A coordinator in memory, for tests of the shell: it plays the link, too.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use duty::protocol::{StoreAnswer, StoreAsk};
use duty::{Held, Report};
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;
use types::{Digest, Fence};

use super::coordinator::{Asker, Boxed, Coordinator, DepotError, Downlink, Opening, Uplink};
use super::shell::Occurrence;

/// Nothing in these tests takes longer.
pub(crate) const LIMIT: Duration = Duration::from_secs(20);

#[derive(Debug, Default)]
pub(crate) struct FakeCoordinator {
    pub(crate) artifacts: Mutex<BTreeMap<Digest, Vec<u8>>>,
    keys: Mutex<BTreeMap<(Fence, String), Vec<u8>>>,
    /// Whether artifacts cannot travel.
    pub(crate) away: Mutex<bool>,
    /// Whether there is room for none, there or here.
    pub(crate) full: Mutex<bool>,
}

impl FakeCoordinator {
    fn reachable(&self) -> Result<(), DepotError> {
        if *self.away.lock().unwrap() {
            Err(DepotError::Away("cable cut".to_owned()))
        } else if *self.full.lock().unwrap() {
            Err(DepotError::NoRoom("no room on /run".to_owned()))
        } else {
            Ok(())
        }
    }

    pub(crate) fn put(&self, content: &[u8]) -> Digest {
        let digest = Digest::of(content);
        let mut artifacts = self.artifacts.lock().unwrap();
        artifacts.insert(digest, content.to_vec());
        digest
    }
}

impl Coordinator for FakeCoordinator {
    fn ask_store(&self, asker: Asker, ask: StoreAsk, _: Duration) -> Boxed<'static, StoreAnswer> {
        let mut keys = self.keys.lock().unwrap();
        let answer = match ask {
            StoreAsk::Set { key, value } => {
                keys.insert((asker.fence, key), value);
                StoreAnswer::Done
            }
            StoreAsk::Get { key, .. } => match keys.get(&(asker.fence, key)) {
                Some(value) => StoreAnswer::Value {
                    value: value.clone(),
                },
                None => StoreAnswer::Failed {
                    reason: "no such key".to_owned(),
                },
            },
            other => StoreAnswer::Failed {
                reason: format!("{other:?} is not played here"),
            },
        };
        Box::pin(async { answer })
    }

    fn download<'a>(&'a self, digest: Digest, to: &'a Path) -> Boxed<'a, Result<(), DepotError>> {
        Box::pin(async move {
            self.reachable()?;
            let artifacts = self.artifacts.lock().unwrap();
            let content = artifacts.get(&digest).ok_or(DepotError::Missing(digest))?;
            std::fs::write(to, content).map_err(|error| DepotError::Disk(error.to_string()))
        })
    }

    fn upload<'a>(&'a self, digest: Digest, file: &'a Path) -> Boxed<'a, Result<(), DepotError>> {
        Box::pin(async move {
            self.reachable()?;
            assert_eq!(self.put(&std::fs::read(file).unwrap()), digest);
            Ok(())
        })
    }

    fn closed(&self) -> Boxed<'_, ()> {
        Box::pin(async {})
    }
}

/// One connection to a shell.
pub(crate) struct Connection {
    teller: mpsc::Sender<Occurrence>,
    from_worker: mpsc::Receiver<Uplink>,
    pub(crate) held: Vec<Held>,
    lines: BTreeMap<Fence, Vec<String>>,
}

impl Connection {
    pub(crate) async fn open(teller: &mpsc::Sender<Occurrence>) -> Self {
        let (uplink, from_worker) = mpsc::channel(1024);
        let (told, held) = oneshot::channel();
        let opening = Opening { uplink, held: told };
        teller.send(Occurrence::Opened(opening)).await.unwrap();
        let connection = Self {
            teller: teller.clone(),
            from_worker,
            held: timeout(LIMIT, held).await.unwrap().unwrap(),
            lines: BTreeMap::new(),
        };
        connection
            .say(Downlink::Welcome {
                lost_after: Duration::from_secs(120),
                journal: 7,
            })
            .await;
        connection
    }

    pub(crate) async fn say(&self, what: Downlink) {
        self.teller
            .send(Occurrence::Coordinator(what))
            .await
            .unwrap();
    }

    pub(crate) async fn cut(self) {
        self.teller.send(Occurrence::Closed).await.unwrap();
    }

    pub(crate) async fn next(&mut self) -> Uplink {
        timeout(LIMIT, self.from_worker.recv())
            .await
            .expect("the worker says nothing")
            .expect("the worker has hung up")
    }

    /// The next report; acknowledges it. Lines of logs are collected on the way.
    pub(crate) async fn report(&mut self) -> Report {
        loop {
            match self.next().await {
                Uplink::Report(numbered) => {
                    let up_to = numbered.sequence;
                    self.say(Downlink::Acknowledged { up_to }).await;
                    return numbered.report;
                }
                Uplink::Logs { fence, batch, .. } => {
                    let lines = self.lines.entry(fence).or_default();
                    assert_eq!(batch.first, lines.len() as u64);
                    lines.extend(batch.lines);
                    let lines = lines.len() as u64;
                    self.say(Downlink::LogsAcknowledged { fence, lines }).await;
                }
                Uplink::Progress(_)
                | Uplink::Draining
                | Uplink::Quarantined { .. }
                | Uplink::Waits { .. } => {}
                Uplink::Goodbye => panic!("the worker has left"),
            }
        }
    }

    /// What waits for room, and why, or that it goes on. Nothing else is expected before it.
    pub(crate) async fn waits(&mut self) -> Option<String> {
        loop {
            match self.next().await {
                Uplink::Waits { reason, .. } => return reason,
                Uplink::Logs { .. } | Uplink::Progress(_) => {}
                other => panic!("{other:?}"),
            }
        }
    }

    /// The report that ends an attempt.
    pub(crate) async fn end(&mut self) -> Report {
        loop {
            let report = self.report().await;
            if report.is_end() {
                return report;
            }
        }
    }

    pub(crate) fn log(&self, fence: u64) -> &[String] {
        self.lines.get(&Fence(fence)).map_or(&[], Vec::as_slice)
    }
}

/// For `Arc<dyn Coordinator>`.
pub(crate) fn fake() -> Arc<FakeCoordinator> {
    Arc::default()
}
