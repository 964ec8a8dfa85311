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

/// Writes tensors and metadata in one go; see [`TensorWriter`].
///
/// # Errors
/// When the file cannot be written, or a tensor's type has no name in the format.
pub fn write_tensors(
    path: &Path,
    tensors: &[(String, Tensor)],
    metadata: &BTreeMap<String, String>,
) -> Result<(), Error> {
    let mut declared = Vec::with_capacity(tensors.len());
    for (name, tensor) in tensors {
        declared.push((name.clone(), tensor.f_kind()?, tensor.size()));
    }
    let mut writer = TensorWriter::create(path, &declared, metadata)?;
    for position in writer.order.clone() {
        writer.append(&tensors[position].1)?;
    }
    writer.finish()
}

/// Writes a safetensors file tensor by tensor, or a part of one at a time. Equal content gives equal bytes, whatever the order
/// of declaration. The file has its name only when it is complete and synced.
///
/// (The crate's own writer keeps metadata in a hash map, so its bytes differ from run to run.)
#[derive(Debug)]
pub struct TensorWriter {
    path: PathBuf,
    aside: PathBuf,
    file: BufWriter<File>,
    /// Positions of the declared tensors in the order of the file: wide types first, which keeps each aligned; then by name.
    order: Vec<usize>,
    missing: usize,
    buffer: Vec<u8>,
}

impl TensorWriter {
    /// Starts the file beside `path` with names, types and shapes of all tensors.
    ///
    /// # Errors
    /// When the file cannot be written, or a type has no name in the format.
    pub fn create(
        path: &Path,
        tensors: &[(String, Kind, Vec<i64>)],
        metadata: &BTreeMap<String, String>,
    ) -> Result<Self, Error> {
        let mut widths = Vec::with_capacity(tensors.len());
        for (name, kind, _) in tensors {
            widths.push(dtype_of(*kind).ok_or_else(|| Error::Content {
                path: path.to_owned(),
                found: format!("tensor {name} of type {kind:?}"),
                expected: "a type that safetensors knows".to_owned(),
            })?);
        }
        let mut order: Vec<usize> = (0..tensors.len()).collect();
        order.sort_by(|&a, &b| {
            (widths[b].1.cmp(&widths[a].1)).then_with(|| tensors[a].0.cmp(&tensors[b].0))
        });

        let mut header = Map::new();
        if !metadata.is_empty() {
            header.insert("__metadata__".to_owned(), json!(metadata));
        }
        let mut end = 0;
        for &position in &order {
            let (name, _, shape) = &tensors[position];
            let (dtype, width) = widths[position];
            let start = end;
            end += usize::try_from(shape.iter().product::<i64>()).unwrap_or(0) * width;
            let entry = json!({"dtype": dtype, "shape": shape, "data_offsets": [start, end]});
            header.insert(name.clone(), entry);
        }
        let mut header = Value::Object(header).to_string().into_bytes();
        header.resize(header.len().next_multiple_of(8), b' ');

        let mut aside = path.as_os_str().to_owned();
        aside.push(".part");
        let aside = PathBuf::from(aside);
        let file = File::create(&aside).map_err(|source| Error::Io {
            path: aside.clone(),
            source,
        })?;
        let mut writer = Self {
            path: path.to_owned(),
            aside,
            file: BufWriter::with_capacity(1 << 20, file),
            order,
            missing: end,
            buffer: Vec::new(),
        };
        writer.write(&(header.len() as u64).to_le_bytes())?;
        writer.write(&header)?;
        Ok(writer)
    }

    /// Appends a tensor, or the next rows of one.
    ///
    /// # Errors
    /// When the file cannot be written, or more comes than was declared.
    pub fn append(&mut self, tensor: &Tensor) -> Result<(), Error> {
        let kind = tensor.f_kind()?;
        let bytes = tensor.numel() * dtype_of(kind).map_or(0, |(_, width)| width);
        self.missing = self
            .missing
            .checked_sub(bytes)
            .ok_or_else(|| Error::Content {
                path: self.path.clone(),
                found: "more tensors than were declared".to_owned(),
                expected: "as many as the header names".to_owned(),
            })?;
        let tensor = tensor.detach().to_device(tch::Device::Cpu).contiguous();
        let mut buffer = std::mem::take(&mut self.buffer);
        buffer.resize(bytes, 0);
        tensor.f_copy_data_u8(&mut buffer, tensor.numel())?;
        let result = self.write(&buffer);
        self.buffer = buffer;
        result
    }

    fn write(&mut self, bytes: &[u8]) -> Result<(), Error> {
        self.file.write_all(bytes).map_err(|source| Error::Io {
            path: self.aside.clone(),
            source,
        })
    }

    /// Syncs the file and gives it its name.
    ///
    /// # Errors
    /// When less came than was declared, or the file cannot be written.
    pub fn finish(mut self) -> Result<(), Error> {
        if self.missing > 0 {
            return Err(Error::Content {
                path: self.path,
                found: format!("{} bytes too few", self.missing),
                expected: "all declared tensors".to_owned(),
            });
        }
        let written = self
            .file
            .flush()
            .and_then(|()| self.file.get_ref().sync_all());
        written
            .and_then(|()| std::fs::rename(&self.aside, &self.path))
            .map_err(|source| Error::Io {
                path: self.aside.clone(),
                source,
            })
    }
}
