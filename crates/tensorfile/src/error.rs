use std::path::PathBuf;

/// What can be wrong with a file of tensors.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The file cannot be opened, read or written.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The bytes are no whole file of tensors.
    #[error(
        "{}: not a complete file of tensors ({found}; {size} bytes); it was cut off or damaged: fetch or make it again",
        path.display()
    )]
    Damaged {
        /// The file.
        path: PathBuf,
        /// Its length in bytes.
        size: u64,
        /// What does not fit.
        found: String,
    },
    /// A pickle asks for something other than tensors, containers and plain values.
    #[error(
        "{}: asks to call {asked}: refused; nothing was run. Only tensors, containers and plain values are read: save the \
         network's state dict alone, or as safetensors",
        path.display()
    )]
    Refused {
        /// The file.
        path: PathBuf,
        /// What it asks for.
        asked: String,
    },
    /// The file is whole, but holds something else.
    #[error("{}: {found}, expected {expected}", path.display())]
    Content {
        /// The file.
        path: PathBuf,
        /// What is there.
        found: String,
        /// What should be there.
        expected: String,
    },
}
