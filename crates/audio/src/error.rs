use std::io;
use std::path::{Path, PathBuf};

/// A sound file that could not be read or written, and why.
#[derive(Debug, thiserror::Error)]
#[error("{}: {problem}", path.display())]
pub struct Error {
    /// The file.
    pub path: PathBuf,
    /// What is wrong with it.
    pub problem: Problem,
}

/// What is wrong with a sound file. Positions are bytes from the start of the file or seconds from the start of the sound.
#[derive(Debug, thiserror::Error)]
pub enum Problem {
    /// The operating system's word.
    #[error("{doing}: {cause}")]
    Io {
        /// What was being done.
        doing: &'static str,
        /// The cause.
        cause: io::Error,
    },
    /// Not a single byte.
    #[error("the file is empty (0 bytes), expected WAV, FLAC, Ogg Vorbis or MP3")]
    Empty,
    /// A sound file without sound.
    #[error("the file holds no samples")]
    NoSamples,
    /// No decoder knows this beginning.
    #[error(
        "not a sound file that can be read: it begins with {found}, expected WAV, FLAC, Ogg Vorbis or MP3"
    )]
    NotAudio {
        /// The first bytes, as text and as numbers.
        found: String,
    },
    /// The file ends before its header says.
    #[error("truncated: {promise}, but {found} (copy or download the file again)")]
    Truncated {
        /// What the header promises, and where.
        promise: String,
        /// What is there.
        found: String,
    },
    /// The container is known, its content contradicts itself.
    #[error("damaged {place}: {what}")]
    Malformed {
        /// Where.
        place: String,
        /// The decoder's complaint.
        what: String,
    },
    /// A known container with something in it that nobody here can decode.
    #[error(
        "unsupported: {what} (convert it to 16-bit WAV or FLAC, for example with `sox` or `ffmpeg`)"
    )]
    Unsupported {
        /// What.
        what: String,
    },
    /// A floating-point file with a value that is no number.
    #[error(
        "sample {frame} of channel {channel} ({seconds:.3} s) is {value}, expected a finite number"
    )]
    NotFinite {
        /// Frame index from the start.
        frame: u64,
        /// Channel, from 0.
        channel: usize,
        /// Time from the start.
        seconds: f64,
        /// NaN or an infinity.
        value: f32,
    },
    /// More sound than is to be held in memory.
    #[error(
        "the sound is longer than {longest} s (cut it into pieces, for example with `sox` or `ffmpeg`)"
    )]
    TooLong {
        /// The limit in seconds.
        longest: f64,
    },
    /// A rate that cannot be resampled from or to.
    #[error("sample rate {found} Hz, expected {} to {} Hz", crate::resample::RATES.start(), crate::resample::RATES.end())]
    Rate {
        /// The rate.
        found: u32,
    },
}

impl Problem {
    pub(crate) fn io(doing: &'static str) -> impl FnOnce(io::Error) -> Self {
        move |cause| Self::Io { doing, cause }
    }

    pub(crate) fn at(self, path: &Path) -> Error {
        Error {
            path: path.to_owned(),
            problem: self,
        }
    }
}
