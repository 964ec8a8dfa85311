//! The store through which ranks find each other: a `c10d::Store` whose keys live wherever Rust keeps them.
#![expect(
    unsafe_code,
    reason = "the C++ store calls back through pointers, and handles are freed by hand"
)]

use std::ffi::{CString, c_int, c_void};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use crate::ffi::{self, Callbacks, Sink, Text, call};
use crate::{Error, Kind};

/// Where a store's keys are kept. libtorch calls from its own threads too.
///
/// An `Err` (and a panic) becomes an error of kind [`Kind::Store`] of the operation that asked; its text is shown as it is.
/// Waiting calls must return by their timeout, or the group's timeout is worth nothing.
pub trait StoreBackend: Send + Sync {
    /// Sets `key`.
    ///
    /// # Errors
    /// Why it cannot.
    fn set(&self, key: &str, value: &[u8]) -> Result<(), String>;

    /// The value of `key`, waiting for it up to `timeout`.
    ///
    /// # Errors
    /// Why it cannot, also when the time is over.
    fn get(&self, key: &str, timeout: Duration) -> Result<Vec<u8>, String>;

    /// Adds to the number under `key` (0 where there is none; kept as decimal text, as c10d's stores do) and returns the sum.
    ///
    /// # Errors
    /// Why it cannot.
    fn add(&self, key: &str, amount: i64) -> Result<i64, String>;

    /// Removes `key`; whether it was there.
    ///
    /// # Errors
    /// Why it cannot.
    fn remove(&self, key: &str) -> Result<bool, String> {
        Err(format!("this store does not remove keys (asked for {key})"))
    }

    /// Whether all keys are there.
    ///
    /// # Errors
    /// Why it cannot.
    fn check(&self, keys: &[&str]) -> Result<bool, String>;

    /// The number of keys.
    ///
    /// # Errors
    /// Why it cannot.
    fn count(&self) -> Result<i64, String> {
        Err("this store does not count its keys".to_owned())
    }

    /// Returns once all keys are there.
    ///
    /// # Errors
    /// Why it cannot, also when the time is over.
    fn wait(&self, keys: &[&str], timeout: Duration) -> Result<(), String>;
}

/// A handle to a `c10d::Store`. Keys of several groups are told apart by [`Store::prefixed`].
pub struct Store {
    handle: *mut c_void,
}

// SAFETY: the handle is a reference-counted pointer to a C++ store that holds only a `StoreBackend`, which is `Send + Sync`.
unsafe impl Send for Store {}
// SAFETY: as above; shared calls (`prefixed`, making a group) only clone the reference.
unsafe impl Sync for Store {}

impl Store {
    /// A store that asks `backend`.
    ///
    /// # Errors
    /// When libtorch has no memory.
    pub fn new(backend: Arc<dyn StoreBackend>) -> Result<Self, Error> {
        /// Until a group sets its own.
        const TIMEOUT: Duration = Duration::from_secs(30);
        let data: *mut c_void = Box::into_raw(Box::new(backend)).cast();
        let mut handle = std::ptr::null_mut();
        call("making a store", |message| {
            // SAFETY: the callbacks are copied, `data` is a boxed backend as they expect and is taken over.
            unsafe {
                ffi::tutti_store_new(
                    &raw const CALLBACKS,
                    data,
                    ffi::milliseconds(TIMEOUT),
                    &raw mut handle,
                    message,
                )
            }
        })?;
        Ok(Self { handle })
    }

    /// The same keys under a prefix.
    ///
    /// # Errors
    /// When `prefix` holds a zero byte.
    pub fn prefixed(&self, prefix: &str) -> Result<Self, Error> {
        let doing = "making a prefixed store";
        let text = CString::new(prefix).map_err(|_| {
            Error::new(
                Kind::Argument,
                doing,
                format!("prefix {prefix:?} holds a zero byte"),
            )
        })?;
        let mut handle = std::ptr::null_mut();
        call(doing, |message| {
            // SAFETY: `handle` is a live store, the text ends with a zero.
            unsafe {
                ffi::tutti_store_prefixed(self.handle, text.as_ptr(), &raw mut handle, message)
            }
        })?;
        Ok(Self { handle })
    }

    /// The handle as the shim and plugins take it: a `c10::intrusive_ptr<c10d::Store>*` that stays ours.
    #[must_use]
    pub fn as_ptr(&self) -> *const c_void {
        self.handle
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        // SAFETY: made by the shim, freed once; groups hold references of their own.
        unsafe { ffi::tutti_store_free(self.handle) }
    }
}

static CALLBACKS: Callbacks = Callbacks {
    set,
    get,
    add,
    remove,
    check,
    count,
    wait,
    share,
    drop: release,
};

/// # Safety
/// `data` is a boxed `Arc<dyn StoreBackend>` that lives through the call.
unsafe fn backend<'a>(data: *mut c_void) -> &'a Arc<dyn StoreBackend> {
    // SAFETY: as promised by the caller.
    unsafe { &*data.cast::<Arc<dyn StoreBackend>>() }
}

/// # Safety
/// `text` names bytes that live through the call.
unsafe fn string<'a>(text: Text) -> Result<&'a str, String> {
    // SAFETY: as promised by the caller; an empty std::string still has a non-null pointer.
    let bytes = unsafe { std::slice::from_raw_parts(text.bytes, text.size) };
    std::str::from_utf8(bytes).map_err(|_| format!("store key {bytes:?} is not UTF-8"))
}

/// # Safety
/// `keys` names `count` texts that live through the call.
unsafe fn strings<'a>(keys: *const Text, count: usize) -> Result<Vec<&'a str>, String> {
    if count == 0 {
        return Ok(Vec::new());
    }
    // SAFETY: as promised by the caller.
    unsafe {
        std::slice::from_raw_parts(keys, count)
            .iter()
            .map(|key| string(*key))
            .collect()
    }
}

fn duration(timeout_ms: i64) -> Duration {
    Duration::from_millis(u64::try_from(timeout_ms).unwrap_or_default())
}

/// Runs a callback's body: an error or a panic gives its text to the sink and 1 to the C++ side, which throws.
///
/// # Safety
/// `fail` may be called with `context`.
unsafe fn answer(
    fail: Sink,
    context: *mut c_void,
    body: impl FnOnce() -> Result<(), String>,
) -> c_int {
    let why = match catch_unwind(AssertUnwindSafe(body)) {
        Ok(Ok(())) => return 0,
        Ok(Err(why)) => why,
        Err(panic) => {
            let text = panic
                .downcast_ref::<&str>()
                .map(|text| (*text).to_owned())
                .or_else(|| panic.downcast_ref::<String>().cloned())
                .unwrap_or_else(|| "no text".to_owned());
            format!("the store's backend panicked: {text}")
        }
    };
    // SAFETY: as promised by the caller.
    unsafe { fail(context, why.as_ptr(), why.len()) };
    1
}

// SAFETY of all callbacks below: the C++ store calls them with its own live `data`, pointers that live through the call, and
// a sink that belongs to its context.

unsafe extern "C" fn set(
    data: *mut c_void,
    key: Text,
    value: *const u8,
    size: usize,
    fail: Sink,
    context: *mut c_void,
) -> c_int {
    unsafe {
        answer(fail, context, || {
            let value = if size == 0 {
                &[]
            } else {
                std::slice::from_raw_parts(value, size)
            };
            backend(data).set(string(key)?, value)
        })
    }
}

unsafe extern "C" fn get(
    data: *mut c_void,
    key: Text,
    timeout_ms: i64,
    take: Sink,
    taken: *mut c_void,
    fail: Sink,
    context: *mut c_void,
) -> c_int {
    unsafe {
        answer(fail, context, || {
            let value = backend(data).get(string(key)?, duration(timeout_ms))?;
            take(taken, value.as_ptr(), value.len());
            Ok(())
        })
    }
}

unsafe extern "C" fn add(
    data: *mut c_void,
    key: Text,
    amount: i64,
    sum: *mut i64,
    fail: Sink,
    context: *mut c_void,
) -> c_int {
    unsafe {
        answer(fail, context, || {
            *sum = backend(data).add(string(key)?, amount)?;
            Ok(())
        })
    }
}

unsafe extern "C" fn remove(
    data: *mut c_void,
    key: Text,
    existed: *mut bool,
    fail: Sink,
    context: *mut c_void,
) -> c_int {
    unsafe {
        answer(fail, context, || {
            *existed = backend(data).remove(string(key)?)?;
            Ok(())
        })
    }
}

unsafe extern "C" fn check(
    data: *mut c_void,
    keys: *const Text,
    count: usize,
    all: *mut bool,
    fail: Sink,
    context: *mut c_void,
) -> c_int {
    unsafe {
        answer(fail, context, || {
            *all = backend(data).check(&strings(keys, count)?)?;
            Ok(())
        })
    }
}

unsafe extern "C" fn count(
    data: *mut c_void,
    keys: *mut i64,
    fail: Sink,
    context: *mut c_void,
) -> c_int {
    unsafe {
        answer(fail, context, || {
            *keys = backend(data).count()?;
            Ok(())
        })
    }
}

unsafe extern "C" fn wait(
    data: *mut c_void,
    keys: *const Text,
    count: usize,
    timeout_ms: i64,
    fail: Sink,
    context: *mut c_void,
) -> c_int {
    unsafe {
        answer(fail, context, || {
            backend(data).wait(&strings(keys, count)?, duration(timeout_ms))
        })
    }
}

unsafe extern "C" fn share(data: *mut c_void) -> *mut c_void {
    // Cloning an Arc can only abort, never unwind.
    Box::into_raw(Box::new(Arc::clone(unsafe { backend(data) }))).cast()
}

unsafe extern "C" fn release(data: *mut c_void) {
    // SAFETY: the C++ store owned the box and is going away. A panicking destructor must not unwind into C++.
    let boxed = unsafe { Box::from_raw(data.cast::<Arc<dyn StoreBackend>>()) };
    let _ = catch_unwind(AssertUnwindSafe(move || drop(boxed)));
}
