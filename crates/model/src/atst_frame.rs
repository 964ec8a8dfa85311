//! The transformer ATST-Frame (recipe 4.4).

use tch::Tensor;
use types::TransformerSettings;

use crate::block::{Block, EPS};
use crate::layers::{LayerNorm, Linear};
use crate::parameters::{Init, Scope};

/// Mel bands, all in one patch.
const BANDS: i64 = 64;
/// Mel frames of a patch.
const PATCH_FRAMES: i64 = 4;
/// Rows of the position table; row 0 is never used.
const POSITIONS: i64 = 251;

/// A pre-norm transformer over patches of 64 bands and 4 frames, without class token.
#[derive(Debug)]
pub struct AtstFrame {
    pos_embed: Tensor,
    patch_embed: Linear,
    blocks: Vec<Block>,
    norm_frame: LayerNorm,
}

impl AtstFrame {
    /// Names as the published model's (recipe 4.4); `mask_embed` is stored and unused.
    pub(crate) fn new(mut scope: Scope<'_>, settings: &TransformerSettings) -> Self {
        let dim = i64::from(settings.dim);
        let small = Init::TruncatedNormal(0.02);
        let _ = scope.parameter("mask_embed", &[1, 1, dim], small);
        let pos_embed = scope.parameter("pos_embed", &[1, POSITIONS, dim], small);
        let patch_embed = Linear::new_transformer(
            scope.sub("patch_embed.patch_embed"),
            BANDS * PATCH_FRAMES,
            dim,
            true,
        );
        let blocks = (0..settings.depth)
            .map(|index| Block::new(scope.sub(&format!("blocks.{index}")), settings, false))
            .collect();
        Self {
            pos_embed,
            patch_embed,
            blocks,
            norm_frame: LayerNorm::new(scope.sub("norm_frame"), dim, EPS),
        }
    }

    /// (batch, 1, 64, frames) to (batch, frames/4, dim).
    pub fn forward(&self, features: &Tensor) -> Tensor {
        self.forward_with(features, |_, _| ())
    }

    /// As [`Self::forward`]; shows each intermediate value to `see`: `patch_embed`, `tokens`, `block0`, …
    pub fn forward_with(&self, features: &Tensor, mut see: impl FnMut(&str, &Tensor)) -> Tensor {
        let patches = self.patch_embed.forward(&Self::patches(features));
        see("patch_embed", &patches);
        let tokens = patches.size()[1];
        let mut x = patches + self.pos_embed.narrow(1, 1, tokens);
        see("tokens", &x);
        for (index, block) in self.blocks.iter().enumerate() {
            x = block.forward(&x);
            see(&format!("block{index}"), &x);
        }
        self.norm_frame.forward(&x)
    }

    /// Flattens each column of 4 frames, band-major: (batch, tokens, 256).
    fn patches(features: &Tensor) -> Tensor {
        let size = features.size();
        let tokens = size[3] / PATCH_FRAMES;
        features
            .narrow(3, 0, tokens * PATCH_FRAMES)
            .reshape([size[0], BANDS, tokens, PATCH_FRAMES])
            .permute([0, 2, 1, 3])
            .reshape([size[0], tokens, BANDS * PATCH_FRAMES])
    }
}
