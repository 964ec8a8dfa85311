use std::io;
use std::path::Path;
use std::time::Duration;

use artifact::{Disk as _, RealDisk};
use proto::v1;
use proto::v1::artifacts_client::ArtifactsClient;
use proto::{CHUNK, digest_to_wire};
use tokio::fs::File;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Status};
use types::{Bytes, Digest};

use super::super::coordinator::DepotError;
use super::{Service, is_away};

/// The longest that a transfer may stand still.
const STALL: Duration = Duration::from_secs(30);
/// The slowest link on which a transfer is worth waiting for, in bytes per second.
const SLOWEST: u64 = 100_000;

pub(super) async fn download(
    mut client: ArtifactsClient<Service>,
    digest: Digest,
    to: &Path,
) -> Result<(), DepotError> {
    let disk = |error: io::Error| match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            DepotError::NoRoom(no_room(to))
        }
        _ => DepotError::Disk(format!("{}: {error}", to.display())),
    };
    let request = v1::DownloadRequest {
        digest: digest_to_wire(&digest),
    };
    let mut chunks = timeout(STALL, client.download(request))
        .await
        .map_err(stalled)?
        .map_err(|status| depot_error(digest, &status))?
        .into_inner();
    let mut file = File::create(to).await.map_err(disk)?;
    while let Some(chunk) = timeout(STALL, chunks.message())
        .await
        .map_err(stalled)?
        .map_err(|status| depot_error(digest, &status))?
    {
        file.write_all(&chunk.data).await.map_err(disk)?;
    }
    file.flush().await.map_err(disk)
}

pub(super) async fn upload(
    mut client: ArtifactsClient<Service>,
    digest: Digest,
    file: &Path,
) -> Result<(), DepotError> {
    let disk = |error: io::Error| DepotError::Disk(format!("{}: {error}", file.display()));
    let opened = File::open(file).await.map_err(disk)?;
    let size = opened.metadata().await.map_err(disk)?.len();
    let (sender, chunks) = mpsc::channel(4);
    let reader = tokio::spawn(read_chunks(opened, digest, size, sender));
    let limit = STALL + Duration::from_secs(size / SLOWEST);
    let sent = timeout(limit, client.upload(ReceiverStream::new(chunks))).await;
    // what the disk said explains a broken stream better than the stream does
    if let Ok(Err(error)) = reader.await {
        return Err(disk(error));
    }
    sent.map_err(stalled)?
        .map_err(|status| depot_error(digest, &status))?;
    Ok(())
}

/// Reads until the end, or until nobody wants more.
async fn read_chunks(
    mut file: File,
    digest: Digest,
    size: u64,
    chunks: mpsc::Sender<v1::UploadChunk>,
) -> io::Result<()> {
    use v1::upload_chunk::Part;
    let header = v1::UploadHeader {
        digest: digest_to_wire(&digest),
        size,
    };
    let mut part = Part::Header(header);
    loop {
        if chunks
            .send(v1::UploadChunk { part: Some(part) })
            .await
            .is_err()
        {
            return Ok(());
        }
        let mut data = Vec::with_capacity(CHUNK);
        (&mut file)
            .take(CHUNK as u64)
            .read_to_end(&mut data)
            .await?;
        if data.is_empty() {
            return Ok(());
        }
        part = Part::Data(data);
    }
}

/// `no room on /cache: 3.0 MiB is free`. How much more a download needs nobody knows.
fn no_room(file: &Path) -> String {
    let folder = file.parent().unwrap_or(file);
    let free = RealDisk.free(folder).map(Bytes).unwrap_or_default();
    format!("no room on {}: {free} is free", folder.display())
}

fn stalled(_: tokio::time::error::Elapsed) -> DepotError {
    DepotError::Away("the transfer stood still".to_owned())
}

fn depot_error(digest: Digest, status: &Status) -> DepotError {
    let reason = status.message().to_owned();
    match status.code() {
        Code::NotFound => DepotError::Missing(digest),
        Code::ResourceExhausted => DepotError::NoRoom(reason),
        // a token that was changed is set right by somebody
        Code::Unauthenticated => DepotError::Away(reason),
        _ if is_away(status) => DepotError::Away(reason),
        _ => DepotError::Refused(reason),
    }
}
