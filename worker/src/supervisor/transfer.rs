use std::path::{Path, PathBuf};
use std::sync::Arc;

use artifact::Store;
use duty::Backoff;
use rand::RngExt;
use types::{Digest, Failure, FailureClass};

use super::cache::{Cache, Pin};
use super::coordinator::{Coordinator, DepotError};

/// Who is told that a transfer waits for room, and when it goes on (`None`).
pub(crate) type Told<'a> = &'a (dyn Fn(Option<String>) + Send + Sync);

/// Moves artifacts between the coordinator's store and this host, for as long as it takes.
pub(crate) struct Transfer {
    coordinator: Arc<dyn Coordinator>,
    cache: Arc<Cache>,
}

impl Transfer {
    pub(crate) fn new(coordinator: Arc<dyn Coordinator>, cache: Arc<Cache>) -> Self {
        Self { coordinator, cache }
    }

    /// Where an artifact that was fetched is.
    pub(crate) fn path(&self, digest: Digest) -> PathBuf {
        self.cache.path(&digest)
    }

    /// Has an artifact on this host's disk, verified, for as long as the pin lives. A coordinator that is away is waited for, and
    /// so is room; what was used longest ago makes some first.
    pub(crate) async fn fetch(&self, digest: Digest, told: Told<'_>) -> Result<Pin, Failure> {
        let pin = self.cache.pin(digest);
        let cache = Arc::clone(&self.cache);
        if on_disk(move || is_whole(cache.store(), digest)).await? {
            return Ok(pin);
        }
        let mut trouble = Trouble::new("fetching", digest, told);
        loop {
            match self.fetch_once(digest).await {
                Ok(()) => {
                    trouble.is_over();
                    return Ok(pin);
                }
                Err(DepotError::NoRoom(_)) if self.cache.evict_one() => {}
                Err(error) => trouble.wait_or_fail(error).await?,
            }
        }
    }

    async fn fetch_once(&self, digest: Digest) -> Result<(), DepotError> {
        let aside = self.cache.store().aside();
        let arrived = self.coordinator.download(digest, &aside).await;
        let cache = Arc::clone(&self.cache);
        let taken = tokio::task::spawn_blocking(move || {
            let taken = arrived.and_then(|()| Ok(cache.take(&aside, digest)?));
            if taken.is_err() {
                // gives its room back; the store clears it away at the next start at the latest
                let _ = std::fs::remove_file(&aside);
            }
            taken
        });
        taken
            .await
            .unwrap_or_else(|error| Err(DepotError::Disk(error.to_string())))
    }

    /// Puts a file into the coordinator's store and gives its name there. A coordinator that is away is waited for, and so is one
    /// without room.
    pub(crate) async fn send(&self, file: &Path, told: Told<'_>) -> Result<Digest, Failure> {
        let path = file.to_owned();
        let digest = on_disk(move || artifact::digest_of_file(&path)).await?;
        let mut trouble = Trouble::new("sending", digest, told);
        loop {
            match self.coordinator.upload(digest, file).await {
                Ok(()) => {
                    trouble.is_over();
                    return Ok(digest);
                }
                Err(error) => trouble.wait_or_fail(error).await?,
            }
        }
    }

    /// Takes a file that was sent into this host's own cache: what comes next often needs it.
    pub(crate) async fn keep(&self, digest: Digest, file: &Path) {
        let (cache, path) = (Arc::clone(&self.cache), file.to_owned());
        let kept = on_disk(move || cache.take(&path, digest)).await;
        if let Err(error) = kept {
            tracing::debug!("not kept: {error}");
        }
    }
}

/// What keeps a transfer from getting on.
struct Trouble<'a> {
    doing: &'static str,
    digest: Digest,
    told: Told<'a>,
    /// It has been said that there is no room.
    waits: bool,
    pause: Backoff,
}

impl<'a> Trouble<'a> {
    fn new(doing: &'static str, digest: Digest, told: Told<'a>) -> Self {
        Self {
            doing,
            digest,
            told,
            waits: false,
            pause: Backoff::default(),
        }
    }

    /// Waits a little, where trying again can help.
    async fn wait_or_fail(&mut self, error: DepotError) -> Result<(), Failure> {
        let class = match error {
            DepotError::Away(_) => {
                tracing::debug!("{} artifact {}: {error}", self.doing, self.digest.short());
                wait(&mut self.pause).await;
                return Ok(());
            }
            DepotError::NoRoom(reason) => {
                self.waits = true;
                (self.told)(Some(reason));
                wait(&mut self.pause).await;
                return Ok(());
            }
            DepotError::Missing(_) | DepotError::Refused(_) => FailureClass::Artifact,
            DepotError::Disk(_) => FailureClass::TransientIo,
        };
        let message = format!("{} artifact {}: {error}", self.doing, self.digest);
        Err(Failure::new(class, message))
    }

    fn is_over(&self) {
        if self.waits {
            (self.told)(None);
        }
    }
}

/// Waits as long as this says, with a part that is drawn.
pub(crate) async fn wait(backoff: &mut Backoff) {
    let jitter = rand::rng().random_range(0.5..1.0);
    tokio::time::sleep(backoff.pause(jitter)).await;
}

/// Whether an artifact is here as it should be.
fn is_whole(cache: &Store, digest: Digest) -> Result<bool, artifact::Error> {
    match cache.verify(&digest) {
        Ok(()) => Ok(true),
        Err(artifact::Error::Missing { .. }) => Ok(false),
        Err(error @ artifact::Error::Damaged { .. }) => {
            tracing::warn!("{error}; it is fetched again");
            cache.remove(&digest)?;
            Ok(false)
        }
        Err(error) => Err(error),
    }
}

/// Hashing gigabytes does not belong on the runtime's threads.
async fn on_disk<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, artifact::Error> + Send + 'static,
) -> Result<T, Failure> {
    let message = match tokio::task::spawn_blocking(work).await {
        Ok(Ok(value)) => return Ok(value),
        Ok(Err(error)) => error.to_string(),
        Err(error) => error.to_string(),
    };
    Err(Failure::new(FailureClass::TransientIo, message))
}
