//! Randomness as a function of position, and libtorch's generators.
//!
//! A draw depends on where in the run it happens, never on what was drawn before: seed a generator with [`seed_from`] at each
//! such place (libtorch's own with [`seed`], at the start of each micro-batch). A resumed run then needs no generator's state.
#![expect(unsafe_code, reason = "calls into the shim")]

use tch::Tensor;

use crate::ffi::{self, call, pointer};
use crate::{Error, Kind, cuda};

/// One part of a position: its name and its value.
///
/// Names keep positions apart that hold the same numbers: `("step", 3)` is not `("epoch", 3)`.
pub type Part<'a> = (&'a str, Value<'a>);

/// The value of a [`Part`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Value<'a> {
    /// A number.
    Number(u64),
    /// A name: a member, a purpose.
    Name(&'a str),
}

impl From<u64> for Value<'_> {
    fn from(number: u64) -> Self {
        Self::Number(number)
    }
}

impl From<u32> for Value<'_> {
    fn from(number: u32) -> Self {
        Self::Number(number.into())
    }
}

impl From<usize> for Value<'_> {
    fn from(number: usize) -> Self {
        Self::Number(number as u64)
    }
}

impl<'a> From<&'a str> for Value<'a> {
    fn from(name: &'a str) -> Self {
        Self::Name(name)
    }
}

/// The seed that belongs to a position, such as (plan seed, iteration, stage, member, purpose, epoch, step, micro-batch).
///
/// The first 8 bytes, little endian, of the BLAKE3 hash over all parts, each with its length, so that no two positions are
/// written alike. A change of this function changes all results.
///
/// ```
/// use collective::rng::seed_from;
/// let seed = |step: u64| seed_from(&[("seed", 42_u64.into()), ("member", "atst".into()), ("step", step.into())]);
/// assert_eq!(seed(7), seed(7));
/// assert_ne!(seed(7), seed(8));
/// ```
#[must_use]
pub fn seed_from(position: &[Part<'_>]) -> u64 {
    let mut hasher = blake3::Hasher::new();
    hasher.update(b"tutti position 1");
    let mut text = |text: &str| {
        hasher.update(&(text.len() as u64).to_le_bytes());
        hasher.update(text.as_bytes());
    };
    for (name, value) in position {
        text(name);
        match value {
            Value::Number(number) => text(&format!("#{number}")),
            Value::Name(name) => text(&format!("={name}")),
        }
    }
    let mut first = [0; 8];
    first.copy_from_slice(&hasher.finalize().as_bytes()[..8]);
    u64::from_le_bytes(first)
}

/// Seeds libtorch's generators: the CPU's and, where CUDA is loaded, those of all devices.
///
/// # Errors
/// When libtorch refuses.
pub fn seed(seed: u64) -> Result<(), Error> {
    call("seeding", |message| {
        // SAFETY: plain values.
        unsafe { ffi::tutti_seed_cpu(seed, message) }
    })?;
    if cuda::is_loaded() {
        call("seeding", |message| {
            // SAFETY: plain values; CUDA is loaded.
            unsafe { ffi::tutti_seed_cuda(seed, message) }
        })?;
    }
    Ok(())
}

/// The state of the CPU's generator: uint8, (5056).
///
/// # Errors
/// When libtorch refuses.
pub fn cpu_state() -> Result<Tensor, Error> {
    let mut state = std::ptr::null_mut();
    call("reading the generator's state", |message| {
        // SAFETY: gives a heap at::Tensor.
        unsafe { ffi::tutti_cpu_state(&raw mut state, message) }
    })?;
    // SAFETY: tch's tensors are heap at::Tensor too; this one is ours to give away.
    Ok(unsafe { Tensor::from_ptr(state.cast()) })
}

/// Puts the CPU's generator into a state that [`cpu_state`] gave.
///
/// # Errors
/// When the tensor is no such state.
pub fn set_cpu_state(state: &Tensor) -> Result<(), Error> {
    if state.kind() != tch::Kind::Uint8 || !state.is_contiguous() {
        return Err(Error::new(
            Kind::Argument,
            "setting the generator's state",
            format!(
                "a tensor of {:?} {:?}, expected contiguous Uint8",
                state.kind(),
                state.size()
            ),
        ));
    }
    call("setting the generator's state", |message| {
        // SAFETY: the tensor lives through the call; libtorch checks its size and copies it.
        unsafe { ffi::tutti_set_cpu_state(pointer(state), message) }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn positions_are_told_apart() {
        let seeds = [
            seed_from(&[]),
            seed_from(&[("step", 1_u64.into())]),
            seed_from(&[("step", "1".into())]),
            seed_from(&[("epoch", 1_u64.into())]),
            seed_from(&[("step", 11_u64.into())]),
            seed_from(&[("step", 1_u64.into()), ("step", 1_u64.into())]),
            seed_from(&[("a", "bc".into())]),
            seed_from(&[("ab", "c".into())]),
        ];
        for (i, a) in seeds.iter().enumerate() {
            for b in &seeds[..i] {
                assert_ne!(a, b, "position {i}");
            }
        }
    }

    #[test]
    fn the_function_is_fixed() {
        let seed = seed_from(&[("seed", 42_u64.into()), ("member", "atst".into())]);
        assert_eq!(
            seed, 1_622_939_003_218_153_500,
            "results of older runs depend on this value"
        );
    }
}
