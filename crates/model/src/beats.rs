//! The transformer BEATs (recipe 4.6).

use tch::{Kind, Tensor};
use types::{BeatsSettings, TransformerSettings};

use crate::layers::{LayerNorm, Linear};
use crate::parameters::{Init, Scope};
use crate::transformer::TransformerMode;

/// Mel bins and frames of a patch.
const PATCH: i64 = 16;
const EPS: f64 = 1e-5;
/// Sums of four outputs each make the two gates.
const GATE_OUTPUTS: i64 = 8;

/// A post-norm transformer over patches of 16 frames and 16 bands, with a gated relative position bias. The eight patches of a
/// column follow each other as tokens: token = column·8 + band (recipe T11).
#[derive(Debug)]
pub struct Beats {
    post_extract_proj: Linear,
    patch_embedding: Tensor,
    position: PositionConv,
    encoder_norm: LayerNorm,
    layers: Vec<Layer>,
    relative: RelativeBias,
    layer_norm: LayerNorm,
    settings: BeatsSettings,
}

impl Beats {
    /// Names as the published model's with the newer names of its weight norm (recipe 4.6).
    pub(crate) fn new(
        mut scope: Scope<'_>,
        sizes: &TransformerSettings,
        settings: &BeatsSettings,
    ) -> Self {
        let dim = i64::from(sizes.dim);
        let patch_dim = i64::from(settings.patch_dim);
        let post_extract_proj = Linear::new(scope.sub("post_extract_proj"), patch_dim, dim);
        let patch_embedding = scope.sub("patch_embedding").parameter(
            "weight",
            &[patch_dim, 1, PATCH, PATCH],
            Init::Uniform(1.0 / PATCH as f64),
        );
        let mut encoder = scope.sub("encoder");
        let position = PositionConv::new(encoder.sub("pos_conv.0"), dim, settings);
        let mut relative: Option<RelativeBias> = None;
        let mut layers = Vec::new();
        for index in 0..sizes.depth {
            let mut scope = encoder.sub(&format!("layers.{index}"));
            let gate = scope.sub("self_attn").parameter(
                "grep_a",
                &[1, i64::from(sizes.heads), 1, 1],
                Init::Constant(1.0),
            );
            let mut shared = scope.sub("self_attn.relative_attention_bias");
            match &relative {
                // one tensor, which state dicts show under every layer
                Some(first) => shared.alias("weight", &first.table),
                None => relative = Some(RelativeBias::new(shared, sizes, settings)),
            }
            layers.push(Layer::new(scope, sizes, gate));
        }
        let encoder_norm = LayerNorm::new(encoder.sub("layer_norm"), dim, EPS);
        Self {
            post_extract_proj,
            patch_embedding,
            position,
            encoder_norm,
            layers,
            relative: relative.unwrap_or_else(|| {
                unreachable!("a network without blocks is refused before it is built")
            }),
            layer_norm: LayerNorm::new(scope.sub("layer_norm"), patch_dim, EPS),
            settings: *settings,
        }
    }

    /// (batch, 1, 128, frames) to (batch, 8·(frames/16), dim).
    pub fn forward(&self, features: &Tensor, mode: TransformerMode<'_>) -> Tensor {
        self.forward_with(features, mode, |_, _| ())
    }

    /// As [`Self::forward`]; shows each intermediate value to `see`: `patch_embedding`, `tokens`, `pos_conv`, `encoder_in`,
    /// `layer0.position_bias`, `layer0.grep_linear`, `layer0.gate`, `layer0.attn_out`, `layer0`, …
    pub fn forward_with(
        &self,
        features: &Tensor,
        mode: TransformerMode<'_>,
        mut see: impl FnMut(&str, &Tensor),
    ) -> Tensor {
        let patches =
            features
                .transpose(2, 3)
                .conv2d(&self.patch_embedding, None::<Tensor>, PATCH, 0, 1, 1);
        see("patch_embedding", &patches);
        let tokens = self
            .layer_norm
            .forward(&patches.flatten(2, 3).transpose(1, 2));
        let tokens = self.post_extract_proj.forward(&tokens);
        see("tokens", &tokens);
        let tokens = mode.dropout(&tokens, self.settings.input_dropout);

        let position = self.position.forward(&tokens.transpose(1, 2));
        see("pos_conv", &position);
        let x = self
            .encoder_norm
            .forward(&(tokens + position.transpose(1, 2)));
        see("encoder_in", &x);
        let mut x = mode.dropout(&x, self.settings.dropout);

        let bias = self.relative.forward(x.size()[1]);
        see("layer0.position_bias", &bias);
        for (index, layer) in self.layers.iter().enumerate() {
            if mode.skips(index) {
                continue;
            }
            let x_in = decay_gradient(&x, self.settings.gradient_decay);
            let mut inside =
                |step: &str, value: &Tensor| see(&format!("layer{index}.{step}"), value);
            x = layer.forward(&x_in, &bias, &self.settings, mode, &mut inside);
            see(&format!("layer{index}"), &x);
        }
        x
    }

    /// Buckets of the relative position bias for key-minus-query distances −(tokens − 1) … tokens − 1.
    pub fn relative_buckets(&self, tokens: i64) -> Tensor {
        self.relative.buckets(tokens)
    }
}

/// The same values, whose gradient is multiplied by `factor`.
fn decay_gradient(x: &Tensor, factor: f64) -> Tensor {
    if factor == 1.0 {
        return x.shallow_clone();
    }
    let value = x.detach();
    &value + (x - &value) * factor
}

/// The convolutional position branch, with weight norm: one gain per tap (recipe T26).
#[derive(Debug)]
struct PositionConv {
    bias: Tensor,
    gain: Tensor,
    direction: Tensor,
    groups: i64,
}

impl PositionConv {
    fn new(mut scope: Scope<'_>, dim: i64, settings: &BeatsSettings) -> Self {
        let kernel = i64::from(settings.position_kernel);
        let groups = i64::from(settings.position_groups);
        let deviation = (4.0 * (1.0 - settings.dropout) / (kernel * dim) as f64).sqrt();
        let bias = scope.parameter("bias", &[dim], Init::Constant(0.0));
        let mut weight = scope.sub("parametrizations.weight");
        let gain = weight.parameter("original0", &[1, 1, kernel], Init::Constant(1.0));
        let direction = weight.parameter(
            "original1",
            &[dim, dim / groups, kernel],
            Init::Normal(deviation),
        );
        tch::no_grad(|| gain.shallow_clone().copy_(&tap_norms(&direction)));
        Self {
            bias,
            gain,
            direction,
            groups,
        }
    }

    /// (batch, dim, tokens) to the same.
    fn forward(&self, x: &Tensor) -> Tensor {
        let weight = &self.direction * (&self.gain / tap_norms(&self.direction));
        let kernel = weight.size()[2];
        let y = x.conv1d(&weight, Some(&self.bias), 1, kernel / 2, 1, self.groups);
        // an even kernel gives one step more than there are tokens
        y.narrow(2, 0, x.size()[2]).gelu("none")
    }
}

fn tap_norms(direction: &Tensor) -> Tensor {
    direction.norm_scalaropt_dim(2, [0, 1].as_slice(), true)
}

/// The bias of attention by bucketed distance, shared by all layers.
#[derive(Debug)]
struct RelativeBias {
    /// (buckets, heads).
    table: Tensor,
    max_distance: f64,
}

impl RelativeBias {
    fn new(mut scope: Scope<'_>, sizes: &TransformerSettings, settings: &BeatsSettings) -> Self {
        let (buckets, heads) = (i64::from(settings.buckets), i64::from(sizes.heads));
        Self {
            table: scope.parameter("weight", &[buckets, heads], Init::Normal(0.02)),
            max_distance: f64::from(settings.max_distance),
        }
    }

    /// Near distances have buckets of their own, far ones share them on a logarithmic scale; keys after the query have the upper
    /// half.
    fn buckets(&self, tokens: i64) -> Tensor {
        let half = self.table.size()[0] / 2;
        let exact = half / 2;
        let options = (Kind::Int64, self.table.device());
        let distance = Tensor::arange_start(1 - tokens, tokens, options);
        let side = distance.greater(0).to_kind(Kind::Int64) * half;
        let distance = distance.abs();
        let scale = (self.max_distance / exact as f64).ln();
        let far =
            (distance.to_kind(Kind::Float) / exact as f64).log() / scale * (half - exact) as f64;
        // distance 0 has no logarithm; its far bucket is not used
        let far = far.clamp_min(0.0).to_kind(Kind::Int64) + exact;
        let far = far.clamp_max(half - 1);
        side + distance.where_self(&distance.less(exact), &far)
    }

    /// (heads, query, key).
    fn forward(&self, tokens: i64) -> Tensor {
        let by_distance = self.table.index_select(0, &self.buckets(tokens));
        let options = (Kind::Int64, self.table.device());
        let position = Tensor::arange(tokens, options);
        let distance = position.unsqueeze(0) - position.unsqueeze(1) + (tokens - 1);
        by_distance
            .index_select(0, &distance.flatten(0, 1))
            .view([tokens, tokens, -1])
            .permute([2, 0, 1])
            .contiguous()
    }
}

/// norm(α·x + attention(x)), then norm(α·x + mlp(x)).
#[derive(Debug)]
struct Layer {
    k_proj: Linear,
    v_proj: Linear,
    q_proj: Linear,
    out_proj: Linear,
    grep_linear: Linear,
    grep_a: Tensor,
    self_attn_layer_norm: LayerNorm,
    fc1: Linear,
    fc2: Linear,
    final_layer_norm: LayerNorm,
    heads: i64,
    /// α of the deep norm.
    residual: f64,
}

impl Layer {
    fn new(mut scope: Scope<'_>, sizes: &TransformerSettings, grep_a: Tensor) -> Self {
        let dim = i64::from(sizes.dim);
        let wide = dim * i64::from(sizes.mlp_ratio);
        let heads = i64::from(sizes.heads);
        let depth = f64::from(sizes.depth);
        // the deep norm's own initialisation
        let beta = (8.0 * depth).powf(-0.25);
        let xavier = |inputs: i64, outputs: i64, gain: f64| {
            Init::Normal(gain * (2.0 / (inputs + outputs) as f64).sqrt())
        };
        let mut linear = |name: &str, inputs: i64, outputs: i64, weight: Init| {
            Linear::new_drawn(scope.sub(name), inputs, outputs, weight)
        };
        let k_proj = linear("self_attn.k_proj", dim, dim, xavier(dim, dim, 1.0));
        let v_proj = linear("self_attn.v_proj", dim, dim, xavier(dim, dim, beta));
        let q_proj = linear("self_attn.q_proj", dim, dim, xavier(dim, dim, 1.0));
        let out_proj = linear("self_attn.out_proj", dim, dim, xavier(dim, dim, beta));
        let grep_linear = linear(
            "self_attn.grep_linear",
            dim / heads,
            GATE_OUTPUTS,
            Init::Normal(0.02),
        );
        let self_attn_layer_norm = LayerNorm::new(scope.sub("self_attn_layer_norm"), dim, EPS);
        let mut linear = |name: &str, inputs: i64, outputs: i64, weight: Init| {
            Linear::new_drawn(scope.sub(name), inputs, outputs, weight)
        };
        let fc1 = linear("fc1", dim, wide, xavier(dim, wide, beta));
        let fc2 = linear("fc2", wide, dim, xavier(wide, dim, beta));
        Self {
            k_proj,
            v_proj,
            q_proj,
            out_proj,
            grep_linear,
            grep_a,
            self_attn_layer_norm,
            fc1,
            fc2,
            final_layer_norm: LayerNorm::new(scope.sub("final_layer_norm"), dim, EPS),
            heads,
            residual: (2.0 * depth).powf(0.25),
        }
    }

    fn forward(
        &self,
        x: &Tensor,
        bias: &Tensor,
        settings: &BeatsSettings,
        mode: TransformerMode<'_>,
        see: &mut dyn FnMut(&str, &Tensor),
    ) -> Tensor {
        let attended = self.attention(x, bias, settings, mode, see);
        see("attn_out", &attended);
        let attended = mode.dropout(&attended, settings.dropout);
        let x = self
            .self_attn_layer_norm
            .forward(&(x * self.residual + attended));
        let hidden = self.fc1.forward(&x).gelu("none");
        let hidden = mode.dropout(&hidden, settings.activation_dropout);
        let hidden = mode.dropout(&self.fc2.forward(&hidden), settings.dropout);
        self.final_layer_norm.forward(&(x * self.residual + hidden))
    }

    fn attention(
        &self,
        x: &Tensor,
        bias: &Tensor,
        settings: &BeatsSettings,
        mode: TransformerMode<'_>,
        see: &mut dyn FnMut(&str, &Tensor),
    ) -> Tensor {
        let size = x.size();
        let (batch, tokens, dim) = (size[0], size[1], size[2]);
        let by_head = |y: Tensor| {
            y.view([batch, tokens, self.heads, dim / self.heads])
                .transpose(1, 2)
        };
        let query = by_head(self.q_proj.forward(x));
        let key = by_head(self.k_proj.forward(x));
        let value = by_head(self.v_proj.forward(x));

        let gates = self.grep_linear.forward(&query);
        see("grep_linear", &gates);
        let gates = gates
            .view([batch, self.heads, tokens, 2, GATE_OUTPUTS / 2])
            .sum_dim_intlist([4].as_slice(), false, Kind::Float)
            .sigmoid();
        let (a, b) = (gates.narrow(3, 0, 1), gates.narrow(3, 1, 1));
        let gate = a * (b * &self.grep_a - 1.0) + 2.0;
        see("gate", &gate.squeeze_dim(3));
        // The original also divides the scores by 32, subtracts the row's maximum and multiplies by 32 again, for the sake of
        // half precision; softmax is the same without.
        let mixed = Tensor::scaled_dot_product_attention(
            &query,
            &key,
            &value,
            Some(gate * bias),
            mode.probability(settings.attention_dropout),
            false,
            None,
            false,
        );
        self.out_proj
            .forward(&mixed.transpose(1, 2).reshape([batch, tokens, dim]))
    }
}
