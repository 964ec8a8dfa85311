//! Data parallelism: gradients averaged over the group while backward still runs.
#![expect(
    unsafe_code,
    reason = "calls into the shim with handles and tensors that live through the call"
)]

use std::ffi::c_void;

use tch::Tensor;

use crate::ffi::{self, call};
use crate::{Error, Kind, ProcessGroup};

/// Sizes of the messages.
#[derive(Clone, Copy, Debug)]
pub struct ReducerOptions {
    /// Size in bytes of the first message, which is small so that it can leave early.
    pub first_bucket_bytes: i64,
    /// Size in bytes of the others.
    pub bucket_bytes: i64,
}

impl Default for ReducerOptions {
    fn default() -> Self {
        Self {
            first_bucket_bytes: 1024 * 1024,
            bucket_bytes: 25 * 1024 * 1024,
        }
    }
}

/// Averages the gradients of a list of parameters over a group (c10d's `Reducer`, the core of DDP). In a solo group it does
/// nothing, and gradients are what backward makes them.
///
/// One step:
/// ```no_run
/// # use collective::{Error, ProcessGroup, Reducer};
/// # use tch::Tensor;
/// # fn step(reducer: &Reducer, losses: &[Tensor]) -> Result<(), Error> {
/// reducer.zero_grad();
/// for (i, loss) in losses.iter().enumerate() {
///     if i + 1 == losses.len() {
///         reducer.prepare()?; // earlier micro-batches only add up on their own rank
///     }
///     loss.f_backward().map_err(|error| Error::from_backward(&error))?; // `backward` would panic when a peer is lost
/// }
/// # Ok(()) }
/// ```
/// Every parameter must take part in every prepared backward: otherwise the next step fails with libtorch's "Expected to have
/// finished reduction in the prior iteration". All ranks must prepare equally often.
///
/// Gradients are views of the messages' memory: zero them with [`Reducer::zero_grad`] (tch's `zero_grad` panics on views).
///
/// A run that is resumed is the same, bit for bit, as one that was not: the layout of the messages, which decides the order of
/// summation in a ring of three ranks and more, is settled in [`Reducer::new`] by a pass over a made-up loss, instead of after
/// the first real one.
///
/// After an error, drop the reducer before anything else: it keeps the group's connections open.
pub struct Reducer {
    /// Null: solo.
    handle: *mut c_void,
    params: Vec<Tensor>,
}

// SAFETY: the C++ reducer is used by one thread at a time; autograd's own threads take its lock.
unsafe impl Send for Reducer {}

impl Reducer {
    /// Whether there is nobody to exchange with.
    #[must_use]
    pub fn is_solo(&self) -> bool {
        self.handle.is_null()
    }

    /// A reducer for `params` (leaves that require gradients and are contiguous, in the same order on all ranks, equal after
    /// [`broadcast_tensors`]). Runs one backward over a made-up loss and zeroes the gradients; touches no random generator.
    ///
    /// # Errors
    /// When parameters differ between ranks, one of them is frozen, or a rank is lost.
    pub fn new(
        params: &[Tensor],
        group: &ProcessGroup,
        options: ReducerOptions,
    ) -> Result<Self, Error> {
        let doing = "making the reducer";
        let params: Vec<Tensor> = params.iter().map(Tensor::shallow_clone).collect();
        if params.is_empty() {
            return Err(Error::new(Kind::Argument, doing, "there are no parameters"));
        }
        let raw = ffi::pointers(&params);
        let mut handle = std::ptr::null_mut();
        group.with(doing, |group| {
            call(doing, |message| {
                // SAFETY: group and tensors live through the call; the C++ side keeps references of its own.
                unsafe {
                    ffi::tutti_reducer_new(
                        group.as_ptr(),
                        raw.as_ptr(),
                        raw.len(),
                        options.first_bucket_bytes,
                        options.bucket_bytes,
                        &raw mut handle,
                        message,
                    )
                }
            })
        })?;
        let reducer = Self { handle, params };
        if !handle.is_null()
            && let Err(error) = reducer.settle()
        {
            drop(reducer);
            group.close();
            return Err(error);
        }
        Ok(reducer)
    }

    /// The pass that settles the layout: a loss in which the parameters appear in their order, so that backward meets them
    /// last to first, as in a real network, and always in the same order.
    fn settle(&self) -> Result<(), Error> {
        self.prepare()?;
        let torch = |error: tch::TchError| Error::from_backward(&error);
        let mut loss = self.params[0].f_sum(None).map_err(torch)?;
        for param in &self.params[1..] {
            loss = loss
                .f_add(&param.f_sum(None).map_err(torch)?)
                .map_err(torch)?;
        }
        loss.f_backward().map_err(torch)?;
        call("settling the reducer", |message| {
            // SAFETY: the handle is live.
            unsafe { ffi::tutti_reducer_settle(self.handle, message) }
        })?;
        self.zero_grad();
        Ok(())
    }

    /// Makes the next backward average gradients over the group: call it before the last micro-batch of a step.
    ///
    /// # Errors
    /// When the backward before did not reach every parameter, or a rank is lost.
    pub fn prepare(&self) -> Result<(), Error> {
        if self.handle.is_null() {
            return Ok(());
        }
        call("preparing the reducer", |message| {
            // SAFETY: the handle is live.
            unsafe { ffi::tutti_reducer_prepare(self.handle, message) }
        })
    }

    /// Sets all gradients to zero, in place.
    pub fn zero_grad(&self) {
        for param in &self.params {
            let mut grad = param.grad();
            if grad.defined() {
                let _ = grad.zero_();
            }
        }
    }
}

impl Drop for Reducer {
    fn drop(&mut self) {
        if !self.handle.is_null() {
            // SAFETY: made by the shim, freed once.
            unsafe { ffi::tutti_reducer_free(self.handle) }
        }
    }
}

/// Gives all ranks the tensors of rank 0 (parameters and buffers, before the first step), in place.
///
/// # Errors
/// When a tensor is not contiguous, shapes differ between ranks, or a rank is lost.
pub fn broadcast_tensors<'a>(
    tensors: impl IntoIterator<Item = &'a Tensor>,
    group: &ProcessGroup,
) -> Result<(), Error> {
    tensors
        .into_iter()
        .try_for_each(|tensor| group.broadcast_one(tensor, 0))
}
