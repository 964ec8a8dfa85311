//! The long-lived half of a worker: no tensors, one device, one coordinator.
//!
//! Decisions are in the room `duty`, which is pure; `shell` does what they say; `coordinator` is the seam to the
//! network and `process` the one to the rank processes.

mod cache;
mod clock;
mod coordinator;
mod device;
mod folder;
mod link;
mod logs;
mod oom;
mod parent;
mod process;
mod rank_handle;
mod settings;
mod shell;
mod transfer;

use std::sync::Arc;

use anyhow::{Context, Result};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;

pub use process::{Killer, ProcessStarter, RankProcess, RankStarter};

use crate::cli::Options;
use crate::exit;
use cache::Cache;
use clock::Clock;
use folder::WorkFolder;
use link::Link;
use settings::Settings;
use shell::{Occurrence, Shell};
use transfer::Transfer;

/// Activations are as large as glibc's threshold for giving memory back to the kernel, so that every step would fault the same
/// pages in again. Keeping them saved 11 to 15 % of a rank's CPU time.
const KEEP_MEMORY: &str = "glibc.malloc.hugetlb=1:glibc.malloc.mmap_threshold=4294967296:\
     glibc.malloc.trim_threshold=8589934592:glibc.malloc.top_pad=67108864";

/// Owns one device until a signal, or the coordinator, ends it; gives the process's exit code.
///
/// # Errors
/// When it cannot begin: no device, a folder in use, an address that makes no sense.
pub fn run(options: &Options) -> Result<u8> {
    if options.ends_with_parent {
        parent::end_with_it().context("cannot watch the process that started this worker")?;
    }
    let program = std::env::current_exe().context("cannot find the worker's own program")?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .context("cannot start the asynchronous runtime")?;
    let code = runtime.block_on(async {
        if !device::is_usable(&program, options.device()).await? {
            return Ok(exit::NO_DEVICE);
        }
        let settings = Settings::from_options(options, device::name(options.device()))?;
        let starter = ProcessStarter::new(program, vec!["rank".to_owned()])
            .env("GLIBC_TUNABLES", KEEP_MEMORY)
            // its warnings carry pages of C++ frames
            .env("TORCH_CPP_LOG_LEVEL", "ERROR")
            // what cuBLAS needs to give the same bits every time
            .env("CUBLAS_WORKSPACE_CONFIG", ":4096:8");
        serve(settings, Arc::new(starter)).await
    });
    // downloads that nobody waits for any more must not hold up the end
    runtime.shutdown_background();
    code
}

/// Everything after the device has been found.
async fn serve(settings: Settings, starter: Arc<dyn RankStarter>) -> Result<u8> {
    let (teller, occurrences) = mpsc::channel(1024);
    signals(teller.clone())?;
    tracing::info!(
        "worker {} on {} ({}), coordinator {}, files in {}",
        settings.name,
        settings.device,
        settings.device_name,
        settings.coordinator,
        settings.work_dir.display()
    );
    let shell = assemble(settings, starter, (teller, occurrences))?;
    Ok(shell.run().await)
}

/// A supervisor on its way to a real coordinator.
fn assemble(
    settings: Settings,
    starter: Arc<dyn RankStarter>,
    (teller, occurrences): (mpsc::Sender<Occurrence>, mpsc::Receiver<Occurrence>),
) -> Result<Shell> {
    let folder = WorkFolder::open(settings.work_dir.clone())?;
    let cache = Cache::open(folder.cache(), settings.cache_limit);
    let cache = Arc::new(cache.context("cannot open the worker's cache")?);
    let clock = Clock::new();
    let coordinator = Arc::new(Link::open(
        &settings,
        clock,
        folder.new_life(clock.now())?,
        teller.clone(),
    )?);
    let transfer = Arc::new(Transfer::new(coordinator.clone(), cache));
    let channel = (teller, occurrences);
    Ok(Shell::new(
        settings,
        clock,
        starter,
        folder,
        transfer,
        coordinator,
        channel,
    ))
}

/// The first SIGINT or SIGTERM asks the worker to leave, the second makes it. A terminal that closes (SIGHUP) asks, too.
fn signals(teller: mpsc::Sender<Occurrence>) -> Result<()> {
    let listen = |kind| signal(kind).context("cannot listen to signals");
    let mut interrupt = listen(SignalKind::interrupt())?;
    let mut terminate = listen(SignalKind::terminate())?;
    let mut hangup = listen(SignalKind::hangup())?;
    tokio::spawn(async move {
        loop {
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
                _ = hangup.recv() => {}
            }
            if teller.send(Occurrence::Interrupt).await.is_err() {
                return;
            }
        }
    });
    Ok(())
}

#[cfg(test)]
mod fake_coordinator;
#[cfg(test)]
mod samples;
