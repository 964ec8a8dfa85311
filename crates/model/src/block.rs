//! The block that the vision-style transformers share (recipe 4.4, 4.5).

use tch::Tensor;
use types::TransformerSettings;

use crate::layers::{LayerNorm, Linear};
use crate::parameters::Scope;

/// Of every norm in these transformers (recipe T12).
pub(crate) const EPS: f64 = 1e-6;

/// x + attention(norm(x)), then x + mlp(norm(x)).
#[derive(Debug)]
pub(crate) struct Block {
    norm1: LayerNorm,
    qkv: Linear,
    proj: Linear,
    norm2: LayerNorm,
    fc1: Linear,
    fc2: Linear,
    heads: i64,
}

impl Block {
    /// `qkv_bias`: whether queries, keys and values have one.
    pub(crate) fn new(
        mut scope: Scope<'_>,
        settings: &TransformerSettings,
        qkv_bias: bool,
    ) -> Self {
        let dim = i64::from(settings.dim);
        let wide = dim * i64::from(settings.mlp_ratio);
        Self {
            norm1: LayerNorm::new(scope.sub("norm1"), dim, EPS),
            qkv: Linear::new_transformer(scope.sub("attn.qkv"), dim, 3 * dim, qkv_bias),
            proj: Linear::new_transformer(scope.sub("attn.proj"), dim, dim, true),
            norm2: LayerNorm::new(scope.sub("norm2"), dim, EPS),
            fc1: Linear::new_transformer(scope.sub("mlp.fc1"), dim, wide, true),
            fc2: Linear::new_transformer(scope.sub("mlp.fc2"), wide, dim, true),
            heads: i64::from(settings.heads),
        }
    }

    /// (batch, tokens, dim) to the same.
    pub(crate) fn forward(&self, x: &Tensor) -> Tensor {
        let x = x + self.attention(&self.norm1.forward(x));
        let hidden = self.fc1.forward(&self.norm2.forward(&x)).gelu("none");
        &x + self.fc2.forward(&hidden)
    }

    fn attention(&self, x: &Tensor) -> Tensor {
        let size = x.size();
        let (batch, tokens, dim) = (size[0], size[1], size[2]);
        let qkv = self
            .qkv
            .forward(x)
            .reshape([batch, tokens, 3, self.heads, dim / self.heads])
            .permute([2, 0, 3, 1, 4]);
        let mixed = Tensor::scaled_dot_product_attention(
            &qkv.get(0),
            &qkv.get(1),
            &qkv.get(2),
            None::<Tensor>,
            0.0,
            false,
            None,
            false,
        );
        self.proj
            .forward(&mixed.transpose(1, 2).reshape([batch, tokens, dim]))
    }
}
