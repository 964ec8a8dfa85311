//! The ranks that work together.
#![expect(
    unsafe_code,
    reason = "calls into the shim with handles and tensors that live through the call"
)]

use std::ffi::{CString, c_int, c_void};
use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tch::{Device, Tensor};

use crate::ffi::{self, call, pointer};
use crate::{Error, Kind, Store, Waiting};

/// How a Gloo group connects.
#[derive(Clone, Debug)]
pub struct GlooOptions {
    /// The address (or a name that resolves to it) under which the other ranks reach this one. Traffic is plain text: name
    /// an interface of a private network.
    pub address: String,
    /// How long a rank waits for another one, when the group forms and in every collective. It must exceed the longest time
    /// by which ranks may differ in reaching a collective.
    pub timeout: Duration,
    /// Whether ranks compare shapes before each collective, at the price of one small message. A difference is an error then;
    /// without it, gloo ends the process.
    pub verify: bool,
}

impl Default for GlooOptions {
    fn default() -> Self {
        Self {
            address: "127.0.0.1".to_owned(),
            timeout: Duration::from_secs(300),
            verify: true,
        }
    }
}

/// The ranks of a gang, working together; the solo group has one rank and touches no network.
///
/// A failed collective closes the group at once: its connections go, so that ranks that wait for this one learn of it in
/// milliseconds instead of at their timeout (they stay open as long as a [`crate::Reducer`] holds them: drop that too). A
/// closed group answers with [`Kind::Closed`].
pub struct ProcessGroup {
    rank: usize,
    size: usize,
    verify: bool,
    inner: Inner,
}

enum Inner {
    Solo,
    /// `None`: closed.
    Joined(Mutex<Option<Handle>>),
}

/// An owned C++ group.
pub(crate) struct Handle(*mut c_void);

// SAFETY: a reference-counted pointer to a c10d::ProcessGroup, which any thread may use; the mutex lets in one at a time.
unsafe impl Send for Handle {}

impl Handle {
    pub(crate) const fn as_ptr(&self) -> *mut c_void {
        self.0
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        // SAFETY: made by the shim, freed once.
        unsafe { ffi::tutti_group_free(self.0) }
    }
}

impl fmt::Debug for ProcessGroup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ProcessGroup(rank {} of {})", self.rank, self.size)
    }
}

impl ProcessGroup {
    /// A group of one: every collective is trivial.
    #[must_use]
    pub const fn solo() -> Self {
        Self {
            rank: 0,
            size: 1,
            verify: false,
            inner: Inner::Solo,
        }
    }

    /// Joins the group that meets in `store` as `rank` of `size`; returns when all ranks are connected. Keys of a store serve
    /// one group: give each its own prefix ([`Store::prefixed`]).
    ///
    /// # Errors
    /// [`Kind::Store`] if a rank does not come in time, [`Kind::Network`] if ranks cannot connect.
    pub fn gloo(
        store: &Store,
        rank: usize,
        size: usize,
        options: &GlooOptions,
    ) -> Result<Self, Error> {
        let doing = "joining the group";
        let wrong = |text: String| Error::new(Kind::Argument, doing, text);
        if rank >= size {
            return Err(wrong(format!("rank {rank} of a group of {size}")));
        }
        let (Ok(c_rank), Ok(c_size)) = (c_int::try_from(rank), c_int::try_from(size)) else {
            return Err(wrong(format!("a group of {size} is too large")));
        };
        let address = CString::new(options.address.as_str())
            .map_err(|_| wrong(format!("address {:?} holds a zero byte", options.address)))?;
        let mut handle = std::ptr::null_mut();
        let _waiting = Waiting::begin();
        call(doing, |message| {
            // SAFETY: the store and the text live through the call.
            unsafe {
                ffi::tutti_group_gloo(
                    store.as_ptr(),
                    c_rank,
                    c_size,
                    address.as_ptr(),
                    ffi::milliseconds(options.timeout),
                    &raw mut handle,
                    message,
                )
            }
        })?;
        Ok(Self {
            rank,
            size,
            verify: options.verify,
            inner: Inner::Joined(Mutex::new(Some(Handle(handle)))),
        })
    }

    /// Lets CUDA tensors of this group go through another backend.
    ///
    /// # Errors
    /// When the group is solo or closed.
    ///
    /// # Safety
    /// `backend` is a heap `c10::intrusive_ptr<c10d::Backend>*` for the same ranks, made against the same libtorch. It is
    /// taken over, also on an error from libtorch.
    pub unsafe fn attach_cuda(&self, backend: *mut c_void) -> Result<(), Error> {
        self.with("attaching a CUDA backend", |group| {
            call("attaching a CUDA backend", |message| {
                // SAFETY: as promised by the caller.
                unsafe { ffi::tutti_group_attach_cuda(group.as_ptr(), backend, message) }
            })
        })?
        .ok_or_else(|| {
            Error::new(
                Kind::Argument,
                "attaching a CUDA backend",
                "a solo group has no backends",
            )
        })
    }

    /// This rank, `0..size`.
    #[must_use]
    pub const fn rank(&self) -> usize {
        self.rank
    }

    /// The number of ranks.
    #[must_use]
    pub const fn size(&self) -> usize {
        self.size
    }

    /// Whether this is a group of one without a network.
    #[must_use]
    pub const fn is_solo(&self) -> bool {
        matches!(self.inner, Inner::Solo)
    }

    /// Replaces `tensor` by its sum over the ranks, in place.
    ///
    /// # Errors
    /// When the tensor is not contiguous, shapes differ between ranks, or a rank is lost.
    pub fn all_reduce_sum(&self, tensor: &mut Tensor) -> Result<(), Error> {
        self.all_reduce(tensor, false)
    }

    /// Replaces `tensor` by its mean over the ranks, in place.
    ///
    /// # Errors
    /// As [`ProcessGroup::all_reduce_sum`]; also for integers.
    pub fn all_reduce_avg(&self, tensor: &mut Tensor) -> Result<(), Error> {
        if !tensor.is_floating_point() {
            return Err(Error::new(
                Kind::Argument,
                "all_reduce",
                format!(
                    "the mean of {:?} is not defined; use the sum",
                    tensor.kind()
                ),
            ));
        }
        self.all_reduce(tensor, true)
    }

    fn all_reduce(&self, tensor: &mut Tensor, average: bool) -> Result<(), Error> {
        let doing = "all_reduce";
        contiguous(doing, tensor)?;
        self.with(doing, |group| {
            self.agree(group, doing, 1 + i64::from(average), tensor)?;
            call(doing, |message| {
                // SAFETY: group and tensor live through the call.
                unsafe {
                    ffi::tutti_group_all_reduce(group.as_ptr(), pointer(tensor), average, message)
                }
            })
        })
        .map(drop)
    }

    /// Replaces `tensor` by that of rank `root`, in place.
    ///
    /// # Errors
    /// As [`ProcessGroup::all_reduce_sum`]; also if there is no such rank.
    pub fn broadcast(&self, tensor: &mut Tensor, root: usize) -> Result<(), Error> {
        self.broadcast_one(tensor, root)
    }

    /// `broadcast` through a shared reference: what changes is the memory that the handle names.
    pub(crate) fn broadcast_one(&self, tensor: &Tensor, root: usize) -> Result<(), Error> {
        let doing = "broadcast";
        contiguous(doing, tensor)?;
        let c_root = c_int::try_from(root)
            .ok()
            .filter(|_| root < self.size)
            .ok_or_else(|| {
                Error::new(
                    Kind::Argument,
                    doing,
                    format!("root {root} in a group of {}", self.size),
                )
            })?;
        self.with(doing, |group| {
            self.agree(group, doing, 3 + i64::from(c_root), tensor)?;
            call(doing, |message| {
                // SAFETY: group and tensor live through the call.
                unsafe {
                    ffi::tutti_group_broadcast(group.as_ptr(), pointer(tensor), c_root, message)
                }
            })
        })
        .map(drop)
    }

    /// The tensors of all ranks, by rank.
    ///
    /// # Errors
    /// As [`ProcessGroup::all_reduce_sum`].
    pub fn all_gather(&self, tensor: &Tensor) -> Result<Vec<Tensor>, Error> {
        let doing = "all_gather";
        contiguous(doing, tensor)?;
        let gathered = self.with(doing, |group| {
            self.agree(group, doing, 0, tensor)?;
            self.gather_unchecked(group, doing, tensor)
        })?;
        Ok(gathered.unwrap_or_else(|| vec![tensor.detach().copy()]))
    }

    /// Returns when all ranks have called it.
    ///
    /// # Errors
    /// When a rank is lost.
    pub fn barrier(&self) -> Result<(), Error> {
        let doing = "barrier";
        self.with(doing, |group| {
            call(doing, |message| {
                // SAFETY: the group lives through the call.
                unsafe { ffi::tutti_group_barrier(group.as_ptr(), message) }
            })
        })
        .map(drop)
    }

    /// Leaves the group: closes its connections, so that ranks still waiting for this one learn of it.
    pub fn close(&self) {
        if let Some(mut slot) = self.lock() {
            slot.take();
        }
    }

    fn lock(&self) -> Option<MutexGuard<'_, Option<Handle>>> {
        match &self.inner {
            Inner::Solo => None,
            Inner::Joined(slot) => Some(slot.lock().unwrap_or_else(PoisonError::into_inner)),
        }
    }

    /// Runs `body` with the group's handle, `Ok(None)` for the solo group. Closes the group if it fails for any reason but
    /// wrong use that was found before anything was sent.
    pub(crate) fn with<T>(
        &self,
        doing: &'static str,
        body: impl FnOnce(&Handle) -> Result<T, Error>,
    ) -> Result<Option<T>, Error> {
        let Some(mut slot) = self.lock() else {
            return Ok(None);
        };
        let handle = slot.as_ref().ok_or_else(|| {
            Error::new(
                Kind::Closed,
                doing,
                "the group has failed before or was left",
            )
        })?;
        let waiting = Waiting::begin();
        let done = body(handle);
        drop(waiting);
        match done {
            Ok(value) => Ok(Some(value)),
            Err(error) => {
                slot.take();
                Err(error)
            }
        }
    }

    fn gather_unchecked(
        &self,
        group: &Handle,
        doing: &'static str,
        tensor: &Tensor,
    ) -> Result<Vec<Tensor>, Error> {
        let outputs: Vec<Tensor> = (0..self.size)
            .map(|_| tensor.detach().empty_like())
            .collect();
        let raw = ffi::pointers(&outputs);
        call(doing, |message| {
            // SAFETY: all tensors live through the call; there is one output per rank.
            unsafe {
                ffi::tutti_group_all_gather(
                    group.as_ptr(),
                    pointer(tensor),
                    raw.as_ptr(),
                    raw.len(),
                    message,
                )
            }
        })?;
        Ok(outputs)
    }

    /// Compares operation, type and shape over the ranks. Gloo answers a difference by ending the process, from a thread of
    /// its own, where nothing can catch it.
    fn agree(
        &self,
        group: &Handle,
        doing: &'static str,
        operation: i64,
        tensor: &Tensor,
    ) -> Result<(), Error> {
        // NCCL hangs instead, until its timeout; comparing would make CPU and GPU wait for each other at every call.
        if !self.verify || tensor.device() != Device::Cpu {
            return Ok(());
        }
        /// Operation, type, number of dimensions, and as many sizes as any tensor of ours has.
        const FIELDS: usize = 12;
        let size = tensor.size();
        let mut card = vec![
            operation,
            tensor.kind() as i64,
            i64::try_from(size.len()).unwrap_or(i64::MAX),
        ];
        card.extend(size.iter().take(FIELDS - 3));
        card.resize(FIELDS, 0);
        let cards = self.gather_unchecked(group, doing, &Tensor::from_slice(&card))?;
        for (rank, other) in cards.iter().enumerate() {
            let other: Vec<i64> = Vec::try_from(other).map_err(|error: tch::TchError| {
                Error::new(Kind::Torch, doing, error.to_string())
            })?;
            if other != card {
                return Err(Error::new(
                    Kind::Argument,
                    doing,
                    format!(
                        "rank {rank} brings {}, this rank ({}) brings {}",
                        describe(&other),
                        self.rank,
                        describe(&card)
                    ),
                ));
            }
        }
        Ok(())
    }
}

/// A card of [`ProcessGroup::agree`] in words.
fn describe(card: &[i64]) -> String {
    let operation = match card[0] {
        0 => "all_gather".to_owned(),
        1 => "all_reduce (sum)".to_owned(),
        2 => "all_reduce (mean)".to_owned(),
        root => format!("broadcast from {}", root - 3),
    };
    let dims = usize::try_from(card[2]).unwrap_or_default();
    let shape: Vec<String> = card[3..].iter().take(dims).map(i64::to_string).collect();
    format!(
        "{operation} of type {} and shape [{}]",
        card[1],
        shape.join(", ")
    )
}

fn contiguous(doing: &'static str, tensor: &Tensor) -> Result<(), Error> {
    if tensor.is_contiguous() {
        return Ok(());
    }
    Err(Error::new(
        Kind::Argument,
        doing,
        format!(
            "a tensor of shape {:?} and strides {:?} is not contiguous (call contiguous() first): its memory would be \
             reduced in the wrong order without a word",
            tensor.size(),
            tensor.stride()
        ),
    ))
}
