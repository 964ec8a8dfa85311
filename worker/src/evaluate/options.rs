//! What can be asked of `worker evaluate` and `worker tune`.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use clap::{Args, ValueEnum};

/// The files that both commands read.
#[derive(Debug, Clone, Args)]
pub struct Inputs {
    /// Frame scores: a folder of TSV files (onset, offset, a column per class), or a safetensors file (scores/CLIP, timestamps)
    #[arg(long, value_name = "PATH")]
    pub scores: PathBuf,
    /// Classes to score, separated by commas [default: those with an event]
    #[arg(long, value_name = "NAMES", value_delimiter = ',')]
    pub classes: Option<Vec<String>>,
}

/// Scores any system's frame scores against ground truth
///
///   worker evaluate --scores scores/ --ground-truth validation.tsv --durations durations.tsv
///   worker evaluate --scores scores/ --ground-truth test.tsv --durations durations.tsv --boxes csebbs.json
///   worker evaluate --scores scores/ --maestro maestro_real_validation.tsv --durations recordings.tsv
///   worker evaluate --scores scores/ --weak-labels weak.tsv
///
/// With sound events: PSDS1 and PSDS2 over all thresholds, the mean of the classes' own PSDS1, and F1 by intersection
/// (DTC = GTC = 0.5), by collars (0.2 s; offsets 20 % of the event's length if that is more), by segments of 1 s and by clips (is
/// there any event of the class?), at --threshold and at each class's best threshold on these very clips. F1 is the plain mean over
/// classes. A frame is active where its score is strictly above the threshold.
///
/// With MAESTRO's soft labels: labels above 0.5 count, clips (named RECORDING-ONSET-OFFSET in hundredths of a second) are averaged
/// over whole recordings in seconds, and mpAUC is the mean over classes of the area under the ROC up to a false positive rate of 0.1.
///
/// With weak labels: F1 by clips.
///
/// Values come with the 95 % interval of a bootstrap over clips (with --maestro over recordings) where one can be made: a class
/// that sounds in very few clips leaves most draws without a score.
///
/// Exit codes: 0 done, 1 failed, 2 wrong command line.
#[derive(Debug, Clone, Args)]
#[command(verbatim_doc_comment)]
pub struct Evaluate {
    /// The files.
    #[command(flatten)]
    pub inputs: Inputs,
    /// TSV of sound events: filename, onset, offset, event_label; a clip without any has one row with the last three empty
    #[arg(
        long,
        value_name = "FILE",
        required_unless_present_any = ["maestro", "weak_labels"],
        conflicts_with_all = ["maestro", "weak_labels"]
    )]
    pub ground_truth: Option<PathBuf>,
    /// TSV of MAESTRO's soft labels: filename, onset, offset, event_label, confidence
    #[arg(long, value_name = "FILE", conflicts_with = "weak_labels")]
    pub maestro: Option<PathBuf>,
    /// TSV of weak labels: filename, event_labels (names separated by commas)
    #[arg(long, value_name = "FILE")]
    pub weak_labels: Option<PathBuf>,
    /// TSV of lengths: filename, duration in seconds. With --maestro: of whole recordings. Weak labels need none
    #[arg(long, value_name = "FILE", required_unless_present = "weak_labels")]
    pub durations: Option<PathBuf>,
    /// Turn scores into change-detection boxes first, with the settings that `worker tune` wrote
    #[arg(long, value_name = "FILE", conflicts_with_all = ["maestro", "weak_labels"])]
    pub boxes: Option<PathBuf>,
    /// Smooth scores first by a median filter of this many frames (odd)
    #[arg(long, value_name = "FRAMES", conflicts_with_all = ["boxes", "weak_labels"], value_parser = odd)]
    pub median: Option<usize>,
    /// Where F1 is measured beside the best threshold
    #[arg(
        long,
        value_name = "SCORE",
        default_value_t = 0.5,
        conflicts_with = "maestro"
    )]
    pub threshold: f64,
    /// How the area under MAESTRO's ROC is counted
    #[arg(long, value_enum, default_value_t = AreaRule::Staircase, requires = "maestro")]
    pub area: AreaRule,
    /// Draws of the bootstrap; 0 for no intervals
    #[arg(long, value_name = "N", default_value_t = 1000, value_parser = clap::value_parser!(u32).range(0..=100_000))]
    pub replicates: u32,
    /// Another seed draws other clips
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub seed: u64,
    /// A row for each class too
    #[arg(long)]
    pub per_class: bool,
    /// JSON with everything instead of a table
    #[arg(long)]
    pub json: bool,
}

impl Evaluate {
    /// Of clips or recordings, where the command line asks for them.
    pub(super) fn durations(&self) -> Result<&Path> {
        self.durations
            .as_deref()
            .context("no lengths of clips, expected --durations")
    }
}

/// Chooses the settings of change-detection boxes (cSEBBs) for each class
///
///   worker tune --scores scores/ --ground-truth validation.tsv --durations durations.tsv -o csebbs.json
///
/// Tries every length of the step filter with every merge limit and keeps the first best for each class. Without --step,
/// --absolute and --relative the grid is that of the DCASE 2024 system, 128 settings. Use the file with
/// `worker evaluate --boxes` on other clips: on the clips that it was tuned on a value is too good.
///
/// Exit codes: 0 done, 1 failed, 2 wrong command line.
#[derive(Debug, Clone, Args)]
#[command(verbatim_doc_comment)]
pub struct Tune {
    /// The files.
    #[command(flatten)]
    pub inputs: Inputs,
    /// TSV of sound events: filename, onset, offset, event_label
    #[arg(long, value_name = "FILE")]
    pub ground_truth: PathBuf,
    /// TSV of lengths: filename, duration in seconds
    #[arg(long, value_name = "FILE")]
    pub durations: PathBuf,
    /// What is made as high as possible
    #[arg(long, value_enum, default_value_t = Metric::Psds1)]
    pub metric: Metric,
    /// One setting for all classes, by the mean over classes
    #[arg(long)]
    pub shared: bool,
    /// Lengths of the step filter in seconds, separated by commas
    #[arg(long, value_name = "SECONDS", value_delimiter = ',')]
    pub step: Option<Vec<f64>>,
    /// Absolute merge limits, separated by commas
    #[arg(long, value_name = "LIMITS", value_delimiter = ',')]
    pub absolute: Option<Vec<f64>>,
    /// Relative merge limits, separated by commas
    #[arg(long, value_name = "LIMITS", value_delimiter = ',')]
    pub relative: Option<Vec<f64>>,
    /// Try both kinds of limits together instead of one at a time
    #[arg(long)]
    pub joint: bool,
    /// The file to write
    #[arg(short, long, value_name = "FILE", default_value = "csebbs.json")]
    pub output: PathBuf,
}

/// The rule for areas.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum AreaRule {
    /// As in the challenge's published figures
    Staircase,
    /// Straight lines between points
    Linear,
}

/// What tuning looks at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Metric {
    /// The class's own PSDS1
    Psds1,
    /// Collar-based F1 at its best threshold
    CollarF1,
}

fn odd(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(frames) if frames % 2 == 1 && frames <= 9999 => Ok(frames),
        _ => Err("expected an odd number up to 9999".to_owned()),
    }
}
