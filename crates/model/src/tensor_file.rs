//! Files of named tensors, with libtorch's types: a thin layer above room `tensorfile`.

use std::collections::BTreeMap;
use std::path::Path;

use tch::{Kind, Tensor};
use tensorfile::{Dtype, Info};

use crate::Error;

/// An open file of tensors in any format that room `tensorfile` reads; tensors are read when asked for.
#[derive(Debug)]
pub struct TensorFile {
    file: tensorfile::TensorFile,
    /// Shapes as libtorch counts them.
    shapes: BTreeMap<String, (Vec<i64>, Kind)>,
}

impl TensorFile {
    /// Opens the file and checks its names against its length.
    ///
    /// # Errors
    /// When it cannot be read, is cut off or damaged, or holds something that has no place here.
    pub fn open(path: &Path) -> Result<Self, Error> {
        let file = tensorfile::TensorFile::open(path)?;
        let mut shapes = BTreeMap::new();
        for name in file.names() {
            let Some(info) = file.info(name) else {
                continue;
            };
            let shape = info
                .shape
                .iter()
                .map(|&length| i64::try_from(length))
                .collect::<Result<_, _>>()
                .map_err(|_| {
                    file.content(
                        format!("tensor {name} of shape {:?}", info.shape),
                        "a shape that fits into a file".to_owned(),
                    )
                })?;
            shapes.insert(name.to_owned(), (shape, kind_of(info.dtype)));
        }
        Ok(Self { file, shapes })
    }

    /// The file's place.
    #[must_use]
    pub fn path(&self) -> &Path {
        self.file.path()
    }

    /// Names of all tensors, sorted.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.file.names()
    }

    /// Shape and type of one tensor.
    #[must_use]
    pub fn shape(&self, name: &str) -> Option<(&[i64], Kind)> {
        let (shape, kind) = self.shapes.get(name)?;
        Some((shape, *kind))
    }

    /// One tensor, on the CPU.
    ///
    /// # Errors
    /// When there is none of this name.
    pub fn tensor(&self, name: &str) -> Result<Tensor, Error> {
        let bytes = self.file.bytes(name)?;
        let (shape, kind) = &self.shapes[name];
        Ok(Tensor::f_from_data_size(&bytes, shape, *kind)?)
    }

    /// Entries `start .. start + count` of a tensor's first axis, on the CPU, without reading the rest.
    ///
    /// # Errors
    /// When there is no such tensor or it is shorter.
    pub fn rows(&self, name: &str, start: i64, count: i64) -> Result<Tensor, Error> {
        let (Ok(first), Ok(rows)) = (usize::try_from(start), usize::try_from(count)) else {
            return Err(self.content(
                format!("{count} rows from row {start} asked for"),
                "numbers from 0 on".to_owned(),
            ));
        };
        let bytes = self.file.rows(name, first, rows)?;
        let (shape, kind) = &self.shapes[name];
        let mut shape = shape.clone();
        shape[0] = count;
        Ok(Tensor::f_from_data_size(&bytes, &shape, *kind)?)
    }

    /// One plain value as text (see [`tensorfile::TensorFile::metadata`]).
    ///
    /// # Errors
    /// When there is none of this name.
    pub fn metadata(&self, key: &str) -> Result<&str, Error> {
        self.file.metadata(key).ok_or_else(|| {
            self.content(
                format!("no metadata {key:?}"),
                "a file written by this program".to_owned(),
            )
        })
    }

    /// An error about this file's content.
    #[must_use]
    pub fn content(&self, found: String, expected: String) -> Error {
        self.file.content(found, expected).into()
    }
}

const fn kind_of(dtype: Dtype) -> Kind {
    match dtype {
        Dtype::F32 => Kind::Float,
        Dtype::F64 => Kind::Double,
        Dtype::F16 => Kind::Half,
        Dtype::BF16 => Kind::BFloat16,
        Dtype::I64 => Kind::Int64,
        Dtype::I32 => Kind::Int,
        Dtype::I16 => Kind::Int16,
        Dtype::I8 => Kind::Int8,
        Dtype::U8 => Kind::Uint8,
        Dtype::Bool => Kind::Bool,
    }
}

fn info_of(path: &Path, name: &str, kind: Kind, shape: &[i64]) -> Result<Info, Error> {
    let dtype = Dtype::ALL.into_iter().find(|dtype| kind_of(*dtype) == kind);
    let shape = shape.iter().map(|&length| usize::try_from(length));
    match (dtype, shape.collect()) {
        (Some(dtype), Ok(shape)) => Ok(Info { dtype, shape }),
        _ => Err(tensorfile::Error::Content {
            path: path.to_owned(),
            found: format!("tensor {name} of type {kind:?}"),
            expected: "a type that safetensors knows".to_owned(),
        }
        .into()),
    }
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
    for position in writer.writer.order().to_vec() {
        writer.append(&tensors[position].1)?;
    }
    writer.finish()
}

/// Writes a safetensors file tensor by tensor, or a part of one at a time (see [`tensorfile::TensorWriter`]).
#[derive(Debug)]
pub struct TensorWriter {
    writer: tensorfile::TensorWriter,
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
        let declared = tensors
            .iter()
            .map(|(name, kind, shape)| Ok((name.clone(), info_of(path, name, *kind, shape)?)))
            .collect::<Result<Vec<_>, Error>>()?;
        Ok(Self {
            writer: tensorfile::TensorWriter::create(path, &declared, metadata)?,
            buffer: Vec::new(),
        })
    }

    /// Appends a tensor, or the next rows of one.
    ///
    /// # Errors
    /// When the file cannot be written, or more comes than was declared.
    pub fn append(&mut self, tensor: &Tensor) -> Result<(), Error> {
        let tensor = tensor.detach().to_device(tch::Device::Cpu).contiguous();
        let width = tensor.f_kind()?.elt_size_in_bytes();
        self.buffer.resize(tensor.numel() * width, 0);
        tensor.f_copy_data_u8(&mut self.buffer, tensor.numel())?;
        Ok(self.writer.append(&self.buffer)?)
    }

    /// Syncs the file and gives it its name.
    ///
    /// # Errors
    /// When less came than was declared, or the file cannot be written.
    pub fn finish(self) -> Result<(), Error> {
        Ok(self.writer.finish()?)
    }
}
