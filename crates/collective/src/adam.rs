//! libtorch's fused Adam and AdamW: one call updates a whole list of parameters, on CPU and CUDA alike.
#![expect(
    unsafe_code,
    reason = "calls into the shim with lists of tensors that live through the call"
)]

use tch::Tensor;

use crate::ffi::{self, RawAdam, call, pointers};
use crate::{Error, Kind};

/// Settings of one parameter group.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AdamOptions {
    /// Learning rate.
    pub lr: f64,
    /// Decay of the mean of gradients.
    pub beta1: f64,
    /// Decay of the mean of squared gradients.
    pub beta2: f64,
    /// Added to the denominator.
    pub eps: f64,
    /// Weight decay: of the weights themselves in AdamW, added to the gradients in Adam.
    pub weight_decay: f64,
}

impl Default for AdamOptions {
    fn default() -> Self {
        Self {
            lr: 1e-3,
            beta1: 0.9,
            beta2: 0.999,
            eps: 1e-8,
            weight_decay: 0.0,
        }
    }
}

/// The tensors of one parameter group: as many of each, of the same shapes, all on one device.
#[derive(Clone, Copy, Debug)]
pub struct AdamTensors<'a> {
    /// Parameters, changed in place.
    pub params: &'a [Tensor],
    /// Their gradients.
    pub grads: &'a [Tensor],
    /// Means of gradients, changed in place; zeros at first.
    pub exp_avgs: &'a [Tensor],
    /// Means of squared gradients, changed in place; zeros at first.
    pub exp_avg_sqs: &'a [Tensor],
}

/// One step of AdamW; `step` counts from 1.
///
/// # Errors
/// When lists or shapes do not fit each other, or `step` is 0.
pub fn fused_adamw(
    tensors: AdamTensors<'_>,
    step: u64,
    options: &AdamOptions,
) -> Result<(), Error> {
    update(tensors, step, options, true)
}

/// One step of Adam; `step` counts from 1.
///
/// # Errors
/// As [`fused_adamw`].
pub fn fused_adam(tensors: AdamTensors<'_>, step: u64, options: &AdamOptions) -> Result<(), Error> {
    update(tensors, step, options, false)
}

fn update(
    tensors: AdamTensors<'_>,
    step: u64,
    options: &AdamOptions,
    decoupled: bool,
) -> Result<(), Error> {
    let doing = if decoupled { "AdamW" } else { "Adam" };
    check(doing, &tensors, step)?;
    let (params, grads) = (pointers(tensors.params), pointers(tensors.grads));
    let (exp_avgs, exp_avg_sqs) = (pointers(tensors.exp_avgs), pointers(tensors.exp_avg_sqs));
    #[expect(
        clippy::cast_precision_loss,
        reason = "the kernels keep the step as float32"
    )]
    let step = step as f64;
    let raw = RawAdam {
        params: params.as_ptr(),
        grads: grads.as_ptr(),
        exp_avgs: exp_avgs.as_ptr(),
        exp_avg_sqs: exp_avg_sqs.as_ptr(),
        count: params.len(),
        step,
        lr: options.lr,
        beta1: options.beta1,
        beta2: options.beta2,
        eps: options.eps,
        weight_decay: options.weight_decay,
        decoupled,
    };
    call(doing, |message| {
        // SAFETY: four lists of `count` live tensors.
        unsafe { ffi::tutti_fused_adam(&raw const raw, message) }
    })
}

/// The kernels read all tensors of a parameter with its own number of elements and check nothing.
fn check(doing: &'static str, tensors: &AdamTensors<'_>, step: u64) -> Result<(), Error> {
    let wrong = |text: String| Err(Error::new(Kind::Argument, doing, text));
    if step == 0 {
        return wrong("step 0; steps count from 1".to_owned());
    }
    for (name, list) in [
        ("gradients", tensors.grads),
        ("means", tensors.exp_avgs),
        ("means of squares", tensors.exp_avg_sqs),
    ] {
        if list.len() != tensors.params.len() {
            return wrong(format!(
                "{} {name} for {} parameters",
                list.len(),
                tensors.params.len()
            ));
        }
        for (i, (tensor, param)) in list.iter().zip(tensors.params).enumerate() {
            if !tensor.defined() {
                return wrong(format!(
                    "{name}: tensor {i} is undefined (parameter of shape {:?})",
                    param.size()
                ));
            }
            if tensor.size() != param.size()
                || tensor.stride() != param.stride()
                || tensor.kind() != param.kind()
                || tensor.device() != param.device()
            {
                return wrong(format!(
                    "{name}: tensor {i} is {:?} {:?} on {:?}, expected {:?} {:?} on {:?} with equal strides",
                    tensor.kind(),
                    tensor.size(),
                    tensor.device(),
                    param.kind(),
                    param.size(),
                    param.device()
                ));
            }
        }
    }
    Ok(())
}
