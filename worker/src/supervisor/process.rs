use std::io;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use duty::Exit;
use nix::errno::Errno;
use nix::sys::signal::{Signal, kill, killpg};
use nix::sys::wait::{Id, WaitPidFlag, waitid};
use nix::unistd::Pid;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::process::{ChildStderr, ChildStdin, ChildStdout};
use tokio::sync::oneshot;

use super::oom::OomCounter;

/// Starts rank processes. The supervisor knows nothing else about them, so that tests can give it others.
pub trait RankStarter: Send + Sync + 'static {
    /// Starts one. Its first command is yet to be written.
    ///
    /// # Errors
    /// When no process could be started.
    fn start(&self) -> io::Result<RankProcess>;
}

/// A running rank process.
pub struct RankProcess {
    /// Its process id, for people.
    pub id: u32,
    /// Takes [`duty::protocol::Command`]s.
    pub stdin: Box<dyn AsyncWrite + Send + Unpin>,
    /// Gives [`duty::protocol::Message`]s.
    pub stdout: Box<dyn AsyncRead + Send + Unpin>,
    /// Gives log lines.
    pub stderr: Box<dyn AsyncRead + Send + Unpin>,
    /// Ends it.
    pub killer: Arc<dyn Killer>,
    /// Resolves when it has ended and every process of its group with it.
    pub exit: oneshot::Receiver<Exit>,
}

/// Ends a rank process.
pub trait Killer: Send + Sync {
    /// Asks it to end (SIGTERM to the process).
    fn terminate(&self);
    /// Ends it and all its children (SIGKILL to the group).
    fn kill(&self);
}

/// Starts real processes.
///
/// Each has its own process group, and dies by the kernel's hand (`PR_SET_PDEATHSIG`) when the worker does. That signal is
/// tied to the *thread* that started the process, so a thread of its own starts each rank and waits for it.
#[derive(Debug, Clone)]
pub struct ProcessStarter {
    program: PathBuf,
    arguments: Vec<String>,
    environment: Vec<(String, String)>,
}

impl ProcessStarter {
    /// A starter of `program arguments...`.
    #[must_use]
    pub fn new(program: PathBuf, arguments: Vec<String>) -> Self {
        Self {
            program,
            arguments,
            environment: Vec::new(),
        }
    }

    /// Adds a variable to the rank's environment.
    #[must_use]
    pub fn env(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.environment.push((name.into(), value.into()));
        self
    }

    fn command(&self) -> Command {
        let mut command = Command::new(&self.program);
        command
            .args(&self.arguments)
            .envs(self.environment.iter().map(|(name, value)| (name, value)))
            // the rank needs no secret of the worker's
            .env_remove("TUTTI_TOKEN")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0);
        let parent = Pid::this();
        let die_with_parent = move || {
            nix::sys::prctl::set_pdeathsig(Signal::SIGKILL)?;
            if nix::unistd::getppid() == parent {
                Ok(())
            } else {
                // the worker died between fork and prctl, when nothing would have told us
                Err(io::Error::from(Errno::ESRCH))
            }
        };
        #[expect(
            unsafe_code,
            reason = "runs between fork and exec: only prctl and getppid, both async-signal-safe, nothing allocates"
        )]
        // SAFETY: see the reason above.
        unsafe {
            command.pre_exec(die_with_parent);
        }
        command
    }
}

impl RankStarter for ProcessStarter {
    fn start(&self) -> io::Result<RankProcess> {
        let mut command = self.command();
        let (started, when_started) = std::sync::mpsc::sync_channel(1);
        let (ended, exit) = oneshot::channel();
        let killer = Arc::new(GroupKiller::default());
        let of_thread = Arc::clone(&killer);
        thread::Builder::new()
            .name("rank-parent".to_owned())
            .spawn(move || {
                let oom = OomCounter::of_this_process();
                let mut child = match command.spawn() {
                    Ok(child) => child,
                    Err(error) => {
                        let _ = started.send(Err(error));
                        return;
                    }
                };
                of_thread.set(Some(pid_of(&child)));
                let pipes = (
                    child.id(),
                    child.stdin.take(),
                    child.stdout.take(),
                    child.stderr.take(),
                );
                let _ = started.send(Ok(pipes));
                let status = wait_and_clear_group(&mut child, &of_thread);
                let _ = ended.send(Exit {
                    signal: status.signal(),
                    code: status.code(),
                    out_of_memory: oom.has_grown(),
                });
            })?;
        let (id, stdin, stdout, stderr) = when_started
            .recv()
            .map_err(|_| io::Error::other("the thread that starts the rank process ended"))??;
        let (Some(stdin), Some(stdout), Some(stderr)) = (stdin, stdout, stderr) else {
            return Err(io::Error::other("the rank process has no pipes"));
        };
        Ok(RankProcess {
            id,
            stdin: Box::new(ChildStdin::from_std(stdin)?),
            stdout: Box::new(ChildStdout::from_std(stdout)?),
            stderr: Box::new(ChildStderr::from_std(stderr)?),
            killer,
            exit,
        })
    }
}

fn pid_of(child: &Child) -> Pid {
    Pid::from_raw(i32::try_from(child.id()).expect("process ids are positive i32"))
}

/// Waits for the end, kills what is left of the group while the process id cannot have been given to another yet, then
/// collects the status.
fn wait_and_clear_group(child: &mut Child, killer: &GroupKiller) -> ExitStatus {
    let pid = pid_of(child);
    while let Err(Errno::EINTR) = waitid(Id::Pid(pid), WaitPidFlag::WEXITED | WaitPidFlag::WNOWAIT)
    {
    }
    killer.kill();
    killer.set(None);
    child
        .wait()
        .unwrap_or_else(|_| ExitStatus::from_raw(1 << 8))
}

/// Signals a process group for as long as its leader has not been collected.
#[derive(Debug, Default)]
struct GroupKiller(Mutex<Option<Pid>>);

impl GroupKiller {
    fn set(&self, pid: Option<Pid>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = pid;
    }

    fn with(&self, signal: impl FnOnce(Pid) -> nix::Result<()>) {
        let pid = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(pid) = *pid
            && let Err(error) = signal(pid)
            && error != Errno::ESRCH
        {
            tracing::warn!("cannot signal rank process {pid}: {error}");
        }
    }
}

impl Killer for GroupKiller {
    fn terminate(&self) {
        self.with(|pid| kill(pid, Signal::SIGTERM));
    }

    fn kill(&self) {
        self.with(|pid| killpg(pid, Signal::SIGKILL));
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::io::AsyncReadExt;
    use tokio::time::timeout;

    use super::*;

    const LIMIT: Duration = Duration::from_secs(10);

    fn shell(script: &str) -> RankProcess {
        ProcessStarter::new("/bin/sh".into(), vec!["-c".into(), script.into()])
            .start()
            .unwrap()
    }

    fn is_alive(pid: i32) -> bool {
        // a zombie that nobody has collected yet is not alive
        std::fs::read_to_string(format!("/proc/{pid}/stat"))
            .is_ok_and(|stat| !stat.contains(") Z "))
    }

    async fn gone(pid: i32) {
        timeout(LIMIT, async {
            while is_alive(pid) {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        })
        .await
        .unwrap();
    }

    #[tokio::test]
    async fn exit_codes_and_signals_are_told_apart() {
        let exit = timeout(LIMIT, shell("exit 7").exit).await.unwrap().unwrap();
        assert_eq!((exit.code, exit.signal), (Some(7), None));
        let exit = timeout(LIMIT, shell("kill -SEGV $$").exit)
            .await
            .unwrap()
            .unwrap();
        assert_eq!((exit.code, exit.signal), (None, Some(11)));
    }

    #[tokio::test]
    async fn a_kill_takes_the_children_along() {
        let mut process = shell("sleep 60 & echo $!; sleep 60");
        let mut first = [0; 16];
        let read = timeout(LIMIT, process.stdout.read(&mut first))
            .await
            .unwrap()
            .unwrap();
        let grandchild: i32 = std::str::from_utf8(&first[..read])
            .unwrap()
            .trim()
            .parse()
            .unwrap();
        process.killer.kill();
        let exit = timeout(LIMIT, process.exit).await.unwrap().unwrap();
        assert_eq!(exit.signal, Some(9));
        gone(grandchild).await;
    }

    #[tokio::test]
    async fn children_left_behind_go_with_their_rank() {
        let mut process = shell("sleep 60 & echo $!");
        let mut text = String::new();
        // the sleeper holds the pipe open: this ends only if it is killed
        timeout(LIMIT, process.stdout.read_to_string(&mut text))
            .await
            .unwrap()
            .unwrap();
        gone(text.trim().parse().unwrap()).await;
    }

    #[test]
    fn a_program_that_is_not_there_is_an_error() {
        let error = ProcessStarter::new("/no/such/program".into(), Vec::new())
            .start()
            .map(|process| process.id)
            .unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::NotFound);
    }

    /// Not a test of its own: the parent process of the test below, which runs this binary again.
    #[tokio::test]
    async fn play_a_worker_that_will_be_killed() {
        let Some(file) = std::env::var_os("TUTTI_TEST_PARENT_WRITES_TO") else {
            return;
        };
        let process = shell("exec sleep 60");
        std::fs::write(file, process.id.to_string()).unwrap();
        tokio::time::sleep(Duration::from_secs(60)).await;
    }

    #[tokio::test]
    async fn when_the_worker_is_killed_its_rank_is_gone_within_two_seconds() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("pid");
        let mut parent = Command::new(std::env::current_exe().unwrap())
            .args([
                "--exact",
                "supervisor::process::tests::play_a_worker_that_will_be_killed",
            ])
            .env("TUTTI_TEST_PARENT_WRITES_TO", &file)
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        let rank: i32 = timeout(LIMIT, async {
            loop {
                if let Ok(Ok(pid)) = std::fs::read_to_string(&file).map(|text| text.parse()) {
                    return pid;
                }
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        })
        .await
        .unwrap();
        assert!(is_alive(rank));
        parent.kill().unwrap();
        parent.wait().unwrap();
        timeout(Duration::from_secs(2), gone(rank)).await.unwrap();
    }
}
