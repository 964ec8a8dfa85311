//! Writes something to begin with into `fuzz/corpus/TARGET`, and words that mean something into `fuzz/corpus/TARGET.dict`.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use dataset::synthetic::Sizes;
use hound::{SampleFormat, WavSpec, WavWriter};
use tensorfile::hdf5::write_predictions;
use tensorfile::{Dtype, Info, TensorWriter};
use types::Split;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    plans()?;
    tables()?;
    sounds()?;
    tensors()?;
    predictions()?;
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

fn dictionary<'a>(target: &str, words: impl IntoIterator<Item = &'a [u8]>) -> io::Result<()> {
    let lines: Vec<String> = words
        .into_iter()
        .map(|word| word.iter().map(|byte| format!("\\x{byte:02x}")).collect())
        .map(|word: String| format!("\"{word}\"\n"))
        .collect();
    fs::write(
        root().join(format!("fuzz/corpus/{target}.dict")),
        lines.concat(),
    )
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
    let marks = [
        "[[",
        "]]",
        "\"\"\"",
        "'''",
        " = ",
        "\n[[member]]\n",
        "\n[[iteration]]\n",
        "nan",
        "1e999",
    ];
    dictionary("plan", words.into_iter().chain(marks).map(str::as_bytes))?;
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
    let columns = [
        "filename",
        "onset",
        "offset",
        "event_label",
        "event_labels",
        "confidence",
        "duration",
        "\t",
        "\n",
        "NaN",
        ".wav",
    ];
    let words = columns.into_iter().chain(dataset::CLASSES);
    dictionary("tsv", words.map(str::as_bytes))?;
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
    let words: [&[u8]; 22] = [
        b"RIFF",
        b"WAVE",
        b"fmt ",
        b"data",
        b"fact",
        b"LIST",
        b"\xfe\xff",
        b"\x11\x00",
        b"fLaC",
        b"\xff\xf8",
        b"OggS",
        b"\x01vorbis",
        b"\x03vorbis",
        b"\x05vorbis",
        b"FORM",
        b"AIFF",
        b"AIFC",
        b"COMM",
        b"SSND",
        b"ID3",
        b"Xing",
        b"\xff\xfb",
    ];
    dictionary("audio", words)?;
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

/// safetensors of every type, and PyTorch's own files (fuzz/seeds/pickle/make.py).
fn tensors() -> Result<(), Box<dyn std::error::Error>> {
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("a");
    for shape in [vec![], vec![0], vec![3], vec![2, 3]] {
        let tensors: Vec<(String, Info)> = Dtype::ALL
            .into_iter()
            .map(|dtype| {
                (
                    format!("of.{dtype}"),
                    Info {
                        dtype,
                        shape: shape.clone(),
                    },
                )
            })
            .collect();
        let metadata = BTreeMap::from([("model".to_owned(), "{}".to_owned())]);
        let mut writer = TensorWriter::create(&path, &tensors, &metadata)?;
        for position in writer.order().to_vec() {
            let count = shape.iter().product::<usize>();
            writer.append(&vec![1; tensors[position].1.dtype.width() * count])?;
        }
        writer.finish()?;
        seed(
            "safetensors",
            &format!("{}_axes_{}", shape.len(), shape.first().unwrap_or(&1)),
            &fs::read(&path)?,
        )?;
    }
    let words: [&[u8]; 8] = [
        b"__metadata__",
        b"\"dtype\":",
        b"\"shape\":",
        b"\"data_offsets\":",
        b"BF16",
        b"F8_E4M3",
        b"[18446744073709551615,0]",
        b":{",
    ];
    dictionary("safetensors", words)?;

    copy_all("pickle", &root().join("fuzz/seeds/pickle"))?;
    fs::remove_file(root().join("fuzz/corpus/pickle/make.py"))?;
    let words: [&[u8]; 22] = [
        b"PK\x03\x04",
        b"PK\x01\x02",
        b"PK\x05\x06",
        b"PK\x06\x06",
        b"PK\x06\x07",
        b"/data.pkl",
        b"/data/0",
        b"byteorder",
        b"little",
        b"ctorch._utils\n_rebuild_tensor_v2\n",
        b"ctorch._utils\n_rebuild_parameter\n",
        b"ctorch\nFloatStorage\n",
        b"ctorch\nBFloat16Storage\n",
        b"ccollections\nOrderedDict\n",
        b"ccollections\ndefaultdict\n",
        b"c_codecs\nencode\n",
        b"cos\nsystem\n",
        b"X\x07\x00\x00\x00storage",
        b"\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19.",
        b"tQ",
        b")\x81",
        b"\x8a\x08",
    ];
    dictionary("pickle", words)?;
    Ok(())
}

/// Files that h5py wrote, good and bad ones, and one of ours.
fn predictions() -> Result<(), Box<dyn std::error::Error>> {
    copy_all("hdf5", &root().join("crates/tensorfile/tests/data"))?;
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("a");
    let names: Vec<String> = (0..3).map(|n| format!("clip_{n}")).collect();
    let logits: Vec<f32> = (0..3 * 4 * 2).map(|n| n as f32).collect();
    write_predictions(&path, &names, [4, 2], &logits)?;
    seed("hdf5", "ours.hdf5", &fs::read(&path)?)?;
    let words: [&[u8]; 15] = [
        b"\x89HDF\r\n\x1a\n",
        b"OHDR",
        b"OCHK",
        b"TREE",
        b"HEAP",
        b"SNOD",
        b"GCOL",
        b"FRHP",
        b"BTHD",
        b"FAHD",
        b"EAHD",
        b"FADB",
        b"strong_logits",
        b"filenames",
        b"\xff\xff\xff\xff\xff\xff\xff\xff",
    ];
    dictionary("hdf5", words)?;
    Ok(())
}
