//! Stored frame logits by clip, of every kind: our artifacts `logits` and `pseudo_labels`, and the reference's HDF5 (recipe 8.2).

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use model::TensorFile;
use tch::{Kind, Tensor};
use tensorfile::hdf5::Predictions;
use types::Split;

use crate::logits::{CLIPS, TENSOR, clip_names};
use crate::{CLASSES, Error, FRAMES};

/// The logits of one set of clips, (clips, 156, 27). Names are in memory, logits are read a few clips at a time.
#[derive(Debug)]
pub(crate) struct Stored {
    path: PathBuf,
    names: Vec<String>,
    source: Source,
}

#[derive(Debug)]
enum Source {
    Hdf5(Predictions),
    Tensors { file: Arc<TensorFile>, name: String },
}

impl Stored {
    /// Opens a file of predictions in HDF5.
    pub(crate) fn hdf5(path: &Path) -> Result<Self, Error> {
        let file = Predictions::open(path)?;
        let shape = [FRAMES as usize, CLASSES as usize];
        if file.shape() != shape {
            return Err(Error::Artifact(format!(
                "{}: logits of {:?} frames and classes, expected {shape:?}",
                path.display(),
                file.shape()
            )));
        }
        Ok(Self {
            path: path.to_owned(),
            names: file.names().to_vec(),
            source: Source::Hdf5(file),
        })
    }

    /// The one set of an artifact `logits`.
    pub(crate) fn logits(file: &Arc<TensorFile>) -> Result<Self, Error> {
        Self::of_tensor(file, TENSOR, CLIPS)
    }

    /// A split of an artifact `pseudo_labels`.
    pub(crate) fn of_split(file: &Arc<TensorFile>, split: Split) -> Result<Self, Error> {
        Self::of_tensor(file, split.as_str(), &format!("clips/{split}"))
    }

    fn of_tensor(file: &Arc<TensorFile>, name: &str, names: &str) -> Result<Self, Error> {
        let Some((shape, Kind::Float)) = file.shape(name) else {
            return Err(file
                .content(
                    format!("no float32 tensor {name:?}"),
                    "a file of frame logits or pseudo-labels".to_owned(),
                )
                .into());
        };
        Ok(Self {
            path: file.path().to_owned(),
            names: clip_names(file, names, shape)?,
            source: Source::Tensors {
                file: Arc::clone(file),
                name: name.to_owned(),
            },
        })
    }

    /// The file's place.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Names of the clips, in the order of the rows.
    pub(crate) fn names(&self) -> &[String] {
        &self.names
    }

    /// Logits of clips `start .. start + count`, (count, 156, 27).
    pub(crate) fn rows(&self, start: usize, count: usize) -> Result<Tensor, Error> {
        match &self.source {
            Source::Hdf5(file) => {
                let values = file.rows(start, count)?;
                let shape = [count as i64, FRAMES, CLASSES];
                Ok(Tensor::f_from_slice(&values)?.f_view(shape)?)
            }
            Source::Tensors { file, name } => Ok(file.rows(name, start as i64, count as i64)?),
        }
    }
}

/// Sets of clips by split; `None` is the one set of a file that names no split.
pub(crate) type Sets = BTreeMap<Option<Split>, Stored>;

/// Opens a file of any kind, told apart by content.
pub(crate) fn open(path: &Path) -> Result<Sets, Error> {
    let mut start = [0; 8];
    let hdf5 = File::open(path)
        .and_then(|mut file| file.read_exact(&mut start))
        .is_ok()
        && start == *b"\x89HDF\r\n\x1a\n";
    if hdf5 {
        return Ok(Sets::from([(None, Stored::hdf5(path)?)]));
    }
    let file = Arc::new(TensorFile::open(path)?);
    if file.shape(TENSOR).is_some() {
        return Ok(Sets::from([(None, Stored::logits(&file)?)]));
    }
    let mut sets = Sets::new();
    for split in Split::ALL {
        if file.shape(split.as_str()).is_some() {
            sets.insert(Some(split), Stored::of_split(&file, split)?);
        }
    }
    if sets.is_empty() {
        let names: Vec<&str> = file.names().take(3).collect();
        return Err(file
            .content(
                format!("tensors {names:?} and no logits by clip"),
                format!("a tensor {TENSOR:?} or one for each split"),
            )
            .into());
    }
    Ok(sets)
}
