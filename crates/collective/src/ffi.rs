//! The shim's C functions (shim/*.cpp) and how their answers become results.
#![expect(unsafe_code, reason = "calls into the C++ shim")]

use std::ffi::{CStr, c_char, c_int, c_void};

use crate::Error;

/// A sink for bytes that belong to the other side: (context, bytes, size).
pub(crate) type Sink = unsafe extern "C" fn(*mut c_void, *const u8, usize);

/// Bytes of a key, valid during one call.
#[repr(C)]
#[derive(Clone, Copy)]
pub(crate) struct Text {
    pub(crate) bytes: *const u8,
    pub(crate) size: usize,
}

/// The functions through which a C++ store asks a Rust one. Mirrors `Callbacks` in shim/store.cpp.
#[repr(C)]
pub(crate) struct Callbacks {
    pub(crate) set:
        unsafe extern "C" fn(*mut c_void, Text, *const u8, usize, Sink, *mut c_void) -> c_int,
    pub(crate) get:
        unsafe extern "C" fn(*mut c_void, Text, i64, Sink, *mut c_void, Sink, *mut c_void) -> c_int,
    pub(crate) add:
        unsafe extern "C" fn(*mut c_void, Text, i64, *mut i64, Sink, *mut c_void) -> c_int,
    pub(crate) remove:
        unsafe extern "C" fn(*mut c_void, Text, *mut bool, Sink, *mut c_void) -> c_int,
    pub(crate) check: unsafe extern "C" fn(
        *mut c_void,
        *const Text,
        usize,
        *mut bool,
        Sink,
        *mut c_void,
    ) -> c_int,
    pub(crate) count: unsafe extern "C" fn(*mut c_void, *mut i64, Sink, *mut c_void) -> c_int,
    pub(crate) wait:
        unsafe extern "C" fn(*mut c_void, *const Text, usize, i64, Sink, *mut c_void) -> c_int,
    pub(crate) share: unsafe extern "C" fn(*mut c_void) -> *mut c_void,
    pub(crate) drop: unsafe extern "C" fn(*mut c_void),
}

/// One call of a fused optimizer. Mirrors `Adam` in shim/numerics.cpp.
#[repr(C)]
pub(crate) struct RawAdam {
    pub(crate) params: *const *mut c_void,
    pub(crate) grads: *const *mut c_void,
    pub(crate) exp_avgs: *const *mut c_void,
    pub(crate) exp_avg_sqs: *const *mut c_void,
    pub(crate) count: usize,
    pub(crate) step: f64,
    pub(crate) lr: f64,
    pub(crate) beta1: f64,
    pub(crate) beta2: f64,
    pub(crate) eps: f64,
    pub(crate) weight_decay: f64,
    pub(crate) decoupled: bool,
}

/// What autocast was before it was entered. Mirrors `Autocast` in shim/numerics.cpp.
#[repr(C)]
#[derive(Clone, Copy, Default)]
pub(crate) struct RawAutocast {
    pub(crate) enabled: bool,
    pub(crate) dtype: c_int,
}

pub(crate) type Message = *mut *mut c_char;

unsafe extern "C" {
    fn tutti_free_text(text: *mut c_char);

    pub(crate) fn tutti_store_new(
        calls: *const Callbacks,
        data: *mut c_void,
        timeout_ms: i64,
        out: *mut *mut c_void,
        message: Message,
    ) -> c_int;
    pub(crate) fn tutti_store_prefixed(
        store: *const c_void,
        prefix: *const c_char,
        out: *mut *mut c_void,
        message: Message,
    ) -> c_int;
    pub(crate) fn tutti_store_free(store: *mut c_void);

    pub(crate) fn tutti_group_gloo(
        store: *const c_void,
        rank: c_int,
        size: c_int,
        address: *const c_char,
        timeout_ms: i64,
        out: *mut *mut c_void,
        message: Message,
    ) -> c_int;
    pub(crate) fn tutti_group_attach_cuda(
        group: *mut c_void,
        backend: *mut c_void,
        message: Message,
    ) -> c_int;
    pub(crate) fn tutti_group_free(group: *mut c_void);
    pub(crate) fn tutti_group_all_reduce(
        group: *mut c_void,
        tensor: *mut c_void,
        average: bool,
        message: Message,
    ) -> c_int;
    pub(crate) fn tutti_group_broadcast(
        group: *mut c_void,
        tensor: *mut c_void,
        root: c_int,
        message: Message,
    ) -> c_int;
    pub(crate) fn tutti_group_all_gather(
        group: *mut c_void,
        input: *mut c_void,
        outputs: *const *mut c_void,
        count: usize,
        message: Message,
    ) -> c_int;
    pub(crate) fn tutti_group_barrier(group: *mut c_void, message: Message) -> c_int;

    pub(crate) fn tutti_reducer_new(
        group: *mut c_void,
        params: *const *mut c_void,
        count: usize,
        first_bucket_bytes: i64,
        bucket_bytes: i64,
        out: *mut *mut c_void,
        message: Message,
    ) -> c_int;
    pub(crate) fn tutti_reducer_prepare(reducer: *mut c_void, message: Message) -> c_int;
    pub(crate) fn tutti_reducer_settle(reducer: *mut c_void, message: Message) -> c_int;
    pub(crate) fn tutti_reducer_free(reducer: *mut c_void);

    pub(crate) fn tutti_ordered_new(
        group: *mut c_void,
        params: *const *mut c_void,
        count: usize,
        bucket_bytes: i64,
        out: *mut *mut c_void,
        message: Message,
    ) -> c_int;
    pub(crate) fn tutti_ordered_flat(
        ordered: *mut c_void,
        out: *mut *mut c_void,
        message: Message,
    ) -> c_int;
    pub(crate) fn tutti_ordered_arm(
        ordered: *mut c_void,
        saved: *const *mut c_void,
        saved_count: usize,
        pairs: *const u32,
        pair_count: usize,
        message: Message,
    ) -> c_int;
    pub(crate) fn tutti_ordered_finish(ordered: *mut c_void, message: Message) -> c_int;
    pub(crate) fn tutti_ordered_free(ordered: *mut c_void);

    pub(crate) fn tutti_fused_adam(adam: *const RawAdam, message: Message) -> c_int;
    pub(crate) fn tutti_seed_cpu(seed: u64, message: Message) -> c_int;
    pub(crate) fn tutti_seed_cuda(seed: u64, message: Message) -> c_int;
    pub(crate) fn tutti_cuda_device_count(count: *mut i64, message: Message) -> c_int;
    pub(crate) fn tutti_cpu_state(state: *mut *mut c_void, message: Message) -> c_int;
    pub(crate) fn tutti_set_cpu_state(state: *mut c_void, message: Message) -> c_int;
    pub(crate) fn tutti_deterministic(on: bool, message: Message) -> c_int;
    pub(crate) fn tutti_allow_tf32(on: bool, message: Message) -> c_int;
    pub(crate) fn tutti_autocast_enter(
        cuda: bool,
        dtype: c_int,
        before: *mut RawAutocast,
        message: Message,
    ) -> c_int;
    pub(crate) fn tutti_autocast_leave(
        cuda: bool,
        before: *const RawAutocast,
        message: Message,
    ) -> c_int;
}

/// Calls one of the functions above; `doing` names the operation in the error.
pub(crate) fn call(
    doing: &'static str,
    function: impl FnOnce(Message) -> c_int,
) -> Result<(), Error> {
    let mut message: *mut c_char = std::ptr::null_mut();
    let code = function(&raw mut message);
    if code == 0 {
        return Ok(());
    }
    if message.is_null() {
        return Err(Error::from_code(code, doing, "no memory for the message"));
    }
    // SAFETY: a function that fails stores a message made by strdup, ended by a zero, that nobody else holds.
    let text = unsafe {
        let text = CStr::from_ptr(message).to_string_lossy().into_owned();
        tutti_free_text(message);
        text
    };
    Err(Error::from_code(code, doing, text))
}

/// The C++ tensor behind a tch tensor, for calls that change what it holds, not which tensor it is.
pub(crate) fn pointer(tensor: &tch::Tensor) -> *mut c_void {
    tensor.as_ptr().cast_mut().cast()
}

/// The same for a list.
pub(crate) fn pointers<'a>(tensors: impl IntoIterator<Item = &'a tch::Tensor>) -> Vec<*mut c_void> {
    tensors.into_iter().map(pointer).collect()
}

/// A timeout as the shim takes it: whole milliseconds, at least one.
pub(crate) fn milliseconds(duration: std::time::Duration) -> i64 {
    i64::try_from(duration.as_millis())
        .unwrap_or(i64::MAX)
        .max(1)
}
