//! Data parallelism whose result does not depend on the number of ranks.
#![expect(
    unsafe_code,
    reason = "calls into the shim with handles and tensors that live through the call"
)]

use std::ffi::c_void;

use tch::Tensor;

use crate::ffi::{self, call};
use crate::tree::Tree;
use crate::{Error, Kind, ProcessGroup, Waiting};

/// How large the pieces are in which gradients travel.
#[derive(Clone, Copy, Debug)]
pub struct OrderedOptions {
    /// In bytes. A piece leaves as soon as backward has passed the parameters in it.
    pub bucket_bytes: i64,
}

impl Default for OrderedOptions {
    fn default() -> Self {
        Self {
            bucket_bytes: 8 * 1024 * 1024,
        }
    }
}

/// Sums the gradients of the micro-batches of a step in one fixed tree over their number in the step, whatever the number of
/// ranks: the sums are the same, bit for bit, in a gang of one and in every gang whose ranks hold whole nodes of the tree.
///
/// Each rank works through its block of micro-batches in order. Across ranks every rank gets all ranks' sums of one shard of the
/// gradient, adds them up in the tree's order, and hands the result to all: as many bytes as a ring sends. What a rank sends
/// leaves while its last backward still runs. Besides the gradients it takes as much memory once more for what is received, and
/// as much again for each level of the tree inside a block above the lowest.
///
/// One step:
/// ```no_run
/// # use collective::{Error, Ordered};
/// # use tch::Tensor;
/// # fn step(ordered: &mut Ordered, losses: &[Tensor]) -> Result<(), Error> {
/// ordered.begin_step(4)?; // micro-batches of this step on all ranks together
/// for loss in losses {
///     ordered.backward(loss)?; // this rank's, in order
/// }
/// ordered.finish_step() // gradients are the sums over the step now
/// # }
/// ```
/// A step may be short: then the last ranks have fewer micro-batches, or none. A parameter that a loss does not reach has a gradient
/// of zero.
///
/// Gradients are views of one tensor that lives as long as this does. After an error, drop it before anything else: it keeps the group's
/// connections open.
pub struct Ordered {
    handle: *mut c_void,
    /// All gradients, one behind the other.
    flat: Tensor,
    tree: Tree,
    rank: u32,
    ranks: usize,
    /// Sums that wait for their next sibling, by level; made when they are needed first.
    waiting: Vec<Option<Tensor>>,
    step: Step,
}

/// How far the step is.
#[derive(Clone, Copy, Debug, Default)]
struct Step {
    /// Micro-batches on all ranks,
    present: u32,
    /// and on this one;
    mine: u32,
    /// backward passes so far.
    done: u32,
}

// SAFETY: the C++ side is used by one thread at a time; autograd's own threads take its lock.
unsafe impl Send for Ordered {}

impl Ordered {
    /// For `params` (leaves that require gradients and are contiguous, all of one type on one device, in the same order on all
    /// ranks), whose gradients are zero from now on. `levels`: how many children a node of the tree has, from the leaves up; their product is the number
    /// of micro-batches of a full step.
    ///
    /// # Errors
    /// When the group's ranks would not hold whole nodes, parameters differ between ranks, one is frozen, or a rank is lost.
    pub fn new(
        params: &[Tensor],
        levels: &[u32],
        group: &ProcessGroup,
        options: OrderedOptions,
    ) -> Result<Self, Error> {
        let doing = "making the ordered reduction";
        let wrong = |text: &str| Error::new(Kind::Argument, doing, text);
        if params.is_empty() {
            return Err(wrong("there are no parameters"));
        }
        let tree = Tree::new(levels, group.size())?;
        let rank = u32::try_from(group.rank()).map_err(|_| wrong("a group of 2³² ranks"))?;
        let raw = ffi::pointers(params);
        let mut handle = std::ptr::null_mut();
        let mut make = |group: *mut c_void| {
            call(doing, |message| {
                // SAFETY: group and tensors live through the call; the C++ side keeps references of its own.
                unsafe {
                    ffi::tutti_ordered_new(
                        group,
                        raw.as_ptr(),
                        raw.len(),
                        options.bucket_bytes,
                        &raw mut handle,
                        message,
                    )
                }
            })
        };
        if group.with(doing, |group| make(group.as_ptr()))?.is_none() {
            make(std::ptr::null_mut())?;
        }
        let mut flat = std::ptr::null_mut();
        call(doing, |message| {
            // SAFETY: the handle is live; gives a heap at::Tensor.
            unsafe { ffi::tutti_ordered_flat(handle, &raw mut flat, message) }
        })?;
        let ordered = Self {
            handle,
            // SAFETY: tch's tensors are heap at::Tensor too; this one is ours.
            flat: unsafe { Tensor::from_ptr(flat.cast()) },
            waiting: levels.iter().map(|_| None).collect(),
            tree,
            rank,
            ranks: group.size(),
            step: Step::default(),
        };
        // Each rank held its parameters against rank 0's: only together do they know that all are alike.
        group.barrier()?;
        Ok(ordered)
    }

    /// Begins a step of so many micro-batches on all ranks together.
    ///
    /// # Errors
    /// When they are none, or more than the tree has leaves.
    pub fn begin_step(&mut self, microbatches: u32) -> Result<(), Error> {
        let start = self.rank.saturating_mul(self.tree.block());
        if microbatches == 0 || microbatches > self.tree.leaves() {
            return Err(self.misuse(format!(
                "a step of {microbatches} micro-batches, expected 1 to {}",
                self.tree.leaves()
            )));
        }
        self.step = Step {
            present: microbatches,
            mine: microbatches.saturating_sub(start).min(self.tree.block()),
            done: 0,
        };
        Ok(())
    }

    /// The backward pass of this rank's next micro-batch.
    ///
    /// # Errors
    /// When there is no next one, libtorch refuses, or a rank is lost.
    pub fn backward(&mut self, loss: &Tensor) -> Result<(), Error> {
        let Step { mine, done, .. } = self.step;
        if done == mine {
            return Err(self.misuse(format!(
                "micro-batch {done} of a rank that has {mine} in this step"
            )));
        }
        if self.tree.begins(done) {
            let _ = self.flat.zero_();
        }
        let last = done + 1 == mine;
        let fold = self.tree.after(done, last);
        self.step.done += 1;
        if last {
            self.arm(&fold.add)?;
        }
        loss.f_backward()
            .map_err(|error| Error::from_backward(&error))?;
        if last {
            return Ok(());
        }
        for level in fold.add {
            if let Some(earlier) = &self.waiting[level] {
                let _ = self.flat.g_add_(earlier);
            }
        }
        if let Some(save) = fold.save {
            let slot = self.waiting[save.level].get_or_insert_with(|| self.flat.empty_like());
            if save.first {
                slot.copy_(&self.flat);
            } else {
                let _ = slot.g_add_(&self.flat);
            }
        }
        Ok(())
    }

    /// Completes the step on all ranks: gradients are the sums over its micro-batches.
    ///
    /// # Errors
    /// When this rank has micro-batches left, or a rank is lost.
    pub fn finish_step(&mut self) -> Result<(), Error> {
        let Step { mine, done, .. } = self.step;
        if done < mine {
            return Err(self.misuse(format!("finished after {done} of {mine} micro-batches")));
        }
        if mine == 0 {
            self.arm(&[])?;
        }
        let _waiting = (self.ranks > 1).then(Waiting::begin);
        call("ordered reduction", |message| {
            // SAFETY: the handle is live.
            unsafe { ffi::tutti_ordered_finish(self.handle, message) }
        })
    }

    /// The next backward, or [`Self::finish_step`] without one, sends this rank's sum.
    fn arm(&self, add: &[usize]) -> Result<(), Error> {
        let saved = add.iter().filter_map(|level| self.waiting[*level].as_ref());
        let saved = ffi::pointers(saved);
        let pairs = self.tree.among_ranks(self.step.present);
        call("ordered reduction", |message| {
            // SAFETY: handle, tensors and pairs live through the call; the C++ side keeps references of its own.
            unsafe {
                ffi::tutti_ordered_arm(
                    self.handle,
                    saved.as_ptr(),
                    saved.len(),
                    pairs.as_ptr().cast(),
                    pairs.len(),
                    message,
                )
            }
        })
    }

    fn misuse(&self, text: String) -> Error {
        Error::new(Kind::Argument, "ordered reduction", text)
    }
}

impl Drop for Ordered {
    fn drop(&mut self) {
        // SAFETY: made by the shim, freed once.
        unsafe { ffi::tutti_ordered_free(self.handle) }
    }
}
