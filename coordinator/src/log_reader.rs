//! Reading the logs of a task's ranks, also while they are written.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use proto::v1;
use tokio::io::{AsyncReadExt, AsyncSeekExt};
use tokio::sync::mpsc;
use tokio_stream::Stream;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Status;
use types::TaskId;

use crate::shell::Handle;

/// How often files are looked at while somebody follows them.
const POLL: Duration = Duration::from_millis(200);
/// A task's last lines may come after the word of its end: so many looks without a new one end the following.
const QUIET: u32 = 5;
/// So much of a file is read at a time.
const PIECE: u64 = 1 << 20;

/// All lines, attempt by attempt and rank by rank; with `follow` also those that come until the task has ended.
pub(crate) fn read(
    shell: Handle,
    task: TaskId,
    folder: PathBuf,
    follow: bool,
) -> impl Stream<Item = Result<v1::LogLine, Status>> + Send {
    let (sender, lines) = mpsc::channel(256);
    tokio::spawn(async move {
        if let Err(error) = send_all(&shell, &task, &folder, follow, &sender).await {
            // The listener may have gone.
            let _ = sender
                .send(Err(Status::internal(format!(
                    "{}: {error}",
                    folder.display()
                ))))
                .await;
        }
    });
    ReceiverStream::new(lines)
}

async fn send_all(
    shell: &Handle,
    task: &TaskId,
    folder: &Path,
    follow: bool,
    sender: &mpsc::Sender<Result<v1::LogLine, Status>>,
) -> std::io::Result<()> {
    let mut read_to: BTreeMap<(u64, u32), u64> = BTreeMap::new();
    let mut quiet = 0;
    loop {
        let asked = task.clone();
        // Asked before reading: what was written by the end is read after it.
        let ended = shell
            .query(move |view| {
                view.cluster
                    .task(&asked)
                    .is_none_or(|task| task.state.is_final())
            })
            .await
            .unwrap_or(true);
        for (fence, rank, path) in files(folder).await? {
            let from = read_to.entry((fence, rank)).or_default();
            loop {
                let lines = new_lines(&path, from).await?;
                if lines.is_empty() {
                    break;
                }
                quiet = 0;
                for line in lines {
                    let line = v1::LogLine { fence, rank, line };
                    if sender.send(Ok(line)).await.is_err() {
                        return Ok(());
                    }
                }
            }
        }
        quiet = if ended { quiet + 1 } else { 0 };
        if !follow || quiet > QUIET {
            return Ok(());
        }
        tokio::time::sleep(POLL).await;
    }
}

/// Log files by fence and rank, as their names say.
async fn files(folder: &Path) -> std::io::Result<Vec<(u64, u32, PathBuf)>> {
    let mut found = Vec::new();
    let mut entries = match tokio::fs::read_dir(folder).await {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(found),
        Err(error) => return Err(error),
    };
    while let Some(entry) = entries.next_entry().await? {
        let name = entry.file_name();
        let parts: Option<(u64, u32)> = name.to_str().and_then(|name| {
            let (fence, rank) = name.strip_suffix(".log")?.split_once('.')?;
            Some((fence.parse().ok()?, rank.parse().ok()?))
        });
        if let Some((fence, rank)) = parts {
            found.push((fence, rank, entry.path()));
        }
    }
    found.sort();
    Ok(found)
}

/// Some complete lines from a place on; moves the place.
async fn new_lines(path: &Path, from: &mut u64) -> std::io::Result<Vec<String>> {
    let mut file = tokio::fs::File::open(path).await?;
    file.seek(std::io::SeekFrom::Start(*from)).await?;
    let mut bytes = Vec::new();
    let mut whole = 0;
    // until a line has ended, however long it is
    while whole == 0 {
        let known = bytes.len();
        if (&mut file).take(PIECE).read_to_end(&mut bytes).await? == 0 {
            break;
        }
        whole = bytes[known..]
            .iter()
            .rposition(|byte| *byte == b'\n')
            .map_or(0, |place| known + place + 1);
    }
    *from += whole as u64;
    Ok(String::from_utf8_lossy(&bytes[..whole])
        .lines()
        .map(str::to_owned)
        .collect())
}
