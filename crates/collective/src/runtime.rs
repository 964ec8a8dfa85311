//! Switches of libtorch that hold for the whole process.
#![expect(unsafe_code, reason = "calls into the shim")]

use crate::Error;
use crate::ffi::{self, call};

/// Only algorithms that give the same bits every time, here and in cuDNN; an operation that has none fails. Also turns off
/// cuDNN's search for the fastest algorithm, whose outcome differs from run to run.
///
/// For CUDA, set the environment variable `CUBLAS_WORKSPACE_CONFIG=:4096:8` before the process starts.
///
/// # Errors
/// When libtorch refuses.
pub fn deterministic(on: bool) -> Result<(), Error> {
    call("switching deterministic algorithms", |message| {
        // SAFETY: plain values.
        unsafe { ffi::tutti_deterministic(on, message) }
    })
}

/// Whether CUDA may round the inputs of float32 products to 10 bits of mantissa.
///
/// # Errors
/// When libtorch refuses.
pub fn allow_tf32(on: bool) -> Result<(), Error> {
    call("switching TF32", |message| {
        // SAFETY: plain values.
        unsafe { ffi::tutti_allow_tf32(on, message) }
    })
}

/// The number of threads that one operation may use.
pub fn set_threads(count: usize) {
    tch::set_num_threads(i32::try_from(count.max(1)).unwrap_or(i32::MAX));
}
