//! `worker convert`: stored logits from one kind of file to another.

use std::path::{Path, PathBuf};

use clap::Args;
use types::Split;

use crate::exit;

/// Converts stored logits and pseudo-labels between HDF5 and safetensors, and averages them
///
/// IN and OUT are told apart by what they are:
///
///   NAME.hdf5         one set of clips as the reference stores predictions: `strong_logits`, float32 (clips, 156, 27), and
///                     `filenames`, names without their endings. OUT needs the ending, IN does not
///   NAME.safetensors  an artifact of a run: `logits` (one set of clips) or `pseudo_labels` (several splits)
///   FOLDER            one HDF5 file for each split, under our names of splits or the reference's (maestro_real_train,
///                     maestro_real_dev, synth_val, devtest, eval_public), which are the ones written
///
/// Of several IN the logits are averaged, with equal weights, as for an ensemble's pseudo-labels. All of them have to hold the
/// same clips in the same order.
///
/// Pseudo-labels of a run for the reference's code, and the reference's published ones for a plan:
///
///   worker convert pseudo_labels.safetensors resources/pseudo-labels
///   worker convert atst.hdf5 passt.hdf5 beats.hdf5 weak_train.hdf5
///   worker convert --split weak_train pseudo_labels.safetensors weak_train.hdf5
///
/// (A plan takes HDF5 as it is: pseudo_labels = { weak_train = "weak_train.hdf5", … }.) OUT has its name only when it is
/// complete; a file of that name is replaced, a folder has to be new or empty. Exit codes: 0 done, 1 failed, 2 wrong command line.
#[derive(Debug, Clone, Args)]
#[command(verbatim_doc_comment)]
pub struct Options {
    /// Files or folders of stored logits; several are averaged
    #[arg(required = true, value_name = "IN")]
    pub inputs: Vec<PathBuf>,
    /// What to write: a file NAME.hdf5 or NAME.safetensors, or a folder
    #[arg(value_name = "OUT")]
    pub output: PathBuf,
    /// Take this split of inputs that hold several; an input that names no split is taken for it
    #[arg(long, value_name = "SPLIT", value_parser = split)]
    pub split: Option<Split>,
}

/// Runs the command; gives the process's exit code.
#[must_use]
pub fn run(options: &Options) -> u8 {
    match train::convert::convert(&options.inputs, options.split, &options.output) {
        Ok(done) => {
            for file in &done.left_out {
                eprintln!("left out {}: its name is that of no split", file.display());
            }
            for (path, sets) in &done.written {
                eprintln!("{}", line(path, sets));
            }
            exit::OK
        }
        Err(error) => {
            eprintln!("error: {error}");
            exit::FAILED
        }
    }
}

/// `wrote weak.hdf5: weak_train, 1578 clips`.
fn line(path: &Path, sets: &[(Option<Split>, usize)]) -> String {
    let sets: Vec<String> = sets
        .iter()
        .map(|(split, clips)| match split {
            Some(split) => format!("{split}, {clips} clips"),
            None => format!("{clips} clips"),
        })
        .collect();
    format!("wrote {}: {}", path.display(), sets.join("; "))
}

fn split(text: &str) -> Result<Split, String> {
    let found = Split::ALL.into_iter().find(|split| split.as_str() == text);
    found.ok_or_else(|| {
        let names = Split::ALL.map(Split::as_str).join(", ");
        format!("no split of this name; there are: {names}")
    })
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

    #[test]
    fn the_last_path_is_the_output() {
        let line = ["convert", "a.hdf5", "b.hdf5", "mean.hdf5"];
        let options = Cli::try_parse_from(line).unwrap().options;
        assert_eq!(options.inputs.len(), 2);
        assert_eq!(options.output, Path::new("mean.hdf5"));
        assert!(Cli::try_parse_from(["convert", "a.hdf5"]).is_err());
    }

    #[test]
    fn splits_are_listed() {
        let line = ["convert", "--split", "weak", "a", "b"];
        let error = Cli::try_parse_from(line).unwrap_err().to_string();
        assert!(error.contains("weak_train, unlabeled_train"), "{error}");
    }

    #[test]
    fn lines_name_what_was_written() {
        let sets = [(Some(Split::WeakTrain), 3), (Some(Split::SynthTrain), 1)];
        assert_eq!(
            line(Path::new("a.safetensors"), &sets),
            "wrote a.safetensors: weak_train, 3 clips; synth_train, 1 clips"
        );
        assert_eq!(
            line(Path::new("b.hdf5"), &[(None, 2)]),
            "wrote b.hdf5: 2 clips"
        );
    }

    #[test]
    fn exit_codes_follow_the_outcome() {
        let folder = tempfile::tempdir().unwrap();
        let options = Options {
            inputs: vec![folder.path().join("absent.hdf5")],
            output: folder.path().join("out.hdf5"),
            split: None,
        };
        assert_eq!(run(&options), exit::FAILED);
    }
}
