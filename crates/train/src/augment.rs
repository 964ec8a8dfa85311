//! From a batch of waveforms to what student and teacher see, and what they should say (recipe 6.6, 2.5).

use tch::{Kind, Tensor};
use types::AugmentationSettings;

use crate::batch::Batch;
use crate::draws::{Draws, Place, Purpose};
use crate::features::{FeatureMaker, Features};
use crate::losses::Targets;
use crate::mixup::Mixup;
use crate::time_mask::TimeMask;
use crate::{Error, FRAMES, Layout};

impl Features {
    fn shallow_clone(&self) -> Self {
        Self {
            mel: self.mel.shallow_clone(),
            transformer: self.transformer.shallow_clone(),
        }
    }

    fn mix(&self, layout: &Layout, mixup: &Mixup) -> Self {
        Self {
            mel: mixup.mix(layout, &self.mel),
            transformer: mixup.mix(layout, &self.transformer),
        }
    }

    fn mask_time(&self, layout: &Layout, mask: &TimeMask) {
        let rows = layout.desed_strong();
        mask.crnn_features(&rows.of(&self.mel));
        mask.transformer_features(&rows.of(&self.transformer), FRAMES);
    }
}

/// A micro-batch as the networks see it.
#[derive(Debug)]
pub struct Inputs {
    /// What the student sees.
    pub student: Features,
    /// In stage 1 the student's own.
    pub teacher: Features,
    /// (batch, 27), bool, enlarged by mixing.
    pub mask: Tensor,
    /// What both should say.
    pub targets: Targets,
    /// How it was mixed, if it was.
    pub mixup: Option<Mixup>,
}

/// Makes the features and changes them. Nothing here is in a graph; the batch's own tensors are changed in place.
pub(crate) fn inputs(
    stage: u32,
    layout: &Layout,
    front_ends: &FeatureMaker,
    mut batch: Batch,
    settings: &AugmentationSettings,
    draws: &Draws,
    place: Place,
) -> Result<Inputs, Error> {
    let device = front_ends.device();
    let mut rng = draws.generator(Purpose::Mixup, place);
    let (probability, alpha) = (settings.mixup_probability, settings.mixup_alpha);
    let mixup = Mixup::draw(&mut rng, layout, probability, alpha, device)?;
    let time_mask = settings.time_mask.then(|| {
        let mut rng = draws.generator(Purpose::TimeMask, place);
        TimeMask::draw(&mut rng, settings, FRAMES)
    });

    tch::no_grad(|| {
        let clean = front_ends.features(std::mem::take(&mut batch.sounds));
        let mut labels = Labels::new(layout, batch);
        let (student, teacher) = if stage == 1 {
            let student = mix(layout, &clean, &mut labels, mixup.as_ref());
            if let Some(mask) = &time_mask {
                student.mask_time(layout, mask);
                mask.labels(&layout.desed_strong().of(&labels.strong));
            }
            let teacher = student.shallow_clone();
            (student, teacher)
        } else {
            if let Some(mask) = &time_mask {
                clean.mask_time(layout, mask);
                mask.labels(&layout.desed_strong().of(&labels.strong));
            }
            (mix(layout, &clean, &mut labels, mixup.as_ref()), clean)
        };
        Ok(Inputs {
            student,
            teacher,
            targets: labels.targets(stage, layout),
            mask: labels.mask,
            mixup,
        })
    })
}

fn mix(
    layout: &Layout,
    features: &Features,
    labels: &mut Labels,
    mixup: Option<&Mixup>,
) -> Features {
    match mixup {
        Some(mixup) => {
            labels.mix(layout, mixup);
            features.mix(layout, mixup)
        }
        None => features.shallow_clone(),
    }
}

/// Labels on their way to being targets.
#[derive(Debug)]
pub(crate) struct Labels {
    /// (batch, 27, 156).
    pub(crate) strong: Tensor,
    /// (weak rows, 27).
    pub(crate) weak: Tensor,
    /// (batch, 27, 156).
    pub(crate) pseudo: Option<Tensor>,
    /// (batch, 27), bool.
    pub(crate) mask: Tensor,
}

impl Labels {
    fn new(layout: &Layout, batch: Batch) -> Self {
        let frames =
            layout
                .weak
                .of(&batch.labels)
                .sum_dim_intlist([2].as_slice(), false, Kind::Float);
        Self {
            weak: frames.greater(0.0).to_kind(Kind::Float),
            strong: batch.labels,
            pseudo: batch.pseudo,
            mask: batch.mask,
        }
    }

    /// Mixes as the features are mixed. Masks grow in the joint strong group only, by the partners' unmixed targets.
    pub(crate) fn mix(&mut self, layout: &Layout, mixup: &Mixup) {
        let joint = layout.joint_strong();
        self.weak = mixup.weak.mix_targets(&self.weak);
        let targets = joint.of(&self.strong);
        let mask = joint.of(&self.mask);
        let enlarged = mixup.joint_strong.enlarge_mask(&mask, &targets);
        joint.of(&self.mask).copy_(&enlarged);
        joint
            .of(&self.strong)
            .copy_(&mixup.joint_strong.mix_targets(&targets));
        if let Some(pseudo) = &self.pseudo {
            self.pseudo = Some(mixup.mix(layout, pseudo));
        }
    }

    /// Targets of classes outside the mask become 0; pseudo-labels only in stage 1 (recipe 2.5).
    pub(crate) fn targets(&self, stage: u32, layout: &Layout) -> Targets {
        let invalid = self.mask.logical_not();
        let clear = |x: &Tensor| x.masked_fill(&invalid.unsqueeze(-1), 0.0);
        Targets {
            strong: clear(&self.strong),
            weak: self.weak.masked_fill(&layout.weak.of(&invalid), 0.0),
            pseudo: self.pseudo.as_ref().map(|pseudo| match stage {
                1 => clear(pseudo),
                _ => pseudo.shallow_clone(),
            }),
        }
    }
}
