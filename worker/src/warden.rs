//! The process between a worker and its rank. It does nothing but see to it that nobody outlives the rank.
//!
//! A process that starts a new session, or forks twice, leaves its group, and a kill of the group misses it. But whoever
//! loses its parent becomes a child of the nearest *subreaper* above, and the warden is one: nobody below can leave. It ends
//! when its last child has, with the rank's own exit code or signal, so that the worker reads the rank's end from it.
//!
//! - [`END`] (also the kernel's word that the worker is dead): every process below is killed until none is left. If the rank
//!   dies of that, the warden ends by [`END`] itself: a kill by order and one from elsewhere are never taken for each other.
//! - SIGTERM, SIGINT, SIGHUP: passed on to the rank.
//! - The rank has ended: who is left below is killed.

use std::fs::File;
use std::io;
use std::process::exit;

use nix::errno::Errno;
use nix::libc;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::resource::{Resource, setrlimit};
use nix::sys::signal::{SigHandler, SigSet, SigmaskHow, Signal, kill, sigprocmask};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::{ForkResult, Pid, dup2_stdin, dup2_stdout, fork, getppid, setpgid};
use std::os::fd::AsFd;

use crate::family;

/// The order to end the rank and everything below it. Also what is left of the signals that end an unguarded process.
pub const END: Signal = Signal::SIGUSR2;

/// Between two looks for somebody left, at first and at most.
const LOOK_AGAIN: (u16, u16) = (2, 50);

/// Splits the calling process in two: it becomes the warden and never returns from here; its new child goes on as the rank, in
/// a process group of its own, and dies with the warden.
///
/// To be called before the process has a second thread.
///
/// # Errors
/// When the system has no room for another process.
pub fn stand() -> io::Result<()> {
    let warden = Pid::this();
    let mut ours = SigSet::empty();
    for signal in [
        END,
        Signal::SIGTERM,
        Signal::SIGINT,
        Signal::SIGHUP,
        Signal::SIGCHLD,
    ] {
        ours.add(signal);
    }
    let mut before = SigSet::empty();
    // from here on the worker's death waits in line until the warden reads it
    sigprocmask(SigmaskHow::SIG_BLOCK, Some(&ours), Some(&mut before))?;
    nix::sys::prctl::set_child_subreaper(true)?;
    let signals = SignalFd::with_flags(&ours, SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC)?;
    #[expect(
        unsafe_code,
        reason = "this process has one thread, so its copy may do everything"
    )]
    // SAFETY: see the reason above.
    let forked = unsafe { fork() }?;
    match forked {
        ForkResult::Child => {
            drop(signals);
            setpgid(Pid::from_raw(0), Pid::from_raw(0))?;
            nix::sys::prctl::set_pdeathsig(Signal::SIGKILL)?;
            if getppid() != warden {
                return Err(io::Error::from(Errno::ESRCH));
            }
            sigprocmask(SigmaskHow::SIG_SETMASK, Some(&before), None)?;
            Ok(())
        }
        ForkResult::Parent { child } => {
            let _ = nix::sys::prctl::set_name(c"tutti-warden"); // for people who look at `ps`
            let _ = let_go_of_pipes(); // they close a moment later all the same
            let end = Watch::new(child, signals).until_nobody_is_left();
            pass_on(end)
        }
    }
}

/// The pipes are the rank's: whoever reads them must see its end.
fn let_go_of_pipes() -> io::Result<()> {
    let nothing = File::options().read(true).write(true).open("/dev/null")?;
    dup2_stdin(&nothing)?;
    dup2_stdout(&nothing)?;
    Ok(())
}

/// How the rank ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    Code(i32),
    Signal(Signal),
}

struct Watch {
    rank: Pid,
    signals: SignalFd,
    end: Option<End>,
    /// Everything below has to end.
    ordered: bool,
}

impl Watch {
    fn new(rank: Pid, signals: SignalFd) -> Self {
        Self {
            rank,
            signals,
            end: None,
            ordered: false,
        }
    }

    fn until_nobody_is_left(mut self) -> End {
        let mut pause = LOOK_AGAIN.0;
        loop {
            if !self.collect() {
                return self.end.unwrap_or(End::Signal(END));
            }
            let timeout = if self.ordered || self.end.is_some() {
                for process in family::below(Pid::this()) {
                    let _ = kill(process, Signal::SIGKILL); // gone meanwhile: all the better
                }
                let now = pause;
                pause = (pause * 2).min(LOOK_AGAIN.1);
                PollTimeout::from(now)
            } else {
                PollTimeout::NONE
            };
            let mut ready = [PollFd::new(self.signals.as_fd(), PollFlags::POLLIN)];
            let _ = poll(&mut ready, timeout); // an interrupted wait is a short one
            self.obey();
        }
    }

    /// Collects the dead; whether anybody is left.
    fn collect(&mut self) -> bool {
        loop {
            match waitpid(None, Some(WaitPidFlag::WNOHANG)) {
                Ok(WaitStatus::Exited(id, code)) if id == self.rank => {
                    self.end = Some(End::Code(code));
                }
                Ok(WaitStatus::Signaled(id, signal, _)) if id == self.rank => {
                    let by_order = self.ordered && signal == Signal::SIGKILL;
                    self.end = Some(End::Signal(if by_order { END } else { signal }));
                }
                Ok(WaitStatus::StillAlive) => return true,
                Ok(_) | Err(Errno::EINTR) => {}
                Err(_) => return false,
            }
        }
    }

    fn obey(&mut self) {
        while let Ok(Some(received)) = self.signals.read_signal() {
            let number = i32::try_from(received.ssi_signo).unwrap_or_default();
            match Signal::try_from(number) {
                Ok(END) => {
                    // one that is dead already did not die of this
                    self.collect();
                    self.ordered = true;
                }
                Ok(Signal::SIGCHLD) | Err(_) => {}
                Ok(passed_on) if self.end.is_none() => {
                    let _ = kill(self.rank, passed_on);
                }
                Ok(_) => {}
            }
        }
    }
}

/// Ends this process as the rank ended.
fn pass_on(end: End) -> ! {
    let signal = match end {
        // nothing of the rank's image is to be torn down here: these are its handlers, not the warden's
        End::Code(code) => leave(code),
        End::Signal(signal) => signal,
    };
    let _ = setrlimit(Resource::RLIMIT_CORE, 0, 0); // the core of interest is the rank's
    #[expect(unsafe_code, reason = "the default action is no function of ours")]
    // SAFETY: see the reason above.
    let _ = unsafe { nix::sys::signal::signal(signal, SigHandler::SigDfl) };
    let mut only = SigSet::empty();
    only.add(signal);
    let _ = kill(Pid::this(), signal);
    let _ = sigprocmask(SigmaskHow::SIG_UNBLOCK, Some(&only), None);
    // not reached for any signal that ends a process
    exit(128 + signal as i32)
}

fn leave(code: i32) -> ! {
    #[expect(unsafe_code, reason = "_exit has no conditions")]
    // SAFETY: see the reason above.
    unsafe {
        libc::_exit(code)
    }
}
