//! Trained networks, ready to listen.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

use dataset::CLIP_SAMPLES;
use model::published::{Network, settings_of};
use model::{CrnnMel, FrontEnds, SedModel, TensorFile};
use tch::{Device, Kind, Tensor};
use types::{DecibelFloor, ModelSettings};

use crate::{Error, error};

/// One network or an ensemble.
///
/// ATST's decibel floor is that of each window alone, whatever a checkpoint was trained with, so that no window's result
/// depends on its neighbours in a batch (recipe T8).
#[derive(Debug)]
pub struct System {
    members: Vec<(SedModel, FrontEnds)>,
    device: Device,
}

impl System {
    /// Loads one network of each checkpoint.
    ///
    /// # Errors
    /// No checkpoint, or one that is missing, damaged, of another program, or does not fit the network that it describes.
    pub fn load(paths: &[PathBuf], network: Network, device: Device) -> Result<Self, Error> {
        if paths.is_empty() {
            return Err(Error::Configuration("no checkpoint is given".to_owned()));
        }
        let members = paths
            .iter()
            .map(|path| guarded(|| member(path, network, device)))
            .collect::<Result<_, _>>()?;
        Ok(Self { members, device })
    }

    /// Frame logits of windows of at most 160 000 samples each, padded with zeros at the end; the mean over the members (recipe
    /// 8.3). (windows, 156, 27), row by row.
    ///
    /// On a CPU every window is computed alone, so that its bits do not depend on the others. On a GPU the windows are one batch,
    /// and float32 sums may round differently with its size.
    ///
    /// # Errors
    /// When libtorch fails (out of memory, for one), or a logit is no number.
    pub fn logits(&self, windows: &[&[f32]]) -> Result<Vec<f32>, Error> {
        let together = if self.device == Device::Cpu {
            1
        } else {
            windows.len().max(1)
        };
        let mut logits = Vec::new();
        for batch in windows.chunks(together) {
            let batch = guarded(|| self.batch(batch))?;
            logits.extend(batch);
        }
        Ok(logits)
    }

    fn batch(&self, windows: &[&[f32]]) -> Result<Vec<f32>, Error> {
        let mut samples = vec![0.0; windows.len() * CLIP_SAMPLES];
        for (row, window) in samples.chunks_exact_mut(CLIP_SAMPLES).zip(windows) {
            row[..window.len()].copy_from_slice(window);
        }
        let waveforms = Tensor::from_slice(&samples)
            .view([windows.len() as i64, CLIP_SAMPLES as i64])
            .to_device(self.device);
        let mean = tch::no_grad(|| {
            let logits: Vec<Tensor> = self
                .members
                .iter()
                .map(|(model, front_ends)| {
                    let mel = CrnnMel::scale(&front_ends.crnn(&waveforms));
                    model.frame_logits(&mel, &front_ends.transformer(&waveforms))
                })
                .collect();
            // in float64: the mean of one is then the very same number
            Tensor::stack(&logits, 0)
                .to_kind(Kind::Double)
                .mean_dim(0, false, Kind::Double)
                .to_kind(Kind::Float)
        });
        if mean.isfinite().all().int64_value(&[]) == 0 {
            return Err(Error::Artifact(
                "the checkpoint gives logits that are no numbers".to_owned(),
            ));
        }
        let flat = mean.to_device(Device::Cpu).contiguous().view([-1]);
        Ok(Vec::<f32>::try_from(flat)?)
    }
}

fn member(path: &Path, network: Network, device: Device) -> Result<(SedModel, FrontEnds), Error> {
    let file = TensorFile::open(path)?;
    let settings = match file.metadata("model") {
        Ok(own) => serde_json::from_str(own).map_err(|error| {
            file.content(
                format!("metadata \"model\" that describes no network of this version ({error})"),
                "a checkpoint of this version".to_owned(),
            )
        })?,
        // the authors' checkpoints tell their network by names and shapes alone
        Err(_) => settings_of(&file, network)?,
    };
    let settings = ModelSettings {
        atst_floor: DecibelFloor::Clip,
        ..settings
    };
    let model = SedModel::new(&settings, 0, device)?;
    model.store().set_trainable(|_| false);
    let prefix = network
        .prefix(&file)
        .ok_or_else(|| file.content("no such network".to_owned(), format!("a {network:?}")))?;
    model.store().load(&file, &prefix)?;
    Ok((model, FrontEnds::new(&settings, device)))
}

/// What libtorch throws inside plain arithmetic reaches tch's callers as a panic.
fn guarded<T>(work: impl FnOnce() -> Result<T, Error>) -> Result<T, Error> {
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|panic| Err(error::of_panic(&*panic)))
}
