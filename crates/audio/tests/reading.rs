//! Formats, exactness, resampling, and what is said about files that are not what they claim to be.

use std::f64::consts::TAU;
use std::path::{Path, PathBuf};

use audio::{
    Error, Problem, probe, read_mono, read_mono_within, resample, resampled_len, write_wav_i16,
};
use hound::{SampleFormat, WavSpec, WavWriter};

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/files")
        .join(name)
}

fn sine(frequency: f64, amplitude: f64, rate: u32, len: usize) -> Vec<f32> {
    (0..len)
        .map(|n| (amplitude * (TAU * frequency * n as f64 / f64::from(rate)).sin()) as f32)
        .collect()
}

/// Signal-to-error ratio in dB, the ends left out (a filter rings where a sine begins out of nothing).
fn snr(expected: &[f32], found: &[f32], edge: usize) -> f64 {
    assert_eq!(expected.len(), found.len());
    let range = edge..expected.len() - edge;
    let power = |x: &dyn Fn(usize) -> f64| range.clone().map(|n| x(n) * x(n)).sum::<f64>();
    let signal = power(&|n| f64::from(expected[n]));
    let error = power(&|n| f64::from(expected[n]) - f64::from(found[n]));
    10.0 * (signal / error.max(1e-30)).log10()
}

fn spec(bits: u16, channels: u16, rate: u32, sample_format: SampleFormat) -> WavSpec {
    WavSpec {
        channels,
        sample_rate: rate,
        bits_per_sample: bits,
        sample_format,
    }
}

fn message(error: &Error) -> String {
    error.to_string()
}

#[test]
fn integers_are_scaled_by_a_power_of_two_exactly() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.wav");
    for bits in [8_u16, 16, 24, 32] {
        let half = 1_i64 << (bits - 1);
        let values = [0, 1, -1, half - 1, -half, half / 2, 77];
        let mut writer =
            WavWriter::create(&path, spec(bits, 1, 16_000, SampleFormat::Int)).unwrap();
        for value in values {
            writer.write_sample(value as i32).unwrap();
        }
        writer.finalize().unwrap();
        let expected: Vec<f32> = values
            .iter()
            .map(|&value| (value as f64 / half as f64) as f32)
            .collect();
        assert_eq!(read_mono(&path, 16_000).unwrap(), expected, "{bits} bits");
    }
}

#[test]
fn mono_is_the_mean_of_the_channels() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.wav");
    let mut writer = WavWriter::create(&path, spec(16, 3, 16_000, SampleFormat::Int)).unwrap();
    for value in [300_i16, 600, -150, 3, 3, 3] {
        writer.write_sample(value).unwrap();
    }
    writer.finalize().unwrap();
    let expected = [250.0 / 32768.0, 3.0 / 32768.0];
    assert_eq!(read_mono(&path, 16_000).unwrap(), expected);
    let info = probe(&path).unwrap();
    assert_eq!(
        (info.rate, info.channels, info.frames),
        (16_000, 3, Some(2))
    );
}

#[test]
fn what_is_written_is_read_back() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.wav");
    let samples: Vec<f32> = (-32768..32768).map(|n| n as f32 / 32768.0).collect();
    write_wav_i16(&path, &samples, 16_000).unwrap();
    assert_eq!(read_mono(&path, 16_000).unwrap(), samples);
    write_wav_i16(&path, &[2.0, -2.0], 16_000).unwrap();
    assert_eq!(read_mono(&path, 16_000).unwrap(), [32767.0 / 32768.0, -1.0]);
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
}

#[test]
fn nothing_is_left_of_a_file_that_cannot_be_written() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.wav");
    let error = write_wav_i16(&path, &[0.0, f32::NAN], 16_000).unwrap_err();
    assert!(message(&error).contains("a.wav: sample 1 of channel 0"));
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
}

#[test]
fn resampling_keeps_a_sine_in_place_and_shape() {
    for (from, to) in [
        (44_100, 16_000),
        (48_000, 16_000),
        (32_000, 16_000),
        (22_050, 16_000),
        (11_025, 16_000),
        (8_000, 16_000),
        (16_000, 32_000),
        (44_099, 16_000),
    ] {
        for frequency in [100.0, 1_000.0, 3_500.0] {
            let len = from as usize + 17;
            let found = resample(sine(frequency, 0.5, from, len), from, to).unwrap();
            let expected = sine(frequency, 0.5, to, resampled_len(len, from, to));
            let snr = snr(&expected, &found, 1_500);
            assert!(snr > 90.0, "{from} -> {to}, {frequency} Hz: {snr:.1} dB");
        }
    }
}

#[test]
fn resampling_removes_what_would_fold_back() {
    let found = resample(sine(9_000.0, 0.5, 44_100, 44_100), 44_100, 16_000).unwrap();
    let peak = found[1_000..15_000]
        .iter()
        .fold(0.0_f32, |peak, x| peak.max(x.abs()));
    assert!(peak < 1e-5, "{peak}");
}

#[test]
fn resampled_length_is_rounded() {
    assert_eq!(resampled_len(441_000, 44_100, 16_000), 160_000);
    assert_eq!(resampled_len(3, 2, 1), 2);
    assert_eq!(resampled_len(1, 48_000, 16_000), 0);
    for len in [1, 2, 3, 100, 1_023, 1_024, 1_025, 44_101] {
        let found = resample(vec![0.1; len], 44_100, 16_000).unwrap();
        assert_eq!(found.len(), resampled_len(len, 44_100, 16_000), "{len}");
    }
    let error = resample(vec![0.0], 16_000, 1).unwrap_err();
    assert!(matches!(error, Problem::Rate { found: 1 }));
}

#[test]
fn compressed_formats_give_the_sound_in_place() {
    let len = resampled_len(13_230, 44_100, 16_000);
    let left = sine(440.0, 0.25, 16_000, len);
    let right = sine(660.0, 0.25, 16_000, len);
    let expected: Vec<f32> = left.iter().zip(&right).map(|(a, b)| a + b).collect();
    for (name, at_least) in [
        ("sine_stereo_44k.flac", 50.0),
        ("sine_stereo_44k.ogg", 20.0),
        ("sine_stereo_44k.mp3", 20.0),
    ] {
        let found = read_mono(&fixture(name), 16_000).unwrap();
        let snr = snr(&expected, &found, 800);
        assert!(snr > at_least, "{name}: {snr:.1} dB");
        let info = probe(&fixture(name)).unwrap();
        assert_eq!((info.rate, info.channels), (44_100, 2), "{name}");
    }
}

#[test]
fn adpcm_and_eight_bits_are_read() {
    let expected: Vec<f32> = sine(440.0, 0.5, 16_000, 4_000);
    for name in [
        "sine_mono_16k_u8.wav",
        "sine_mono_16k_ima_adpcm.wav",
        "sine_mono_16k_ms_adpcm.wav",
    ] {
        let mut found = read_mono(&fixture(name), 16_000).unwrap();
        // ADPCM comes in whole blocks.
        assert!(found.len() >= 4_000 && found.len() < 5_100, "{name}");
        found.truncate(4_000);
        let snr = snr(&expected, &found, 100);
        assert!(snr > 25.0, "{name}: {snr:.1} dB");
    }
}

#[test]
fn floats_are_read_and_nan_is_refused_with_its_place() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.wav");
    let write = |values: &[f32]| {
        let mut writer =
            WavWriter::create(&path, spec(32, 2, 16_000, SampleFormat::Float)).unwrap();
        for &value in values {
            writer.write_sample(value).unwrap();
        }
        writer.finalize().unwrap();
    };
    write(&[0.5, 0.25, 1.5, -1.5]);
    assert_eq!(read_mono(&path, 16_000).unwrap(), [0.375, 0.0]);
    let mut values = vec![0.0; 32_000];
    values[16_001] = f32::NAN;
    write(&values);
    let error = read_mono(&path, 16_000).unwrap_err();
    assert!(
        message(&error).ends_with(
            "a.wav: sample 8000 of channel 1 (0.500 s) is NaN, expected a finite number"
        ),
        "{error}"
    );
}

#[test]
fn a_truncated_wav_is_an_error_not_a_short_clip() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.wav");
    write_wav_i16(&path, &vec![0.1; 1_000], 16_000).unwrap();
    let whole = std::fs::read(&path).unwrap();
    for len in 1..whole.len() {
        std::fs::write(&path, &whole[..len]).unwrap();
        assert!(read_mono(&path, 16_000).is_err(), "{len} bytes");
        assert!(probe(&path).is_err(), "{len} bytes");
    }
    let error = message(&read_mono(&path, 16_000).unwrap_err());
    assert!(
        error.contains("truncated: the data chunk at byte 36 promises 2000 bytes, but 1999 follow"),
        "{error}"
    );
    std::fs::write(&path, &whole[..30]).unwrap();
    let error = message(&probe(&path).unwrap_err());
    assert!(
        error.contains("the chunk 'fmt ' at byte 12 promises 16 bytes, but 10 follow"),
        "{error}"
    );
}

#[test]
fn truncated_flac_ogg_and_tagged_mp3_are_errors() {
    let dir = tempfile::tempdir().unwrap();
    for name in [
        "sine_stereo_44k.flac",
        "sine_stereo_44k.ogg",
        "sine_stereo_44k.mp3",
    ] {
        let whole = std::fs::read(fixture(name)).unwrap();
        let path = dir.path().join(name);
        for part in [0.3, 0.6, 0.9] {
            std::fs::write(&path, &whole[..(whole.len() as f64 * part) as usize]).unwrap();
            let result = read_mono(&path, 16_000);
            assert!(result.is_err(), "{name}, {part} of it");
        }
    }
}

#[test]
fn files_that_hold_no_sound_are_named() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.wav");
    let said = |bytes: &[u8]| {
        std::fs::write(&path, bytes).unwrap();
        message(&read_mono(&path, 16_000).unwrap_err())
    };
    assert!(said(b"").contains("a.wav: the file is empty (0 bytes)"));
    let text = said(b"filename\tonset\toffset\tevent_label\n");
    assert!(
        text.contains("not a sound file that can be read: it begins with \"filename\""),
        "{text}"
    );
    let text = said(&[0; 5_000]);
    assert!(text.contains("not a sound file"), "{text}");

    WavWriter::create(&path, spec(16, 1, 16_000, SampleFormat::Int))
        .unwrap()
        .finalize()
        .unwrap();
    let text = message(&read_mono(&path, 16_000).unwrap_err());
    assert!(text.contains("holds no samples"), "{text}");

    // Format tag 0x0050 is MPEG audio inside WAV.
    write_wav_i16(&path, &[0.0; 100], 16_000).unwrap();
    let mut bytes = std::fs::read(&path).unwrap();
    bytes[20] = 0x50;
    let text = said(&bytes);
    assert!(text.contains("unsupported"), "{text}");

    let text = message(&read_mono(&dir.path().join("none.wav"), 16_000).unwrap_err());
    assert!(
        text.contains("none.wav: cannot open the file: No such file"),
        "{text}"
    );
    let text = message(&read_mono(dir.path(), 16_000).unwrap_err());
    assert!(text.contains("this is a folder"), "{text}");
}

#[test]
fn silence_without_end_is_refused_in_time() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../fuzz/regressions/audio/five_minutes_in_a_thousand_bytes.flac");
    assert_eq!(read_mono(&path, 16_000).unwrap().len(), 70 * 65_535);
    let error = read_mono_within(&path, 16_000, 60.0).unwrap_err();
    assert!(matches!(error.problem, Problem::TooLong { longest: 60.0 }));
    assert!(message(&error).contains("longer than 60 s (cut it into pieces"));
}
