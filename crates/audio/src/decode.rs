//! Reading.

use std::fs::File;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use symphonia::core::codecs::audio::well_known::CODEC_ID_MP3;
use symphonia::core::codecs::audio::{AudioDecoder, AudioDecoderOptions};
use symphonia::core::errors::Error as SymphoniaError;
use symphonia::core::formats::probe::Hint;
use symphonia::core::formats::{FormatOptions, FormatReader, TrackType};
use symphonia::core::io::MediaSourceStream;
use symphonia::core::meta::MetadataOptions;

use crate::{Error, Problem, container, resample};

/// What a sound file's header says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Info {
    /// Samples per second.
    pub rate: u32,
    /// Number of channels.
    pub channels: usize,
    /// Samples per channel. `None` where the format does not say (some MP3 streams); an estimate for MP3 without a length tag.
    pub frames: Option<u64>,
    /// The codec's short name, such as `pcm_s16le` or `vorbis`.
    pub codec: String,
}

impl Info {
    /// Length in seconds, where the header says it.
    pub fn seconds(&self) -> Option<f64> {
        self.frames
            .map(|frames| frames as f64 / f64::from(self.rate))
    }
}

/// Reads the header of the sound file at `path`, and checks that a WAV file is as long as it says.
///
/// # Errors
/// As [`read_mono`], as far as the header shows it.
pub fn probe(path: &Path) -> Result<Info, Error> {
    guarded(path, || Opened::new(path).map(|opened| opened.info))
}

/// [`read_mono`] refuses what is longer, in seconds: a few damaged bytes can mean silence without end.
pub const LONGEST_SECONDS: f64 = 24.0 * 3600.0;

/// Reads the sound file at `path` as mono samples at `rate` Hz (recipe 1.3): integer PCM scaled by 2^-(bits-1), the mean of the
/// channels, resampled if the file has another rate (see [`resample`](crate::resample())); at equal rates the samples are exact.
///
/// # Errors
/// A file that is missing, empty, no sound file, of an unsupported codec, shorter than its header says, damaged anywhere, without
/// samples, with samples that are not finite numbers, or longer than [`LONGEST_SECONDS`]. Never a part of the sound instead of
/// the whole.
pub fn read_mono(path: &Path, rate: u32) -> Result<Vec<f32>, Error> {
    read_mono_within(path, rate, LONGEST_SECONDS)
}

/// As [`read_mono`], with a limit of one's own, which bounds the memory that any file can make this take.
///
/// # Errors
/// As [`read_mono`]; longer than `longest` seconds.
pub fn read_mono_within(path: &Path, rate: u32, longest: f64) -> Result<Vec<f32>, Error> {
    guarded(path, || {
        let (samples, from) = Opened::new(path)?.decode(longest)?;
        resample::resample(samples, from, rate)
    })
}

/// Runs `read`; a decoder that panics on a damaged file has found the damage too.
fn guarded<T>(path: &Path, read: impl FnOnce() -> Result<T, Problem>) -> Result<T, Error> {
    catch_unwind(AssertUnwindSafe(read))
        .unwrap_or_else(|_| {
            Err(Problem::Malformed {
                place: "file".to_owned(),
                what: "the decoder gave up".to_owned(),
            })
        })
        .map_err(|problem| problem.at(path))
}

struct Opened {
    /// Whether `info.frames` is a promise, not an estimate.
    promised: bool,
    format: Box<dyn FormatReader>,
    decoder: Box<dyn AudioDecoder>,
    track: u32,
    info: Info,
}

impl Opened {
    fn new(path: &Path) -> Result<Self, Problem> {
        let mut file = File::open(path).map_err(Problem::io("cannot open the file"))?;
        let metadata = file
            .metadata()
            .map_err(Problem::io("cannot read the file's size"))?;
        if metadata.is_dir() {
            return Err(Problem::Unsupported {
                what: "this is a folder".to_owned(),
            });
        }
        container::check(&mut file)?;
        let found = container::beginning(&mut file);
        std::io::Seek::rewind(&mut file).map_err(Problem::io("cannot read the file"))?;

        let mut hint = Hint::new();
        if let Some(extension) = path.extension().and_then(|extension| extension.to_str()) {
            hint.with_extension(extension);
        }
        let stream = MediaSourceStream::new(Box::new(file), Default::default());
        let format = symphonia::default::get_probe()
            .probe(
                &hint,
                stream,
                FormatOptions::default(),
                MetadataOptions::default(),
            )
            .map_err(|error| match error {
                // The probe says "unsupported" both for bytes that nobody knows and for a known container with odd content.
                SymphoniaError::Unsupported(what) if known_container(&found) => {
                    Problem::Unsupported {
                        what: what.to_owned(),
                    }
                }
                SymphoniaError::Unsupported(_) => Problem::NotAudio { found },
                // Nothing that looks like a sound before the file ended.
                SymphoniaError::IoError(cause)
                    if cause.kind() == std::io::ErrorKind::UnexpectedEof
                        && !known_container(&found) =>
                {
                    Problem::NotAudio { found }
                }
                other => problem(other, "header".to_owned()),
            })?;

        let track = format
            .default_track(TrackType::Audio)
            .ok_or_else(|| Problem::Unsupported {
                what: "the file has no sound track".to_owned(),
            })?;
        let params = track
            .codec_params
            .as_ref()
            .and_then(|params| params.audio())
            .ok_or_else(|| Problem::Unsupported {
                what: "the sound track has an unknown codec".to_owned(),
            })?;
        let (frames, id) = (track.num_frames, track.id);
        // MP3 has no length of its own: without the encoder's tag, which also says how much padding there is, it is estimated.
        let promised = params.codec != CODEC_ID_MP3 || track.delay.is_some();
        let decoder = symphonia::default::get_codecs()
            .make_audio_decoder(params, &AudioDecoderOptions::default())
            .map_err(|error| problem(error, "header".to_owned()))?;
        // A header may leave out what only the first packet shows; 0 then, and `decode` sees the truth.
        let info = Info {
            rate: params.sample_rate.unwrap_or(0),
            channels: params
                .channels
                .as_ref()
                .map_or(0, |channels| channels.count()),
            frames,
            codec: decoder.codec_info().short_name.to_owned(),
        };
        Ok(Self {
            format,
            decoder,
            track: id,
            promised,
            info,
        })
    }

    /// Decodes everything, `longest` seconds at most: mono samples and their rate.
    fn decode(mut self, longest: f64) -> Result<(Vec<f32>, u32), Problem> {
        let mut mono: Vec<f32> = Vec::new();
        let mut shape: Option<(u32, usize)> = None;
        let mut interleaved = Vec::new();
        loop {
            let packet = match self.format.next_packet() {
                Ok(Some(packet)) => packet,
                Ok(None) => break,
                Err(SymphoniaError::IoError(cause))
                    if cause.kind() == std::io::ErrorKind::UnexpectedEof =>
                {
                    return Err(Problem::Truncated {
                        promise: match self.info.seconds() {
                            Some(seconds) => format!("the header promises {seconds:.3} s"),
                            None => "the stream has no end mark".to_owned(),
                        },
                        found: format!("the file ends {}", place(&mono, shape)),
                    });
                }
                Err(error) => return Err(problem(error, place(&mono, shape))),
            };
            if packet.track_id != self.track {
                continue;
            }
            let buffer = self
                .decoder
                .decode(&packet)
                .map_err(|error| problem(error, place(&mono, shape)))?;
            if buffer.frames() == 0 {
                continue;
            }
            let found = (buffer.spec().rate(), buffer.spec().channels().count());
            let (rate, channels) = *shape.get_or_insert(found);
            if found != (rate, channels) || channels == 0 {
                return Err(Problem::Malformed {
                    place: place(&mono, shape),
                    what: format!(
                        "the sound changes from {channels} channels at {rate} Hz to {} at {} Hz",
                        found.1, found.0
                    ),
                });
            }
            if (mono.len() + buffer.frames()) as f64 > longest * f64::from(rate) {
                return Err(Problem::TooLong { longest });
            }
            buffer.copy_to_vec_interleaved::<f32>(&mut interleaved);
            mix(&interleaved, channels, rate, &mut mono)?;
        }
        let Some((rate, _)) = shape else {
            return Err(Problem::NoSamples);
        };
        self.complete(mono.len() as u64, rate)?;
        Ok((mono, rate))
    }

    /// Compares what was decoded with what the header promised.
    fn complete(&self, decoded: u64, rate: u32) -> Result<(), Problem> {
        match self.info.frames {
            Some(frames) if decoded < frames && self.promised => Err(Problem::Truncated {
                promise: format!("the header promises {frames} samples"),
                found: format!(
                    "there are {decoded} ({:.3} s)",
                    decoded as f64 / f64::from(rate)
                ),
            }),
            _ => Ok(()),
        }
    }
}

/// Appends the mean over channels of `interleaved` to `mono`.
fn mix(
    interleaved: &[f32],
    channels: usize,
    rate: u32,
    mono: &mut Vec<f32>,
) -> Result<(), Problem> {
    mono.reserve(interleaved.len() / channels);
    for frame in interleaved.chunks_exact(channels) {
        let mut sum = 0.0;
        for (channel, &value) in frame.iter().enumerate() {
            if !value.is_finite() {
                return Err(Problem::NotFinite {
                    frame: mono.len() as u64,
                    channel,
                    seconds: mono.len() as f64 / f64::from(rate),
                    value,
                });
            }
            sum += f64::from(value);
        }
        mono.push((sum / channels as f64) as f32);
    }
    Ok(())
}

/// How far decoding has come.
fn place(mono: &[f32], shape: Option<(u32, usize)>) -> String {
    match shape {
        Some((rate, _)) => format!("at {:.3} s", mono.len() as f64 / f64::from(rate)),
        None => "at the start".to_owned(),
    }
}

fn known_container(beginning: &str) -> bool {
    ["\"RIFF", "\"fLaC", "\"OggS", "\"FORM"]
        .iter()
        .any(|magic| beginning.starts_with(magic))
}

fn problem(error: SymphoniaError, place: String) -> Problem {
    match error {
        SymphoniaError::IoError(cause) if cause.kind() == std::io::ErrorKind::UnexpectedEof => {
            Problem::Truncated {
                promise: format!("more was expected {place}"),
                found: "the file ends there".to_owned(),
            }
        }
        SymphoniaError::IoError(cause) => Problem::Io {
            doing: "cannot read the file",
            cause,
        },
        SymphoniaError::Unsupported(what) => Problem::Unsupported {
            what: what.to_owned(),
        },
        SymphoniaError::ResetRequired => Problem::Unsupported {
            what: format!("another sound begins {place} (a chained stream)"),
        },
        other => Problem::Malformed {
            place,
            what: other.to_string(),
        },
    }
}
