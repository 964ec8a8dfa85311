//! The seven convolution blocks of the CRNN (recipe 4.1).

use tch::{Device, Tensor};

use crate::batch_norm::{self, BatchNorm, Measurement};
use crate::layers::{Conv3x3, Linear};
use crate::parameters::Scope;
use crate::sed_model::Mode;

/// Pooling (time, frequency) of the blocks: 626 → 313 → 156 frames, 128 → 1 bands.
const POOLS: [[i64; 2]; 7] = [[2, 2], [2, 2], [1, 2], [1, 2], [1, 2], [1, 2], [1, 2]];

/// Convolution, batch norm, context gating, dropout, average pooling.
#[derive(Debug)]
struct Block {
    conv: Conv3x3,
    norm: BatchNorm,
    gate: Linear,
    pool: [i64; 2],
}

impl Block {
    /// x · sigmoid(W x + b) with one matrix for all positions.
    fn context_gate(&self, x: &Tensor) -> Tensor {
        let weight = self.gate.weight.unsqueeze(-1).unsqueeze(-1);
        let gate = x.conv2d(&weight, self.gate.bias.as_ref(), 1, 0, 1, 1);
        x * gate.sigmoid()
    }
}

/// What the convolution stack gives.
#[derive(Debug)]
pub struct CnnOutput {
    /// (batch, channels, 156, 1).
    pub features: Tensor,
    /// After the first block's gate, before its pooling: (batch, channels, 626, 128); for finding where a difference
    /// starts.
    pub first_gate: Tensor,
    /// Batch-norm statistics of this pass, in training mode.
    pub statistics: Option<Tensor>,
}

#[derive(Debug)]
pub(crate) struct Cnn {
    blocks: Vec<Block>,
}

impl Cnn {
    /// Names `cnn.cnn.{conv,batchnorm}{i}.*` and `cnn.cnn.cg{i}.linear.*`.
    pub(crate) fn new(mut scope: Scope<'_>, channels: &[u32; 7]) -> Self {
        let mut inputs = 1;
        let mut blocks = Vec::with_capacity(channels.len());
        for (index, (&outputs, pool)) in channels.iter().zip(POOLS).enumerate() {
            let outputs = i64::from(outputs);
            blocks.push(Block {
                conv: Conv3x3::new(scope.sub(&format!("conv{index}")), inputs, outputs, 1),
                norm: BatchNorm::new(scope.sub(&format!("batchnorm{index}")), outputs),
                gate: Linear::new(scope.sub(&format!("cg{index}.linear")), outputs, outputs),
                pool,
            });
            inputs = outputs;
        }
        Self { blocks }
    }

    /// `x`: (batch, 1, frames, bands).
    pub(crate) fn forward(&self, x: &Tensor, mode: Mode) -> CnnOutput {
        let mut measurement = match mode {
            Mode::Eval => None,
            Mode::Train { .. } => Some(Measurement::new(self.norms(), x.device())),
        };
        let mut first_gate = None;
        let mut x = x.shallow_clone();
        for block in &self.blocks {
            x = block.conv.forward(&x);
            x = match &mut measurement {
                Some(measurement) => measurement.forward(&block.norm, &x),
                None => block.norm.forward_eval(&x),
            };
            x = block.context_gate(&x);
            first_gate.get_or_insert_with(|| x.shallow_clone());
            x = mode.dropout(&x);
            x = x.avg_pool2d(block.pool, block.pool, 0, false, true, None);
        }
        CnnOutput {
            first_gate: first_gate.unwrap_or_else(|| x.shallow_clone()),
            features: x,
            statistics: measurement.map(Measurement::finish),
        }
    }

    fn norms(&self) -> impl Iterator<Item = &BatchNorm> {
        self.blocks.iter().map(|block| &block.norm)
    }

    pub(crate) fn fold(&self, statistics: &Tensor) {
        batch_norm::fold_all(self.norms(), statistics);
    }

    /// Length of the vector of statistics.
    pub(crate) fn statistics_len(&self) -> i64 {
        Measurement::new(self.norms(), Device::Cpu).finish().size()[0]
    }
}
