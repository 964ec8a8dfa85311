//! A file of tensors that keeps account of what was read of it.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::path::Path;

use anyhow::{Context, Result, bail};
use tensorfile::{Dtype, TensorFile};

use super::super::rows::Rows;

#[derive(Debug)]
pub(super) struct Tensors {
    file: TensorFile,
    read: RefCell<BTreeSet<String>>,
}

impl Tensors {
    pub(super) fn open(path: &Path) -> Result<Self> {
        Ok(Self {
            file: TensorFile::open(path)?,
            read: RefCell::default(),
        })
    }

    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.file.names()
    }

    /// Shape and elements, float32 widened.
    pub(super) fn get(&self, name: &str) -> Result<(Vec<usize>, Vec<f64>)> {
        let info = (self.file.info(name)).with_context(|| format!("there is no tensor {name}"))?;
        let bytes = self.file.bytes(name)?;
        let values = match info.dtype {
            Dtype::F64 => (bytes.as_chunks().0.iter())
                .map(|eight| f64::from_le_bytes(*eight))
                .collect(),
            Dtype::F32 => (bytes.as_chunks().0.iter())
                .map(|four| f64::from(f32::from_le_bytes(*four)))
                .collect(),
            other => bail!("tensor {name} is {other}, expected F32 or F64"),
        };
        self.read.borrow_mut().insert(name.to_owned());
        Ok((info.shape.clone(), values))
    }

    pub(super) fn report_unread(&self, rows: &Rows) {
        let read = self.read.borrow();
        for name in self.file.names().filter(|name| !read.contains(*name)) {
            rows.not_compared(name);
        }
    }
}
