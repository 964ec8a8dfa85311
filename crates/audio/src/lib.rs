//! Decode, mix to mono, resample: from a sound file on disk to `f32` samples in [-1, 1] at the rate that is asked for.
//!
//! ```no_run
//! let samples = audio::read_mono("clip.wav".as_ref(), 16_000)?;
//! # Ok::<(), audio::Error>(())
//! ```
//!
//! WAV (8 to 32 bit integers, floats, ADPCM), AIFF, FLAC, Ogg Vorbis and MP3, any rate and channel count. A file is read whole or
//! not at all: a recording that ends before its header says is an error, never a short clip. The crate knows nothing of
//! tensors, data sets or labels; it is synchronous and safe to call from many threads.

mod container;
mod decode;
mod error;
mod resample;
mod write;

pub use decode::{Info, LONGEST_SECONDS, probe, read_mono, read_mono_within};
pub use error::{Error, Problem};
pub use resample::{resample, resampled_len};
pub use write::write_wav_i16;
