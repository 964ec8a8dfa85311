//! Questions about CUDA, askable only after CUDA was loaded.
//!
//! libtorch remembers its first answer to "is there CUDA?". Asked before `nccl_rs::load` has brought the CUDA part in, the
//! answer is no for the rest of the process. So ask here (not `tch::Cuda`): before the load, these functions do not ask.
#![expect(unsafe_code, reason = "calls into the shim")]

use std::sync::atomic::{AtomicBool, Ordering};

use crate::Error;
use crate::ffi::{self, call};

static LOADED: AtomicBool = AtomicBool::new(false);

/// Whether the CUDA part of libtorch is in this process.
#[must_use]
pub fn is_loaded() -> bool {
    LOADED.load(Ordering::Acquire)
}

/// Says that the CUDA part of libtorch is in this process. For `nccl-rs`, right after it loaded its plugin.
#[doc(hidden)]
pub fn set_loaded() {
    LOADED.store(true, Ordering::Release);
}

/// The number of CUDA devices; 0 where CUDA is not loaded.
///
/// # Errors
/// When libtorch refuses.
pub fn device_count() -> Result<usize, Error> {
    if !is_loaded() {
        return Ok(0);
    }
    let mut count = 0;
    call("counting CUDA devices", |message| {
        // SAFETY: `count` is written during the call.
        unsafe { ffi::tutti_cuda_device_count(&raw mut count, message) }
    })?;
    Ok(usize::try_from(count).unwrap_or(0))
}
