use std::fs::File;
use std::io;
use std::mem::MaybeUninit;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use duty::Exit;
use nix::errno::Errno;
use nix::libc;
use nix::sys::signal::{Signal, kill, killpg};
use nix::sys::wait::{Id, WaitPidFlag, waitid};
use nix::unistd::Pid;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::process::{ChildStdin, ChildStdout};
use tokio::sync::oneshot;

use super::oom::OomCounter;
use crate::warden::END;

/// Starts rank processes. The supervisor knows nothing else about them, so that tests can give it others.
pub trait RankStarter: Send + Sync + 'static {
    /// Starts one that writes its log to this file. Its first command is yet to be written.
    ///
    /// # Errors
    /// When no process could be started.
    fn start(&self, log: File) -> io::Result<RankProcess>;
}

/// A running rank process.
pub struct RankProcess {
    /// Its process id, for people.
    pub id: u32,
    /// Takes [`duty::protocol::Command`]s.
    pub stdin: Box<dyn AsyncWrite + Send + Unpin>,
    /// Gives [`duty::protocol::Message`]s.
    pub stdout: Box<dyn AsyncRead + Send + Unpin>,
    /// Ends it.
    pub killer: Arc<dyn Killer>,
    /// Resolves when it has ended and every process below it.
    pub exit: oneshot::Receiver<Exit>,
}

/// Ends a rank process.
pub trait Killer: Send + Sync {
    /// Asks it to end (SIGTERM).
    fn terminate(&self);
    /// Ends it and everything below it.
    fn kill(&self);
}

/// Starts real processes.
///
/// The program puts itself under a warden ([`crate::warden::stand`]): the process that is started here is the warden, and what is
/// known of the rank is known from its end. It is told by [`END`] to end everything below it, also by the kernel
/// (`PR_SET_PDEATHSIG`) when the worker dies. That signal is tied to the *thread* that started the process, so a thread of its own
/// starts each rank and waits for it. (A program without a warden dies of [`END`], and its process group with it.)
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

    fn command(&self, log: File) -> Command {
        let mut command = Command::new(&self.program);
        command
            .args(&self.arguments)
            .envs(self.environment.iter().map(|(name, value)| (name, value)))
            // the rank needs no secret of the worker's
            .env_remove("TUTTI_TOKEN")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(log)
            .process_group(0);
        let parent = Pid::this();
        let die_with_parent = move || {
            nix::sys::prctl::set_pdeathsig(END)?;
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
    fn start(&self, log: File) -> io::Result<RankProcess> {
        let mut command = self.command(log);
        let (started, when_started) = std::sync::mpsc::sync_channel(1);
        let (ended, exit) = oneshot::channel();
        let killer = Arc::new(WardenKiller::default());
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
                // it has the log, and nobody else shall seem to
                drop(command);
                of_thread.set(Some(pid_of(&child)));
                let pipes = (child.id(), child.stdin.take(), child.stdout.take());
                let _ = started.send(Ok(pipes));
                let (status, peak_memory) = wait_and_clear_group(&child, &of_thread);
                let by_order = status.signal() == Some(END as i32);
                let _ = ended.send(Exit {
                    signal: if by_order {
                        Some(Signal::SIGKILL as i32)
                    } else {
                        status.signal()
                    },
                    code: status.code(),
                    by_order,
                    out_of_memory: oom.has_grown(),
                    peak_memory,
                });
            })?;
        let (id, stdin, stdout) = when_started
            .recv()
            .map_err(|_| io::Error::other("the thread that starts the rank process ended"))??;
        let (Some(stdin), Some(stdout)) = (stdin, stdout) else {
            return Err(io::Error::other("the rank process has no pipes"));
        };
        Ok(RankProcess {
            id,
            stdin: Box::new(ChildStdin::from_std(stdin)?),
            stdout: Box::new(ChildStdout::from_std(stdout)?),
            killer,
            exit,
        })
    }
}

fn pid_of(child: &Child) -> Pid {
    Pid::from_raw(i32::try_from(child.id()).expect("process ids are positive i32"))
}

/// Waits for the end, kills what is left of the group while the process id cannot have been given to another yet, then
/// collects the status, and the most memory in bytes that one of the processes had in use.
fn wait_and_clear_group(child: &Child, killer: &WardenKiller) -> (ExitStatus, Option<u64>) {
    let pid = pid_of(child);
    while let Err(Errno::EINTR) = waitid(Id::Pid(pid), WaitPidFlag::WEXITED | WaitPidFlag::WNOWAIT)
    {
    }
    killer.with(|pid| killpg(pid, Signal::SIGKILL));
    killer.set(None);
    let mut status = 1 << 8;
    let mut usage = MaybeUninit::<libc::rusage>::zeroed();
    #[expect(
        unsafe_code,
        reason = "wait4 has no safe wrapper; all it writes to is here, and zeros are a valid rusage"
    )]
    // SAFETY: see the reason above.
    let (collected, usage) = unsafe {
        let collected = libc::wait4(pid.as_raw(), &raw mut status, 0, usage.as_mut_ptr());
        (collected, usage.assume_init())
    };
    // the kernel counts in KiB
    let peak = u64::try_from(usage.ru_maxrss).ok().map(|peak| peak << 10);
    let peak = peak.filter(|&peak| collected == pid.as_raw() && peak > 0);
    (ExitStatus::from_raw(status), peak)
}

/// Signals a warden for as long as it has not been collected.
#[derive(Debug, Default)]
struct WardenKiller(Mutex<Option<Pid>>);

impl WardenKiller {
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

impl Killer for WardenKiller {
    fn terminate(&self) {
        self.with(|pid| kill(pid, Signal::SIGTERM));
    }

    fn kill(&self) {
        // a warden that was stopped would not hear it
        self.with(|pid| kill(pid, END).and_then(|()| kill(pid, Signal::SIGCONT)));
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
            .start(tempfile::tempfile().unwrap())
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
        assert!(exit.peak_memory.unwrap() > 1 << 16, "{exit:?}");
        let exit = timeout(LIMIT, shell("kill -SEGV $$").exit)
            .await
            .unwrap()
            .unwrap();
        assert_eq!((exit.code, exit.signal), (None, Some(11)));
        let exit = timeout(LIMIT, shell("kill -KILL $$").exit)
            .await
            .unwrap()
            .unwrap();
        assert_eq!((exit.signal, exit.by_order), (Some(9), false));
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
        assert_eq!((exit.signal, exit.by_order), (Some(9), true));
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
            .start(tempfile::tempfile().unwrap())
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
