//! Predictions in the reference's HDF5 layout (recipe 8.2): `strong_logits` (N, 156, 27) and `filenames` (N).

use std::collections::HashSet;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

use half::f16;
use hdf5_pure::{
    DType, Dataset, Datatype, DatatypeByteOrder, FileBuilder, Layout, VlenStringReadOptions,
};

/// The data set of logits.
pub const LOGITS: &str = "strong_logits";
/// The data set of clip names, in the order of the rows.
pub const NAMES: &str = "filenames";

/// The longest list of clips that is taken for one; a longer one is a damaged header.
const MOST_CLIPS: u64 = 10_000_000;
/// All names together, in bytes.
const MOST_NAME_BYTES: usize = 1 << 28;
/// The largest chunk that is unpacked for one clip, in bytes.
const MOST_CHUNK_BYTES: u64 = 1 << 28;

/// What can be wrong with a file of predictions.
#[derive(Debug, thiserror::Error)]
pub enum Hdf5Error {
    /// The operating system refused.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What it said.
        source: io::Error,
    },
    /// Not HDF5, cut off or damaged.
    #[error("{}: no readable HDF5 file ({found}); fetch or write it again", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What the reader met.
        found: String,
    },
    /// HDF5, and not a file of predictions.
    #[error("{}: found {found}, expected {expected}", path.display())]
    Content {
        /// The file.
        path: PathBuf,
        /// What is there.
        found: String,
        /// What should be.
        expected: String,
    },
}

/// How rows are read.
#[derive(Debug, Clone, Copy)]
enum Storage {
    /// Float32 in the machine's own order, one after the other from this offset.
    Plain(u64),
    /// Chunked, packed, or of another type of number: by the crate.
    Packed,
    /// Float16, whose bytes the crate fetches but does not convert.
    Half(DatatypeByteOrder),
}

/// An open file of predictions. Names are in memory, logits are read a few clips at a time.
#[derive(Debug)]
pub struct Predictions {
    path: PathBuf,
    file: File,
    logits: Dataset,
    storage: Storage,
    names: Vec<String>,
    /// Frames and classes of one clip.
    shape: [usize; 2],
}

impl Predictions {
    /// Opens the file and holds names and shapes against each other.
    ///
    /// Logits may be float32, float64 or float16, contiguous or chunked, packed with gzip, LZF or shuffle; names of variable or of
    /// fixed length.
    ///
    /// # Errors
    /// When it cannot be read, is damaged, lacks a data set, has one of another shape or type, or a name comes twice.
    pub fn open(path: &Path) -> Result<Self, Hdf5Error> {
        let file = File::open(path).map_err(|source| Hdf5Error::Io {
            path: path.to_owned(),
            source,
        })?;
        let container = guarded(path, || hdf5_pure::File::open_streaming(path))?;
        let present = guarded(path, || container.root().datasets())?;
        let dataset = |name: &str| {
            if !present.iter().any(|other| other == name) {
                return Err(content(
                    path,
                    format!("no data set {name:?} among {present:?}"),
                    "predictions as the reference stores them: strong_logits and filenames",
                ));
            }
            guarded(path, || container.dataset(name))
        };

        let logits = dataset(LOGITS)?;
        let shape = guarded(path, || logits.shape())?;
        let &[clips, frames @ 1..=1_000_000, classes @ 1..=100_000] = shape.as_slice() else {
            return Err(content(
                path,
                format!("{LOGITS} of shape {shape:?}"),
                "(clips, frames, classes)",
            ));
        };
        let length = file
            .metadata()
            .map_err(|source| Hdf5Error::Io {
                path: path.to_owned(),
                source,
            })?
            .len();
        let (storage, bytes) = storage(path, &logits)?;
        chunks_are_possible(path, LOGITS, &logits, length)?;
        // an extent beyond the file's end would be found at the first clip that is read; better now
        if let Storage::Plain(start) = storage {
            let needed = (clips.checked_mul(frames * classes * 4))
                .filter(|needed| *needed <= bytes)
                .and_then(|needed| needed.checked_add(start));
            if needed.is_none_or(|end| end > length) {
                return Err(Hdf5Error::Damaged {
                    path: path.to_owned(),
                    found: format!("{LOGITS} of shape {shape:?} in {length} bytes"),
                });
            }
        }
        let names = dataset(NAMES)?;
        chunks_are_possible(path, NAMES, &names, length)?;
        let names = self::names(path, &names, length)?;
        if names.len() as u64 != clips {
            return Err(content(
                path,
                format!("{} names for {clips} clips", names.len()),
                "one name for each row of strong_logits",
            ));
        }
        Ok(Self {
            path: path.to_owned(),
            file,
            logits,
            storage,
            names,
            shape: [frames as usize, classes as usize],
        })
    }

    /// The file's place.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Names of the clips, in the order of the rows.
    #[must_use]
    pub fn names(&self) -> &[String] {
        &self.names
    }

    /// Frames and classes of one clip.
    #[must_use]
    pub fn shape(&self) -> [usize; 2] {
        self.shape
    }

    /// Logits of clips `start .. start + count`, frame by frame, without reading the rest.
    ///
    /// # Errors
    /// When there are fewer clips, or the file cannot be read.
    pub fn rows(&self, start: usize, count: usize) -> Result<Vec<f32>, Hdf5Error> {
        if start
            .checked_add(count)
            .is_none_or(|end| end > self.names.len())
        {
            return Err(content(
                &self.path,
                format!("{} clips", self.names.len()),
                &format!("clips {start} to {}", start.saturating_add(count)),
            ));
        }
        let row = self.shape[0] * self.shape[1];
        match self.storage {
            Storage::Plain(offset) => {
                let mut bytes = vec![0; count * row * 4];
                let offset = offset + (start * row * 4) as u64;
                self.file
                    .read_exact_at(&mut bytes, offset)
                    .map_err(|source| Hdf5Error::Io {
                        path: self.path.clone(),
                        source,
                    })?;
                Ok(bytes
                    .as_chunks::<4>()
                    .0
                    .iter()
                    .map(|&value| f32::from_le_bytes(value))
                    .collect())
            }
            Storage::Packed => self.complete(
                guarded(&self.path, || {
                    self.logits.read_f32_rows(start as u64, count as u64)
                })?,
                count * row,
            ),
            Storage::Half(order) => {
                let bytes = guarded(&self.path, || {
                    self.logits.read_raw_rows(start as u64, count as u64)
                })?;
                let of = match order {
                    DatatypeByteOrder::BigEndian => f16::from_be_bytes,
                    _ => f16::from_le_bytes,
                };
                let (pairs, _) = bytes.as_chunks::<2>();
                let values = pairs.iter().map(|&pair| of(pair).to_f32()).collect();
                self.complete(values, count * row)
            }
        }
    }

    /// What the crate gave, if it is as many numbers as were asked for.
    fn complete(&self, values: Vec<f32>, expected: usize) -> Result<Vec<f32>, Hdf5Error> {
        if values.len() == expected {
            return Ok(values);
        }
        Err(Hdf5Error::Damaged {
            path: self.path.clone(),
            found: format!("{} numbers where {expected} were asked for", values.len()),
        })
    }
}

/// How the logits lie in the file, and in how many bytes.
fn storage(path: &Path, logits: &Dataset) -> Result<(Storage, u64), Hdf5Error> {
    let dtype = guarded(path, || logits.dtype())?;
    let width = guarded(path, || logits.element_size())?;
    let datatype = guarded(path, || logits.datatype())?;
    let Datatype::FloatingPoint {
        byte_order, layout, ..
    } = &datatype
    else {
        return Err(content(
            path,
            format!("{LOGITS} of type {dtype}"),
            "float32 (float64 and float16 are read as well)",
        ));
    };
    let other = match width {
        2 if layout.exponent_size == 5 && layout.mantissa_size == 10 => Storage::Half(*byte_order),
        4 | 8 => Storage::Packed,
        _ => {
            return Err(content(
                path,
                format!(
                    "{LOGITS} of floating-point numbers of {width} bytes with {} bits of mantissa",
                    layout.mantissa_size
                ),
                "float32 (float64 and float16 are read as well); store them with astype(\"float32\")",
            ));
        }
    };
    match guarded(path, || logits.layout())? {
        Layout::Contiguous {
            address: Some(address),
            size,
        } if dtype == DType::F32 && *byte_order == DatatypeByteOrder::LittleEndian => {
            Ok((Storage::Plain(address), size))
        }
        _ => Ok((other, 0)),
    }
}

/// Refuses a chunked data set that the crate would take huge amounts of memory for: it unpacks whole chunks, and believes the
/// index about how many bytes each takes in the file.
fn chunks_are_possible(
    path: &Path,
    name: &str,
    dataset: &Dataset,
    length: u64,
) -> Result<(), Hdf5Error> {
    let Layout::Chunked { chunk_shape, .. } = guarded(path, || dataset.layout())? else {
        return Ok(());
    };
    let width = guarded(path, || dataset.element_size())?;
    let bytes = chunk_shape
        .iter()
        .try_fold(width, |product, &length| product.checked_mul(length));
    if bytes.is_none_or(|bytes| bytes > MOST_CHUNK_BYTES) {
        return Err(content(
            path,
            format!("{name} in chunks of {chunk_shape:?}"),
            "chunks of at most 256 MiB",
        ));
    }
    for chunk in guarded(path, || dataset.chunks())? {
        let end = chunk.address.checked_add(chunk.storage_size);
        if end.is_none_or(|end| end > length) {
            return Err(Hdf5Error::Damaged {
                path: path.to_owned(),
                found: format!(
                    "{name} has a chunk of {} bytes at byte {} of {length}",
                    chunk.storage_size, chunk.address
                ),
            });
        }
    }
    Ok(())
}

/// The clips' names, each one once.
fn names(path: &Path, dataset: &Dataset, length: u64) -> Result<Vec<String>, Hdf5Error> {
    let shape = guarded(path, || dataset.shape())?;
    let &[count] = shape.as_slice() else {
        return Err(content(
            path,
            format!("{NAMES} of shape {shape:?}"),
            "one name for each clip, shape (clips)",
        ));
    };
    let dtype = guarded(path, || dataset.dtype())?;
    let width = guarded(path, || dataset.element_size())?;
    // distinct names take a byte each at the very least
    if count > MOST_CLIPS.min(length)
        || count
            .checked_mul(width)
            .is_none_or(|all| all > MOST_NAME_BYTES as u64)
    {
        return Err(content(
            path,
            format!("{count} names of {width} bytes in a file of {length}"),
            "at most 10 million clips, each with a name",
        ));
    }
    let names = match dtype {
        DType::VariableLengthString => {
            let limits = VlenStringReadOptions::new()
                .with_max_elements(MOST_CLIPS as usize)
                .with_max_payload_bytes(MOST_NAME_BYTES);
            guarded(path, || dataset.read_vlen_strings(limits))?
        }
        DType::String => guarded(path, || dataset.read_string())?,
        other => {
            return Err(content(
                path,
                format!("{NAMES} of type {other}"),
                "strings in UTF-8",
            ));
        }
    };
    let mut seen = HashSet::with_capacity(names.len());
    for (row, name) in names.iter().enumerate() {
        if name.is_empty() || name.contains(char::REPLACEMENT_CHARACTER) {
            return Err(content(
                path,
                format!("the name {name:?} in row {row}"),
                "clip names in UTF-8",
            ));
        }
        if !seen.insert(name.as_str()) {
            return Err(content(
                path,
                format!("the clip {name:?} more than once, again in row {row}"),
                "each clip once",
            ));
        }
    }
    Ok(names)
}

/// Writes predictions in the reference's layout: contiguous float32, names as variable-length UTF-8. The file has its name only when
/// it is complete. Memory holds the logits twice.
///
/// # Errors
/// When the numbers are not `names.len()` times `frames` times `classes`, a name comes twice, or the file cannot be written.
pub fn write_predictions(
    path: &Path,
    names: &[String],
    [frames, classes]: [usize; 2],
    logits: &[f32],
) -> Result<(), Hdf5Error> {
    if logits.len() != names.len() * frames * classes {
        return Err(content(
            path,
            format!("{} numbers for {} clips", logits.len(), names.len()),
            &format!("{frames} x {classes} for each clip"),
        ));
    }
    let distinct: HashSet<&str> = names.iter().map(String::as_str).collect();
    if distinct.len() != names.len() {
        return Err(content(
            path,
            format!("{} names, {} different ones", names.len(), distinct.len()),
            "each clip once",
        ));
    }
    let mut builder = FileBuilder::new();
    builder
        .create_dataset(LOGITS)
        .with_f32_data(logits)
        .with_shape(&[names.len() as u64, frames as u64, classes as u64]);
    let borrowed: Vec<&str> = names.iter().map(String::as_str).collect();
    builder.create_dataset(NAMES).with_vlen_strings(&borrowed);

    let mut aside = path.as_os_str().to_owned();
    aside.push(".part");
    let aside = PathBuf::from(aside);
    guarded(path, || builder.write(&aside))?;
    File::open(&aside)
        .and_then(|file| file.sync_all())
        .and_then(|()| std::fs::rename(&aside, path))
        .map_err(|source| Hdf5Error::Io {
            path: aside,
            source,
        })
}

/// Calls the crate; what it reports, or a panic of its own, becomes an error about the file.
fn guarded<T>(
    path: &Path,
    call: impl FnOnce() -> Result<T, hdf5_pure::Error>,
) -> Result<T, Hdf5Error> {
    let damaged = |found: String| Hdf5Error::Damaged {
        path: path.to_owned(),
        found,
    };
    match catch_unwind(AssertUnwindSafe(call)) {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(error)) => Err(damaged(error.to_string())),
        Err(_) => Err(damaged("its structure makes no sense".to_owned())),
    }
}

fn content(path: &Path, found: String, expected: &str) -> Hdf5Error {
    Hdf5Error::Content {
        path: path.to_owned(),
        found,
        expected: expected.to_owned(),
    }
}
