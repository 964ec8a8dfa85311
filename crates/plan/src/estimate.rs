//! Guesses of how long tasks take, from the sizes of data and models. They order tasks; they are no part of a key.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use types::{ModelSettings, PredictSpec, Split, TrainSpec};

/// What an estimate needs to know beyond the plan.
#[derive(Debug, Clone, PartialEq)]
pub struct Sizing {
    /// Clips of each split; the published number where a split is not named.
    pub clips: BTreeMap<Split, u64>,
    /// Multiplications and additions that one device does in a second in such models.
    pub operations_per_second: f64,
}

impl Default for Sizing {
    fn default() -> Self {
        Self {
            clips: BTreeMap::new(),
            operations_per_second: Self::GPU,
        }
    }
}

/// Tokens that the transformer makes of a clip (recipe 4.4).
const TOKENS: f64 = 250.0;
/// Label frames of a clip (recipe 2.3).
const FRAMES: f64 = 156.0;
/// A backward pass costs about two forward passes.
const FORWARD_AND_BACKWARD: f64 = 3.0;

impl Sizing {
    /// A data-centre GPU at mixed precision.
    pub const GPU: f64 = 2e13;
    /// One or two cores of a CPU.
    pub const CPU: f64 = 2e10;

    fn count(&self, split: Split) -> f64 {
        self.clips
            .get(&split)
            .copied()
            .unwrap_or_else(|| published_clips(split)) as f64
    }

    fn duration(&self, operations: f64) -> Duration {
        // A second for starting the process, reading and writing.
        Duration::try_from_secs_f64(1.0 + operations / self.operations_per_second)
            .unwrap_or(Duration::MAX)
    }

    pub(crate) fn train(&self, spec: &TrainSpec) -> Duration {
        let sizes = &spec.training.microbatch;
        let in_use = |split: Split| {
            if spec.data.sources.contains_key(&split) {
                self.count(split)
            } else {
                0.0
            }
        };
        // Parts of the data that training does not see (recipe 1.6) are left out roughly.
        let kinds = [
            (sizes.maestro, 0.85 * in_use(Split::MaestroTrain)),
            (
                sizes.strong,
                in_use(Split::StrongTrain) + in_use(Split::ExternalStrongTrain),
            ),
            (sizes.synth, in_use(Split::SynthTrain)),
            (sizes.weak, 0.9 * in_use(Split::WeakTrain)),
            (sizes.unlabeled, in_use(Split::UnlabeledTrain)),
        ];
        let batches = kinds
            .iter()
            .filter(|(size, _)| *size > 0)
            .map(|(size, clips)| clips / f64::from(*size))
            .fold(f64::INFINITY, f64::min);
        let batches = if batches.is_finite() { batches } else { 0.0 };
        let clips: f64 = kinds
            .iter()
            .map(|(size, _)| batches * f64::from(*size))
            .sum();
        let (transformer, crnn) = forward_operations(&spec.model);
        // Student and teacher; in stage 1 the frozen transformer runs once for both.
        let per_clip = (FORWARD_AND_BACKWARD + 1.0) * crnn
            + if spec.stage == 1 {
                transformer
            } else {
                (FORWARD_AND_BACKWARD + 1.0) * transformer
            };
        let epochs = spec.training.epochs;
        let validated: f64 = spec.validation.iter().fold(0.0, |sum, validation| {
            let desed: f64 = validation.desed.iter().map(|split| in_use(*split)).sum();
            let maestro = if validation.maestro {
                0.15 * in_use(Split::MaestroTrain)
            } else {
                0.0
            };
            let times = epochs.div_ceil(validation.every_epochs.max(1));
            sum + f64::from(times) * (desed + maestro)
        });
        self.duration(clips * f64::from(epochs) * per_clip + validated * (transformer + crnn))
    }

    pub(crate) fn predict(&self, spec: &PredictSpec) -> Duration {
        let (transformer, crnn) = forward_operations(&spec.model);
        self.duration(self.count(spec.split) / f64::from(spec.num_shards) * (transformer + crnn))
    }

    /// Averaging or scoring logits.
    pub(crate) fn arithmetic(&self, splits: &BTreeSet<Split>, members: usize) -> Duration {
        let clips: f64 = splits.iter().map(|split| self.count(*split)).sum();
        Duration::from_millis(500) + Duration::from_micros((clips * 100.0) as u64 * members as u64)
    }
}

/// Operations of one forward pass over a clip: (transformer, CRNN).
fn forward_operations(model: &ModelSettings) -> (f64, f64) {
    let transformer = &model.transformer;
    let (dim, depth) = (f64::from(transformer.dim), f64::from(transformer.depth));
    let weights = dim * dim * (4.0 + 2.0 * f64::from(transformer.mlp_ratio));
    let transformer = depth * 2.0 * (TOKENS * weights + 2.0 * TOKENS * TOKENS * dim);

    // Time and frequency before each of the seven blocks (recipe 4.1).
    let sides = [
        (626, 128),
        (313, 64),
        (156, 32),
        (156, 16),
        (156, 8),
        (156, 4),
        (156, 2),
    ];
    let mut before = 1.0;
    let mut cnn = 0.0;
    for ((time, bands), channels) in sides.into_iter().zip(model.crnn.channels) {
        let channels = f64::from(channels);
        cnn += 2.0 * f64::from(time * bands) * channels * (9.0 * before + channels);
        before = channels;
    }
    let hidden = f64::from(model.crnn.rnn_hidden);
    let rnn = f64::from(model.crnn.rnn_layers) * 2.0 * FRAMES * 2.0 * 3.0 * hidden * 3.0 * hidden;
    (transformer, cnn + rnn)
}

/// Clips of each split as published (recipe 1.1).
const fn published_clips(split: Split) -> u64 {
    match split {
        Split::MaestroTrain => 7503,
        Split::StrongTrain => 3470,
        Split::ExternalStrongTrain | Split::ExternalStrongValidation => 7383,
        Split::SynthTrain => 10_000,
        Split::WeakTrain => 1578,
        Split::UnlabeledTrain => 14_412,
        Split::SynthValidation => 2500,
        Split::DesedValidation => 1168,
        Split::MaestroValidation => 3474,
        Split::PublicEval => 692,
    }
}
