//! Any bytes are a file of tensors or an error, whichever of the formats they begin like. Every tensor that is promised can be
//! read, whole and by rows, and has the size of its shape; safetensors written from it hold the same.

use std::collections::BTreeMap;

use tensorfile::{Info, TensorFile, TensorWriter};

#[path = "scratch.rs"]
mod scratch;

thread_local! {
    static SCRATCH: scratch::Scratch = scratch::Scratch::new();
}

/// Reading all tensors of a file again and again shows nothing new.
const MOST_TENSORS: usize = 64;
/// Names and values of a file, in bytes: what is shared in a pickle must not multiply without end.
const MOST_TEXT: usize = 64 << 20;
/// Tensors that are written again, together, in bytes.
const MOST_WRITTEN: usize = 1 << 20;

pub(crate) fn check(input: &[u8]) {
    SCRATCH.with(|scratch| {
        let path = scratch.write("fuzzed", input);
        let Ok(file) = TensorFile::open(&path) else {
            return;
        };
        let mut declared: Vec<(String, Info)> = Vec::new();
        let mut total = 0;
        for name in file.names().take(MOST_TENSORS) {
            let info = file.info(name).expect("a listed tensor is there");
            let bytes = file.bytes(name).expect("a listed tensor can be read");
            let size = info.dtype.width() * info.shape.iter().product::<usize>();
            assert_eq!(bytes.len(), size, "{name} of shape {:?}", info.shape);
            if let Some((&rows, rest)) = info.shape.split_first()
                && rows > 0
            {
                let row = info.dtype.width() * rest.iter().product::<usize>();
                for (start, count) in [
                    (0, rows),
                    (rows - 1, 1),
                    (rows / 2, rows - rows / 2),
                    (rows, 0),
                ] {
                    let part = file.rows(name, start, count).expect("its rows can be read");
                    assert_eq!(part[..], bytes[start * row..(start + count) * row]);
                }
                assert!(file.rows(name, rows, 1).is_err());
            }
            total += size;
            if total <= MOST_WRITTEN {
                declared.push((name.to_owned(), info.clone()));
            }
        }
        let text: usize = file
            .values()
            .map(|(key, value)| key.len() + value.len())
            .sum();
        assert!(
            text <= MOST_TEXT.max(input.len()),
            "{text} bytes of names and values"
        );
        let values: BTreeMap<String, String> = file
            .values()
            .map(|(key, value)| (key.to_owned(), value.to_owned()))
            .collect();
        let again = scratch.path().join("again");
        let mut writer =
            TensorWriter::create(&again, &declared, &values).expect("it can be written");
        for position in writer.order().to_vec() {
            let bytes = file.bytes(&declared[position].0).expect("as before");
            writer.append(&bytes).expect("it can be written");
        }
        writer.finish().expect("it can be written");
        let again = TensorFile::open(&again).expect("what was written can be read");
        for (name, info) in &declared {
            assert_eq!(again.info(name), Some(info));
            let both = (again.bytes(name), file.bytes(name));
            assert_eq!(both.0.expect("as before"), both.1.expect("as before"));
        }
        assert!(again.values().eq(file.values()));
    });
}
