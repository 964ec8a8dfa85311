//! Workers on this machine, started and watched by the coordinator: `--local-workers N`.

use std::fs::OpenOptions;
use std::path::PathBuf;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use control::Input;
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use tokio::process::{Child, Command};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use types::WorkerId;

use crate::run_dir::RunDir;
use crate::shell::Handle;

/// A worker that ended unasked is started again after so long, longer each time,
const FIRST_PAUSE: Duration = Duration::from_secs(1);
/// up to this.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);
/// One that lived so long starts over with the first pause.
const HEALTHY: Duration = Duration::from_secs(60);
/// How long workers may take to leave in order.
const LEAVE_LIMIT: Duration = Duration::from_secs(20);

/// How a local worker is started.
#[derive(Clone)]
pub(crate) struct Recipe {
    pub(crate) binary: PathBuf,
    pub(crate) coordinator: String,
    pub(crate) token: String,
    pub(crate) run_dir: RunDir,
}

/// The running ones.
pub(crate) struct LocalWorkers {
    names: Vec<WorkerId>,
    shell: Handle,
    kill: CancellationToken,
    leaving: CancellationToken,
    tasks: TaskTracker,
}

impl LocalWorkers {
    /// Starts `local-0`, `local-1` and so on.
    ///
    /// # Errors
    /// When the program is not there, or a worker's folder cannot be made.
    pub(crate) fn start(count: u32, recipe: &Recipe, shell: &Handle) -> Result<Self> {
        if count > 0 && !recipe.binary.exists() {
            bail!(
                "{} is not there: build it (cargo build --release -p worker) or name another with --worker-binary",
                recipe.binary.display()
            );
        }
        let (kill, leaving, tasks) = (
            CancellationToken::new(),
            CancellationToken::new(),
            TaskTracker::new(),
        );
        let mut names = Vec::new();
        for index in 0..count {
            let name = WorkerId::new(format!("local-{index}")).context("a local worker's name")?;
            let folder = recipe.run_dir.worker(name.as_str());
            std::fs::create_dir_all(&folder)
                .with_context(|| format!("cannot make {}", folder.display()))?;
            tasks.spawn(keep_alive(
                name.clone(),
                recipe.clone(),
                shell.clone(),
                leaving.clone(),
                kill.clone(),
            ));
            names.push(name);
        }
        tasks.close();
        Ok(Self {
            names,
            shell: shell.clone(),
            kill,
            leaving,
            tasks,
        })
    }

    /// Lets them leave in order; those that take too long are killed.
    pub(crate) async fn leave(self) {
        self.leaving.cancel();
        self.shell.leave(self.names.clone()).await;
        if tokio::time::timeout(LEAVE_LIMIT, self.tasks.wait())
            .await
            .is_err()
        {
            tracing::warn!(
                "local workers did not leave within {} s: they are killed",
                LEAVE_LIMIT.as_secs()
            );
        }
        self.kill().await;
    }

    /// Ends them at once, with their rank processes.
    pub(crate) async fn kill(self) {
        self.leaving.cancel();
        self.kill.cancel();
        self.tasks.wait().await;
    }
}

/// Runs one worker, again and again until it is told to leave.
async fn keep_alive(
    name: WorkerId,
    recipe: Recipe,
    shell: Handle,
    leaving: CancellationToken,
    kill: CancellationToken,
) {
    let mut pause = FIRST_PAUSE;
    while !leaving.is_cancelled() {
        let began = tokio::time::Instant::now();
        let detail = match spawn(&name, &recipe) {
            Ok(mut child) => {
                let group = child.id();
                let status = tokio::select! {
                    status = child.wait() => status,
                    () = kill.cancelled() => {
                        kill_group(group);
                        child.wait().await
                    }
                };
                // Its ranks go with it; whatever else it left behind goes now.
                kill_group(group);
                status.map_or_else(|error| error.to_string(), describe)
            }
            Err(error) => format!("cannot be started: {error:#}"),
        };
        tell_exit(&shell, &name, &detail).await;
        if leaving.is_cancelled() {
            return;
        }
        if began.elapsed() > HEALTHY {
            pause = FIRST_PAUSE;
        }
        let log = recipe.run_dir.worker(name.as_str()).join("worker.log");
        tracing::warn!(
            "local worker {name} ended ({detail}); started again in {} s (its log: {})",
            pause.as_secs(),
            log.display()
        );
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = leaving.cancelled() => return,
        }
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

fn spawn(name: &WorkerId, recipe: &Recipe) -> Result<Child> {
    let folder = recipe.run_dir.worker(name.as_str());
    let path = folder.join("worker.log");
    let log = OpenOptions::new()
        .create(true)
        .append(true)
        .open(&path)
        .with_context(|| format!("cannot write {}", path.display()))?;
    Command::new(&recipe.binary)
        .args([
            "--cpu",
            "--name",
            name.as_str(),
            "--coordinator",
            &recipe.coordinator,
            "--address",
            "127.0.0.1",
        ])
        .arg("--work-dir")
        .arg(&folder)
        .env("TUTTI_TOKEN", &recipe.token)
        .env("TUTTI_ENDS_WITH_PARENT", "true")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(log)
        // Ctrl-C at the terminal is for the coordinator, which then tells its workers.
        .process_group(0)
        .kill_on_drop(true)
        .spawn()
        .with_context(|| format!("cannot start {}", recipe.binary.display()))
}

fn kill_group(leader: Option<u32>) {
    if let Some(leader) = leader.and_then(|id| i32::try_from(id).ok()) {
        // Nobody may be left in it.
        let _ = killpg(Pid::from_raw(leader), Signal::SIGKILL);
    }
}

/// An exit that its parent saw ends a worker's lease at once.
async fn tell_exit(shell: &Handle, name: &WorkerId, detail: &str) {
    let wanted = name.clone();
    let life = shell.query(move |view| {
        view.cluster
            .workers()
            .into_iter()
            .find(|worker| worker.worker == wanted)
            .map(|worker| worker.incarnation)
    });
    if let Ok(Some(incarnation)) = life.await {
        let input = Input::Exited {
            worker: name.clone(),
            incarnation,
            detail: detail.to_owned(),
        };
        if let Err(error) = shell.input(input).await {
            tracing::debug!("{error}");
        }
    }
}

fn describe(status: ExitStatus) -> String {
    use std::os::unix::process::ExitStatusExt;
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("exit code {code}"),
        (None, Some(signal)) => format!("killed by signal {signal}"),
        (None, None) => "ended".to_owned(),
    }
}
