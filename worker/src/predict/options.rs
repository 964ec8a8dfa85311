//! What can be asked of `worker predict`.

use std::path::PathBuf;

use anyhow::{Result, bail};
use clap::{Args, ValueEnum};
use duty::protocol::Device;
use types::{CLASSES, NUM_CLASSES, NUM_DESED_CLASSES, class_index};

/// Finds sound events in files with one trained checkpoint or an ensemble
///
/// Each PATH is a sound file (WAV, FLAC, Ogg Vorbis, MP3, AIFF; any rate and number of channels, up to 24 h) or a folder, which is
/// searched to any depth in the order of names. The events come as a table: filename, onset, offset, event_label, times in
/// seconds. Files in a folder are named as they lie below it.
///
/// A file of at most 10 s is one window, padded with zeros as in training. A longer one is heard in windows of 10 s, one
/// every --hop seconds; where windows overlap, their logits are averaged with weights that fall linearly from a window's
/// middle to its ends. Several checkpoints are averaged by their logits. Each frame of 64 ms then has a score per class, a
/// median filter smooths it, and frames with a score above the threshold make an event.
///
/// ATST-Frame limits quiet sounds to 80 dB below the loudest. Training and evaluation take the loudest of a whole batch;
/// here it is the loudest of each window, so that a file's result depends on nothing but the file. On a CPU it is the same to the
/// last bit whatever files come with it; on a GPU sums may round differently with the batch.
///
/// Nothing is written under its name before it is complete; Ctrl-C ends without a result, but leaves the score tables and
/// pictures of files that were done.
///
/// Exit codes: 0 all files done, 1 some or all failed, 2 wrong command line, 3 the device is not there, 130 stopped.
#[derive(Debug, Clone, Args)]
pub struct Options {
    /// Sound files, and folders of them
    #[arg(required = true, value_name = "PATH")]
    pub paths: Vec<PathBuf>,
    /// A checkpoint; give the option once for each member of an ensemble
    #[arg(short, long, required = true, value_name = "FILE")]
    pub checkpoint: Vec<PathBuf>,
    /// Use the checkpoints' teachers instead of their students
    #[arg(long)]
    pub teacher: bool,
    /// Use the GPU of this index (as `nvidia-smi` numbers them)
    #[arg(long, value_name = "N", conflicts_with = "cpu")]
    pub gpu: Option<u32>,
    /// Use the CPU, which is the default
    #[arg(long)]
    pub cpu: bool,
    /// Windows in one pass over a GPU; a CPU takes them one by one
    #[arg(long, value_name = "N", default_value_t = 16, value_parser = clap::value_parser!(u32).range(1..=4096))]
    pub batch: u32,
    /// Threads on the CPU [default: one per core]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1024))]
    pub threads: Option<u32>,
    /// Seconds from one window to the next in files longer than 10 s, rounded to frames of 64 ms, at most 9.984
    #[arg(long, value_name = "SECONDS", default_value_t = 4.992, value_parser = hop)]
    pub hop: f64,
    /// Classes to report: all, desed, maestro, or names separated by commas
    #[arg(long, value_name = "CLASSES", default_value = "all", value_parser = Classes::parse)]
    pub classes: Classes,
    /// Score above which a frame is part of an event; NAME=SCORE for one class, as often as needed
    #[arg(long, value_name = "[NAME=]SCORE", default_value = "0.5", value_parser = Threshold::parse)]
    pub threshold: Vec<Threshold>,
    /// What turns scores into steadier ones before events are read off them
    #[arg(long, value_enum, value_name = "METHOD", default_value_t = Smoothing::Median)]
    pub smoothing: Smoothing,
    /// Write the events to this file [default: standard output]
    #[arg(short, long, value_name = "FILE")]
    pub output: Option<PathBuf>,
    /// How events are written
    #[arg(long, value_enum, value_name = "FORMAT", default_value_t = Format::Tsv)]
    pub format: Format,
    /// Add a column `confidence` to the table: the mean score of the event's frames (JSON always has it)
    #[arg(long)]
    pub with_scores: bool,
    /// Write each file's frame scores, after smoothing, as a table DIR/NAME.tsv: onset, offset, one column per class
    #[arg(long, value_name = "DIR")]
    pub scores: Option<PathBuf>,
    /// Write frame logits of all classes as safetensors, one tensor (frames, 27) per sound file under its name
    #[arg(long, value_name = "FILE")]
    pub logits: Option<PathBuf>,
    /// Draw each file as DIR/NAME.svg: spectrogram and events, with scores behind them
    #[arg(long, value_name = "DIR")]
    pub picture: Option<PathBuf>,
    /// Table of true events (filename, onset, offset, event_label) to draw beside the found ones; a file that it does not name has none
    #[arg(long, value_name = "FILE", requires = "picture")]
    pub ground_truth: Option<PathBuf>,
}

impl Options {
    /// The device asked for.
    #[must_use]
    pub fn device(&self) -> Device {
        self.gpu.map_or(Device::Cpu, Device::Gpu)
    }

    /// The threshold of every class in output order; later options win over earlier ones for the same class.
    #[must_use]
    pub fn thresholds(&self) -> [f64; NUM_CLASSES] {
        let mut thresholds = [0.5; NUM_CLASSES];
        // the general one first, wherever it stands
        for threshold in self.threshold.iter().filter(|one| one.class.is_none()) {
            thresholds.fill(threshold.score);
        }
        for threshold in &self.threshold {
            if let Some(class) = threshold.class {
                thresholds[class] = threshold.score;
            }
        }
        thresholds
    }
}

/// How events are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// A table with tabs, a row per event
    Tsv,
    /// A list of files with their events
    Json,
}

/// What happens to frame scores before events are read off them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Smoothing {
    /// The class-wise median filter of the published system
    Median,
    /// Nothing
    None,
}

/// Chosen classes, as indices in output order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Classes(pub Vec<usize>);

impl Classes {
    fn parse(text: &str) -> Result<Self> {
        let mut chosen = match text {
            "all" => (0..NUM_CLASSES).collect(),
            "desed" => (0..NUM_DESED_CLASSES).collect(),
            "maestro" => (NUM_DESED_CLASSES..NUM_CLASSES).collect(),
            list => list
                .split(',')
                .map(class_of)
                .collect::<Result<Vec<usize>>>()?,
        };
        chosen.sort_unstable();
        chosen.dedup();
        Ok(Self(chosen))
    }
}

/// One use of `--threshold`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Threshold {
    class: Option<usize>,
    score: f64,
}

impl Threshold {
    fn parse(text: &str) -> Result<Self> {
        let (class, score) = match text.rsplit_once('=') {
            Some((name, score)) => (Some(class_of(name)?), score),
            None => (None, text),
        };
        match score.trim().parse() {
            Ok(score) if (0.0..=1.0).contains(&score) => Ok(Self { class, score }),
            _ => bail!("{score:?} is no score, expected a number from 0 to 1"),
        }
    }
}

fn class_of(name: &str) -> Result<usize> {
    let name = name.trim();
    match class_index(name) {
        Some(class) => Ok(class),
        None => bail!("no class {name:?}; there are: {}", CLASSES.join(", ")),
    }
}

fn hop(text: &str) -> Result<f64> {
    match text.parse() {
        Ok(seconds) if (0.064..=9.984).contains(&seconds) => Ok(seconds),
        _ => bail!("expected seconds from 0.064 to 9.984"),
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Cli {
        #[command(flatten)]
        options: Options,
    }

    fn parse(line: &str) -> Result<Options, String> {
        let words = ["predict", "-c", "c", "a.wav"].into_iter();
        Cli::try_parse_from(words.chain(line.split_whitespace()))
            .map(|cli| cli.options)
            .map_err(|error| error.to_string())
    }

    #[test]
    fn thresholds_are_general_and_by_class() {
        let options = parse("--threshold Speech=0.3 --threshold 0.6").unwrap();
        let thresholds = options.thresholds();
        assert_eq!((thresholds[8], thresholds[0]), (0.3, 0.6));
        assert_eq!(parse("").unwrap().thresholds(), [0.5; NUM_CLASSES]);
        assert_eq!(parse("--threshold Dog=0").unwrap().thresholds()[3], 0.5);
    }

    #[test]
    fn classes_are_corpora_or_names() {
        assert_eq!(parse("--classes desed").unwrap().classes.0.len(), 10);
        assert_eq!(parse("--classes maestro").unwrap().classes.0[0], 10);
        assert_eq!(parse("--classes Dog,Cat,Dog").unwrap().classes.0, [2, 4]);
    }

    #[test]
    fn nonsense_is_explained() {
        for (line, word) in [
            ("--threshold 1.5", "from 0 to 1"),
            ("--threshold NaN", "from 0 to 1"),
            ("--threshold speach=0.5", "there are: Alarm_bell_ringing"),
            ("--classes Dog,,Cat", "no class \"\""),
            ("--hop 10", "from 0.064 to 9.984"),
            ("--hop=-1", "from 0.064 to 9.984"),
            ("--batch 0", "1..=4096"),
            ("--ground-truth t.tsv", "--picture"),
            ("--gpu 0 --cpu", "cannot be used with"),
            ("--format csv", "tsv, json"),
        ] {
            let said = parse(line).unwrap_err();
            assert!(said.contains(word), "{line}: {said}");
        }
    }
}
