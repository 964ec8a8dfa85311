use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use types::Digest;

use crate::Error;

/// Bytes hashed or copied at a time.
const BLOCK: usize = 1024 * 1024;

/// The digest of a file's bytes: the name that it would have in a store.
///
/// # Errors
/// When it cannot be read.
pub fn digest_of_file(path: &Path) -> Result<Digest, Error> {
    let mut file = File::open(path).map_err(Error::io("opening", path))?;
    digest_of(&mut file, path)
}

/// Reads to the end.
pub(crate) fn digest_of(reader: &mut impl Read, path: &Path) -> Result<Digest, Error> {
    let mut hasher = blake3::Hasher::new();
    each_block(reader, path, |block| {
        hasher.update(block);
        Ok(())
    })?;
    Ok(finish(&hasher))
}

/// Reads to the end, a block at a time. Not through a memory map: a file that shrinks meanwhile would kill the process.
pub(crate) fn each_block(
    reader: &mut impl Read,
    path: &Path,
    mut take: impl FnMut(&[u8]) -> Result<(), Error>,
) -> Result<(), Error> {
    let mut buffer = vec![0; BLOCK];
    loop {
        match reader.read(&mut buffer) {
            Ok(0) => return Ok(()),
            Ok(count) => take(&buffer[..count])?,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(Error::io("reading", path)(error)),
        }
    }
}

pub(crate) fn finish(hasher: &blake3::Hasher) -> Digest {
    Digest::from_bytes(*hasher.finalize().as_bytes())
}
