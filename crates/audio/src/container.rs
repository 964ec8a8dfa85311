//! What a file's own structure promises, checked before it is decoded. Decoders are lenient here: they end quietly where the
//! bytes end. Ogg and FLAC carry their length in the stream, and the decoder compares it.

use std::io::{Read, Seek, SeekFrom};

use crate::Problem;

/// Looks at the first bytes and, for WAV, walks the chunks to see that the samples are all there.
///
/// # Errors
/// [`Problem::Empty`], [`Problem::Truncated`], or an I/O problem.
pub(crate) fn check(file: &mut (impl Read + Seek)) -> Result<(), Problem> {
    let io = || Problem::io("cannot read the file");
    let len = file.seek(SeekFrom::End(0)).map_err(io())?;
    if len == 0 {
        return Err(Problem::Empty);
    }
    file.rewind().map_err(io())?;
    let mut head = [0; 12];
    if len >= 12 {
        file.read_exact(&mut head).map_err(io())?;
    }
    if &head[..4] != b"RIFF" || &head[8..] != b"WAVE" {
        return Ok(());
    }
    let mut at = 12;
    while len - at >= 8 {
        file.seek(SeekFrom::Start(at)).map_err(io())?;
        let mut header = [0; 8];
        file.read_exact(&mut header).map_err(io())?;
        let size = u64::from(u32::from_le_bytes([
            header[4], header[5], header[6], header[7],
        ]));
        let there = len - at - 8;
        if &header[..4] == b"data" {
            return if size <= there {
                Ok(())
            } else {
                Err(Problem::Truncated {
                    promise: format!("the data chunk at byte {at} promises {size} bytes"),
                    found: format!("{there} follow"),
                })
            };
        }
        // Chunks begin at even bytes.
        let next = at + 8 + size + (size & 1);
        if next > len {
            return Err(Problem::Truncated {
                promise: format!(
                    "the chunk '{}' at byte {at} promises {size} bytes",
                    header[..4].escape_ascii()
                ),
                found: format!("{there} follow, and no data chunk came before it"),
            });
        }
        at = next;
    }
    Err(Problem::Truncated {
        promise: "a WAV file has a data chunk".to_owned(),
        found: format!("the file ends at byte {len} without one"),
    })
}

/// The first bytes of a file, for a person.
pub(crate) fn beginning(file: &mut (impl Read + Seek)) -> String {
    let mut bytes = Vec::new();
    let read = file
        .rewind()
        .and_then(|()| file.take(8).read_to_end(&mut bytes));
    match read {
        Ok(_) => format!("\"{}\"", bytes.escape_ascii()),
        Err(error) => format!("bytes that cannot be read ({error})"),
    }
}
