//! Labels on their way to being targets.

use tch::{Kind, Tensor};
use types::TrainSpec;

use super::mixup::Mixup;
use crate::Layout;
use crate::batch::Batch;
use crate::losses::Targets;

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
    pub(crate) fn new(layout: &Layout, batch: Batch) -> Self {
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

    /// Mixes as the features are mixed. Masks grow where frame labels are mixed, by the partners' unmixed targets.
    pub(crate) fn mix(&mut self, layout: &Layout, mixup: &Mixup) {
        self.weak = mixup.weak.mix_targets(&self.weak);
        for (rows, mixing) in mixup.strong_groups(layout) {
            let targets = rows.of(&self.strong);
            let mask = rows.of(&self.mask);
            let enlarged = mixing.enlarge_mask(&mask, &targets);
            rows.of(&self.mask).copy_(&enlarged);
            rows.of(&self.strong).copy_(&mixing.mix_targets(&targets));
        }
        if let Some(pseudo) = &self.pseudo {
            self.pseudo = Some(mixup.mix(layout, pseudo));
        }
    }

    /// Targets of classes outside the mask become 0; pseudo-labels only in stage 1, and unless the plan has it otherwise
    /// (recipe 2.5).
    pub(crate) fn targets(&self, spec: &TrainSpec, layout: &Layout) -> Targets {
        let invalid = self.mask.logical_not();
        let clear = |x: &Tensor| x.masked_fill(&invalid.unsqueeze(-1), 0.0);
        let masks_pseudo = spec.stage == 1 && !spec.training.pseudo_no_class_mask;
        Targets {
            strong: clear(&self.strong),
            weak: self.weak.masked_fill(&layout.weak.of(&invalid), 0.0),
            pseudo: self.pseudo.as_ref().map(|pseudo| {
                if masks_pseudo {
                    clear(pseudo)
                } else {
                    pseudo.shallow_clone()
                }
            }),
        }
    }
}
