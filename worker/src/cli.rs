//! The command line.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};
use duty::HangLimits;
use duty::protocol::Device;
use types::WorkerId;

/// Owns one device and lends it to a coordinator.
///
/// A worker connects to its coordinator, takes its orders, and runs each of them in a
/// process of its own (a "rank"), which may crash without harm. It goes on training while
/// the coordinator is away, and reports when it is back.
///
/// One worker per device:
///
///   worker --gpu 0 --coordinator http://head:7070
///   worker --cpu
///
/// Ctrl-C stops in order: the rank writes a checkpoint, hands it in, and the worker leaves.
/// Ctrl-C again stops at once.
///
/// `worker predict` is something else: it finds sound events in files with a trained checkpoint.
/// `worker convert` exchanges stored logits with the reference's HDF5 files; `worker evaluate` scores any
/// system's files and `worker tune` chooses their post-processing.
///
/// Exit codes: 0 left in order, 1 failed, 2 wrong command line, 3 the device is not there,
/// 130 stopped at once.
#[derive(Debug, Parser)]
#[command(
    name = "worker",
    version,
    args_conflicts_with_subcommands = true,
    verbatim_doc_comment
)]
pub struct Cli {
    /// Something else than lending a device.
    #[command(subcommand)]
    pub other: Option<Other>,
    /// What a worker needs.
    #[command(flatten)]
    pub options: Options,
}

/// `predict`, `convert`, `evaluate` and `tune`, and the commands that a worker gives to its own children.
#[derive(Debug, Subcommand)]
pub enum Other {
    /// One attempt's tensors; speaks to its worker through its standard streams
    #[command(hide = true)]
    Rank,
    /// Says whether a GPU can be used
    #[command(hide = true)]
    Probe {
        /// Its index
        #[arg(long)]
        gpu: u32,
    },
    #[cfg(feature = "rank")]
    #[expect(
        missing_docs,
        reason = "the command's own text would be shown instead of that of its options"
    )]
    Predict(Box<crate::predict::options::Options>),
    #[cfg(feature = "rank")]
    #[expect(
        missing_docs,
        reason = "the command's own text would be shown instead of that of its options"
    )]
    Convert(crate::convert::Options),
    #[expect(
        missing_docs,
        reason = "the command's own text would be shown instead of that of its options"
    )]
    Evaluate(Box<crate::evaluate::options::Evaluate>),
    #[expect(
        missing_docs,
        reason = "the command's own text would be shown instead of that of its options"
    )]
    Tune(Box<crate::evaluate::options::Tune>),
}

/// What a worker needs.
#[derive(Debug, Clone, Args)]
pub struct Options {
    /// Use the GPU of this index (as `nvidia-smi` numbers them)
    #[arg(
        long,
        value_name = "N",
        conflicts_with = "cpu",
        required_unless_present = "cpu"
    )]
    pub gpu: Option<u32>,
    /// Use the CPU
    #[arg(long)]
    pub cpu: bool,
    /// Where the coordinator listens
    #[arg(
        long,
        value_name = "URL",
        env = "TUTTI_COORDINATOR",
        default_value = "http://127.0.0.1:7070"
    )]
    pub coordinator: String,
    /// This worker's name, kept over restarts [default: HOST-gpuN or HOST-cpu]
    #[arg(long)]
    pub name: Option<WorkerId>,
    /// Folder for downloaded artifacts and the files of running ranks; a few GB, one worker at a time
    /// [default: tutti/workers/NAME in the user's cache folder]
    #[arg(long, value_name = "DIR")]
    pub work_dir: Option<PathBuf>,
    /// Room for downloaded artifacts, such as 20GB; what was used longest ago goes first [default: half of what is free and taken]
    #[arg(long, value_name = "SIZE", value_parser = size)]
    pub cache_limit: Option<u64>,
    /// Address or name at which other workers' ranks reach this host. Tensors travel unencrypted: use a private network
    /// [default: this host's address towards the coordinator]
    #[arg(long, value_name = "HOST")]
    pub address: Option<String>,
    /// File that holds the secret of this cluster; the variable TUTTI_TOKEN does as well
    #[arg(long, value_name = "FILE")]
    pub token_file: Option<PathBuf>,
    /// So many seconds may the first section of its kind of a rank's work take (set-up, step, validation, checkpoint, batch);
    /// a rank that takes longer hangs and is ended
    #[arg(
        long,
        value_name = "SECONDS",
        env = "TUTTI_HANG_FIRST",
        default_value_t = HangLimits::default().first.as_secs()
    )]
    pub hang_first: u64,
    /// Later sections may take so many seconds,
    #[arg(
        long,
        value_name = "SECONDS",
        env = "TUTTI_HANG_FLOOR",
        default_value_t = HangLimits::default().floor.as_secs()
    )]
    pub hang_floor: u64,
    /// and so many times the slowest of their kind so far
    #[arg(
        long,
        value_name = "TIMES",
        env = "TUTTI_HANG_FACTOR",
        default_value_t = HangLimits::default().factor
    )]
    pub hang_factor: u32,
    /// End as soon as the process that started this worker ends
    #[arg(long, env = "TUTTI_ENDS_WITH_PARENT", hide = true)]
    pub ends_with_parent: bool,
}

/// `500MB`, `20GB`, `2TB`, or a number of bytes.
fn size(text: &str) -> Result<u64, String> {
    let digits = text.trim_end_matches(|one: char| one.is_ascii_alphabetic());
    let unit = match text[digits.len()..].to_ascii_uppercase().as_str() {
        "" | "B" => 1,
        "KB" => 1_000,
        "MB" => 1_000_000,
        "GB" => 1_000_000_000,
        "TB" => 1_000_000_000_000,
        _ => 0,
    };
    let number: Option<u64> = digits.parse().ok();
    let bytes = number.and_then(|number| number.checked_mul(unit));
    bytes
        .filter(|_| unit > 0)
        .ok_or_else(|| format!("{text:?} is no size; expected a number with B, KB, MB, GB or TB"))
}

impl Options {
    /// When a rank hangs.
    #[must_use]
    pub fn hang_limits(&self) -> HangLimits {
        HangLimits {
            first: Duration::from_secs(self.hang_first),
            floor: Duration::from_secs(self.hang_floor),
            factor: self.hang_factor,
        }
    }

    /// The device asked for.
    #[must_use]
    pub fn device(&self) -> Device {
        self.gpu.map_or(Device::Cpu, Device::Gpu)
    }
}

impl Cli {
    /// Log lines go to standard error; `RUST_LOG` chooses which.
    pub fn start_logging(&self) {
        use std::io::IsTerminal;
        use tracing_subscriber::EnvFilter;
        let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
        tracing_subscriber::fmt()
            .with_env_filter(filter)
            .with_writer(std::io::stderr)
            .with_ansi(std::io::stderr().is_terminal())
            .with_target(false)
            // it would tell standard error that standard error takes nothing, and panic: on a full disk, for one
            .log_internal_errors(false)
            .init();
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn a_cache_limit_is_a_number_with_a_unit() {
        let limit = |text| {
            let cli = Cli::try_parse_from(["worker", "--cpu", "--cache-limit", text]);
            cli.map(|cli| cli.options.cache_limit)
        };
        assert_eq!(limit("20GB").unwrap(), Some(20_000_000_000));
        assert_eq!(limit("512").unwrap(), Some(512));
        for wrong in ["", "GB", "2 GB", "2XB", "99999999999999TB"] {
            let message = limit(wrong).unwrap_err().to_string();
            assert!(message.contains("--cache-limit"), "{message}");
        }
    }

    #[test]
    fn one_device_has_to_be_named() {
        assert!(Cli::try_parse_from(["worker"]).is_err());
        assert!(Cli::try_parse_from(["worker", "--cpu", "--gpu", "1"]).is_err());
        let cli = Cli::try_parse_from(["worker", "--gpu", "1"]).unwrap();
        assert_eq!(cli.options.device(), Device::Gpu(1));
        let cli = Cli::try_parse_from(["worker", "rank"]).unwrap();
        assert!(matches!(cli.other, Some(Other::Rank)));
    }
}
