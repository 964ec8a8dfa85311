//! The `logits` artifact: frame logits (clips, 156, 27) with the clips' names.

use std::path::Path;

use model::TensorFile;
use tch::{Kind, Tensor};

use crate::{CLASSES, Error, FRAMES};

/// The tensor's name.
pub(crate) const TENSOR: &str = "logits";
/// The names' key in the metadata.
pub(crate) const CLIPS: &str = "clips";

/// An open `logits` artifact.
#[derive(Debug)]
pub(crate) struct ClipLogits {
    file: TensorFile,
    clips: Vec<String>,
}

impl ClipLogits {
    pub(crate) fn open(path: &Path) -> Result<Self, Error> {
        let file = TensorFile::open(path)?;
        let Some((shape, Kind::Float)) = file.shape(TENSOR) else {
            return Err(file
                .content(
                    format!("no float32 tensor {TENSOR:?}"),
                    "a file of frame logits".to_owned(),
                )
                .into());
        };
        let clips = clip_names(&file, CLIPS, shape)?;
        Ok(Self { file, clips })
    }

    pub(crate) fn path(&self) -> &Path {
        self.file.path()
    }

    /// Names, in row order.
    pub(crate) fn clips(&self) -> &[String] {
        &self.clips
    }

    /// Logits of these clips, (count, 156, 27).
    pub(crate) fn rows(&self, start: i64, count: i64) -> Result<Tensor, Error> {
        Ok(self.file.rows(TENSOR, start, count)?)
    }
}

/// The clips' names under `key`, held against the tensor's shape.
pub(crate) fn clip_names(
    file: &TensorFile,
    key: &str,
    shape: &[i64],
) -> Result<Vec<String>, Error> {
    let names: Vec<String> = serde_json::from_str(file.metadata(key)?).map_err(|error| {
        file.content(
            format!("metadata {key:?} that is no list of names ({error})"),
            "a JSON array of clip names".to_owned(),
        )
    })?;
    let expected = [names.len() as i64, FRAMES, CLASSES];
    if shape != expected {
        return Err(file
            .content(
                format!("logits of shape {shape:?} for {} clips", names.len()),
                format!("{expected:?}"),
            )
            .into());
    }
    Ok(names)
}
