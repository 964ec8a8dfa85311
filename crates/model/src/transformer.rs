use tch::Tensor;
use types::{Architecture, ModelSettings};

use crate::parameters::Scope;
use crate::{AtstFrame, Beats, Fpasst};

/// A member's transformer: features in, one embedding per token out.
#[derive(Debug)]
pub enum Transformer {
    /// ATST-Frame.
    AtstFrame(AtstFrame),
    /// Frame-wise PaSST.
    Fpasst(Fpasst),
    /// BEATs.
    Beats(Beats),
}

/// Whether a transformer's own dropout acts. Only BEATs has any (recipe T25).
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum TransformerMode<'a> {
    /// No dropout.
    Eval,
    /// Dropout from libtorch's generator.
    Train {
        /// By layer, whether it is left out; layers beyond its end stay.
        skip: &'a [bool],
    },
}

impl TransformerMode<'_> {
    pub(crate) fn probability(self, probability: f64) -> f64 {
        match self {
            Self::Eval => 0.0,
            Self::Train { .. } => probability,
        }
    }

    pub(crate) fn dropout(self, x: &Tensor, probability: f64) -> Tensor {
        match self.probability(probability) {
            0.0 => x.shallow_clone(),
            probability => x.dropout(probability, true),
        }
    }

    pub(crate) fn skips(self, layer: usize) -> bool {
        match self {
            Self::Eval => false,
            Self::Train { skip } => skip.get(layer).copied().unwrap_or(false),
        }
    }
}

impl Transformer {
    /// Builds the architecture below `scope`, the name of the reference's `as_model` or of what its wrapper holds.
    pub(crate) fn new(mut scope: Scope<'_>, settings: &ModelSettings) -> Self {
        let sizes = &settings.transformer;
        match settings.architecture {
            Architecture::AtstFrame => Self::AtstFrame(AtstFrame::new(scope.sub("atst"), sizes)),
            Architecture::Fpasst => Self::Fpasst(Fpasst::new(scope, sizes)),
            Architecture::Beats => {
                Self::Beats(Beats::new(scope.sub("model"), sizes, &settings.beats))
            }
        }
    }

    /// (batch, 1, bands, frames) to (batch, tokens, dim).
    pub fn forward(&self, features: &Tensor, mode: TransformerMode<'_>) -> Tensor {
        match self {
            Self::AtstFrame(transformer) => transformer.forward(features),
            Self::Fpasst(transformer) => transformer.forward(features),
            Self::Beats(transformer) => transformer.forward(features, mode),
        }
    }
}

/// Blocks of every published transformer.
const PUBLISHED_DEPTH: usize = 12;

/// The optimizer group of a transformer's parameter, counted from the output side (recipe 7.2): 0 for the last norm, 1 for
/// block 11, …, 12 for block 0, 13 for the embeddings. As in the reference, a shallower network's blocks are counted as the
/// lower ones of twelve.
pub(crate) fn layer_group(settings: &ModelSettings, name: &str) -> usize {
    let depth = PUBLISHED_DEPTH.max(settings.transformer.depth as usize);
    let (last_norm, blocks) = match settings.architecture {
        Architecture::AtstFrame => ("norm_frame.", "blocks."),
        Architecture::Fpasst => ("model.norm.", "blocks."),
        // its last layer's norm belongs to that layer, so the first group is empty
        Architecture::Beats => ("", "encoder.layers."),
    };
    if !last_norm.is_empty() && name.contains(last_norm) {
        return 0;
    }
    let block = name
        .split_once(blocks)
        .and_then(|(_, rest)| rest.split('.').next())
        .and_then(|index| index.parse::<usize>().ok());
    let Some(block) = block else {
        return depth + 1;
    };
    // the reference asks for names that begin with `blocks.1` and so finds 10 and 11 there too (recipe T24)
    let block = match settings.architecture {
        Architecture::Fpasst if (10..20).contains(&block) => 1,
        _ => block,
    };
    depth - block.min(depth)
}
