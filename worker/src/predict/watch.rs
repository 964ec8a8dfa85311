//! What a person at the terminal sees and does.

use std::io::IsTerminal;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use tokio::signal::unix::{SignalKind, signal};

use crate::exit;

/// Steps of the bar per file, so that one long file moves it too.
const STEPS: u64 = 1000;

/// A progress bar where standard error is a terminal, messages, and the line at the end.
#[derive(Debug)]
pub(crate) struct Progress {
    bar: ProgressBar,
    started: Instant,
    files: u64,
    failed: u64,
    seconds: f64,
}

impl Progress {
    pub(crate) fn new(files: usize) -> Self {
        let target = if std::io::stderr().is_terminal() {
            ProgressDrawTarget::stderr()
        } else {
            ProgressDrawTarget::hidden()
        };
        let bar = ProgressBar::with_draw_target(Some(files as u64 * STEPS), target);
        if let Ok(style) =
            ProgressStyle::with_template("{bar:40} {percent:>3}%  {msg}  {eta} to go")
        {
            bar.set_style(style);
        }
        bar.enable_steady_tick(Duration::from_millis(500));
        Self {
            bar,
            started: Instant::now(),
            files: 0,
            failed: 0,
            seconds: 0.0,
        }
    }

    /// A file is done.
    pub(crate) fn file(&mut self, seconds: f64) {
        self.files += 1;
        self.seconds += seconds;
        self.moved(0.0);
    }

    /// Something failed: a file, or a path that gave none.
    pub(crate) fn failed(&mut self, message: &str) {
        self.failed += 1;
        self.bar.suspend(|| eprintln!("error: {message}"));
        self.moved(0.0);
    }

    pub(crate) fn any_failed(&self) -> bool {
        self.failed > 0
    }

    /// How much of the next file is done.
    pub(crate) fn moved(&self, fraction: f64) {
        let done = self.files + self.failed;
        let position = done * STEPS + (fraction * STEPS as f64) as u64;
        self.bar.set_position(position);
        let message = format!("{done} files, {} of sound", length(self.seconds));
        self.bar.set_message(message);
    }

    /// Takes the bar away and says how it went.
    pub(crate) fn finish(self) {
        self.bar.finish_and_clear();
        let wall = self.started.elapsed().as_secs_f64();
        let failed = match self.failed {
            0 => String::new(),
            count => format!(" ({count} more failed)"),
        };
        let (files, plural) = (self.files, if self.files == 1 { "" } else { "s" });
        eprintln!(
            "{files} file{plural}{failed}: {} of sound in {wall:.1} s, {:.1} times real time",
            length(self.seconds),
            self.seconds / wall.max(1e-9),
        );
    }

    /// Takes the bar away.
    pub(crate) fn stopped(self) {
        self.bar.finish_and_clear();
        eprintln!("stopped after {} files; no events were written", self.files);
    }
}

/// For people: seconds up to some minutes, hours above.
fn length(seconds: f64) -> String {
    match seconds {
        short if short < 300.0 => format!("{short:.1} s"),
        middle if middle < 7200.0 => format!("{:.1} min", middle / 60.0),
        long => format!("{:.1} h", long / 3600.0),
    }
}

/// Set by the first SIGINT or SIGTERM; the second ends the process.
pub(crate) fn interruption() -> Result<Arc<AtomicBool>> {
    let flag = Arc::new(AtomicBool::new(false));
    let set = Arc::clone(&flag);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot watch for signals")?;
    let (mut interrupt, mut terminate) = {
        let _inside = runtime.enter();
        (
            signal(SignalKind::interrupt())?,
            signal(SignalKind::terminate())?,
        )
    };
    std::thread::spawn(move || {
        runtime.block_on(async {
            loop {
                tokio::select! {
                    _ = interrupt.recv() => {}
                    _ = terminate.recv() => {}
                }
                if set.swap(true, Ordering::Relaxed) {
                    std::process::exit(i32::from(exit::INTERRUPTED));
                }
            }
        });
    });
    Ok(flag)
}
