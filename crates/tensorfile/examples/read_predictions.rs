//! How fast one clip's logits are read from our format and from the reference's HDF5, and how large the files are:
//! `cargo run --release -p tensorfile --example read_predictions [FOLDER]`
//!
//! Both files lie in the page cache and hold the same numbers, which is verified. Every figure is a median over rounds in which
//! the formats take turns.

use std::collections::BTreeMap;
use std::error::Error;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Instant;

use serde_json::json;
use tensorfile::hdf5::{Predictions, write_predictions};
use tensorfile::{Dtype, Info, TensorFile, TensorWriter};

type Outcome<T> = Result<T, Box<dyn Error>>;

const CLIPS: usize = 2000;
const SHAPE: [usize; 2] = [156, 27];
const ROW: usize = SHAPE[0] * SHAPE[1];
const ROUNDS: usize = 15;

/// An artifact `logits`: names of its clips in the header, a row for each.
struct Own {
    file: TensorFile,
    names: Vec<String>,
}

impl Own {
    fn open(path: &Path) -> Outcome<Self> {
        let file = TensorFile::open(path)?;
        let names = file.metadata("clips").ok_or("no names")?;
        let names = serde_json::from_str(names)?;
        Ok(Self { file, names })
    }

    fn row(&self, row: usize) -> Outcome<Vec<f32>> {
        let bytes = self.file.rows("logits", row, 1)?;
        let (values, _) = bytes.as_chunks::<4>();
        Ok(values.iter().copied().map(f32::from_le_bytes).collect())
    }
}

fn write_own(path: &Path, names: &[String], logits: &[f32]) -> Outcome<()> {
    let info = Info {
        dtype: Dtype::F32,
        shape: vec![names.len(), SHAPE[0], SHAPE[1]],
    };
    let metadata = BTreeMap::from([("clips".to_owned(), json!(names).to_string())]);
    let mut writer = TensorWriter::create(path, &[("logits".to_owned(), info)], &metadata)?;
    for row in logits.chunks(ROW) {
        let bytes: Vec<u8> = row.iter().flat_map(|value| value.to_le_bytes()).collect();
        writer.append(&bytes)?;
    }
    Ok(writer.finish()?)
}

/// Seconds that a call takes.
fn timed<T>(call: impl FnOnce() -> Outcome<T>) -> Outcome<f64> {
    let start = Instant::now();
    std::hint::black_box(call()?);
    Ok(start.elapsed().as_secs_f64())
}

fn median(mut times: Vec<f64>) -> f64 {
    times.sort_by(f64::total_cmp);
    times[times.len() / 2]
}

fn main() -> Outcome<()> {
    let folder = match std::env::args_os().nth(1) {
        Some(folder) => PathBuf::from(folder),
        None => std::env::temp_dir(),
    };
    let folder = tempfile::tempdir_in(folder)?;
    let [own, hdf5] = ["own.safetensors", "reference.hdf5"].map(|name| folder.path().join(name));
    let names: Vec<String> = (0..CLIPS)
        .map(|i| format!("Y{i:011}_30.000_40.000"))
        .collect();
    let logits: Vec<f32> = (0..CLIPS * ROW)
        .map(|i| ((i as u32).wrapping_mul(2_654_435_761) >> 8) as f32 / 1e6 - 8.0)
        .collect();
    write_own(&own, &names, &logits)?;
    write_predictions(&hdf5, &names, SHAPE, &logits)?;

    // 733 and 2000 have no common divisor: every clip once, none beside the one before
    let order: Vec<usize> = (0..CLIPS).map(|i| i * 733 % CLIPS).collect();
    let (ours, theirs) = (Own::open(&own)?, Predictions::open(&hdf5)?);
    assert_eq!(ours.names, theirs.names());
    for &row in &order {
        assert_eq!(ours.row(row)?, theirs.rows(row, 1)?);
    }

    let mut times: [Vec<f64>; 4] = Default::default();
    for round in 0..ROUNDS {
        let row = order[round];
        times[0].push(timed(|| Own::open(&own)?.row(row))?);
        times[1].push(timed(|| Ok(Predictions::open(&hdf5)?.rows(row, 1)?))?);
        times[2].push(timed(|| {
            let mut sum = 0.0;
            for &row in &order {
                sum += ours.row(row)?[0];
            }
            Ok(sum)
        })?);
        times[3].push(timed(|| {
            let mut sum = 0.0;
            for &row in &order {
                sum += theirs.rows(row, 1)?[0];
            }
            Ok(sum)
        })?);
    }
    let [one_own, one_hdf5, all_own, all_hdf5] = times.map(median);
    let [own_bytes, hdf5_bytes] = [own.metadata()?.len(), hdf5.metadata()?.len()];
    let mut out = std::io::stdout().lock();
    writeln!(
        out,
        "{CLIPS} clips                safetensors         HDF5   ratio"
    )?;
    for (what, ours, theirs) in [
        ("open and read one, µs", one_own * 1e6, one_hdf5 * 1e6),
        (
            "each of all, µs",
            all_own * 1e6 / CLIPS as f64,
            all_hdf5 * 1e6 / CLIPS as f64,
        ),
        ("file, bytes", own_bytes as f64, hdf5_bytes as f64),
    ] {
        writeln!(
            out,
            "{what:<24} {ours:>12.1} {theirs:>12.1}   {:>5.3}",
            ours / theirs
        )?;
    }
    Ok(())
}
