//! Pseudo-labels: the ensemble's mean logits, written here and looked up in the next iteration (recipe 8).

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use model::{TensorFile, TensorWriter};
use tch::{Kind, Tensor};
use types::{MemberName, Progress, ProgressUnit, PseudoLabelSpec, Split};

use crate::context::{Outcome, RankContext};
use crate::logits::{ClipLogits, clip_names};
use crate::{CLASSES, Error, FRAMES};

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
    let mut writer = TensorWriter::create(&path, &tensors, &metadata)?;
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
    Ok(Outcome::one("pseudo_labels", path))
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

/// An open `pseudo_labels` artifact.
#[derive(Debug)]
pub(crate) struct PseudoLabels {
    file: TensorFile,
    rows: BTreeMap<Split, BTreeMap<String, i64>>,
}

impl PseudoLabels {
    pub(crate) fn open(path: &Path) -> Result<Self, Error> {
        let file = TensorFile::open(path)?;
        let mut rows = BTreeMap::new();
        for split in Split::ALL {
            let Some((shape, _)) = file.shape(split.as_str()) else {
                continue;
            };
            let names = clip_names(&file, &format!("clips/{split}"), shape)?;
            let index = names.into_iter().zip(0..).collect();
            rows.insert(split, index);
        }
        Ok(Self { file, rows })
    }

    /// A clip's probabilities, (156, 27).
    pub(crate) fn probabilities(&self, split: Split, clip: &str) -> Result<Tensor, Error> {
        let row = self
            .rows
            .get(&split)
            .and_then(|rows| rows.get(clip))
            .ok_or_else(|| {
                Error::Artifact(format!(
                    "{}: no pseudo-label for clip {clip:?} of split {split}; they were made from other data",
                    self.file.path().display()
                ))
            })?;
        let logits = self.file.rows(split.as_str(), *row, 1)?;
        Ok(logits.squeeze_dim(0).sigmoid())
    }
}
