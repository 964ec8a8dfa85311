//! The transformer fPaSST, a frame-wise PaSST (recipe 4.5).

use tch::Tensor;
use types::TransformerSettings;

use crate::block::{Block, EPS};
use crate::layers::{Conv3x3, LayerNorm};
use crate::parameters::{Init, Scope};

/// Mel bands of the input, and rows of the plane that the patches are cut from.
const BANDS: i64 = 128;
/// Channels of that plane.
const CHANNELS: i64 = 16;
/// Columns of a patch.
const PATCH_FRAMES: i64 = 2;
/// Frames that have a position.
const POSITIONS: i64 = 250;
/// Class and distillation token.
const EXTRA_TOKENS: i64 = 2;

/// Convolutions that shorten time by four, then a pre-norm transformer with one token per 40 ms.
#[derive(Debug)]
pub struct Fpasst {
    cls_token: Tensor,
    dist_token: Tensor,
    new_pos_embed: Tensor,
    freq_new_pos_embed: Tensor,
    time_new_pos_embed: Tensor,
    conv_in: [Conv3x3; 3],
    patch_weight: Tensor,
    patch_bias: Tensor,
    blocks: Vec<Block>,
    norm: LayerNorm,
}

impl Fpasst {
    /// Names as the published model's (recipe 4.5).
    pub(crate) fn new(mut scope: Scope<'_>, settings: &TransformerSettings) -> Self {
        let dim = i64::from(settings.dim);
        let small = Init::TruncatedNormal(0.02);
        let cls_token = scope.parameter("cls_token", &[1, 1, dim], small);
        let dist_token = scope.parameter("dist_token", &[1, 1, dim], small);
        let new_pos_embed = scope.parameter("new_pos_embed", &[1, EXTRA_TOKENS, dim], small);
        let freq_new_pos_embed = scope.parameter("freq_new_pos_embed", &[1, dim, 1, 1], small);
        let time_new_pos_embed =
            scope.parameter("time_new_pos_embed", &[1, dim, 1, POSITIONS], small);
        let conv_in = [
            Conv3x3::new(scope.sub("conv_in_1"), 1, 16, 2),
            Conv3x3::new(scope.sub("conv_in_2"), 16, 32, 1),
            Conv3x3::new(scope.sub("conv_in_3"), 32, 64, 2),
        ];
        let mut proj = scope.sub("patch_embed.proj");
        let bound = 1.0 / ((CHANNELS * BANDS * PATCH_FRAMES) as f64).sqrt();
        let patch_weight = proj.parameter(
            "weight",
            &[dim, CHANNELS, BANDS, PATCH_FRAMES],
            Init::Uniform(bound),
        );
        let patch_bias = proj.parameter("bias", &[dim], Init::Uniform(bound));
        let blocks = (0..settings.depth)
            .map(|index| Block::new(scope.sub(&format!("blocks.{index}")), settings, true))
            .collect();
        Self {
            cls_token,
            dist_token,
            new_pos_embed,
            freq_new_pos_embed,
            time_new_pos_embed,
            conv_in,
            patch_weight,
            patch_bias,
            blocks,
            norm: LayerNorm::new(scope.sub("norm"), dim, EPS),
        }
    }

    /// (batch, 1, 128, frames) to (batch, frames/4 but at most 250, dim).
    pub fn forward(&self, features: &Tensor) -> Tensor {
        self.forward_with(features, |_, _| ())
    }

    /// As [`Self::forward`]; shows each intermediate value to `see`: `conv_in_3`, `patch_proj`, `tokens`, `block0`, …
    pub fn forward_with(&self, features: &Tensor, mut see: impl FnMut(&str, &Tensor)) -> Tensor {
        let [first, second, third] = &self.conv_in;
        let x = first.forward(features).gelu("none");
        let x = third.forward(&second.forward(&x).gelu("none"));
        see("conv_in_3", &x);
        let x = x.gelu("none");
        let size = x.size();
        // a plain reshape: four channels by 32 bands become one plane of 128 rows
        let x = x.reshape([size[0], CHANNELS, BANDS, size[3]]);
        let x = x.conv2d(&self.patch_weight, Some(&self.patch_bias), 1, [0, 1], 1, 1);
        see("patch_proj", &x);
        // The first column sees padding alone. Positions run from the start; the original draws an offset for shorter
        // clips in training, but a clip always has its full length there.
        let frames = (x.size()[3] - 1).min(POSITIONS);
        let x = x.narrow(3, 1, frames)
            + self.time_new_pos_embed.narrow(3, 0, frames)
            + &self.freq_new_pos_embed;
        let tokens = x.flatten(2, 3).transpose(1, 2);
        let dim = tokens.size()[2];
        let extra = |token: &Tensor, row| {
            (token + self.new_pos_embed.narrow(1, row, 1)).expand([size[0], 1, dim], false)
        };
        let mut x = Tensor::cat(
            &[
                extra(&self.cls_token, 0),
                extra(&self.dist_token, 1),
                tokens,
            ],
            1,
        );
        see("tokens", &x);
        for (index, block) in self.blocks.iter().enumerate() {
            x = block.forward(&x);
            see(&format!("block{index}"), &x);
        }
        self.norm.forward(&x).narrow(1, EXTRA_TOKENS, frames)
    }
}
