use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use artifact::Store;
use rand::RngExt;
use types::{Digest, Failure, FailureClass};

use super::coordinator::{Coordinator, DepotError};

/// Moves artifacts between the coordinator's store and this host, for as long as it takes.
pub(crate) struct Transfer {
    coordinator: Arc<dyn Coordinator>,
    cache: Store,
}

impl Transfer {
    pub(crate) fn new(coordinator: Arc<dyn Coordinator>, cache: Store) -> Self {
        Self { coordinator, cache }
    }

    /// Where an artifact that was fetched is.
    pub(crate) fn path(&self, digest: Digest) -> PathBuf {
        self.cache.path(&digest)
    }

    /// Has an artifact on this host's disk, verified. A coordinator that is away is waited for.
    pub(crate) async fn fetch(&self, digest: Digest) -> Result<(), Failure> {
        let cache = self.cache.clone();
        if on_disk(move || is_whole(&cache, digest)).await? {
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
        let aside = self.cache.aside();
        self.coordinator.download(digest, &aside).await?;
        let cache = self.cache.clone();
        on_disk(move || {
            let taken = cache.take_file(&aside, Some(digest));
            if taken.is_err() {
                // the store clears it away at the next start at the latest
                let _ = std::fs::remove_file(&aside);
            }
            taken.map(drop)
        })
        .await
        .map_err(|failure| DepotError::Disk(failure.message))
    }

    /// Puts a file into the coordinator's store and gives its name there. A coordinator that is away is waited for.
    pub(crate) async fn send(&self, file: &Path) -> Result<Digest, Failure> {
        let path = file.to_owned();
        let digest = on_disk(move || artifact::digest_of_file(&path)).await?;
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

    /// Takes a file that was sent into this host's own cache: what comes next often needs it.
    pub(crate) async fn keep(&self, digest: Digest, file: &Path) {
        let (cache, path) = (self.cache.clone(), file.to_owned());
        let kept = on_disk(move || cache.take_file(&path, Some(digest))).await;
        if let Err(error) = kept {
            tracing::debug!("not kept: {error}");
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
