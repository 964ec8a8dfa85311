//! Batch normalisation whose running statistics are folded in by the caller.
//!
//! Statistics belong to a micro-batch (recipe T35). The training forward only measures them; the loop gathers those of
//! all micro-batches of a step and folds them in micro-batch order on every rank, so that the running values do not
//! depend on how many ranks there are.

use tch::{Device, Kind, Tensor};

use crate::parameters::{Init, Scope};

/// recipe T4: in PyTorch's sense, so the running value is nearly the last batch's.
const MOMENTUM: f64 = 0.99;
const EPS: f64 = 1e-3;

#[derive(Debug)]
pub(crate) struct BatchNorm {
    weight: Tensor,
    bias: Tensor,
    running_mean: Tensor,
    running_var: Tensor,
    num_batches_tracked: Tensor,
}

impl BatchNorm {
    pub(crate) fn new(mut scope: Scope<'_>, channels: i64) -> Self {
        Self {
            weight: scope.parameter("weight", &[channels], Init::Constant(1.0)),
            bias: scope.parameter("bias", &[channels], Init::Constant(0.0)),
            running_mean: scope.buffer("running_mean", &[channels], 0.0),
            running_var: scope.buffer("running_var", &[channels], 1.0),
            num_batches_tracked: scope.counter("num_batches_tracked"),
        }
    }

    fn channels(&self) -> i64 {
        self.weight.size()[0]
    }

    /// Normalises by the running statistics.
    pub(crate) fn forward_eval(&self, x: &Tensor) -> Tensor {
        x.batch_norm(
            Some(&self.weight),
            Some(&self.bias),
            Some(&self.running_mean),
            Some(&self.running_var),
            false,
            MOMENTUM,
            EPS,
            true,
        )
    }

    /// Normalises by the batch's own statistics and leaves them in `measured`: mean, then unbiased variance.
    fn forward_train(&self, x: &Tensor, measured: &Tensor) -> Tensor {
        let channels = self.channels();
        // With momentum 1 libtorch writes the batch's own statistics into the "running" tensors.
        x.batch_norm(
            Some(&self.weight),
            Some(&self.bias),
            Some(&measured.narrow(0, 0, channels)),
            Some(&measured.narrow(0, channels, channels)),
            true,
            1.0,
            EPS,
            true,
        )
    }

    fn fold(&self, measured: &Tensor) {
        let channels = self.channels();
        let fold = |running: &Tensor, start: i64| {
            let mut running = running.shallow_clone();
            let _ = running.lerp_(&measured.narrow(0, start, channels), MOMENTUM);
        };
        fold(&self.running_mean, 0);
        fold(&self.running_var, channels);
        let _ = self.num_batches_tracked.shallow_clone().g_add_scalar_(1);
    }
}

/// One forward pass's statistics of all layers in one vector, so that a single collective moves them.
#[derive(Debug)]
pub(crate) struct Measurement {
    flat: Tensor,
    filled: i64,
}

impl Measurement {
    pub(crate) fn new<'a>(layers: impl Iterator<Item = &'a BatchNorm>, device: Device) -> Self {
        let length = layers.map(|layer| 2 * layer.channels()).sum::<i64>();
        Self {
            flat: Tensor::zeros([length], (Kind::Float, device)),
            filled: 0,
        }
    }

    /// [`BatchNorm::forward_train`] for the next layer.
    pub(crate) fn forward(&mut self, layer: &BatchNorm, x: &Tensor) -> Tensor {
        let length = 2 * layer.channels();
        let slot = self.flat.narrow(0, self.filled, length);
        self.filled += length;
        layer.forward_train(x, &slot)
    }

    pub(crate) fn finish(self) -> Tensor {
        self.flat
    }
}

/// running := 0.01·running + 0.99·measured for every layer; `flat` as [`Measurement`] lays it out.
pub(crate) fn fold_all<'a>(layers: impl Iterator<Item = &'a BatchNorm>, flat: &Tensor) {
    tch::no_grad(|| {
        let mut start = 0;
        for layer in layers {
            let length = 2 * layer.channels();
            layer.fold(&flat.narrow(0, start, length));
            start += length;
        }
    });
}
