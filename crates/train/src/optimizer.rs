//! AdamW with one learning rate per part of the network (recipe 7).

use collective::adam::{AdamOptions, AdamTensors, fused_adamw};
use model::{Part, SedModel, TensorFile};
use tch::Tensor;
use types::{OptimizerKind, OptimizerSettings};

use crate::Error;
use crate::schedule::learning_rate_factor;

/// Parameters that share a learning rate.
#[derive(Debug)]
struct Group {
    part: Part,
    rate: f64,
    names: Vec<String>,
    parameters: Vec<Tensor>,
    means: Vec<Tensor>,
    squares: Vec<Tensor>,
}

/// The optimizer and its state.
#[derive(Debug)]
pub struct Optimizer {
    groups: Vec<Group>,
    weight_decay: f64,
    warmup: u64,
    total: u64,
}

/// The base learning rate of a part; `None`: not trained in this stage.
#[must_use]
pub fn base_rate(settings: &OptimizerSettings, stage: u32, part: Part) -> Option<f64> {
    match part {
        Part::Cnn => Some(settings.lr_cnn),
        Part::Rnn => Some(settings.lr_rnn),
        Part::Transformer(group) if stage != 1 => {
            let depth = i32::try_from(group).unwrap_or(i32::MAX);
            Some(settings.lr_transformer * settings.layer_factor.powi(depth))
        }
        Part::Transformer(_) | Part::AudiosetHead | Part::Unused => None,
    }
}

impl Optimizer {
    /// An optimizer of what `stage` trains, with empty state. Freezes everything else in `model`.
    #[must_use]
    pub fn new(model: &SedModel, settings: &OptimizerSettings, stage: u32, total: u64) -> Self {
        let rate = |name: &str| base_rate(settings, stage, model.part(name));
        model.store().set_trainable(|name| rate(name).is_some());
        let mut groups: Vec<Group> = Vec::new();
        for (name, parameter) in model.store().parameters() {
            let Some(rate) = rate(name) else { continue };
            let part = model.part(name);
            let position = match groups.iter().position(|group| group.part == part) {
                Some(position) => position,
                None => {
                    groups.push(Group {
                        part,
                        rate,
                        names: Vec::new(),
                        parameters: Vec::new(),
                        means: Vec::new(),
                        squares: Vec::new(),
                    });
                    groups.len() - 1
                }
            };
            let group = &mut groups[position];
            group.names.push(name.to_owned());
            group.parameters.push(parameter.shallow_clone());
            group.means.push(parameter.detach().zeros_like());
            group.squares.push(parameter.detach().zeros_like());
        }
        groups.sort_by_key(|group| group.part);
        Self {
            groups,
            weight_decay: match settings.kind {
                OptimizerKind::Adamw => settings.weight_decay,
                OptimizerKind::Adam => 0.0,
            },
            warmup: settings.warmup_steps,
            total,
        }
    }

    /// Trained parameters in the network's order within each group.
    pub fn parameters(&self) -> impl Iterator<Item = &Tensor> {
        self.groups.iter().flat_map(|group| &group.parameters)
    }

    /// Names beside [`Self::parameters`].
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.groups
            .iter()
            .flat_map(|group| group.names.iter().map(String::as_str))
    }

    /// Learning rates at a step, by part.
    #[must_use]
    pub fn rates(&self, step: u64) -> Vec<(Part, f64)> {
        let factor = learning_rate_factor(step, self.warmup, self.total);
        self.groups
            .iter()
            .map(|group| (group.part, group.rate * factor))
            .collect()
    }

    /// One update from the gradients; `step`: updates made before it.
    ///
    /// # Errors
    /// When libtorch refuses.
    pub fn step(&self, step: u64) -> Result<(), Error> {
        let factor = learning_rate_factor(step, self.warmup, self.total);
        for group in &self.groups {
            let gradients: Vec<Tensor> = group.parameters.iter().map(Tensor::grad).collect();
            let tensors = AdamTensors {
                params: &group.parameters,
                grads: &gradients,
                exp_avgs: &group.means,
                exp_avg_sqs: &group.squares,
            };
            let options = AdamOptions {
                lr: group.rate * factor,
                weight_decay: self.weight_decay,
                ..AdamOptions::default()
            };
            // without weight decay both kinds are the same update
            fused_adamw(tensors, step + 1, &options)?;
        }
        Ok(())
    }

    /// Sets all gradients to 0, in place: they may be views of the reducer's buckets.
    pub fn zero_gradients(&self) {
        tch::no_grad(|| {
            for parameter in self.parameters() {
                let mut gradient = parameter.grad();
                if gradient.defined() {
                    let _ = gradient.zero_();
                }
            }
        });
    }

    fn state(&self) -> impl Iterator<Item = (String, &Tensor)> {
        self.groups.iter().flat_map(|group| {
            group
                .names
                .iter()
                .zip(group.means.iter().zip(&group.squares))
                .flat_map(|(name, (mean, square))| {
                    [
                        (format!("optimizer.{name}.exp_avg"), mean),
                        (format!("optimizer.{name}.exp_avg_sq"), square),
                    ]
                })
        })
    }

    /// Both moments of every trained parameter, under `optimizer.`.
    #[must_use]
    pub fn tensors(&self) -> Vec<(String, Tensor)> {
        self.state()
            .map(|(name, tensor)| (name, tensor.shallow_clone()))
            .collect()
    }

    /// Takes the moments over from a checkpoint.
    ///
    /// # Errors
    /// When one is missing or has another shape.
    pub fn load(&self, file: &TensorFile) -> Result<(), Error> {
        for (name, tensor) in self.state() {
            let stored = file.tensor(&name)?;
            if stored.size() != tensor.size() {
                return Err(Error::Artifact(format!(
                    "{}: {name} has shape {:?}, expected {:?}",
                    file.path().display(),
                    stored.size(),
                    tensor.size()
                )));
            }
            tch::no_grad(|| tensor.shallow_clone().f_copy_(&stored))?;
        }
        Ok(())
    }
}
