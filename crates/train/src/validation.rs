//! Scores of the student while it trains, and the best state so far (recipe 7.3).
//!
//! The objective is the sum of the parts: PSDS1 of each split that the plan names, and mpAUC on MAESTRO's held-back recordings,
//! each window by itself; all from median-filtered frame scores.

use std::collections::BTreeMap;

use collective::ProcessGroup;
use dataset::{Clip, HeldBack, Purpose};
use eval::{Area, GroundTruth, PsdsSettings, Scores};
use model::{FrontEnds, SedModel};
use tch::{Device, Kind, Tensor};
use types::{Split, TrainSpec, ValidationSettings};

use crate::predict::{frame_logits, waveforms};
use crate::scoring::{FrameScores, MAX_FPR, ground_truth, median_filtered};
use crate::{CLASSES, Error, FRAMES};

/// The name of the sum among the values of a step.
pub(crate) const OBJECTIVE: &str = "validation/objective";

/// What is scored, its clips listed.
pub(crate) struct Validator {
    seed: u64,
    batch_size: usize,
    front_ends: FrontEnds,
    parts: Vec<Part>,
}

/// One summand of the objective.
struct Part {
    /// `validation/psds1/synth_validation`, `validation/mpauc`.
    name: String,
    metric: Metric,
    split: Split,
    clips: Vec<Clip>,
    truth: GroundTruth,
}

#[derive(Debug, Clone, Copy)]
enum Metric {
    Psds1,
    Mpauc,
}

impl Metric {
    fn score(self, scores: &Scores, truth: &GroundTruth) -> Result<f64, eval::Error> {
        match self {
            Self::Psds1 => Ok(eval::psds(scores, truth, &PsdsSettings::PSDS1)?.value),
            // the published figures count the area as a staircase (recipe T29)
            Self::Mpauc => {
                Ok(eval::segment_auroc(scores, truth, 1.0, MAX_FPR, Area::Staircase)?.mean)
            }
        }
    }
}

impl Validator {
    /// Lists clips and reads their ground truth. What cannot be scored on this data, because no event of any class counts or no
    /// second is without one, is left out with a warning; `None` if nothing is left.
    ///
    /// # Errors
    /// A missing or faulty table.
    pub(crate) fn open(
        spec: &TrainSpec,
        settings: &ValidationSettings,
        held_back: &HeldBack,
        device: Device,
    ) -> Result<Option<Self>, Error> {
        let mut parts = Vec::new();
        for split in &settings.desed {
            let truth = dataset::desed_truth(&spec.data, *split, &settings.desed_classes)?;
            let mut clips = dataset::clips(&spec.data, *split, Purpose::Evaluation)?;
            clips.retain(|clip| truth.events.contains_key(&clip.stem));
            parts.push(Part {
                name: format!("validation/psds1/{split}"),
                metric: Metric::Psds1,
                split: *split,
                clips,
                truth: ground_truth(&truth),
            });
        }
        if settings.maestro {
            let truth = dataset::window_truth(&held_back.maestro, &settings.maestro_classes);
            let mut clips = held_back.maestro.clone();
            clips.retain(|clip| truth.events.contains_key(&clip.stem));
            parts.push(Part {
                name: "validation/mpauc".to_owned(),
                metric: Metric::Mpauc,
                split: Split::MaestroTrain,
                clips,
                truth: ground_truth(&truth),
            });
        }
        parts.retain(|part| match part.try_out() {
            Ok(()) => true,
            Err(reason) => {
                tracing::warn!("{} is left out of the validation: {reason}", part.name);
                false
            }
        });
        Ok((!parts.is_empty()).then(|| Self {
            seed: spec.seed,
            batch_size: settings.batch_size.max(1) as usize,
            front_ends: FrontEnds::new(&spec.model, device),
            parts,
        }))
    }

    /// Scores the network by name, [`OBJECTIVE`] among them. The ranks share the clips batch by batch, and what a batch holds does
    /// not depend on their number; only rank 0 learns the scores, the others get `None`.
    ///
    /// # Errors
    /// When a clip cannot be read, the network's outputs are no numbers, or a rank is lost.
    pub(crate) fn scores(
        &self,
        model: &SedModel,
        group: &ProcessGroup,
    ) -> Result<Option<BTreeMap<String, f64>>, Error> {
        let device = model.store().device();
        let mut batches = 0;
        let mut all = Vec::new();
        for part in &self.parts {
            let logits = Tensor::zeros(
                [part.clips.len() as i64, FRAMES, CLASSES],
                (Kind::Float, device),
            );
            for (index, clips) in part.clips.chunks(self.batch_size).enumerate() {
                batches += 1;
                if batches % group.size() != group.rank() {
                    continue;
                }
                let waveforms = waveforms(self.seed, clips)?.to_device(device);
                let start = (index * self.batch_size) as i64;
                logits
                    .narrow(0, start, clips.len() as i64)
                    .copy_(&frame_logits(model, &self.front_ends, &waveforms));
            }
            all.push(logits);
        }
        // only now: a rank without a batch in one part has some in the next
        let mut values = BTreeMap::new();
        for (part, mut logits) in self.parts.iter().zip(all) {
            // every row is one rank's alone, so the sum is exact
            group.all_reduce_sum(&mut logits)?;
            if group.rank() == 0 {
                let score = part.score(&logits)?;
                *values.entry(OBJECTIVE.to_owned()).or_insert(0.0) += score;
                values.insert(part.name.clone(), score);
            }
        }
        Ok((group.rank() == 0).then_some(values))
    }
}

impl Part {
    /// Whether these clips can be scored at all, whatever a network says; if not, why.
    fn try_out(&self) -> Result<(), String> {
        if self.clips.is_empty() {
            return Err("no clip with an event of its classes".to_owned());
        }
        let logits = Tensor::zeros(
            [self.clips.len() as i64, FRAMES, CLASSES],
            (Kind::Float, Device::Cpu),
        );
        self.score(&logits)
            .map(|_| ())
            .map_err(|error| error.to_string())
    }

    fn score(&self, logits: &Tensor) -> Result<f64, Error> {
        let classes = self.truth.events.values().flatten();
        let classes = classes.map(|event| event.class.clone()).collect();
        let mut scores = FrameScores::new(self.split, &classes);
        let names = self.clips.iter().map(|clip| clip.stem.as_str());
        scores.add(names, logits, |_| true)?;
        let scores = median_filtered(&scores.finish()?)?;
        Ok(self.metric.score(&scores, &self.truth)?)
    }
}

/// The state of the networks with the highest objective so far.
#[derive(Debug)]
pub(crate) struct Best {
    /// Updates made when it was validated.
    pub(crate) step: u64,
    pub(crate) objective: f64,
    /// Named as in a checkpoint; copies, in main memory.
    pub(crate) tensors: Vec<(String, Tensor)>,
}
