use std::collections::BTreeMap;
use std::fmt;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use duty::protocol::{Command, Message, Start, to_line};
use duty::{Assignment, Deed, Upload};
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncWrite, AsyncWriteExt, BufReader};
use tokio::sync::mpsc;
use tokio::task::{AbortHandle, JoinHandle};
use types::{Failure, FailureClass, Fence};

use super::cache::Pin;
use super::folder::RankFolder;
use super::process::{Killer, RankStarter};
use super::settings::Settings;
use super::shell::Occurrence;
use super::transfer::{Told, Transfer};

/// Where an attempt's artifacts are on this host.
#[derive(Debug)]
pub(crate) struct Fetched {
    pub(crate) inputs: BTreeMap<String, PathBuf>,
    pub(crate) resume: Option<PathBuf>,
    pub(crate) manifest: Option<PathBuf>,
    /// Keep them there.
    pub(crate) pins: Vec<Pin>,
}

/// The tasks, files and process of one attempt. Dropping it ends them all.
pub(crate) struct RankHandle {
    assignment: Arc<Assignment>,
    fetch: AbortHandle,
    fetched: Option<Fetched>,
    /// What it uses of the cache.
    pins: Vec<Pin>,
    running: Option<Running>,
    uploads: Vec<AbortHandle>,
}

struct Running {
    commands: mpsc::Sender<Command>,
    killer: Arc<dyn Killer>,
    folder: Arc<RankFolder>,
}

impl RankHandle {
    /// Begins to get the attempt's artifacts.
    pub(crate) fn fetch(
        assignment: Arc<Assignment>,
        transfer: &Arc<Transfer>,
        teller: &mpsc::Sender<Occurrence>,
    ) -> Self {
        let task = {
            let (assignment, transfer, teller) = (
                Arc::clone(&assignment),
                Arc::clone(transfer),
                teller.clone(),
            );
            tokio::spawn(async move {
                let told = told(assignment.fence, &teller);
                let result = fetch_all(&assignment, &transfer, &told).await;
                let _ = teller
                    .send(Occurrence::Fetched(assignment.fence, result))
                    .await;
            })
        };
        Self {
            assignment,
            fetch: task.abort_handle(),
            fetched: None,
            pins: Vec::new(),
            running: None,
            uploads: Vec::new(),
        }
    }

    pub(crate) fn assignment(&self) -> &Assignment {
        &self.assignment
    }

    pub(crate) fn set_fetched(&mut self, mut fetched: Fetched) {
        self.pins = std::mem::take(&mut fetched.pins);
        self.fetched = Some(fetched);
    }

    /// Starts the process and everything that listens to it.
    pub(crate) fn launch(
        &mut self,
        starter: &dyn RankStarter,
        (folder, log): (RankFolder, File),
        settings: &Settings,
        teller: &mpsc::Sender<Occurrence>,
    ) -> io::Result<()> {
        let fetched = self
            .fetched
            .take()
            .ok_or_else(|| io::Error::other("its artifacts are not here"))?;
        let fence = self.assignment.fence;
        let process = starter.start(log)?;
        tracing::info!("attempt {fence}: rank process {} started", process.id);
        let (commands, orders) = mpsc::channel(256);
        // a new channel has room for one
        let _ = commands.try_send(self.start_command(fetched, &folder, settings));
        tokio::spawn(write_commands(process.stdin, orders));
        let messages = tokio::spawn(read_messages(fence, process.stdout, teller.clone()));
        let (exit, killer, teller) = (process.exit, Arc::clone(&process.killer), teller.clone());
        tokio::spawn(async move {
            let Ok(exit) = exit.await else {
                tracing::error!("attempt {fence}: nobody knows how its process ended");
                return;
            };
            drain(messages).await;
            let _ = teller.send(Occurrence::Exited(fence, exit)).await;
        });
        self.running = Some(Running {
            commands,
            killer,
            folder: Arc::new(folder),
        });
        Ok(())
    }

    fn start_command(&self, fetched: Fetched, folder: &RankFolder, settings: &Settings) -> Command {
        let assignment = &self.assignment;
        Command::Start(Box::new(Start {
            task: assignment.task.clone(),
            fence: assignment.fence,
            rank: assignment.rank,
            world_size: assignment.world_size,
            device: settings.device,
            address: settings.gang_address(),
            spec: assignment.spec.clone(),
            inputs: fetched.inputs,
            resume: fetched.resume,
            manifest: fetched.manifest,
            scratch: folder.scratch(),
            handover: folder.handover(),
            timeout_ms: u64::try_from(settings.collective_timeout.as_millis()).unwrap_or(u64::MAX),
        }))
    }

    /// Does what concerns this rank alone.
    pub(crate) fn perform(
        &mut self,
        deed: Deed,
        transfer: &Arc<Transfer>,
        teller: &mpsc::Sender<Occurrence>,
    ) {
        match (deed, &self.running) {
            (Deed::AbortFetch, _) => self.fetch.abort(),
            (Deed::Tell(command), Some(running)) => {
                if let Err(error) = running.commands.try_send(command) {
                    tracing::warn!(
                        "attempt {}: the rank does not listen: {error}",
                        self.assignment.fence
                    );
                }
            }
            (Deed::Terminate, Some(running)) => {
                tracing::warn!(
                    "attempt {}: the rank did not stop in time, it gets SIGTERM",
                    self.assignment.fence
                );
                running.killer.terminate();
            }
            (Deed::Kill, Some(running)) => running.killer.kill(),
            (Deed::Upload { what, file }, Some(running)) => {
                let upload = upload(
                    self.assignment.fence,
                    what,
                    file,
                    Arc::clone(&running.folder),
                    Arc::clone(transfer),
                    teller.clone(),
                );
                self.uploads.retain(|upload| !upload.is_finished());
                self.uploads.push(tokio::spawn(upload).abort_handle());
            }
            (Deed::AbortUploads, _) => {
                for upload in self.uploads.drain(..) {
                    upload.abort();
                }
            }
            (Deed::Discard(file), Some(running)) => discard(&running.folder, &file),
            // `Fetch` and `Launch` are the shell's; the rest is for a process that was never started
            (deed, _) => tracing::debug!("attempt {}: nothing to {deed:?}", self.assignment.fence),
        }
    }

    /// Ends the process and its children, if there is one.
    pub(crate) fn kill(&self) {
        if let Some(running) = &self.running {
            running.killer.kill();
        }
    }
}

impl Drop for RankHandle {
    fn drop(&mut self) {
        self.fetch.abort();
        for upload in &self.uploads {
            upload.abort();
        }
        self.kill();
    }
}

/// Tells the shell what waits for room. What does not fit into its channel is said again soon.
fn told(
    fence: Fence,
    teller: &mpsc::Sender<Occurrence>,
) -> impl Fn(Option<String>) + Send + Sync + use<> {
    let teller = teller.clone();
    move |reason| {
        let _ = teller.try_send(Occurrence::Waits(fence, reason));
    }
}

async fn fetch_all(
    assignment: &Assignment,
    transfer: &Transfer,
    told: Told<'_>,
) -> Result<Fetched, Failure> {
    let mut pins = Vec::new();
    for digest in assignment.artifacts() {
        pins.push(transfer.fetch(digest, told).await?);
    }
    let path = |digest: &types::Digest| transfer.path(*digest);
    Ok(Fetched {
        inputs: assignment
            .inputs
            .iter()
            .map(|(role, digest)| (role.clone(), path(digest)))
            .collect(),
        resume: assignment.resume.as_ref().map(path),
        manifest: assignment.manifest.as_ref().map(path),
        pins,
    })
}

async fn upload(
    fence: Fence,
    what: Upload,
    file: PathBuf,
    folder: Arc<RankFolder>,
    transfer: Arc<Transfer>,
    teller: mpsc::Sender<Occurrence>,
) {
    let result = if folder.holds(&file) {
        transfer.send(&file, &told(fence, &teller)).await
    } else {
        Err(Failure::new(
            FailureClass::Crash,
            format!(
                "the rank process handed over {}, which is no file in its own folder",
                file.display()
            ),
        ))
    };
    match (&what, &result) {
        (Upload::Output(_), Ok(digest)) => transfer.keep(*digest, &file).await,
        (Upload::Checkpoint(_), Ok(_)) => discard(&folder, &file),
        (_, Err(_)) => {}
    }
    let _ = teller.send(Occurrence::Uploaded(fence, what, result)).await;
}

fn discard(folder: &RankFolder, file: &Path) {
    if folder.holds(file)
        && let Err(error) = std::fs::remove_file(file)
    {
        tracing::debug!("cannot remove {}: {error}", file.display());
    }
}

async fn write_commands(
    mut stdin: Box<dyn AsyncWrite + Send + Unpin>,
    mut orders: mpsc::Receiver<Command>,
) {
    while let Some(command) = orders.recv().await {
        let written = match to_line(&command) {
            Ok(line) => stdin.write_all(line.as_bytes()).await,
            Err(error) => Err(io::Error::from(error)),
        };
        if let Err(error) = written {
            tracing::debug!("the rank does not listen any more: {error}");
            return;
        }
    }
}

async fn read_messages(
    fence: Fence,
    stdout: Box<dyn AsyncRead + Send + Unpin>,
    teller: mpsc::Sender<Occurrence>,
) {
    let mut lines = BufReader::new(stdout).split(b'\n');
    while let Ok(Some(line)) = lines.next_segment().await {
        let occurrence = match serde_json::from_slice::<Message>(&line) {
            Ok(message) => Occurrence::Said(fence, message),
            // something printed past us: it may be what explains a crash
            Err(_) => Occurrence::Logged(fence, String::from_utf8_lossy(&line).into_owned()),
        };
        if teller.send(occurrence).await.is_err() {
            return;
        }
    }
}

/// All that a process wrote before its end is in the pipe.
async fn drain(reader: JoinHandle<()>) {
    const LIMIT: Duration = Duration::from_secs(2);
    let abort = reader.abort_handle();
    if tokio::time::timeout(LIMIT, reader).await.is_err() {
        abort.abort();
    }
}

impl fmt::Debug for RankHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RankHandle({})", self.assignment.fence)
    }
}
