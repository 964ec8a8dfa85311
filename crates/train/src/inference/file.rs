//! Frame logits on disk.

use std::collections::BTreeMap;
use std::path::Path;

use dataset::{CLASSES, NUM_CLASSES};
use model::write_tensors;
use tch::Tensor;

use super::FrameLogits;
use crate::Error;

/// Writes a safetensors file with one float32 tensor (frames, 27) per sound, by its name; metadata `classes` holds the names of
/// the columns as JSON, `frame_seconds` the length of a frame.
///
/// # Errors
/// When the file cannot be written.
pub fn write_logits(path: &Path, sounds: &[(String, FrameLogits)]) -> Result<(), Error> {
    let tensors: Vec<(String, Tensor)> = sounds
        .iter()
        .map(|(name, logits)| {
            let shape = [logits.frames() as i64, NUM_CLASSES as i64];
            let tensor = Tensor::from_slice(&logits.values).view(shape);
            (name.clone(), tensor)
        })
        .collect();
    let metadata = BTreeMap::from([
        ("classes".to_owned(), serde_json::json!(CLASSES).to_string()),
        (
            "frame_seconds".to_owned(),
            dataset::FRAME_SECONDS.to_string(),
        ),
    ]);
    Ok(write_tensors(path, &tensors, &metadata)?)
}
