//! Files of named tensors, without the tensors of any library: names, types, shapes and bytes.

pub mod hdf5;
