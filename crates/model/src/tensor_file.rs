//! Files of named tensors: safetensors, read through a memory map, written the same way each time.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use memmap2::Mmap;
use safetensors::{Dtype, SafeTensors};
use serde_json::{Map, Value, json};
use tch::{Kind, Tensor};

use crate::Error;

/// Where one tensor lies in the file.
#[derive(Debug)]
struct Place {
    kind: Kind,
    shape: Vec<i64>,
    start: usize,
    end: usize,
}

/// An open safetensors file; tensors are read when asked for.
#[derive(Debug)]
pub struct TensorFile {
    path: PathBuf,
    map: Mmap,
    places: BTreeMap<String, Place>,
    metadata: BTreeMap<String, String>,
}

impl TensorFile {
    /// Opens the file and checks its header against its length.
    ///
    /// # Errors
    /// When it cannot be read, is cut off or damaged, or holds a type of number that has no place here.
    pub fn open(path: &Path) -> Result<Self, Error> {
        let io = |source| Error::Io {
            path: path.to_owned(),
            source,
        };
        let file = File::open(path).map_err(io)?;
        let size = file.metadata().map_err(io)?.len();
        let damaged = |found: String| Error::Damaged {
            path: path.to_owned(),
            size,
            found,
        };
        if size < 8 {
            return Err(damaged("shorter than the length of its header".to_owned()));
        }
        #[expect(
            unsafe_code,
            reason = "artifacts are never changed once they have their name, which is all that a map asks for"
        )]
        let map = unsafe { Mmap::map(&file) }.map_err(io)?;
        let (header, parsed) =
            SafeTensors::read_metadata(&map).map_err(|error| damaged(error.to_string()))?;
        let data = 8 + header;
        let mut places = BTreeMap::new();
        for (name, info) in parsed.tensors() {
            let kind = kind_of(info.dtype).ok_or_else(|| Error::Content {
                path: path.to_owned(),
                found: format!("tensor {name} of type {:?}", info.dtype),
                expected: "one of F32, F64, F16, BF16, I64, I32, U8, BOOL".to_owned(),
            })?;
            let shape = info
                .shape
                .iter()
                .map(|&length| i64::try_from(length))
                .collect::<Result<_, _>>()
                .map_err(|_| damaged(format!("tensor {name} has shape {:?}", info.shape)))?;
            places.insert(
                name,
                Place {
                    kind,
                    shape,
                    start: data + info.data_offsets.0,
                    end: data + info.data_offsets.1,
                },
            );
        }
        let metadata = parsed
            .metadata()
            .iter()
            .flatten()
            .map(|(key, value)| (key.clone(), value.clone()))
            .collect();
        Ok(Self {
            path: path.to_owned(),
            map,
            places,
            metadata,
        })
    }

    /// The file's place.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Names of all tensors, sorted.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.places.keys().map(String::as_str)
    }

    /// Shape and type of one tensor.
    #[must_use]
    pub fn shape(&self, name: &str) -> Option<(&[i64], Kind)> {
        self.places
            .get(name)
            .map(|place| (place.shape.as_slice(), place.kind))
    }

    /// One tensor, on the CPU.
    ///
    /// # Errors
    /// When there is none of this name.
    pub fn tensor(&self, name: &str) -> Result<Tensor, Error> {
        let (place, bytes) = self.bytes(name)?;
        Ok(Tensor::f_from_data_size(bytes, &place.shape, place.kind)?)
    }

    /// Entries `start .. start + count` of a tensor's first axis, on the CPU, without reading the rest.
    ///
    /// # Errors
    /// When there is no such tensor or it is shorter.
    pub fn rows(&self, name: &str, start: i64, count: i64) -> Result<Tensor, Error> {
        let (place, bytes) = self.bytes(name)?;
        let length = place.shape.first().copied().unwrap_or(0);
        if start < 0 || count < 0 || start.checked_add(count).is_none_or(|end| end > length) {
            return Err(self.content(
                format!("tensor {name} with {length} rows"),
                format!("rows {start} to {}", start.saturating_add(count)),
            ));
        }
        let row = bytes.len() / usize::try_from(length.max(1)).unwrap_or(1);
        let mut shape = place.shape.clone();
        shape[0] = count;
        let (first, count) = (start as usize * row, count as usize * row);
        let part = &bytes[first..first + count];
        Ok(Tensor::f_from_data_size(part, &shape, place.kind)?)
    }

    fn bytes(&self, name: &str) -> Result<(&Place, &[u8]), Error> {
        let place = self.places.get(name).ok_or_else(|| {
            self.content(
                format!("no tensor {name:?}"),
                format!("one among {} tensors", self.places.len()),
            )
        })?;
        Ok((place, &self.map[place.start..place.end]))
    }

    /// One value of the header's free text.
    ///
    /// # Errors
    /// When there is none of this name.
    pub fn metadata(&self, key: &str) -> Result<&str, Error> {
        self.metadata.get(key).map(String::as_str).ok_or_else(|| {
            self.content(
                format!("no metadata {key:?}"),
                "a file written by this program".to_owned(),
            )
        })
    }

    /// An error about this file's content.
    #[must_use]
    pub fn content(&self, found: String, expected: String) -> Error {
        Error::Content {
            path: self.path.clone(),
            found,
            expected,
        }
    }
}

fn kind_of(dtype: Dtype) -> Option<Kind> {
    Some(match dtype {
        Dtype::F32 => Kind::Float,
        Dtype::F64 => Kind::Double,
        Dtype::F16 => Kind::Half,
        Dtype::BF16 => Kind::BFloat16,
        Dtype::I64 => Kind::Int64,
        Dtype::I32 => Kind::Int,
        Dtype::U8 => Kind::Uint8,
        Dtype::BOOL => Kind::Bool,
        _ => return None,
    })
}

fn dtype_of(kind: Kind) -> Option<(&'static str, usize)> {
    Some(match kind {
        Kind::Float => ("F32", 4),
        Kind::Double => ("F64", 8),
        Kind::Half => ("F16", 2),
        Kind::BFloat16 => ("BF16", 2),
        Kind::Int64 => ("I64", 8),
        Kind::Int => ("I32", 4),
        Kind::Uint8 => ("U8", 1),
        Kind::Bool => ("BOOL", 1),
        _ => return None,
    })
}

/// Writes tensors and metadata; equal content gives equal bytes, whatever the order of `tensors`. The file is synced.
///
/// The crate's own writer keeps metadata in a hash map, so its bytes differ from run to run.
///
/// # Errors
/// When the file cannot be written, or a tensor's type has no name in the format.
pub fn write_tensors(
    path: &Path,
    tensors: &[(String, Tensor)],
    metadata: &BTreeMap<String, String>,
) -> Result<(), Error> {
    let io = |source| Error::Io {
        path: path.to_owned(),
        source,
    };
    let mut sorted = Vec::with_capacity(tensors.len());
    for (name, tensor) in tensors {
        let kind = tensor.f_kind()?;
        let (dtype, width) = dtype_of(kind).ok_or_else(|| Error::Content {
            path: path.to_owned(),
            found: format!("tensor {name} of type {kind:?}"),
            expected: "a type that safetensors knows".to_owned(),
        })?;
        sorted.push((name, tensor, dtype, width));
    }
    // Wide types first keep every tensor aligned; then by name.
    sorted.sort_by(|a, b| b.3.cmp(&a.3).then_with(|| a.0.cmp(b.0)));

    let mut header = Map::new();
    if !metadata.is_empty() {
        header.insert("__metadata__".to_owned(), json!(metadata));
    }
    let mut end = 0;
    for (name, tensor, dtype, width) in &sorted {
        let start = end;
        end += tensor.numel() * width;
        let entry = json!({"dtype": dtype, "shape": tensor.size(), "data_offsets": [start, end]});
        header.insert((*name).clone(), entry);
    }
    let mut header = Value::Object(header).to_string().into_bytes();
    header.resize(header.len().next_multiple_of(8), b' ');

    let mut file = BufWriter::with_capacity(1 << 20, File::create(path).map_err(io)?);
    file.write_all(&(header.len() as u64).to_le_bytes())
        .map_err(io)?;
    file.write_all(&header).map_err(io)?;
    let mut buffer = Vec::new();
    for (_, tensor, _, width) in &sorted {
        let tensor = tensor.detach().to_device(tch::Device::Cpu).contiguous();
        buffer.resize(tensor.numel() * width, 0);
        tensor.f_copy_data_u8(&mut buffer, tensor.numel())?;
        file.write_all(&buffer).map_err(io)?;
    }
    let file = file.into_inner().map_err(|error| io(error.into_error()))?;
    file.sync_all().map_err(io)
}
