//! Writing 16-bit WAV.

use std::fs::{self, File};
use std::io::{BufWriter, Write as _};
use std::path::Path;

use crate::{Error, Problem};

/// Writes mono samples in [-1, 1] as 16-bit PCM WAV; what is louder is clipped. The file is written beside its place and renamed, so
/// that nobody ever sees half of it.
///
/// # Errors
/// A sample that is not a finite number; whatever the operating system says.
pub fn write_wav_i16(path: &Path, samples: &[f32], rate: u32) -> Result<(), Error> {
    let aside = aside(path);
    let result = write(&aside, samples, rate).and_then(|()| {
        fs::rename(&aside, path).map_err(Problem::io("cannot move the finished file into place"))
    });
    if result.is_err() {
        // The error that matters is the first one; a left-over is overwritten by the next attempt.
        let _ = fs::remove_file(&aside);
    }
    result.map_err(|problem| problem.at(path))
}

fn aside(path: &Path) -> std::path::PathBuf {
    let mut name = std::ffi::OsString::from(".");
    name.push(path.file_name().unwrap_or_default());
    name.push(format!(".{}.part", std::process::id()));
    path.with_file_name(name)
}

fn write(path: &Path, samples: &[f32], rate: u32) -> Result<(), Problem> {
    if let Some(frame) = samples.iter().position(|x| !x.is_finite()) {
        return Err(Problem::NotFinite {
            frame: frame as u64,
            channel: 0,
            seconds: frame as f64 / f64::from(rate),
            value: samples[frame],
        });
    }
    let spec = hound::WavSpec {
        channels: 1,
        sample_rate: rate,
        bits_per_sample: 16,
        sample_format: hound::SampleFormat::Int,
    };
    let file = File::create(path).map_err(Problem::io("cannot create the file"))?;
    let mut file = BufWriter::new(file);
    let doing = "cannot write the samples";
    let failed = |error| match error {
        hound::Error::IoError(cause) => Problem::Io { doing, cause },
        other => Problem::Unsupported {
            what: other.to_string(),
        },
    };
    let mut writer = hound::WavWriter::new(&mut file, spec).map_err(failed)?;
    for &sample in samples {
        let scaled = (sample * 32768.0).round().clamp(-32768.0, 32767.0);
        writer.write_sample(scaled as i16).map_err(failed)?;
    }
    writer.finalize().map_err(failed)?;
    file.flush().map_err(Problem::io(doing))
}
