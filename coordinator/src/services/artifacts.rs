use std::pin::Pin;
use std::sync::Arc;

use artifact::{Error, Keeper, Reader, Writer};
use proto::v1::artifacts_server;
use proto::v1::upload_chunk::Part;
use proto::{CHUNK, digest_from_wire, v1};
use tokio::sync::mpsc;
use tokio::task::spawn_blocking;
use tokio_stream::wrappers::ReceiverStream;
use tokio_stream::{Stream, StreamExt};
use tonic::{Request, Response, Status, Streaming};
use types::Digest;

/// Chunks of one download in memory, at most.
const AHEAD: usize = 4;

/// What uploads leave free: the journal, the logs and the report want to go on when the disk gets full.
const RESERVE: u64 = 8 << 20;

/// Immutable files by digest, over the wire. Artifacts that turn out to be damaged or gone are named through `lost`.
pub(crate) fn service(
    keeper: Arc<Keeper>,
    lost: mpsc::UnboundedSender<Digest>,
) -> impl artifacts_server::Artifacts {
    Artifacts { keeper, lost }
}

#[derive(Clone)]
struct Artifacts {
    keeper: Arc<Keeper>,
    lost: mpsc::UnboundedSender<Digest>,
}

type Chunks = Pin<Box<dyn Stream<Item = Result<v1::DownloadChunk, Status>> + Send>>;

#[tonic::async_trait]
impl artifacts_server::Artifacts for Artifacts {
    async fn has(
        &self,
        request: Request<v1::HasRequest>,
    ) -> Result<Response<v1::HasReply>, Status> {
        let digest = digest_from_wire("HasRequest", "digest", &request.get_ref().digest)?;
        let keeper = Arc::clone(&self.keeper);
        let has = on_disk(move || Ok(keeper.has(&digest))).await?;
        Ok(Response::new(v1::HasReply { has }))
    }

    async fn upload(
        &self,
        request: Request<Streaming<v1::UploadChunk>>,
    ) -> Result<Response<v1::UploadReply>, Status> {
        let existed = self.take(request.into_inner()).await?;
        Ok(Response::new(v1::UploadReply { existed }))
    }

    type DownloadStream = Chunks;

    async fn download(
        &self,
        request: Request<v1::DownloadRequest>,
    ) -> Result<Response<Chunks>, Status> {
        let digest = digest_from_wire("DownloadRequest", "digest", &request.get_ref().digest)?;
        let store = Arc::clone(self.keeper.store());
        let opened = spawn_blocking(move || store.read(&digest)).await;
        let reader = match opened.map_err(panicked)? {
            Ok(reader) => reader,
            Err(error) => {
                if matches!(error, Error::Missing { .. }) {
                    self.report(digest, &error);
                }
                return Err(status(error));
            }
        };
        let (sender, chunks) = mpsc::channel(AHEAD);
        tokio::spawn(self.clone().give(reader, sender));
        Ok(Response::new(Box::pin(ReceiverStream::new(chunks))))
    }
}

impl Artifacts {
    /// Stores what arrives, unless it is there already.
    async fn take(
        &self,
        mut chunks: impl Stream<Item = Result<v1::UploadChunk, Status>> + Unpin,
    ) -> Result<bool, Status> {
        let first = chunks.next().await.transpose()?;
        let Some(Part::Header(header)) = first.and_then(|chunk| chunk.part) else {
            return Err(Status::invalid_argument("an upload begins with its header"));
        };
        let digest = digest_from_wire("UploadHeader", "digest", &header.digest)?;
        let keeper = Arc::clone(&self.keeper);
        let writer = on_disk(move || {
            // from here on it is not removed for want of somebody who refers to it
            keeper.arrives(digest);
            let store = keeper.store();
            match store.size(&digest) {
                Some(size) if size == header.size => Ok(None),
                // one of another size is damaged, and mended by what comes
                _ => {
                    store.need_room(header.size, RESERVE)?;
                    store.begin().map(Some)
                }
            }
        });
        let Some(mut writer) = writer.await? else {
            return Ok(true);
        };
        while let Some(chunk) = chunks.next().await.transpose()? {
            let Some(Part::Data(data)) = chunk.part else {
                return Err(Status::invalid_argument(
                    "after its header, an upload has data alone",
                ));
            };
            if writer.written() + data.len() as u64 > header.size {
                return Err(wrong_size(&digest, header.size, "more"));
            }
            writer = on_disk(move || writer.write(&data).map(|()| writer)).await?;
        }
        if writer.written() < header.size {
            return Err(wrong_size(
                &digest,
                header.size,
                &writer.written().to_string(),
            ));
        }
        on_disk(move || Writer::commit(writer, Some(digest))).await?;
        Ok(false)
    }

    /// Sends an artifact for as long as somebody takes it.
    async fn give(
        self,
        mut reader: Reader,
        chunks: mpsc::Sender<Result<v1::DownloadChunk, Status>>,
    ) {
        let problem = loop {
            let read = spawn_blocking(move || (reader.next_chunk(CHUNK), reader)).await;
            match read {
                Ok((Ok(data), _)) if data.is_empty() => return,
                Ok((Ok(data), back)) => {
                    reader = back;
                    if chunks.send(Ok(v1::DownloadChunk { data })).await.is_err() {
                        return;
                    }
                }
                Ok((Err(error), back)) => {
                    if matches!(error, Error::Damaged { .. }) {
                        self.discard(back, &error).await;
                    }
                    break status(error);
                }
                Err(error) => break panicked(error),
            }
        };
        // whoever has gone does not want to know
        let _ = chunks.send(Err(problem)).await;
    }

    /// Takes a damaged file away, so that the artifact can be put again, and has it made again.
    async fn discard(&self, reader: Reader, error: &Error) {
        let digest = reader.digest();
        let store = Arc::clone(self.keeper.store());
        if let Err(status) = on_disk(move || store.remove_damaged(&reader)).await {
            tracing::error!("a damaged artifact cannot be removed: {}", status.message());
        }
        self.report(digest, error);
    }

    fn report(&self, digest: Digest, error: &Error) {
        tracing::error!("{error}");
        // nobody listens any more when the coordinator is ending
        let _ = self.lost.send(digest);
    }
}

/// Disks do not belong on the runtime's threads.
async fn on_disk<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Error> + Send + 'static,
) -> Result<T, Status> {
    spawn_blocking(work)
        .await
        .map_err(panicked)?
        .map_err(status)
}

/// What the other side is told; whether it tries again follows from the code.
fn status(error: Error) -> Status {
    let text = error.to_string();
    match error {
        Error::Missing { .. } => Status::not_found(text),
        Error::Damaged { .. } | Error::Mismatch { .. } => Status::data_loss(text),
        Error::DiskFull { .. } => Status::resource_exhausted(text),
        Error::Io { .. } => Status::internal(text),
    }
}

fn wrong_size(digest: &Digest, announced: u64, found: &str) -> Status {
    Status::data_loss(format!(
        "artifact {digest} was announced with {announced} bytes, {found} came; nothing of it was kept"
    ))
}

fn panicked(error: tokio::task::JoinError) -> Status {
    Status::internal(format!("the store's work ended: {error}"))
}

#[cfg(test)]
mod tests;
