use std::fmt;
use std::io::{self, IsTerminal, Write};
use std::sync::LazyLock;
use std::time::Instant;

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::{FormatTime, SystemTime};

/// The bottom of the terminal. One for the process, because everything that writes to stderr has to go around it.
static BOTTOM: LazyLock<MultiProgress> =
    LazyLock::new(|| MultiProgress::with_draw_target(ProgressDrawTarget::stderr_with_hz(10)));

/// When the program started.
static START: LazyLock<Instant> = LazyLock::new(Instant::now);

/// Whether a live view makes sense.
pub(super) fn is_live() -> bool {
    io::stderr().is_terminal() && std::env::var_os("TERM").is_none_or(|term| term != "dumb")
}

/// Writes a text above the live view.
pub(crate) fn say(text: &str) {
    // Where nobody can read it there is nothing more to do.
    let _ = Above.write_all(format!("{text}\n").as_bytes());
}

/// Logs to stderr, around the live view. `verbosity`: -1 warnings only, 0 what a person wants to know, 1 more, 2 everything.
/// `RUST_LOG` overrides it.
pub(crate) fn init_tracing(verbosity: i8) {
    LazyLock::force(&START);
    let default = match verbosity {
        ..=-1 => "warn",
        0 => "warn,coordinator=info",
        1 => "info,coordinator=debug",
        _ => "debug",
    };
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(default));
    let terminal = io::stderr().is_terminal();
    let coloured = terminal && std::env::var_os("NO_COLOR").is_none();
    let subscriber = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_target(verbosity > 0)
        .with_ansi(coloured)
        .with_timer(if terminal {
            Time::SinceStart
        } else {
            Time::Utc
        })
        // it would tell standard error that standard error takes nothing, and panic: on a full disk, for one
        .log_internal_errors(false)
        .with_writer(|| Above);
    // A test may have set one up before.
    let _ = subscriber.try_init();
}

/// A person at a terminal wants to know how long; a log file needs the time.
enum Time {
    SinceStart,
    Utc,
}

impl FormatTime for Time {
    fn format_time(&self, w: &mut Writer<'_>) -> fmt::Result {
        match self {
            Self::SinceStart => write!(w, "{}", clock(START.elapsed().as_secs())),
            Self::Utc => SystemTime.format_time(w),
        }
    }
}

/// `4:05`, `1:04:05`.
pub(super) fn clock(seconds: u64) -> String {
    let (hours, minutes, seconds) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    if hours > 0 {
        format!("{hours}:{minutes:02}:{seconds:02}")
    } else {
        format!("{minutes}:{seconds:02}")
    }
}

/// stderr above the live view.
struct Above;

impl Write for Above {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        BOTTOM.suspend(|| io::stderr().write(bytes))
    }

    fn flush(&mut self) -> io::Result<()> {
        io::stderr().flush()
    }
}

impl<'a> MakeWriter<'a> for Above {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        Self
    }
}

/// The live view's lines.
pub(super) struct Screen {
    lines: Vec<ProgressBar>,
    style: ProgressStyle,
}

impl Screen {
    pub(super) fn new() -> Self {
        let style = ProgressStyle::with_template("{wide_msg}")
            .unwrap_or_else(|_| ProgressStyle::default_bar());
        Self {
            lines: Vec::new(),
            style,
        }
    }

    /// Puts these lines where the old ones were. Lines that are too long for the terminal are cut.
    pub(super) fn draw(&mut self, texts: &[String]) {
        while self.lines.len() > texts.len() {
            if let Some(line) = self.lines.pop() {
                line.finish_and_clear();
                BOTTOM.remove(&line);
            }
        }
        while self.lines.len() < texts.len() {
            let line = ProgressBar::no_length().with_style(self.style.clone());
            self.lines.push(BOTTOM.add(line));
        }
        for (line, text) in self.lines.iter().zip(texts) {
            line.set_message(text.clone());
            line.tick();
        }
    }

    /// Takes the lines away.
    pub(super) fn clear(&mut self) {
        self.draw(&[]);
    }
}
