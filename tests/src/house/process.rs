use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::seen::descendants;

/// A started program with its output in files.
#[derive(Debug)]
pub struct Process {
    child: Child,
    stdout: PathBuf,
    stderr: PathBuf,
    started: Instant,
}

/// A program that has ended.
#[derive(Debug)]
pub struct Finished {
    /// How.
    pub status: ExitStatus,
    /// What it printed.
    pub stdout: String,
    /// What it logged.
    pub stderr: String,
    /// From its start to its end.
    pub took: Duration,
}

impl Finished {
    /// Both outputs, for messages.
    pub fn all(&self) -> String {
        format!(
            "{}\n--- stdout\n{}\n--- stderr\n{}",
            self.status, self.stdout, self.stderr
        )
    }
}

impl Process {
    /// Starts it, output into files in `folder`.
    pub fn start(mut command: Command, folder: &Path) -> Self {
        let (out, stdout) = tempfile::NamedTempFile::new_in(folder)
            .expect("a file")
            .keep()
            .expect("kept");
        let (err, stderr) = tempfile::NamedTempFile::new_in(folder)
            .expect("a file")
            .keep()
            .expect("kept");
        let child = command
            .stdin(Stdio::null())
            .stdout(out)
            .stderr(err)
            .spawn()
            .unwrap_or_else(|error| panic!("{command:?}: {error}"));
        Self {
            child,
            stdout,
            stderr,
            started: Instant::now(),
        }
    }

    /// Its process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: Signal) {
        send(self.id(), signal);
    }

    /// Both outputs so far.
    pub fn output(&self) -> String {
        format!("{}{}", read(&self.stdout), read(&self.stderr))
    }

    /// Whether it has not ended yet.
    pub fn is_running(&mut self) -> bool {
        self.child.try_wait().expect("a child of ours").is_none()
    }

    /// Waits until `found` gives something; fails with the program's output after the limit, or when the program ends.
    pub fn until<T>(
        &mut self,
        what: &str,
        limit: Duration,
        mut found: impl FnMut() -> Option<T>,
    ) -> T {
        let deadline = Instant::now() + limit;
        loop {
            if let Some(value) = found() {
                return value;
            }
            assert!(
                self.is_running(),
                "the program ended before {what}\n{}",
                self.output()
            );
            assert!(
                Instant::now() < deadline,
                "no {what} within {limit:?}\n{}",
                self.output()
            );
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// `kill -9`, and its end.
    pub fn kill(&mut self) {
        self.child.kill().expect("a child of ours");
        self.child.wait().expect("a child of ours");
    }

    /// `kill -9`, and another process in its place.
    pub fn replace(&mut self, another: impl FnOnce() -> Self) {
        self.kill();
        *self = another();
    }

    /// Waits for the end; a program that takes longer is killed and fails the test.
    pub fn wait(mut self, limit: Duration) -> Finished {
        let deadline = Instant::now() + limit;
        loop {
            if let Some(status) = self.child.try_wait().expect("a child of ours") {
                return Finished {
                    status,
                    stdout: read(&self.stdout),
                    stderr: read(&self.stderr),
                    took: self.started.elapsed(),
                };
            }
            assert!(
                Instant::now() < deadline,
                "still running after {limit:?}\n{}",
                self.output()
            );
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if self.child.try_wait().ok().flatten().is_none() {
            let family = descendants(self.id());
            let _ = self.child.kill();
            let _ = self.child.wait();
            for id in family {
                if let Ok(id) = i32::try_from(id) {
                    let _ = kill(Pid::from_raw(id), Signal::SIGKILL);
                }
            }
        }
    }
}

fn read(path: &Path) -> String {
    let mut text = Vec::new();
    if let Ok(mut file) = File::open(path) {
        let _ = file.read_to_end(&mut text);
    }
    String::from_utf8_lossy(&text).into_owned()
}

/// Sends a signal to a process that is there.
pub fn send(id: u32, signal: Signal) {
    let id = i32::try_from(id).expect("process ids fit");
    kill(Pid::from_raw(id), signal).unwrap_or_else(|error| panic!("{signal} to {id}: {error}"));
}
