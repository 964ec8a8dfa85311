//! Pickles that ask for code are refused by name, whatever the form of the request.

use std::path::Path;

use std::os::unix::fs::MetadataExt;

use tensorfile::{Dtype, Error, Info, TensorFile, TensorWriter};

/// A legacy file whose object is `pickle`.
fn open_legacy(folder: &Path, pickle: &[u8]) -> Result<TensorFile, Error> {
    let mut bytes = b"\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19.".to_vec();
    bytes.extend_from_slice(b"\x80\x02M\xe9\x03.\x80\x02}.");
    bytes.extend_from_slice(pickle);
    bytes.extend_from_slice(b"\x80\x02].");
    let path = folder.join("x.pt");
    std::fs::write(&path, bytes).expect("a temporary folder can be written");
    TensorFile::open(&path)
}

#[test]
fn code_is_refused_by_name() {
    let folder = tempfile::tempdir().unwrap();
    for (pickle, name) in [
        (
            &b"\x80\x02cos\nsystem\nX\x02\x00\x00\x00ls\x85R."[..],
            "os.system",
        ),
        (
            b"\x80\x02c__builtin__\neval\nX\x01\x00\x00\x001\x85R.",
            "__builtin__.eval",
        ),
        (
            b"\x80\x04\x8c\x05posix\x8c\x06system\x93\x8c\x02ls\x85R.",
            "posix.system",
        ),
        (b"(S'ls'\nios\nsystem\n.", "os.system"),
        (
            b"\x80\x02ccollections\nOrderedDict\n)R}X\x01\x00\x00\x00acos\nsystem\nsb.",
            "os.system",
        ),
        (
            b"\x80\x02ctorch._utils\n_rebuild_tensor_v2.x\n.",
            "torch._utils._rebuild_tensor_v2.x",
        ),
    ] {
        match open_legacy(folder.path(), pickle) {
            Err(Error::Refused { asked, .. }) => assert_eq!(asked, name),
            other => panic!("{name}: {other:?}"),
        }
    }
}

#[test]
fn plain_values_read() {
    let folder = tempfile::tempdir().unwrap();
    let file = open_legacy(
        folder.path(),
        b"\x80\x02}(X\x05\x00\x00\x00epochK\x07X\x03\x00\x00\x00cfg}X\x01\x00\x00\x00aG?\xe0\x00\x00\x00\x00\x00\x00su.",
    )
    .unwrap();
    assert_eq!(file.metadata("epoch"), Some("7"));
    assert_eq!(file.metadata("cfg/a"), Some("0.5"));
}

#[test]
fn room_for_all_of_it_is_taken_before_anything_is_written() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("t.safetensors");
    let info = Info {
        dtype: Dtype::F32,
        shape: vec![1 << 20],
    };
    let tensors = [("a".to_owned(), info)];
    let writer = TensorWriter::create(&path, &tensors, &Default::default()).unwrap();
    let aside = folder.path().join("t.safetensors.part");
    let taken = std::fs::metadata(&aside).unwrap().blocks() * 512;
    assert!(taken >= 4 << 20, "{taken} bytes");
    drop(writer);
    assert!(!aside.exists(), "and given back");
}

#[test]
fn what_is_written_reads_back() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("t.safetensors");
    let info = Info {
        dtype: Dtype::I16,
        shape: vec![3, 2],
    };
    let tensors = [("a".to_owned(), info.clone())];
    let mut writer = TensorWriter::create(&path, &tensors, &Default::default()).unwrap();
    let bytes: Vec<u8> = (0..12).collect();
    writer.append(&bytes).unwrap();
    writer.finish().unwrap();
    let file = TensorFile::open(&path).unwrap();
    assert_eq!(file.info("a"), Some(&info));
    assert_eq!(*file.bytes("a").unwrap(), *bytes);
    assert_eq!(*file.rows("a", 1, 2).unwrap(), bytes[4..]);
    assert!(file.rows("a", 2, 2).is_err());
}
