//! From one kind of stored logits to another, and the mean of several (recipe 8.2, 8.3): what `worker convert` does.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use model::TensorWriter;
use tch::Kind;
use tensorfile::hdf5::write_predictions;
use types::Split;

use crate::logits::{CLIPS, TENSOR};
use crate::stored::{self, Sets, Stored};
use crate::{CLASSES, Error, FRAMES};

/// Clips in memory at a time for each input.
const CHUNK: usize = 256;

/// File names of the reference that differ from ours (recipe 8.2).
const REFERENCE_NAMES: [(&str, Split); 5] = [
    ("maestro_real_train", Split::MaestroTrain),
    ("maestro_real_dev", Split::MaestroValidation),
    ("synth_val", Split::SynthValidation),
    ("devtest", Split::DesedValidation),
    ("eval_public", Split::PublicEval),
];

/// A set of clips in a file: its split, where it has one, and its number of clips.
pub type SetSize = (Option<Split>, usize);

/// What was done with the inputs.
#[derive(Debug, Default)]
pub struct Converted {
    /// Files that were written, and the sets in each.
    pub written: Vec<(PathBuf, Vec<SetSize>)>,
    /// Files in folders whose names are those of no split.
    pub left_out: Vec<PathBuf>,
}

/// Reads `inputs`, averages their logits if there are several, and writes `out`, whose name says what it becomes: `.hdf5` or `.h5`
/// the reference's layout, `.safetensors` ours, no ending a folder with one HDF5 file for each split.
///
/// An input is HDF5, an artifact `logits` or `pseudo_labels`, or a folder of HDF5 files named by their splits. With `split`, only
/// this one is taken from inputs that hold several, and an input that names none is taken for it.
///
/// # Errors
/// When an input cannot be read, two of them hold other sets or clips, or `out` cannot hold what they do. Nothing is there under
/// the name of `out` unless it is complete.
pub fn convert(inputs: &[PathBuf], split: Option<Split>, out: &Path) -> Result<Converted, Error> {
    let kind = OutKind::of(out)?;
    let mut converted = Converted::default();
    let mut members: Vec<(&Path, Sets)> = Vec::new();
    for input in inputs {
        let sets = open(input, &mut converted.left_out)?;
        members.push((input, choose(input, sets, split)?));
    }
    let ensembles = gather(members)?;
    converted.written = match kind {
        OutKind::Hdf5 => vec![one_hdf5(out, &ensembles)?],
        OutKind::Tensors => vec![tensors(out, &ensembles)?],
        OutKind::Folder => folder(out, &ensembles)?,
    };
    Ok(converted)
}

/// What the output becomes.
#[derive(Debug, Clone, Copy)]
enum OutKind {
    Hdf5,
    Tensors,
    Folder,
}

impl OutKind {
    fn of(out: &Path) -> Result<Self, Error> {
        match out.extension().and_then(|ending| ending.to_str()) {
            _ if out.is_dir() => Ok(Self::Folder),
            Some("hdf5" | "h5") => Ok(Self::Hdf5),
            Some("safetensors") => Ok(Self::Tensors),
            None => Ok(Self::Folder),
            Some(other) => Err(Error::Configuration(format!(
                "{}: the ending {other:?} says nothing about what to write, expected .hdf5, .safetensors, or none for a folder",
                out.display()
            ))),
        }
    }
}

/// Opens a file, or a folder of files by split.
fn open(path: &Path, left_out: &mut Vec<PathBuf>) -> Result<Sets, Error> {
    if !path.is_dir() {
        return stored::open(path);
    }
    let mut files = Vec::new();
    for entry in std::fs::read_dir(path).map_err(Error::io(path))? {
        files.push(entry.map_err(Error::io(path))?.path());
    }
    files.retain(|file| {
        file.extension()
            .is_some_and(|ending| ending == "hdf5" || ending == "h5")
    });
    files.sort();
    let mut sets = Sets::new();
    for file in files {
        let Some(split) = split_of(&file) else {
            left_out.push(file);
            continue;
        };
        let stored = Stored::hdf5(&file)?;
        if let Some(other) = sets.insert(Some(split), stored) {
            return Err(Error::Artifact(format!(
                "{} and {} are both of split {split}, expected one file for each split",
                other.path().display(),
                file.display()
            )));
        }
    }
    if sets.is_empty() {
        return Err(Error::Artifact(format!(
            "{}: no file of a split in this folder, expected names like {}.hdf5",
            path.display(),
            Split::WeakTrain
        )));
    }
    Ok(sets)
}

/// The split whose name, ours or the reference's, the file has.
fn split_of(file: &Path) -> Option<Split> {
    let stem = file.file_stem()?.to_str()?;
    (Split::ALL.into_iter())
        .find(|split| split.as_str() == stem)
        .or_else(|| {
            (REFERENCE_NAMES.iter()).find_map(|&(name, split)| (name == stem).then_some(split))
        })
}

/// The name under which the reference looks for a split's predictions.
fn reference_name(split: Split) -> &'static str {
    (REFERENCE_NAMES.iter())
        .find_map(|&(name, other)| (other == split).then_some(name))
        .unwrap_or(split.as_str())
}

fn choose(input: &Path, mut sets: Sets, split: Option<Split>) -> Result<Sets, Error> {
    let Some(split) = split else {
        return Ok(sets);
    };
    let chosen = sets.remove(&Some(split)).or_else(|| sets.remove(&None));
    let chosen = chosen.ok_or_else(|| {
        Error::Artifact(format!(
            "{}: holds {}, not the split {split} that was asked for",
            input.display(),
            list(sets.keys().copied())
        ))
    })?;
    Ok(Sets::from([(Some(split), chosen)]))
}

fn list(sets: impl IntoIterator<Item = Option<Split>>) -> String {
    let names: Vec<&str> = sets
        .into_iter()
        .map(|split| split.map_or("logits of no named split", Split::as_str))
        .collect();
    names.join(", ")
}

/// The same clips' logits in several files.
type Ensembles = BTreeMap<Option<Split>, Ensemble>;

/// Members of an ensemble on one set of clips; never empty.
#[derive(Debug)]
struct Ensemble(Vec<Stored>);

/// By set what every input has for it; all must hold the same sets, and the same clips in the same order.
fn gather(members: Vec<(&Path, Sets)>) -> Result<Ensembles, Error> {
    let mut ensembles = Ensembles::new();
    let mut first: Option<(&Path, BTreeSet<Option<Split>>)> = None;
    for (path, sets) in members {
        let keys: BTreeSet<Option<Split>> = sets.keys().copied().collect();
        match &first {
            None => first = Some((path, keys)),
            Some((_, expected)) if *expected == keys => {}
            Some((other, expected)) => {
                return Err(Error::Artifact(format!(
                    "{} holds {}, but {} holds {}; choose one with --split, or leave an input out",
                    path.display(),
                    list(keys),
                    other.display(),
                    list(expected.iter().copied())
                )));
            }
        }
        for (split, stored) in sets {
            ensembles
                .entry(split)
                .or_insert_with(|| Ensemble(Vec::new()))
                .push(stored)?;
        }
    }
    if ensembles.is_empty() {
        return Err(Error::Configuration("no input to convert".to_owned()));
    }
    Ok(ensembles)
}

impl Ensemble {
    fn push(&mut self, stored: Stored) -> Result<(), Error> {
        if let Some(first) = self.0.first() {
            check_same_clips(first, &stored)?;
        }
        self.0.push(stored);
        Ok(())
    }

    fn names(&self) -> &[String] {
        self.0.first().map_or(&[], Stored::names)
    }

    /// The mean logits (clips, 156, 27), in order, a chunk at a time.
    fn for_each_chunk(
        &self,
        mut take: impl FnMut(&tch::Tensor) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let clips = self.names().len();
        for start in (0..clips).step_by(CHUNK) {
            let count = CHUNK.min(clips - start);
            let mut mean = self.0[0].rows(start, count)?;
            for member in &self.0[1..] {
                mean = mean.f_add(&member.rows(start, count)?)?;
            }
            // one input goes through as it is, bit by bit
            if self.0.len() > 1 {
                mean = mean.f_div_scalar(self.0.len() as f64)?;
            }
            take(&mean)?;
        }
        Ok(())
    }
}

fn check_same_clips(first: &Stored, other: &Stored) -> Result<(), Error> {
    let (a, b) = (first.names(), other.names());
    if a == b {
        return Ok(());
    }
    let row = a.iter().zip(b).take_while(|(a, b)| a == b).count();
    let at = |names: &[String]| match names.get(row) {
        Some(name) => format!("clip {name:?}"),
        None => "no more clips".to_owned(),
    };
    Err(Error::Artifact(format!(
        "the inputs hold other clips, or in another order: in row {row}, {} has {} where {} has {}; a mean needs predictions of the same clips",
        other.path().display(),
        at(b),
        first.path().display(),
        at(a)
    )))
}

type Written = (PathBuf, Vec<(Option<Split>, usize)>);

fn one_hdf5(out: &Path, ensembles: &Ensembles) -> Result<Written, Error> {
    let mut sets = ensembles.iter();
    let (Some((&split, ensemble)), None) = (sets.next(), sets.next()) else {
        return Err(Error::Configuration(format!(
            "{}: the inputs hold {}, and HDF5 takes one of them: choose it with --split, or give a folder (a name without ending) for all",
            out.display(),
            list(ensembles.keys().copied())
        )));
    };
    write_hdf5(out, ensemble)?;
    Ok((out.to_owned(), vec![(split, ensemble.names().len())]))
}

fn write_hdf5(out: &Path, ensemble: &Ensemble) -> Result<(), Error> {
    let names = ensemble.names();
    let row = (FRAMES * CLASSES) as usize;
    let mut values: Vec<f32> = Vec::with_capacity(names.len() * row);
    ensemble.for_each_chunk(|mean| {
        let start = values.len();
        values.resize(start + mean.numel(), 0.0);
        mean.f_copy_data(&mut values[start..], mean.numel())?;
        Ok(())
    })?;
    let shape = [FRAMES as usize, CLASSES as usize];
    Ok(write_predictions(out, names, shape, &values)?)
}

/// Writes an artifact: `logits` for a set of no named split, else `pseudo_labels`.
fn tensors(out: &Path, ensembles: &Ensembles) -> Result<Written, Error> {
    // the writer orders tensors by name
    let mut sets: Vec<(&str, String, &Ensemble)> = ensembles
        .iter()
        .map(|(split, ensemble)| match split {
            None => (TENSOR, CLIPS.to_owned(), ensemble),
            Some(split) => (split.as_str(), format!("clips/{split}"), ensemble),
        })
        .collect();
    sets.sort_by_key(|&(name, _, _)| name);
    let declared: Vec<(String, Kind, Vec<i64>)> = sets
        .iter()
        .map(|(name, _, ensemble)| {
            let shape = vec![ensemble.names().len() as i64, FRAMES, CLASSES];
            ((*name).to_owned(), Kind::Float, shape)
        })
        .collect();
    let metadata: BTreeMap<String, String> = sets
        .iter()
        .map(|(_, key, ensemble)| (key.clone(), serde_json::json!(ensemble.names()).to_string()))
        .collect();
    let mut writer = TensorWriter::create(out, &declared, &metadata)?;
    for (_, _, ensemble) in &sets {
        ensemble.for_each_chunk(|mean| Ok(writer.append(mean)?))?;
    }
    writer.finish()?;
    let counts = ensembles
        .iter()
        .map(|(&split, ensemble)| (split, ensemble.names().len()))
        .collect();
    Ok((out.to_owned(), counts))
}

/// Writes `<split>.hdf5` files beside the folder's place, then gives the folder its name.
fn folder(out: &Path, ensembles: &Ensembles) -> Result<Vec<Written>, Error> {
    let parent = match out.parent() {
        Some(parent) if parent != Path::new("") => parent,
        _ => Path::new("."),
    };
    let occupied = match std::fs::read_dir(out) {
        Ok(mut entries) => entries.next().is_some(),
        Err(_) => out.exists(),
    };
    if occupied {
        return Err(Error::Configuration(format!(
            "{} is there and not an empty folder; name another, or remove it first",
            out.display()
        )));
    }
    if ensembles.contains_key(&None) {
        return Err(Error::Configuration(format!(
            "{}: a folder has a file for each split, and the inputs do not say of which split they are; say it with --split, or write to a file (.hdf5, .safetensors)",
            out.display()
        )));
    }
    let aside = tempfile::tempdir_in(parent).map_err(Error::io(parent))?;
    // a folder of its own in there, with the rights that folders usually get
    let made = aside.path().join("out");
    std::fs::create_dir(&made).map_err(Error::io(&made))?;
    let mut written = Vec::new();
    for (&split, ensemble) in ensembles {
        let name = format!("{}.hdf5", split.map_or(TENSOR, reference_name));
        write_hdf5(&made.join(&name), ensemble)?;
        written.push((out.join(&name), vec![(split, ensemble.names().len())]));
    }
    std::fs::rename(&made, out).map_err(Error::io(out))?;
    Ok(written)
}

#[cfg(test)]
#[path = "convert_tests.rs"]
mod tests;
