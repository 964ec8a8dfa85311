//! Predictions in HDF5: what h5py wrote (data/make_hdf5.py), what is written here, and what is broken.

use std::path::{Path, PathBuf};

use proptest::prelude::*;
use tensorfile::hdf5::{Hdf5Error, Predictions, write_predictions};

const GOOD: [&str; 11] = [
    "contiguous",
    "v114",
    "gzip",
    "gzip_v114",
    "lzf",
    "resizable",
    "float64",
    "float16",
    "float16_gzip",
    "big_endian",
    "fixed_names",
];

fn data(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/data/{name}.hdf5"))
}

/// What the script put into row `n`.
fn row(n: usize) -> Vec<f32> {
    (0..15)
        .map(|i| ((n * 15 + i) as f32 - 20.0) / 4.0)
        .collect()
}

#[test]
fn files_of_h5py_are_read_equal() {
    for name in GOOD {
        let file = Predictions::open(&data(name)).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!(file.shape(), [3, 5], "{name}");
        assert_eq!(file.names().len(), 7, "{name}");
        assert_eq!(file.names()[2], "clip-2", "{name}");
        assert_eq!(file.names()[6], "Straßenlärm_07", "{name}");
        for n in [6, 0, 3, 1, 5, 2, 4] {
            assert_eq!(file.rows(n, 1).unwrap(), row(n), "{name}, row {n}");
        }
        let all: Vec<f32> = (0..7).flat_map(row).collect();
        assert_eq!(file.rows(0, 7).unwrap(), all, "{name}");
        assert!(file.rows(6, 2).is_err(), "{name}");
    }
    let empty = Predictions::open(&data("empty")).unwrap();
    assert!(empty.names().is_empty());
}

#[test]
fn what_does_not_fit_is_named() {
    for (name, part) in [
        ("bad_v200", "layout version: 5"),
        ("bad_integers", "strong_logits of type i32"),
        ("bad_rank", "strong_logits of shape [3, 5]"),
        ("bad_names", "6 names for 7 clips"),
        ("bad_duplicate", "\"a\" more than once, again in row 1"),
        ("bad_no_names", "no data set \"filenames\""),
        ("bad_no_logits", "no data set \"strong_logits\""),
        ("bad_not_utf8", "UTF-8"),
        ("bad_name_type", "filenames of type i64"),
    ] {
        let error = Predictions::open(&data(name)).unwrap_err().to_string();
        assert!(error.contains(part), "{name}: {error}");
        assert!(error.contains(&format!("{name}.hdf5")), "{error}");
    }
}

/// Reads everything there is; errors are welcome, panics are not.
fn read_all(path: &Path) -> Result<(), Hdf5Error> {
    let file = Predictions::open(path)?;
    for n in 0..file.names().len() {
        file.rows(n, 1)?;
    }
    Ok(())
}

#[test]
fn cut_off_and_damaged_files_are_errors() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("damaged.hdf5");
    for name in GOOD {
        let whole = std::fs::read(data(name)).unwrap();
        for length in (0..whole.len()).step_by(211) {
            std::fs::write(&path, &whole[..length]).unwrap();
            assert!(read_all(&path).is_err(), "{name} cut off at {length}");
        }
        for position in (0..whole.len()).step_by(41) {
            let mut bytes = whole.clone();
            bytes[position] ^= 0xff;
            std::fs::write(&path, bytes).unwrap();
            // a changed logit is no error; whatever else happens has to be one
            let _ = read_all(&path);
        }
    }
}

#[test]
fn names_come_once_when_written() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("out.hdf5");
    let twice = ["a".to_owned(), "a".to_owned()];
    assert!(write_predictions(&path, &twice, [1, 1], &[0.0, 1.0]).is_err());
    assert!(write_predictions(&path, &twice[..1], [1, 2], &[0.0]).is_err());
    assert!(!path.exists());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn what_is_written_is_read(
        names in prop::collection::hash_set("[^\\x00\u{fffd}]{1,12}", 1..40),
        frames in 1usize..9,
        classes in 1usize..9,
        seed in any::<u32>(),
    ) {
        let names: Vec<String> = names.into_iter().collect();
        let row = frames * classes;
        let logits: Vec<f32> = (0..names.len() * row)
            .map(|i| f32::from_bits((i as u32).wrapping_mul(2_654_435_761) ^ seed))
            .collect();
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("out.hdf5");
        write_predictions(&path, &names, [frames, classes], &logits).unwrap();
        let file = Predictions::open(&path).unwrap();
        prop_assert_eq!(file.names(), names.as_slice());
        prop_assert_eq!(file.shape(), [frames, classes]);
        for n in 0..names.len() {
            let bits: Vec<u32> = file.rows(n, 1).unwrap().iter().map(|v| v.to_bits()).collect();
            let expected: Vec<u32> = logits[n * row..][..row].iter().map(|v| v.to_bits()).collect();
            prop_assert_eq!(bits, expected);
        }
    }
}
