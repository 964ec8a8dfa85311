//! Frequency-wise mixstyle: a clip takes over a part of another's mean and deviation in each mel band (recipe 6.4).

use tch::{Kind, Tensor};

use super::mixup::Mixing;

/// Added to each variance.
const EPS: f64 = 1e-6;

/// Restyles (rows, 1, bands, frames): each row's bands get the mean and deviation of a mixture of its own and its partner's.
pub fn mixstyle(features: &Tensor, mixing: &Mixing) -> Tensor {
    let frames = [3];
    let mean = features.mean_dim(frames.as_slice(), true, Kind::Float);
    let deviation = (features.var_dim(frames.as_slice(), true, true) + EPS).sqrt();
    (features - &mean) / &deviation * mixing.mix(&deviation) + mixing.mix(&mean)
}
