//! The bidirectional recurrent part (recipe 4.2).

use tch::{Kind, Tensor};

use crate::parameters::{Init, Scope};

/// Layers of two directions, batch first, no dropout between layers.
#[derive(Debug)]
pub(crate) struct BidirectionalGru {
    /// For each layer and direction: input weights, hidden weights, input bias, hidden bias.
    weights: Vec<Tensor>,
    layers: i64,
    hidden: i64,
}

impl BidirectionalGru {
    /// PyTorch's names and its default initialisation, uniform in ±1/√hidden.
    pub(crate) fn new(mut scope: Scope<'_>, inputs: i64, hidden: i64, layers: i64) -> Self {
        let init = Init::Uniform(1.0 / (hidden as f64).sqrt());
        let mut weights = Vec::new();
        for layer in 0..layers {
            let inputs = if layer == 0 { inputs } else { 2 * hidden };
            for direction in ["", "_reverse"] {
                let mut add = |kind: &str, shape: &[i64]| {
                    weights.push(scope.parameter(
                        &format!("{kind}_l{layer}{direction}"),
                        shape,
                        init,
                    ));
                };
                add("weight_ih", &[3 * hidden, inputs]);
                add("weight_hh", &[3 * hidden, hidden]);
                add("bias_ih", &[3 * hidden]);
                add("bias_hh", &[3 * hidden]);
            }
        }
        Self {
            weights,
            layers,
            hidden,
        }
    }

    /// (batch, frames, inputs) to (batch, frames, 2·hidden).
    pub(crate) fn forward(&self, x: &Tensor, train: bool) -> Tensor {
        let start = Tensor::zeros(
            [2 * self.layers, x.size()[0], self.hidden],
            (Kind::Float, x.device()),
        );
        let (output, _) = x.gru(
            &start,
            &self.weights,
            true,
            self.layers,
            0.0,
            train,
            true,
            true,
        );
        output
    }
}
