use tch::Tensor;
use types::{Architecture, ModelSettings};

use crate::AtstFrame;
use crate::parameters::Scope;

/// A member's transformer: features in, one embedding per token out.
#[derive(Debug)]
pub enum Transformer {
    /// ATST-Frame.
    AtstFrame(AtstFrame),
}

impl Transformer {
    /// Builds the architecture below `scope` (the wrapper's name included).
    pub(crate) fn new(mut scope: Scope<'_>, settings: &ModelSettings) -> Self {
        match settings.architecture {
            Architecture::AtstFrame => {
                Self::AtstFrame(AtstFrame::new(scope.sub("atst"), &settings.transformer))
            }
            Architecture::Fpasst | Architecture::Beats => unimplemented!("being built"),
        }
    }

    /// (batch, 1, bands, frames) to (batch, tokens, dim).
    pub fn forward(&self, features: &Tensor) -> Tensor {
        match self {
            Self::AtstFrame(transformer) => transformer.forward(features),
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
    match settings.architecture {
        Architecture::AtstFrame => {
            if name.contains("norm_frame.") {
                return 0;
            }
            let block = name
                .split_once("blocks.")
                .and_then(|(_, rest)| rest.split('.').next())
                .and_then(|index| index.parse::<usize>().ok());
            block.map_or(depth + 1, |index| depth - index.min(depth))
        }
        Architecture::Fpasst | Architecture::Beats => unimplemented!("being built"),
    }
}
