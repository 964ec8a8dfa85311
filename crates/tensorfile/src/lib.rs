//! Files of named tensors: names, element types, shapes and bytes, without any library of tensors. Formats: safetensors (read
//! through a memory map, and written), what `torch.save` writes (read, without running anything in it), and HDF5.

mod dtype;
mod error;
mod file;
pub mod hdf5;
mod layout;
mod pickle;
mod pickle_names;
mod torch;
mod writer;

pub use dtype::Dtype;
pub use error::Error;
pub use file::{Format, Info, TensorFile};
pub use writer::TensorWriter;
