use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{FallocateFlags, fallocate};
use serde_json::{Map, Value, json};

use crate::layout::byte_length;
use crate::{Error, Info};

/// Writes a safetensors file tensor by tensor, or a part of one at a time. Equal content gives equal bytes, whatever the order
/// of declaration. The file has its name only when it is complete and synced.
///
/// (The crate's own writer keeps metadata in a hash map, so its bytes differ from run to run.)
#[derive(Debug)]
pub struct TensorWriter {
    path: PathBuf,
    aside: PathBuf,
    file: BufWriter<File>,
    order: Vec<usize>,
    missing: usize,
    is_whole: bool,
}

impl TensorWriter {
    /// Starts the file beside `path` with names, types and shapes of all tensors, and takes the room for all of them: where there
    /// is too little, that is known now.
    ///
    /// # Errors
    /// When the file cannot be written or has no room, or a tensor is too large to count its bytes.
    pub fn create(
        path: &Path,
        tensors: &[(String, Info)],
        metadata: &BTreeMap<String, String>,
    ) -> Result<Self, Error> {
        let width = |position: usize| tensors[position].1.dtype.width();
        let mut order: Vec<usize> = (0..tensors.len()).collect();
        order.sort_by(|&a, &b| {
            (width(b).cmp(&width(a))).then_with(|| tensors[a].0.cmp(&tensors[b].0))
        });

        let mut header = Map::new();
        if !metadata.is_empty() {
            header.insert("__metadata__".to_owned(), json!(metadata));
        }
        let mut end = 0_usize;
        for &position in &order {
            let (name, Info { dtype, shape }) = &tensors[position];
            let start = end;
            end = byte_length(shape, dtype.width())
                .and_then(|length| end.checked_add(length))
                .ok_or_else(|| Error::Content {
                    path: path.to_owned(),
                    found: format!("tensor {name} of shape {shape:?}"),
                    expected: "a size that fits into a file".to_owned(),
                })?;
            let entry =
                json!({"dtype": dtype.as_str(), "shape": shape, "data_offsets": [start, end]});
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
            is_whole: false,
        };
        writer.reserve(8 + header.len() + end)?;
        writer.write(&(header.len() as u64).to_le_bytes())?;
        writer.write(&header)?;
        Ok(writer)
    }

    /// Takes so many bytes of the disk, where the file system can do that.
    fn reserve(&self, bytes: usize) -> Result<(), Error> {
        // a file that large is refused by the first write beyond what there is
        let length = i64::try_from(bytes).unwrap_or(i64::MAX);
        match fallocate(self.file.get_ref(), FallocateFlags::empty(), 0, length) {
            Err(errno @ (Errno::ENOSPC | Errno::EDQUOT)) => Err(Error::Io {
                path: self.aside.clone(),
                source: errno.into(),
            }),
            _ => Ok(()),
        }
    }

    /// Positions of the declared tensors in the order in which they have to be appended: wide types first, which keeps each
    /// aligned; then by name.
    #[must_use]
    pub fn order(&self) -> &[usize] {
        &self.order
    }

    /// Appends a tensor's elements (row-major, little-endian), or the next part of them.
    ///
    /// # Errors
    /// When the file cannot be written, or more comes than was declared.
    pub fn append(&mut self, bytes: &[u8]) -> Result<(), Error> {
        self.missing = self
            .missing
            .checked_sub(bytes.len())
            .ok_or_else(|| Error::Content {
                path: self.path.clone(),
                found: "more tensors than were declared".to_owned(),
                expected: "as many as the header names".to_owned(),
            })?;
        self.write(bytes)
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
                path: self.path.clone(),
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
            })?;
        self.is_whole = true;
        Ok(())
    }
}

impl Drop for TensorWriter {
    /// What was not finished leaves nothing, and so gives its room back.
    fn drop(&mut self) {
        if !self.is_whole {
            let _ = std::fs::remove_file(&self.aside);
        }
    }
}
