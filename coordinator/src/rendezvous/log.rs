use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::PathBuf;

use prost::Message;
use proto::v1::StoreRequest;

/// The questions that changed one attempt's board, in order. It is not synced: it is for the end of this process, and a gang that
/// loses its keys to a power cut meets anew.
#[derive(Debug)]
pub(super) struct Log {
    path: PathBuf,
    file: File,
}

impl Log {
    /// Reads what is there, and goes on behind it. What was torn by a crash has not been answered, and is cut off.
    pub(super) fn open(path: PathBuf, mut read: impl FnMut(&StoreRequest)) -> io::Result<Self> {
        let bytes = match fs::read(&path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
            Err(error) => return Err(error),
        };
        let mut rest = bytes.as_slice();
        let mut whole = 0;
        while !rest.is_empty()
            && let Ok(request) = StoreRequest::decode_length_delimited(&mut rest)
        {
            read(&request);
            whole = bytes.len() - rest.len();
        }
        let file = OpenOptions::new().create(true).append(true).open(&path)?;
        file.set_len(whole as u64)?;
        Ok(Self { path, file })
    }

    pub(super) fn append(&mut self, request: &StoreRequest) -> io::Result<()> {
        self.file
            .write_all(&request.encode_length_delimited_to_vec())
    }

    /// The attempt is over.
    pub(super) fn remove(self) {
        if let Err(error) = fs::remove_file(&self.path) {
            tracing::debug!("cannot remove {}: {error}", self.path.display());
        }
    }
}
