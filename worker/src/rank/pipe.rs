use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{RecvTimeoutError, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use duty::PULSE;
use duty::protocol::{Command, Message, Start, StoreAnswer, StoreAsk, to_line};
use nix::fcntl::{FcntlArg, fcntl};
use nix::sys::signal::{Signal, killpg};
use nix::unistd::{Pid, dup2_stdin, dup2_stdout, getpgrp};

use super::lease::RankLease;
use crate::exit;

/// The connection to the worker.
pub(super) struct Pipe {
    writer: Mutex<File>,
    stop: AtomicBool,
    lease: RankLease,
    next_request: AtomicU64,
    questions: Mutex<BTreeMap<u64, SyncSender<StoreAnswer>>>,
}

impl Pipe {
    /// Takes standard input and output for the worker alone, reads the first command, and listens from then on.
    pub(super) fn open() -> io::Result<(Arc<Self>, Start)> {
        let (input, output) = take_standard_streams()?;
        let mut lines = BufReader::new(input).lines();
        let first = lines
            .next()
            .ok_or_else(|| io::Error::other("standard input ended before the first command"))??;
        let Command::Start(start) = serde_json::from_str(&first)? else {
            return Err(io::Error::other("the first command was not `start`"));
        };
        let pipe = Arc::new(Self {
            writer: Mutex::new(output),
            stop: AtomicBool::new(false),
            lease: RankLease::default(),
            next_request: AtomicU64::new(1),
            questions: Mutex::default(),
        });
        let listener = Arc::clone(&pipe);
        thread::Builder::new()
            .name("commands".to_owned())
            .spawn(move || {
                for line in lines.map_while(Result::ok) {
                    listener.obey(&line);
                }
                end_as_orphan();
            })?;
        let keeper = Arc::clone(&pipe);
        thread::Builder::new()
            .name("lease".to_owned())
            .spawn(move || {
                keeper.lease.wait_for_its_end();
                tracing::error!(
                    "the worker has stood still for the whole lease: this rank's task may be somebody else's by now"
                );
                end_as_orphan();
            })?;
        let beating = Arc::downgrade(&pipe);
        thread::Builder::new()
            .name("pulse".to_owned())
            .spawn(move || {
                while let Some(pipe) = beating.upgrade() {
                    pipe.say(&Message::Pulse {
                        waits: collective::is_waiting(),
                    });
                    drop(pipe);
                    thread::sleep(PULSE);
                }
            })?;
        Ok((pipe, *start))
    }

    fn obey(&self, line: &str) {
        match serde_json::from_str(line) {
            Ok(Command::Stop) => self.stop.store(true, Ordering::Release),
            Ok(Command::Lease { left_ms }) => self.lease.renew(left_ms),
            Ok(Command::StoreReply { request, answer }) => {
                if let Some(asker) = self.questions().remove(&request) {
                    let _ = asker.send(answer); // who asked may have given up
                }
            }
            Ok(Command::Start(_)) => tracing::warn!("a second start command was ignored"),
            Err(error) => tracing::warn!("a command was not understood ({error}): {line}"),
        }
    }

    /// Tells the worker something. A worker that cannot be told is gone, and this process ends.
    pub(super) fn say(&self, message: &Message) {
        let written = to_line(message).map_err(io::Error::from).and_then(|line| {
            self.writer
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .write_all(line.as_bytes())
        });
        if let Err(error) = written {
            tracing::error!("the worker cannot be told {message:?}: {error}");
            end_as_orphan();
        }
    }

    /// Whether the worker wants this rank to stop.
    pub(super) fn stop_requested(&self) -> bool {
        self.stop.load(Ordering::Acquire)
    }

    /// Asks the gang's store, and waits for the answer up to `limit`.
    pub(super) fn ask(&self, ask: StoreAsk, limit: Duration) -> Result<StoreAnswer, String> {
        /// The worker answers in time even where the coordinator does not; this is for the way there and back.
        const MARGIN: Duration = Duration::from_secs(5);
        let request = self.next_request.fetch_add(1, Ordering::Relaxed);
        let (answered, answer) = sync_channel(1);
        self.questions().insert(request, answered);
        self.say(&Message::Store { request, ask });
        match answer.recv_timeout(limit + MARGIN) {
            Ok(StoreAnswer::Failed { reason }) => Err(reason),
            Ok(answer) => Ok(answer),
            Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => {
                self.questions().remove(&request);
                Err(format!("the worker did not answer within {limit:.0?}"))
            }
        }
    }

    fn questions(&self) -> MutexGuard<'_, BTreeMap<u64, SyncSender<StoreAnswer>>> {
        self.questions
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

/// Moves both streams to private descriptors that children do not inherit. Whatever a library prints goes to the log instead
/// of between the messages.
fn take_standard_streams() -> io::Result<(File, File)> {
    let private = |fd: &dyn AsFd| -> io::Result<OwnedFd> { fd.as_fd().try_clone_to_owned() };
    let input = private(&io::stdin())?;
    let output = private(&io::stdout())?;
    for fd in [&input, &output] {
        // std duplicates with close-on-exec; a rank's children must not keep the pipes open
        fcntl(fd, FcntlArg::F_SETFD(nix::fcntl::FdFlag::FD_CLOEXEC))?;
    }
    dup2_stdin(File::open("/dev/null")?)?;
    dup2_stdout(io::stderr())?;
    Ok((File::from(input), File::from(output)))
}

/// Ends this process and its children.
fn end_as_orphan() -> ! {
    if getpgrp() == Pid::this() {
        let _ = killpg(getpgrp(), Signal::SIGKILL);
    }
    std::process::exit(i32::from(exit::ORPHANED));
}
