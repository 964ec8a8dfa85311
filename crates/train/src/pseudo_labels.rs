//! Pseudo-labels: the ensemble's mean logits, written here and looked up in the next iteration (recipe 8).

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use model::TensorWriter;
use tch::{Kind, Tensor};
use types::{MemberName, Progress, ProgressUnit, PseudoLabelSpec, Split};

use crate::context::{Outcome, RankContext};
use crate::logits::ClipLogits;
use crate::room::write_with_room;
use crate::stored::{self, Stored};
use crate::{CLASSES, Error, FRAMES};

/// The artifact's name; files of the user's own have roles below it.
const ROLE: &str = "pseudo_labels";

/// Clips that are averaged at a time.
const CHUNK: i64 = 256;

/// Runs a `pseudo_label` task. Memory holds one chunk, however large the splits are.
pub(crate) fn run(spec: &PseudoLabelSpec, context: &mut RankContext<'_>) -> Result<Outcome, Error> {
    let mut splits = Vec::new();
    for (&split, &shards) in &spec.splits {
        splits.push((
            split,
            Ensemble::open(context, &spec.members, split, shards)?,
        ));
    }
    let total: u64 = splits.iter().map(|(_, ensemble)| ensemble.len()).sum();

    let mut metadata = BTreeMap::from([
        ("iteration".to_owned(), spec.iteration.to_string()),
        (
            "members".to_owned(),
            serde_json::json!(spec.members).to_string(),
        ),
    ]);
    let mut tensors = Vec::new();
    for (split, ensemble) in &splits {
        let names: Vec<&str> = ensemble.names().collect();
        metadata.insert(
            format!("clips/{split}"),
            serde_json::json!(names).to_string(),
        );
        let shape = vec![ensemble.len() as i64, FRAMES, CLASSES];
        tensors.push((split.to_string(), Kind::Float, shape));
    }
    let path = context.scratch.join("pseudo_labels.safetensors");
    let bytes = 4 * total * (FRAMES * CLASSES).unsigned_abs();
    let opened = write_with_room(context.host, &path, bytes, || {
        Ok(TensorWriter::create(&path, &tensors, &metadata)?)
    })?;
    let Some(mut writer) = opened else {
        return Ok(Outcome::Stopped);
    };
    // the writer orders tensors by name
    splits.sort_by_key(|(split, _)| split.as_str());
    let mut done = 0;
    for (_, ensemble) in &splits {
        ensemble.for_each_chunk(|mean| {
            writer.append(mean)?;
            done += mean.size()[0] as u64;
            context.host.progress(Progress {
                unit: ProgressUnit::Clips,
                done,
                total,
                loss: None,
                clips_per_second: None,
            });
            Ok(())
        })?;
    }
    writer.finish()?;
    Ok(Outcome::one(ROLE, path))
}

/// The logits of several members on one split.
pub(crate) struct Ensemble {
    /// By shard: the clips, and each member's file.
    shards: Vec<(Vec<String>, Vec<ClipLogits>)>,
}

impl Ensemble {
    /// Opens `logits/<member>/<split>/<shard>` of every member and shard.
    pub(crate) fn open(
        context: &RankContext<'_>,
        members: &BTreeSet<MemberName>,
        split: Split,
        shards: u32,
    ) -> Result<Self, Error> {
        if members.is_empty() {
            return Err(Error::Configuration(
                "an ensemble without members".to_owned(),
            ));
        }
        let mut opened = Vec::new();
        for shard in 0..shards {
            let mut files: Vec<ClipLogits> = Vec::new();
            for member in members {
                let role = format!("logits/{member}/{split}/{shard}");
                let file = ClipLogits::open(context.input(&role)?)?;
                if let Some(first) = files.first()
                    && first.clips() != file.clips()
                {
                    return Err(Error::Artifact(format!(
                        "{}: holds other clips than {}, or in another order; all members must predict the same clips",
                        file.path().display(),
                        first.path().display()
                    )));
                }
                files.push(file);
            }
            let clips = files
                .first()
                .map(|file| file.clips().to_vec())
                .unwrap_or_default();
            opened.push((clips, files));
        }
        Ok(Self { shards: opened })
    }

    pub(crate) fn len(&self) -> u64 {
        self.shards
            .iter()
            .map(|(clips, _)| clips.len() as u64)
            .sum()
    }

    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.shards
            .iter()
            .flat_map(|(clips, _)| clips.iter().map(String::as_str))
    }

    /// The mean logits (clips, 156, 27) of the split, in order, a chunk at a time.
    pub(crate) fn for_each_chunk(
        &self,
        mut take: impl FnMut(&Tensor) -> Result<(), Error>,
    ) -> Result<(), Error> {
        for (clips, files) in &self.shards {
            let len = clips.len() as i64;
            let mut start = 0;
            while start < len {
                let count = CHUNK.min(len - start);
                let mut mean = files[0].rows(start, count)?;
                for file in &files[1..] {
                    mean += file.rows(start, count)?;
                }
                take(&(mean / files.len() as f64))?;
                start += count;
            }
        }
        Ok(())
    }
}

/// Endings that a name in a file may carry; a stem may hold dots itself (AudioSet: `Y…_30.000_40.000`).
const AUDIO_ENDINGS: [&str; 7] = [".wav", ".flac", ".mp3", ".ogg", ".aiff", ".aif", ".oga"];

/// Missing clips that an error names.
const NAMED: usize = 5;

/// Pseudo-labels of a training run, by split: from the artifact `pseudo_labels` of the iteration before, or from files of the
/// user's own (roles `pseudo_labels/<split>`), which go before it.
#[derive(Debug)]
pub(crate) struct PseudoLabels {
    splits: BTreeMap<Split, Table>,
}

impl PseudoLabels {
    /// Opens every input with pseudo-labels and makes sure that each of `clips` (split, stem) is there.
    ///
    /// A file of a split may be HDF5 in the reference's layout (recipe 8.2), an artifact `logits`, or an artifact `pseudo_labels`.
    pub(crate) fn open<'c>(
        inputs: &BTreeMap<String, PathBuf>,
        clips: impl IntoIterator<Item = (Split, &'c str)>,
    ) -> Result<Self, Error> {
        let mut splits = BTreeMap::new();
        if let Some(path) = inputs.get(ROLE) {
            for (split, stored) in stored::open(path)? {
                if let Some(split) = split {
                    splits.insert(split, Table::new(stored)?);
                }
            }
        }
        for split in Split::ALL {
            if let Some(path) = inputs.get(&format!("{ROLE}/{split}")) {
                splits.insert(split, Table::open(path, split)?);
            }
        }
        if splits.is_empty() {
            return Err(Error::MissingInput {
                role: ROLE.to_owned(),
            });
        }
        let labels = Self { splits };
        labels.check(clips)?;
        Ok(labels)
    }

    /// Fails before training does, with the number of missing clips and some of their names.
    fn check<'c>(&self, clips: impl IntoIterator<Item = (Split, &'c str)>) -> Result<(), Error> {
        let mut missing: BTreeMap<Split, (usize, Vec<&str>)> = BTreeMap::new();
        for (split, stem) in clips {
            let there =
                (self.splits.get(&split)).is_some_and(|table| table.rows.contains_key(stem));
            if !there {
                let (count, names) = missing.entry(split).or_default();
                *count += 1;
                if names.len() < NAMED {
                    names.push(stem);
                }
            }
        }
        if missing.is_empty() {
            return Ok(());
        }
        let parts: Vec<String> = missing
            .iter()
            .map(|(split, (count, names))| match self.splits.get(split) {
                None => format!("no pseudo-labels for split {split} ({count} clips)"),
                Some(table) => format!(
                    "{}: no pseudo-labels for {count} clips of split {split}, among them {}",
                    table.stored.path().display(),
                    names.join(", ")
                ),
            })
            .collect();
        Err(Error::Artifact(format!(
            "{}; give files that were made from this data, or leave the clips out of it",
            parts.join("; ")
        )))
    }

    /// A clip's probabilities, (156, 27).
    pub(crate) fn probabilities(&self, split: Split, clip: &str) -> Result<Tensor, Error> {
        let found = (self.splits.get(&split))
            .and_then(|table| Some((table, *table.rows.get(clip)?)))
            .ok_or_else(|| {
                Error::Artifact(format!(
                    "no pseudo-label for clip {clip:?} of split {split}"
                ))
            })?;
        let (table, row) = found;
        Ok(table.stored.rows(row, 1)?.f_squeeze_dim(0)?.sigmoid())
    }
}

/// The logits of one split's clips.
#[derive(Debug)]
struct Table {
    stored: Stored,
    /// By stem.
    rows: BTreeMap<String, usize>,
}

impl Table {
    /// A file of one set, whatever its split, or this split of one with several.
    fn open(path: &Path, split: Split) -> Result<Self, Error> {
        let mut sets = stored::open(path)?;
        let stored = (sets.remove(&None))
            .or_else(|| sets.remove(&Some(split)))
            .ok_or_else(|| {
                let others: Vec<&str> = sets.keys().flatten().map(|split| split.as_str()).collect();
                Error::Artifact(format!(
                    "{}: pseudo-labels of {}, none of split {split}",
                    path.display(),
                    others.join(", ")
                ))
            })?;
        Self::new(stored)
    }

    fn new(stored: Stored) -> Result<Self, Error> {
        let rows = by_stem(stored.path(), stored.names())?;
        Ok(Self { stored, rows })
    }
}

/// Row by stem; names may end as audio files do.
fn by_stem(path: &Path, names: &[String]) -> Result<BTreeMap<String, usize>, Error> {
    let mut rows = BTreeMap::new();
    for (row, name) in names.iter().enumerate() {
        let stem = AUDIO_ENDINGS
            .iter()
            .find_map(|ending| name.strip_suffix(ending))
            .unwrap_or(name);
        if rows.insert(stem.to_owned(), row).is_some() {
            return Err(Error::Artifact(format!(
                "{}: the clip {stem:?} is there more than once, expected each clip once",
                path.display()
            )));
        }
    }
    Ok(rows)
}

#[cfg(test)]
#[path = "pseudo_labels_tests.rs"]
mod tests;
