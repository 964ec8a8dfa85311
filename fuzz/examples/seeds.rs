//! Writes something to begin with into `fuzz/corpus/TARGET`, and the words of plans into `fuzz/corpus/plan.dict`.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use dataset::synthetic::Sizes;
use hound::{SampleFormat, WavSpec, WavWriter};
use types::Split;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    plans()?;
    tables()?;
    sounds()?;
    Ok(())
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn seed(target: &str, name: &str, bytes: &[u8]) -> io::Result<()> {
    let folder = root().join("fuzz/corpus").join(target);
    fs::create_dir_all(&folder)?;
    fs::write(folder.join(name), bytes)
}

fn copy_all(target: &str, folder: &Path) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if let (true, Some(name)) = (path.is_file(), path.file_name()) {
            seed(target, &name.to_string_lossy(), &fs::read(&path)?)?;
        }
    }
    Ok(())
}

/// The plans of `configs/`, whole and in pieces, and a dictionary of all keys.
fn plans() -> Result<(), Box<dyn std::error::Error>> {
    copy_all("plan", &root().join("configs"))?;
    seed(
        "plan",
        "least.toml",
        b"name = \"a\"\n[data]\nroot = \"/d\"\n[[member]]\nname = \"m\"\narch = \"atst_frame\"\n[[iteration]]\n",
    )?;
    let reference = plan::keys_reference();
    let words: std::collections::BTreeSet<&str> = reference
        .split(|c: char| !(c.is_ascii_alphanumeric() || "_.".contains(c)))
        .flat_map(|word| std::iter::once(word).chain(word.split('.')))
        .filter(|word| word.len() > 1)
        .collect();
    let mut dictionary: Vec<String> = words.iter().map(|word| format!("\"{word}\"")).collect();
    for mark in [
        "[[",
        "]]",
        "\\\"\\\"\\\"",
        "'''",
        " = ",
        "\\x0A",
        "[[member]]\\x0A",
        "[[iteration]]\\x0A",
        "nan",
        "inf",
        "1e999",
    ] {
        dictionary.push(format!("\"{mark}\""));
    }
    fs::write(root().join("fuzz/corpus/plan.dict"), dictionary.join("\n"))?;
    Ok(())
}

/// The tables of a made-up data set as the target `tsv` wants them.
fn tables() -> Result<(), Box<dyn std::error::Error>> {
    let folder = tempfile::tempdir()?;
    let sizes = Sizes {
        clip_seconds: 1.0,
        synth_validation: 1,
        public_eval: 1,
        ..Sizes::default()
    };
    let data = dataset::synthetic::write(folder.path(), &sizes, 1)?;
    for (number, split) in (0_u8..).zip(Split::ALL) {
        let Some(files) = data.sources.get(&split) else {
            continue;
        };
        let mut input = vec![number];
        for table in [&files.metadata, &files.durations] {
            if let Some(table) = table {
                let text = fs::read_to_string(data.root.join(table))?;
                let few: Vec<&str> = text.lines().take(6).collect();
                input.extend(few.join("\n").bytes());
            }
            input.push(0);
        }
        input.extend(b"filename\nb.flac\n");
        seed("tsv", split.as_str(), &input)?;
    }
    // About files that the target has.
    for (split, table, durations) in [
        (
            0_u8,
            MAESTRO,
            "filename\tduration\ncafe_restaurant_00.wav\t20.0\ncity_center_01.wav\t7\n",
        ),
        (
            9,
            MAESTRO,
            "filename\tduration\ncafe_restaurant_00.wav\t20.0\ncity_center_01.wav\t7\n",
        ),
        (1, STRONG, "filename\tduration\na.wav\t10.0\nb.flac\t9.5\n"),
        (8, STRONG, "filename\tduration\na.wav\t10.0\nb.flac\t9.5\n"),
        (
            4,
            "filename\tevent_labels\na.wav\tSpeech,Dog\nb.flac\tCat\n",
            "",
        ),
        (5, "", ""),
    ] {
        let mut input = vec![split];
        input.extend(format!("{table}\0{durations}\0filename\nb.flac\n").bytes());
        seed("tsv", &format!("known_{split}"), &input)?;
    }
    Ok(())
}

const MAESTRO: &str = "filename\tonset\toffset\tevent_label\tconfidence
cafe_restaurant_00-000000-001000.wav\t0.0\t1.0\tpeople_talking\t0.75
cafe_restaurant_00-000500-001500.wav\t1.0\t2.5\tfootsteps\t1
city_center_01-000000-000700.wav\t\t\t\t
";

const STRONG: &str = "filename\tonset\toffset\tevent_label
a.wav\t0.5\t2.064\tSpeech
a.wav\t1.0\t9.99\tDog
b.flac\tNaN\tNaN\tNaN
";

/// Every format, small.
fn sounds() -> Result<(), Box<dyn std::error::Error>> {
    copy_all("audio", &root().join("crates/audio/tests/files"))?;
    fs::remove_file(root().join("fuzz/corpus/audio/README.md"))?;
    fs::remove_file(root().join("fuzz/corpus/audio/sines.py"))?;
    let folder = tempfile::tempdir()?;
    for (bits, format) in [
        (8, SampleFormat::Int),
        (16, SampleFormat::Int),
        (24, SampleFormat::Int),
        (32, SampleFormat::Int),
        (32, SampleFormat::Float),
    ] {
        for (channels, rate) in [(1, 16_000), (2, 44_100), (6, 48_000)] {
            let spec = WavSpec {
                channels,
                sample_rate: rate,
                bits_per_sample: bits,
                sample_format: format,
            };
            let name = format!("{format:?}_{bits}_{channels}.wav");
            let path = folder.path().join(&name);
            let mut writer = WavWriter::create(&path, spec)?;
            for n in 0..i32::from(channels) * 16 {
                match format {
                    SampleFormat::Int => writer.write_sample(n * 7 % 100)?,
                    SampleFormat::Float => writer.write_sample(n as f32 / 100.0)?,
                }
            }
            writer.finalize()?;
            seed("audio", &name, &fs::read(&path)?)?;
        }
    }
    seed("audio", "int_16.aiff", &aiff(b"AIFF", b""))?;
    seed("audio", "sowt.aifc", &aiff(b"AIFC", b"sowt\x00\x00"))?;
    seed("audio", "fl32.aifc", &aiff(b"AIFC", b"fl32\x00\x00"))?;
    Ok(())
}

/// Mono, 16 bits, 16 kHz, 16 samples; `codec` ends the common chunk of an AIFC file.
fn aiff(kind: &[u8; 4], codec: &[u8]) -> Vec<u8> {
    let chunk = |id: &[u8; 4], body: &[u8]| {
        let mut chunk = id.to_vec();
        chunk.extend((body.len() as u32).to_be_bytes());
        chunk.extend(body);
        chunk
    };
    // Channels, frames, bits, and 16000 as an 80-bit float.
    let mut common = vec![0, 1, 0, 0, 0, 16, 0, 16];
    common.extend([0x40, 0x0c, 0xfa, 0, 0, 0, 0, 0, 0, 0]);
    common.extend(codec);
    let mut body = kind.to_vec();
    body.extend(chunk(b"COMM", &common));
    let mut sound = vec![0; 8];
    sound.extend((0..32).map(|n| n * 3));
    body.extend(chunk(b"SSND", &sound));
    chunk(b"FORM", &body)
}
