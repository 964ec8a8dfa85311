use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rand::RngExt;
use types::{Digest, Failure, FailureClass};

use super::cache::Cache;
use super::coordinator::{Coordinator, DepotError};

/// Moves artifacts between the coordinator's store and this host, for as long as it takes.
pub(crate) struct Transfer {
    coordinator: Arc<dyn Coordinator>,
    cache: Arc<Cache>,
}

impl Transfer {
    pub(crate) fn new(coordinator: Arc<dyn Coordinator>, cache: Cache) -> Self {
        Self {
            coordinator,
            cache: Arc::new(cache),
        }
    }

    /// Where an artifact that was fetched is.
    pub(crate) fn path(&self, digest: Digest) -> PathBuf {
        self.cache.path(digest)
    }

    /// Has an artifact on this host's disk, verified. A coordinator that is away is waited for.
    pub(crate) async fn fetch(&self, digest: Digest) -> Result<(), Failure> {
        let cache = Arc::clone(&self.cache);
        if on_disk(move || cache.holds(digest)).await? {
            return Ok(());
        }
        let mut pause = Backoff::default();
        loop {
            match self.fetch_once(digest).await {
                Ok(()) => return Ok(()),
                Err(error) => {
                    must_not_be_final("fetching", digest, error)?;
                    pause.wait().await;
                }
            }
        }
    }

    async fn fetch_once(&self, digest: Digest) -> Result<(), DepotError> {
        let aside = self
            .cache
            .aside()
            .map_err(|error| DepotError::Disk(error.to_string()))?;
        self.coordinator.download(digest, &aside).await?;
        let cache = Arc::clone(&self.cache);
        on_disk(move || cache.take(digest, &aside))
            .await
            .map_err(|failure| DepotError::Disk(failure.message))
    }

    /// Puts a file into the coordinator's store and gives its name there. A coordinator that is away is waited for.
    pub(crate) async fn send(&self, file: &Path) -> Result<Digest, Failure> {
        let path = file.to_owned();
        let digest = on_disk(move || Cache::digest(&path)).await?;
        let mut pause = Backoff::default();
        loop {
            match self.coordinator.upload(digest, file).await {
                Ok(()) => return Ok(digest),
                Err(error) => {
                    must_not_be_final("sending", digest, error)?;
                    pause.wait().await;
                }
            }
        }
    }
}

/// Fails unless trying again can help.
fn must_not_be_final(doing: &str, digest: Digest, error: DepotError) -> Result<(), Failure> {
    let class = match error {
        DepotError::Away(_) => {
            tracing::debug!("{doing} artifact {}: {error}", digest.short());
            return Ok(());
        }
        DepotError::Missing(_) | DepotError::Refused(_) => FailureClass::Artifact,
        DepotError::Disk(_) => FailureClass::TransientIo,
    };
    let message = format!("{doing} artifact {digest}: {error}");
    Err(Failure::new(class, message))
}

/// Growing pauses with a random part, so that many workers do not come back all at once.
#[derive(Debug)]
pub(crate) struct Backoff {
    next: Duration,
}

impl Default for Backoff {
    fn default() -> Self {
        Self {
            next: Duration::from_millis(100),
        }
    }
}

impl Backoff {
    pub(crate) async fn wait(&mut self) {
        const LONGEST: Duration = Duration::from_secs(3);
        let jitter = rand::rng().random_range(0.5..1.0);
        tokio::time::sleep(self.next.mul_f64(jitter)).await;
        self.next = (self.next * 2).min(LONGEST);
    }

    pub(crate) fn reset(&mut self) {
        *self = Self::default();
    }
}

/// Hashing gigabytes does not belong on the runtime's threads.
async fn on_disk<T: Send + 'static>(
    work: impl FnOnce() -> std::io::Result<T> + Send + 'static,
) -> Result<T, Failure> {
    let result = match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(error) => Err(std::io::Error::other(error)),
    };
    result.map_err(|error| Failure::new(FailureClass::TransientIo, error.to_string()))
}
