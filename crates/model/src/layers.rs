//! The few layers that several networks share, initialised as PyTorch does by default.

use tch::Tensor;

use crate::parameters::{Init, Scope};

/// y = x Wᵀ + b.
#[derive(Debug)]
pub(crate) struct Linear {
    pub(crate) weight: Tensor,
    pub(crate) bias: Option<Tensor>,
}

impl Linear {
    /// PyTorch's default: weight and bias uniform in ±1/√inputs.
    pub(crate) fn new(mut scope: Scope<'_>, inputs: i64, outputs: i64) -> Self {
        let bound = 1.0 / (inputs as f64).sqrt();
        Self {
            weight: scope.parameter("weight", &[outputs, inputs], Init::Uniform(bound)),
            bias: Some(scope.parameter("bias", &[outputs], Init::Uniform(bound))),
        }
    }

    /// The vision transformers' choice: weight normal with deviation 0.02, bias zero.
    pub(crate) fn new_transformer(
        mut scope: Scope<'_>,
        inputs: i64,
        outputs: i64,
        bias: bool,
    ) -> Self {
        Self {
            weight: scope.parameter("weight", &[outputs, inputs], Init::TruncatedNormal(0.02)),
            bias: bias.then(|| scope.parameter("bias", &[outputs], Init::Constant(0.0))),
        }
    }

    /// Weight as `weight` has it, bias zero where there is one.
    pub(crate) fn new_drawn(mut scope: Scope<'_>, inputs: i64, outputs: i64, weight: Init) -> Self {
        Self {
            weight: scope.parameter("weight", &[outputs, inputs], weight),
            bias: Some(scope.parameter("bias", &[outputs], Init::Constant(0.0))),
        }
    }

    pub(crate) fn forward(&self, x: &Tensor) -> Tensor {
        x.linear(&self.weight, self.bias.as_ref())
    }
}

/// Normalisation over the last axis.
#[derive(Debug)]
pub(crate) struct LayerNorm {
    weight: Tensor,
    bias: Tensor,
    eps: f64,
}

impl LayerNorm {
    pub(crate) fn new(mut scope: Scope<'_>, dim: i64, eps: f64) -> Self {
        Self {
            weight: scope.parameter("weight", &[dim], Init::Constant(1.0)),
            bias: scope.parameter("bias", &[dim], Init::Constant(0.0)),
            eps,
        }
    }

    pub(crate) fn forward(&self, x: &Tensor) -> Tensor {
        x.layer_norm(
            self.weight.size(),
            Some(&self.weight),
            Some(&self.bias),
            self.eps,
            true,
        )
    }
}

/// A two-dimensional convolution, 3×3, padding 1, with bias.
#[derive(Debug)]
pub(crate) struct Conv3x3 {
    weight: Tensor,
    bias: Tensor,
    stride: i64,
}

impl Conv3x3 {
    pub(crate) fn new(mut scope: Scope<'_>, inputs: i64, outputs: i64, stride: i64) -> Self {
        let bound = 1.0 / ((inputs * 9) as f64).sqrt();
        Self {
            weight: scope.parameter("weight", &[outputs, inputs, 3, 3], Init::Uniform(bound)),
            bias: scope.parameter("bias", &[outputs], Init::Uniform(bound)),
            stride,
        }
    }

    pub(crate) fn forward(&self, x: &Tensor) -> Tensor {
        x.conv2d(&self.weight, Some(&self.bias), self.stride, 1, 1, 1)
    }
}
