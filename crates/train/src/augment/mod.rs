//! From a batch of sounds to what student and teacher see, and what they should say (recipe 6.6, 2.5).
//!
//! One file for each kind of change; every one separates its draw, a function of where in the run it stands, from what it does.
//! Each purpose has a generator of its own, so that switching one change off leaves the others' draws as they are.

pub(crate) mod filter;
pub(crate) mod frequency_warp;
pub(crate) mod labels;
pub(crate) mod mixstyle;
pub(crate) mod mixup;
pub(crate) mod recording;
pub(crate) mod time_mask;
pub(crate) mod time_shift;

use model::training_edges;
use rand::RngExt;
use tch::{Device, Tensor};
use types::{Architecture, AugmentationSettings, TrainSpec};

use crate::batch::Batch;
use crate::draws::{Draws, Place, Purpose};
use crate::features::{FeatureMaker, Features};
use crate::losses::Targets;
use crate::{Error, FRAMES, Layout};

use filter::Filter;
use frequency_warp::FrequencyWarp;
use labels::Labels;
use mixstyle::mixstyle;
use mixup::Mixup;
use time_mask::TimeMask;
use time_shift::TimeShift;

/// A micro-batch as the networks see it.
#[derive(Debug)]
pub struct Inputs {
    /// What the student sees.
    pub student: Features,
    /// What the teacher sees. In stage 1 the transformer features are the student's own.
    pub teacher: Features,
    /// (batch, 27), bool, enlarged by mixing.
    pub mask: Tensor,
    /// What both should say.
    pub targets: Targets,
    /// How it was mixed, if it was.
    pub mixup: Option<Mixup>,
    /// Layers of the student's and of the teacher's transformer that are left out; none unless the transformer is in train mode.
    pub skipped_layers: Option<[Vec<bool>; 2]>,
}

/// Makes the inputs of one task's micro-batches.
pub(crate) struct Augmenter<'a> {
    pub(crate) spec: &'a TrainSpec,
    pub(crate) layout: Layout,
    pub(crate) draws: &'a Draws,
    pub(crate) front_ends: &'a FeatureMaker,
    pub(crate) place: Place,
}

impl Augmenter<'_> {
    /// Makes the features and changes them. Nothing here is in a graph; the batch's own tensors are changed in place.
    pub(crate) fn inputs(&self, mut batch: Batch) -> Result<Inputs, Error> {
        tch::no_grad(|| {
            let sounds = std::mem::take(&mut batch.sounds);
            let mut features = self.front_ends.features(sounds, self.mel_edges());
            let mut labels = Labels::new(&self.layout, batch);
            let mixup = self.mixup()?;
            self.shift_time(&mut features, &mut labels)?;
            let (student, teacher) = if self.spec.stage == 1 {
                self.stage1(features, &mut labels, mixup.as_ref())?
            } else {
                self.stage2(features, &mut labels, mixup.as_ref())?
            };
            Ok(Inputs {
                student,
                teacher,
                targets: labels.targets(self.spec, &self.layout),
                mask: labels.mask,
                mixup,
                skipped_layers: self.skipped_layers(),
            })
        })
    }

    /// Student and teacher see the same but for their filters.
    fn stage1(
        &self,
        clean: Features,
        labels: &mut Labels,
        mixup: Option<&Mixup>,
    ) -> Result<(Features, Features), Error> {
        let mixed = self.mix(clean, labels, mixup);
        let styled = self.style(mixed)?;
        self.mask_time(&styled, labels);
        let mut rng = self.generator(Purpose::Filter);
        if !self.happens(&mut rng, self.settings().filter_probability) {
            return Ok((styled.shallow_clone(), styled));
        }
        let mut filtered = || Features {
            mel: self.filter(&mut rng, &styled.mel),
            transformer: styled.transformer.shallow_clone(),
        };
        Ok((filtered(), filtered()))
    }

    /// The teacher sees no more than the time mask (recipe T19).
    fn stage2(
        &self,
        clean: Features,
        labels: &mut Labels,
        mixup: Option<&Mixup>,
    ) -> Result<(Features, Features), Error> {
        self.mask_time(&clean, labels);
        let teacher = clean.shallow_clone();
        let mixed = self.mix(clean, labels, mixup);
        let styled = self.style(mixed)?;
        let warped = self.warp(styled);
        let mut rng = self.generator(Purpose::Filter);
        if !self.happens(&mut rng, self.settings().filter_probability) {
            return Ok((warped, teacher));
        }
        let student = Features {
            mel: self.filter(&mut rng, &warped.mel),
            transformer: self.filter(&mut rng, &warped.transformer),
        };
        Ok((student, teacher))
    }

    fn settings(&self) -> &AugmentationSettings {
        &self.spec.training.augmentation
    }

    fn device(&self) -> Device {
        self.front_ends.device()
    }

    fn generator(&self, purpose: Purpose) -> rand_chacha::ChaCha8Rng {
        self.draws.generator(purpose, self.place)
    }

    fn happens(&self, rng: &mut impl rand::Rng, probability: f64) -> bool {
        rng.random::<f64>() < probability
    }

    /// Edges of fPaSST's mel bank in Hz, drawn in stage 2 only (recipe 3.3).
    fn mel_edges(&self) -> Option<(f64, f64)> {
        if !draws_mel_edges(self.spec) {
            return None;
        }
        let mut rng = self.generator(Purpose::MelEdges);
        let edges = self.spec.model.fpasst_mel;
        let low = rng.random_range(0..edges.low.max(1));
        let high = rng.random_range(0..edges.high.max(1));
        Some(training_edges(edges, low, high))
    }

    fn mixup(&self) -> Result<Option<Mixup>, Error> {
        let settings = self.settings();
        let mut rng = self.generator(Purpose::Mixup);
        if !self.happens(&mut rng, settings.mixup_probability) {
            return Ok(None);
        }
        self.mixing(&mut rng, settings.mixup_alpha).map(Some)
    }

    fn mixing(&self, rng: &mut impl rand::Rng, alpha: f64) -> Result<Mixup, Error> {
        let joint = self.settings().joint_maestro;
        Mixup::draw(rng, &self.layout, alpha, joint, self.device())
    }

    fn mix(&self, features: Features, labels: &mut Labels, mixup: Option<&Mixup>) -> Features {
        let Some(mixup) = mixup else {
            return features;
        };
        labels.mix(&self.layout, mixup);
        features.map(|x| mixup.mix(&self.layout, x))
    }

    /// CRNN and transformer features have draws of their own (recipe 6.4).
    fn style(&self, features: Features) -> Result<Features, Error> {
        let settings = self.settings();
        let mut rng = self.generator(Purpose::Mixstyle);
        if !self.happens(&mut rng, settings.mixstyle_probability) {
            return Ok(features);
        }
        let [mel, transformer] = [
            self.mixing(&mut rng, settings.mixstyle_alpha)?,
            self.mixing(&mut rng, settings.mixstyle_alpha)?,
        ];
        let style = |x: &Tensor, draw: &Mixup| draw.by_group(&self.layout, x, mixstyle);
        Ok(Features {
            mel: style(&features.mel, &mel),
            transformer: style(&features.transformer, &transformer),
        })
    }

    /// In place, in the DESED strong rows.
    fn mask_time(&self, features: &Features, labels: &Labels) {
        if !self.settings().time_mask {
            return;
        }
        let mut rng = self.generator(Purpose::TimeMask);
        let mask = TimeMask::draw(&mut rng, self.settings(), FRAMES);
        let rows = self.layout.desed_strong();
        mask.crnn_features(&rows.of(&features.mel));
        mask.transformer_features(&rows.of(&features.transformer), FRAMES);
        mask.labels(&rows.of(&labels.strong));
    }

    /// Shifts all rows but MAESTRO's.
    fn shift_time(&self, features: &mut Features, labels: &mut Labels) -> Result<(), Error> {
        if self.settings().time_shift == 0.0 {
            return Ok(());
        }
        let mut rng = self.generator(Purpose::TimeShift);
        let rows = self.layout.desed();
        let frames = features.mel.size()[3];
        let shift = TimeShift::draw(&mut rng, self.settings(), rows.len, frames)?;
        let write = |x: &Tensor, shifted: Tensor| rows.of(x).copy_(&shifted);
        let shifted = shift.crnn_features(&rows.of(&features.mel));
        write(&features.mel, shifted);
        let shifted = shift.transformer_features(&rows.of(&features.transformer), frames);
        write(&features.transformer, shifted);
        let shifted = shift.labels(&rows.of(&labels.strong));
        write(&labels.strong, shifted);
        if let Some(pseudo) = &labels.pseudo {
            write(pseudo, shift.labels(&rows.of(pseudo)));
        }
        Ok(())
    }

    /// Warps the transformer features, group by group; MAESTRO's only if asked.
    fn warp(&self, features: Features) -> Features {
        let settings = self.settings();
        let mut rng = self.generator(Purpose::FrequencyWarp);
        if !self.happens(&mut rng, settings.warp_probability) {
            return features;
        }
        let x = &features.transformer;
        let bins = x.size()[2];
        let layout = &self.layout;
        let parts: Vec<Tensor> = [
            (layout.maestro, settings.warp_maestro),
            (layout.desed_strong(), true),
            (layout.weak, true),
            (layout.unlabeled, true),
        ]
        .into_iter()
        .filter(|(rows, _)| !rows.is_empty())
        .map(|(rows, warped)| {
            if warped {
                FrequencyWarp::draw(&mut rng, settings, bins).apply(&rows.of(x))
            } else {
                rows.of(x)
            }
        })
        .collect();
        Features {
            transformer: Tensor::cat(&parts, 0),
            mel: features.mel,
        }
    }

    fn filter(&self, rng: &mut impl rand::Rng, x: &Tensor) -> Tensor {
        let size = x.size();
        Filter::draw(rng, self.settings(), size[0], size[2]).apply(x)
    }

    /// Draws for student and teacher (recipe T25).
    fn skipped_layers(&self) -> Option<[Vec<bool>; 2]> {
        let model = &self.spec.model;
        let acts = self.spec.stage != 1 && self.spec.training.transformer_train_mode;
        if !acts || model.architecture != Architecture::Beats {
            return None;
        }
        let mut rng = self.generator(Purpose::LayerDrop);
        let mut draw = || {
            (0..model.transformer.depth)
                .map(|_| self.happens(&mut rng, model.beats.layerdrop))
                .collect()
        };
        Some([draw(), draw()])
    }
}

/// Whether a task's transformer features differ from epoch to epoch because the edges of the mel bank are drawn.
pub(crate) fn draws_mel_edges(spec: &TrainSpec) -> bool {
    let edges = spec.model.fpasst_mel;
    spec.stage != 1
        && spec.model.architecture == Architecture::Fpasst
        && (edges.low > 1 || edges.high > 1)
}
