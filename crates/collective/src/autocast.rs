//! Mixed precision with a chosen type, on CPU and CUDA (tch's own is CUDA only and fixed to float16).
#![expect(unsafe_code, reason = "calls into the shim")]

use std::marker::PhantomData;

use tch::{Device, Kind as Dtype};

use crate::ffi::{self, RawAutocast, call};
use crate::{Error, Kind};

/// Operations on this thread run in lower precision where libtorch knows that this is safe, until the guard is dropped.
/// Guards nest and must be dropped in reverse order. Converted weights are kept while a guard lives, so enter anew after
/// each optimizer step.
#[must_use = "autocast ends when the guard is dropped"]
pub struct Autocast {
    cuda: bool,
    before: RawAutocast,
    /// Autocast belongs to a thread: the guard must not leave it.
    thread: PhantomData<*const ()>,
}

impl Autocast {
    /// Enters autocast for operations on `device` with type `dtype`.
    ///
    /// # Errors
    /// When `dtype` is neither `BFloat16` nor `Half`, or `device` is neither CPU nor CUDA.
    pub fn enter(device: Device, dtype: Dtype) -> Result<Self, Error> {
        let doing = "entering autocast";
        let wrong = |text: String| Error::new(Kind::Argument, doing, text);
        let cuda = match device {
            Device::Cpu => false,
            Device::Cuda(_) => true,
            other => return Err(wrong(format!("device {other:?}, expected CPU or CUDA"))),
        };
        // The numbers are those of c10::ScalarType.
        let number = match dtype {
            Dtype::Half => 5,
            Dtype::BFloat16 => 15,
            other => return Err(wrong(format!("type {other:?}, expected BFloat16 or Half"))),
        };
        let mut before = RawAutocast::default();
        call(doing, |message| {
            // SAFETY: `before` is written during the call.
            unsafe { ffi::tutti_autocast_enter(cuda, number, &raw mut before, message) }
        })?;
        Ok(Self {
            cuda,
            before,
            thread: PhantomData,
        })
    }
}

impl Drop for Autocast {
    fn drop(&mut self) {
        // Putting back what was set before cannot fail in a way that one could act on.
        let _ = call("leaving autocast", |message| {
            // SAFETY: `before` lives through the call.
            unsafe { ffi::tutti_autocast_leave(self.cuda, &raw const self.before, message) }
        });
    }
}
