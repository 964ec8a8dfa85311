//! `coordinator --plan PLAN`: from the first task to the table of scores, or on from where the last call ended.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use artifact::Keeper;
use control::{Input, RunOutcome, Settings};
use journal::{Journal, SqliteJournal};
use plan::{Plan, Sizing};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;
use types::{RunId, Timestamp};

use crate::exit;
use crate::finish;
use crate::local_workers::{LocalWorkers, Recipe};
use crate::page::{self, PageWriter};
use crate::records::{OpenFiles, Records};
use crate::rendezvous::{Rendezvous, live_gangs};
use crate::replay::replay;
use crate::run_dir::RunDir;
use crate::server;
use crate::shell::{Handle, Outputs, Parts, Shell, ShellError};
use crate::submission::{Submitter, opening};
use crate::sweeper::{self, Manifests};
use crate::terminal;
use crate::words::Greeting;

/// What a user may choose.
#[derive(Debug, Clone)]
pub(crate) struct RunOptions {
    pub(crate) run_dir: Option<PathBuf>,
    pub(crate) listen: SocketAddr,
    pub(crate) local_workers: u32,
    pub(crate) worker_binary: Option<PathBuf>,
    pub(crate) lost_after: Duration,
}

/// How long ranks may take to write a checkpoint and end.
const DRAIN_LIMIT: Duration = Duration::from_secs(120);

/// Runs a plan; gives the exit code.
///
/// # Errors
/// Whatever keeps a run from starting or going on; a failed task is not an error but [`exit::FAILED`].
pub(crate) async fn run(options: RunOptions, plan: Plan) -> Result<u8> {
    run_over(options, plan, |journal| Box::new(journal)).await
}

/// As [`run`], over a journal that may be another's face: tests let it fail.
pub(crate) async fn run_over(
    options: RunOptions,
    plan: Plan,
    face: impl FnOnce(SqliteJournal) -> Box<dyn Journal + Send>,
) -> Result<u8> {
    let began = Instant::now();
    let mut interrupts = Interrupts::listen()?;
    let root = options
        .run_dir
        .clone()
        .unwrap_or_else(|| PathBuf::from("runs").join(plan.name()));
    let run_dir = RunDir::create(&root)?;
    let journal = SqliteJournal::open(&run_dir.journal())?;
    let cluster = replay(journal.records()?)?;
    let store = Arc::new(artifact::Store::open(run_dir.artifacts())?);
    let live = Manifests::default().live(&cluster);
    let keeper = Arc::new(Keeper::new(Arc::clone(&store), &live)?);
    // until the run is there, nothing refers to what it brings
    let hold = keeper.hold();
    let speed = if options.local_workers > 0 {
        Sizing::CPU
    } else {
        Sizing::GPU
    };
    let submitter = Arc::new(Submitter::new(run_dir.clone(), Arc::clone(&keeper), speed));
    let (prepared, plan) = {
        let submitter = Arc::clone(&submitter);
        tokio::task::spawn_blocking(move || {
            submitter.prepare(&plan).map(|prepared| (prepared, plan))
        })
        .await??
    };
    submitter.keep(&plan)?;
    let plan = Arc::new(plan);
    let page = Arc::new(PageWriter::new(
        Arc::clone(&plan),
        &prepared.graph,
        Arc::clone(&store),
        run_dir.clone(),
    )?);
    let settings = Settings {
        lost_after: options.lost_after,
        ..Settings::default()
    };
    let has = |digest: &types::Digest| store.has(digest);
    let (run, opening) = opening(&cluster, settings, &prepared.name, &prepared.graph, has);
    let rendezvous = Rendezvous::reopen(run_dir.rendezvous(), live_gangs(&cluster))?;
    let rendezvous = Arc::new(rendezvous);
    let (shell, outputs) = Shell::new(Parts {
        cluster,
        journal: face(journal),
        keeper: Arc::clone(&keeper),
        rendezvous: Arc::clone(&rendezvous),
        records: Records::new(run_dir.root(), OpenFiles::default()),
        greeting: Greeting {
            heartbeat: settings.heartbeat,
            lost_after: settings.lost_after,
            journal: Timestamp::default(),
        },
    });
    let Outputs {
        handle,
        snapshots,
        notices,
        drained,
    } = outputs;
    let mut shell = tokio::spawn(shell.run());
    for input in opening {
        if let Input::ArtifactLost { digest } = &input {
            tracing::warn!("artifact {digest} is gone from the store: what made it runs again");
        }
        match handle.input(input).await {
            Err(ShellError::Gone) => return Err(why_it_ended(shell.await)),
            taken => taken?,
        }
    }
    drop(hold);

    let mut code = exit::OK;
    if !is_over(&handle, run).await? {
        let session = Session {
            options: &options,
            handle: handle.clone(),
            run,
            drained,
            keeper: Arc::clone(&keeper),
            rendezvous,
            submitter,
            run_dir: run_dir.clone(),
        };
        let shown = tokio::spawn(terminal::show(snapshots.clone(), notices));
        let stop = CancellationToken::new();
        let paged = page::follow(Arc::clone(&page), snapshots.clone(), run, stop.clone());
        let paged = tokio::spawn(paged);
        let end = tokio::select! {
            end = session.go_on(snapshots, &mut interrupts) => end,
            ended = &mut shell => Err(why_it_ended(ended)),
        };
        shown.abort();
        // A page that is being written is written whole, and before the last one.
        stop.cancel();
        let _ = paged.await;
        code = end?;
    }
    let (view, tasks) = handle
        .query(move |view| (view.cluster.run(run), view.cluster.tasks(run)))
        .await?;
    let view = view.context("the run is not known any more")?;
    sweep_at_the_end(&handle, &keeper).await;
    if code == exit::OK && !matches!(view.ended, Some((_, RunOutcome::Done))) {
        code = exit::FAILED;
    }
    finish::print(&finish::Finished {
        plan: &plan,
        run: &view,
        page: &page,
        tasks: &tasks,
        store: &store,
        run_dir: &run_dir,
        interrupted: code == exit::INTERRUPTED,
        elapsed: began.elapsed(),
    })?;
    Ok(code)
}

/// The loop's own error, for who only sees that the loop is gone.
fn why_it_ended(ended: Result<Result<()>, tokio::task::JoinError>) -> anyhow::Error {
    match ended {
        Ok(Err(error)) => error,
        _ => anyhow::anyhow!("the coordinator's loop ended by itself"),
    }
}

/// What the run leaves at its end is of use.
async fn sweep_at_the_end(handle: &Handle, keeper: &Arc<Keeper>) {
    let live = handle.query(|view| Manifests::default().live(view.cluster));
    let Ok(live) = live.await else { return };
    // one that is running has done as much
    let Some(sweep) = keeper.sweep(live) else {
        return;
    };
    match tokio::task::spawn_blocking(move || sweep.run(false)).await {
        Ok(Ok(swept)) => sweeper::tell(&swept),
        Ok(Err(error)) => tracing::warn!("superseded artifacts cannot be removed: {error}"),
        Err(error) => tracing::warn!("{error}"),
    }
}

async fn is_over(handle: &Handle, run: RunId) -> Result<bool> {
    Ok(handle
        .query(move |view| view.cluster.run(run).is_none_or(|run| run.ended.is_some()))
        .await?)
}

/// A run that has something to do: server, local workers, and the wait for its end.
struct Session<'a> {
    options: &'a RunOptions,
    handle: Handle,
    run: RunId,
    drained: watch::Receiver<bool>,
    keeper: Arc<Keeper>,
    rendezvous: Arc<Rendezvous>,
    submitter: Arc<Submitter>,
    run_dir: RunDir,
}

impl Session<'_> {
    async fn go_on(
        self,
        mut snapshots: watch::Receiver<Option<Arc<crate::board::Snapshot>>>,
        interrupts: &mut Interrupts,
    ) -> Result<u8> {
        let (token_text, token) = self.run_dir.token()?;
        let (lost, damaged) = mpsc::unbounded_channel();
        let server = server::Running::start(
            self.options.listen,
            server::Parts {
                shell: self.handle.clone(),
                rendezvous: Arc::clone(&self.rendezvous),
                keeper: Arc::clone(&self.keeper),
                submitter: Arc::clone(&self.submitter),
                run_dir: self.run_dir.clone(),
                token,
                lost,
            },
        )
        .await?;
        let telling = tokio::spawn(tell_damage(self.handle.clone(), damaged));
        let url = format!("http://{}", server.address);
        let address_file = self.run_dir.address();
        // whoever looks for it finds all of it or nothing
        let aside = address_file.with_extension("new");
        std::fs::write(&aside, &url)
            .and_then(|()| std::fs::rename(&aside, &address_file))
            .with_context(|| format!("cannot write {}", address_file.display()))?;
        tracing::info!(
            "listening on {url}; run directory {}",
            self.run_dir.root().display()
        );
        if self.options.local_workers == 0 {
            tracing::info!(
                "workers join with: TUTTI_TOKEN=$(cat {}) worker --gpu 0 --coordinator {url}",
                self.run_dir.root().join("token").display()
            );
        }
        let recipe = Recipe {
            binary: worker_binary(self.options)?,
            coordinator: url,
            token: token_text,
            run_dir: self.run_dir.clone(),
        };
        let workers = LocalWorkers::start(self.options.local_workers, &recipe, &self.handle)?;
        let run = self.run;
        let over = snapshots.wait_for(|snapshot| {
            snapshot.as_ref().is_some_and(|snapshot| {
                snapshot.run.run > run || (snapshot.run.run == run && snapshot.run.ended.is_some())
            })
        });
        let interrupted = tokio::select! {
            over = over => {
                over.context("the coordinator's loop ended")?;
                false
            }
            () = interrupts.next() => true,
        };
        let code = if interrupted {
            self.stop_in_order(workers, interrupts).await?
        } else {
            workers.leave().await;
            exit::OK
        };
        // Whoever reads it next finds nobody there.
        let _ = std::fs::remove_file(&address_file);
        telling.abort();
        server.stop().await;
        Ok(code)
    }

    /// Ranks write a checkpoint and end, local workers leave; another interrupt ends everything at once.
    async fn stop_in_order(
        &self,
        workers: LocalWorkers,
        interrupts: &mut Interrupts,
    ) -> Result<u8> {
        tracing::info!("stopping in order: ranks write a checkpoint and end (again: stop now)");
        self.handle.input(Input::Shutdown).await?;
        let mut drained = self.drained.clone();
        let in_order = tokio::select! {
            waited = tokio::time::timeout(DRAIN_LIMIT, drained.wait_for(|drained| *drained)) => waited.is_ok(),
            () = interrupts.next() => false,
        };
        if in_order {
            workers.leave().await;
        } else {
            tracing::warn!("stopping now");
            workers.kill().await;
        }
        Ok(exit::INTERRUPTED)
    }
}

/// An artifact that turned out to be damaged is made again when somebody needs it.
async fn tell_damage(handle: Handle, mut damaged: mpsc::UnboundedReceiver<types::Digest>) {
    while let Some(digest) = damaged.recv().await {
        if handle.input(Input::ArtifactLost { digest }).await.is_err() {
            return;
        }
    }
}

/// The worker program: the one that was named, or the one beside this program.
fn worker_binary(options: &RunOptions) -> Result<PathBuf> {
    if let Some(binary) = &options.worker_binary {
        return Ok(binary.clone());
    }
    let own = std::env::current_exe().context("where this program is")?;
    Ok(own.with_file_name("worker"))
}

/// Ctrl-C and a service manager's stop.
struct Interrupts {
    interrupt: Signal,
    terminate: Signal,
}

impl Interrupts {
    fn listen() -> Result<Self> {
        Ok(Self {
            interrupt: signal(SignalKind::interrupt()).context("listening for Ctrl-C")?,
            terminate: signal(SignalKind::terminate()).context("listening for SIGTERM")?,
        })
    }

    async fn next(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }
}
