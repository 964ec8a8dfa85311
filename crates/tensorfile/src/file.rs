use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fs::File;
use std::path::{Path, PathBuf};

use memmap2::Mmap;
use safetensors::SafeTensors;

use crate::layout::{Layout, byte_length};
use crate::{Dtype, Error, torch};

/// What a file was recognised as.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// safetensors.
    Safetensors,
    /// `torch.save` since PyTorch 1.6: a ZIP archive of a pickle and the tensors' bytes.
    TorchZip,
    /// `torch.save` before: pickles followed by the tensors' bytes.
    TorchLegacy,
}

/// Element type and shape of a tensor.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Info {
    /// Element type.
    pub dtype: Dtype,
    /// Length of every axis.
    pub shape: Vec<usize>,
}

/// What a format's reader finds: tensors and plain values by name.
#[derive(Debug, Default)]
pub(crate) struct Contents {
    pub(crate) tensors: BTreeMap<String, (Info, Layout)>,
    pub(crate) values: BTreeMap<String, String>,
}

/// What a format's reader complains of; becomes an [`Error`] with the file's name.
#[derive(Debug)]
pub(crate) enum Complaint {
    Damaged(String),
    Refused(String),
    Content { found: String, expected: String },
}

impl Complaint {
    fn about(self, path: &Path, size: u64) -> Error {
        let path = path.to_owned();
        match self {
            Self::Damaged(found) => Error::Damaged { path, size, found },
            Self::Refused(asked) => Error::Refused { path, asked },
            Self::Content { found, expected } => Error::Content {
                path,
                found,
                expected,
            },
        }
    }
}

/// An open file of tensors. Opening reads the names; bytes are read when asked for.
#[derive(Debug)]
pub struct TensorFile {
    path: PathBuf,
    map: Mmap,
    format: Format,
    contents: Contents,
}

impl TensorFile {
    /// Opens the file, recognises its format by its content, and checks that every tensor lies inside it.
    ///
    /// In files of PyTorch, names of nested dicts and lists are joined by `/`: `state_dict/cnn.weight`,
    /// `optimizer_states/0/state/3/exp_avg`. A file that is one bare tensor has it under the empty name.
    ///
    /// # Errors
    /// When it cannot be read, is cut off or damaged, holds a type of number that has no place here, or asks for anything
    /// other than tensors, containers and plain values ([`Error::Refused`]).
    pub fn open(path: &Path) -> Result<Self, Error> {
        let io = |source| Error::Io {
            path: path.to_owned(),
            source,
        };
        let file = File::open(path).map_err(io)?;
        let about = file.metadata().map_err(io)?;
        let size = about.len();
        if !about.is_file() {
            return Err(Error::Content {
                path: path.to_owned(),
                found: "not a plain file".to_owned(),
                expected: "a file of tensors".to_owned(),
            });
        }
        if size < 8 {
            let found = "shorter than the length of its header".to_owned();
            return Err(Complaint::Damaged(found).about(path, size));
        }
        #[expect(
            unsafe_code,
            reason = "artifacts are never changed once they have their name, which is all that a map asks for"
        )]
        let map = unsafe { Mmap::map(&file) }.map_err(io)?;
        let format = if map.starts_with(b"PK\x03\x04") {
            Format::TorchZip
        } else if torch::is_legacy(&map) {
            Format::TorchLegacy
        } else {
            Format::Safetensors
        };
        let contents = match format {
            Format::TorchZip => torch::read_zip(&map),
            Format::TorchLegacy => torch::read_legacy(&map),
            Format::Safetensors => read_safetensors(&map),
        }
        .map_err(|complaint| complaint.about(path, size))?;
        Ok(Self {
            path: path.to_owned(),
            map,
            format,
            contents,
        })
    }

    /// The file's place.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What it was recognised as.
    #[must_use]
    pub fn format(&self) -> Format {
        self.format
    }

    /// Names of all tensors, sorted.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.contents.tensors.keys().map(String::as_str)
    }

    /// Element type and shape of one tensor.
    #[must_use]
    pub fn info(&self, name: &str) -> Option<&Info> {
        self.contents.tensors.get(name).map(|(info, _)| info)
    }

    /// One tensor's elements in row-major order, little-endian.
    ///
    /// # Errors
    /// When there is none of this name.
    pub fn bytes(&self, name: &str) -> Result<Cow<'_, [u8]>, Error> {
        let (info, layout) = self.entry(name)?;
        Ok(layout.read(&self.map, &info.shape, info.dtype.width()))
    }

    /// Entries `start .. start + count` of a tensor's first axis, without reading the rest.
    ///
    /// # Errors
    /// When there is no such tensor or it is shorter.
    pub fn rows(&self, name: &str, start: usize, count: usize) -> Result<Cow<'_, [u8]>, Error> {
        let (info, layout) = self.entry(name)?;
        let length = info.shape.first().copied().unwrap_or(0);
        if start.checked_add(count).is_none_or(|end| end > length) {
            return Err(self.content(
                format!("tensor {name} with {length} rows"),
                format!("rows {start} to {}", start.saturating_add(count)),
            ));
        }
        if count == 0 {
            return Ok(Cow::Borrowed(&[]));
        }
        let width = info.dtype.width();
        let row = byte_length(&info.shape[1..], width).unwrap_or(0);
        let mut shape = info.shape.clone();
        shape[0] = count;
        Ok(layout
            .at_row(start, row, width)
            .read(&self.map, &shape, width))
    }

    fn entry(&self, name: &str) -> Result<&(Info, Layout), Error> {
        self.contents.tensors.get(name).ok_or_else(|| {
            self.content(
                format!("no tensor {name:?}"),
                format!("one among {} tensors", self.contents.tensors.len()),
            )
        })
    }

    /// One plain value as text: of safetensors' free text, or of what stands beside the tensors in a file of PyTorch
    /// (`epoch`, `cfg/encoder_layers`), written as Python writes it (`True`, `None`, `0.1`).
    #[must_use]
    pub fn metadata(&self, key: &str) -> Option<&str> {
        self.contents.values.get(key).map(String::as_str)
    }

    /// All plain values, sorted by name.
    pub fn values(&self) -> impl Iterator<Item = (&str, &str)> {
        let values = self.contents.values.iter();
        values.map(|(key, value)| (key.as_str(), value.as_str()))
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

fn read_safetensors(map: &[u8]) -> Result<Contents, Complaint> {
    let (header, parsed) =
        SafeTensors::read_metadata(map).map_err(|error| Complaint::Damaged(error.to_string()))?;
    let mut contents = Contents::default();
    for (name, info) in parsed.tensors() {
        let dtype = Dtype::from_safetensors(info.dtype).ok_or_else(|| Complaint::Content {
            found: format!("tensor {name} of type {:?}", info.dtype),
            expected: format!("one of {}", Dtype::ALL.map(Dtype::as_str).join(", ")),
        })?;
        let layout = Layout {
            start: 8 + header + info.data_offsets.0,
            strides: None,
        };
        let shape = info.shape.clone();
        contents
            .tensors
            .insert(name, (Info { dtype, shape }, layout));
    }
    for (key, value) in parsed.metadata().iter().flatten() {
        contents.values.insert(key.clone(), value.clone());
    }
    Ok(contents)
}
