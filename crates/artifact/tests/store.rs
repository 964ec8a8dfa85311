//! What a store promises: whole or not at all, and never bad bytes for good ones.
#![expect(clippy::unwrap_used, reason = "helpers of tests may panic")]

use std::fs;
use std::io::{Read, Seek, SeekFrom, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use artifact::{Error, Store, digest_of_file};
use proptest::prelude::*;
use tempfile::TempDir;
use types::Digest;

fn store() -> (TempDir, Store) {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path().join("artifacts")).unwrap();
    (folder, store)
}

/// Every file below.
fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files(&path));
        } else {
            found.push(path);
        }
    }
    found.sort();
    found
}

fn read_all(store: &Store, digest: &Digest, most: usize) -> Result<Vec<u8>, Error> {
    let mut reader = store.read(digest)?;
    let mut bytes = Vec::new();
    loop {
        let chunk = reader.next_chunk(most)?;
        if chunk.is_empty() {
            return Ok(bytes);
        }
        bytes.extend(chunk);
    }
}

fn flip_a_byte(path: &Path, at: u64) {
    fs::set_permissions(path, fs::Permissions::from_mode(0o644)).unwrap();
    let mut file = fs::File::options()
        .read(true)
        .write(true)
        .open(path)
        .unwrap();
    let mut byte = [0];
    file.seek(SeekFrom::Start(at)).unwrap();
    file.read_exact(&mut byte).unwrap();
    file.seek(SeekFrom::Start(at)).unwrap();
    file.write_all(&[byte[0] ^ 1]).unwrap();
}

fn truncate(path: &Path, size: u64) {
    fs::set_permissions(path, fs::Permissions::from_mode(0o644)).unwrap();
    let file = fs::File::options().write(true).open(path).unwrap();
    file.set_len(size).unwrap();
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn what_is_put_is_read(bytes in proptest::collection::vec(any::<u8>(), 0..5000), cut in 0..5000usize, most in 1..6000usize) {
        let (_folder, store) = store();
        let (one, two) = bytes.split_at(cut.min(bytes.len()));
        let mut writer = store.begin().unwrap();
        writer.write(one).unwrap();
        writer.write(two).unwrap();
        prop_assert_eq!(writer.written(), bytes.len() as u64);
        let digest = writer.commit(None).unwrap();
        prop_assert_eq!(digest, Digest::of(&bytes));
        prop_assert_eq!(store.size(&digest), Some(bytes.len() as u64));
        prop_assert_eq!(&read_all(&store, &digest, most).unwrap(), &bytes);
        let mut whole = Vec::new();
        store.open_verified(&digest).unwrap().read_to_end(&mut whole).unwrap();
        prop_assert_eq!(whole, bytes);
    }

    #[test]
    fn any_flipped_byte_and_any_cut_is_found(bytes in proptest::collection::vec(any::<u8>(), 1..3000), at in any::<prop::sample::Index>()) {
        let (_folder, store) = store();
        let at = at.index(bytes.len()) as u64;
        let digest = store.put_bytes(&bytes).unwrap();
        flip_a_byte(&store.path(&digest), at);
        let flipped = store.verify(&digest);
        prop_assert!(matches!(flipped, Err(Error::Damaged { .. })), "{:?}", flipped);
        let cut = store.put_bytes(b"other").unwrap();
        store.put_bytes(&bytes).unwrap();
        store.verify(&digest).unwrap();
        truncate(&store.path(&digest), at);
        let truncated = read_all(&store, &digest, 100);
        prop_assert!(matches!(truncated, Err(Error::Damaged { .. })), "{:?}", truncated);
        store.verify(&cut).unwrap();
    }
}

#[test]
fn a_damaged_file_is_named_with_both_digests_and_mended_by_the_same_bytes() {
    let (_folder, store) = store();
    let digest = store.put_bytes(b"teacher").unwrap();
    let path = store.path(&digest);
    assert!(path.ends_with(format!("{}/{digest}", &digest.to_string()[..2])));
    flip_a_byte(&path, 0);
    let message = store.verify(&digest).unwrap_err().to_string();
    let found = digest_of_file(&path).unwrap();
    assert_eq!(
        message,
        format!(
            "{} is damaged: expected the digest {digest}, found {found}",
            path.display()
        )
    );
    assert!(store.has(&digest));
    store.put_bytes(b"teacher").unwrap();
    store.verify(&digest).unwrap();
}

#[test]
fn a_damaged_file_is_removed_but_never_its_good_successor() {
    let (_folder, store) = store();
    let digest = store.put_bytes(b"teacher").unwrap();
    flip_a_byte(&store.path(&digest), 3);
    let old = store.read(&digest).unwrap();
    store.put_bytes(b"teacher").unwrap();
    store.remove_damaged(&old).unwrap();
    store.verify(&digest).unwrap();

    truncate(&store.path(&digest), 2);
    store.remove_damaged(&store.read(&digest).unwrap()).unwrap();
    assert!(!store.has(&digest));
}

#[test]
fn a_wrong_digest_leaves_nothing() {
    let (folder, store) = store();
    let expected = Digest::of(b"what was announced");
    let mut writer = store.begin().unwrap();
    writer.write(b"what came").unwrap();
    let error = writer.commit(Some(expected)).unwrap_err();
    assert_eq!(
        error.to_string(),
        format!(
            "what was put as artifact {expected} has the digest {}; nothing of it was kept",
            Digest::of(b"what came")
        )
    );
    assert_eq!(files(folder.path()), Vec::<PathBuf>::new());
}

#[test]
fn torn_writes_of_an_earlier_life_are_cleared_away_and_artifacts_stay() {
    let (folder, store) = store();
    let kept = store.put_bytes(b"kept").unwrap();
    let mut torn = store.begin().unwrap();
    torn.write(b"half of").unwrap();
    // a process that is killed runs no destructor
    std::mem::forget(torn);
    fs::write(store.aside(), b"half of another").unwrap();
    assert_eq!(files(folder.path()).len(), 3);

    let next = Store::open(folder.path().join("artifacts")).unwrap();
    assert_eq!(files(folder.path()), [next.path(&kept)]);
    next.verify(&kept).unwrap();
}

#[test]
fn a_writer_that_is_dropped_leaves_nothing() {
    let (folder, store) = store();
    let mut writer = store.begin().unwrap();
    writer.write(b"never mind").unwrap();
    drop(writer);
    assert_eq!(files(folder.path()), Vec::<PathBuf>::new());
}

#[test]
fn the_same_content_put_by_many_at_once_is_there_once() {
    let (folder, store) = store();
    let bytes = vec![7; 300_000];
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                for _ in 0..5 {
                    let digest = store.put_bytes(&bytes).unwrap();
                    // readers meanwhile never see a torn file
                    store.verify(&digest).unwrap();
                }
            });
        }
    });
    assert_eq!(files(folder.path()), [store.path(&Digest::of(&bytes))]);
}

#[test]
fn files_are_copied_or_taken() {
    let (folder, store) = store();
    let file = folder.path().join("checkpoint");
    fs::write(&file, b"weights").unwrap();
    let digest = store.put_file(&file).unwrap();
    assert_eq!(digest, digest_of_file(&file).unwrap());
    assert!(file.exists());

    let wrong = Digest::of(b"something else");
    let error = store.take_file(&file, Some(wrong)).unwrap_err();
    assert!(matches!(error, Error::Mismatch { .. }), "{error}");
    assert!(file.exists());

    store.remove(&digest).unwrap();
    store.remove(&digest).unwrap();
    assert_eq!(store.take_file(&file, Some(digest)).unwrap(), digest);
    assert!(!file.exists());
    store.verify(&digest).unwrap();
}

#[test]
fn a_file_with_another_name_is_not_shared_with_it() {
    let (folder, store) = store();
    let file = folder.path().join("checkpoint");
    let other = folder.path().join("other");
    fs::write(&file, b"weights").unwrap();
    fs::hard_link(&file, &other).unwrap();
    let digest = store.take_file(&file, None).unwrap();
    assert!(!file.exists());
    fs::write(&other, b"changed").unwrap();
    store.verify(&digest).unwrap();

    let link = folder.path().join("link");
    std::os::unix::fs::symlink(&other, &link).unwrap();
    let digest = store.take_file(&link, None).unwrap();
    assert_eq!(fs::read(&other).unwrap(), b"changed");
    fs::remove_file(&other).unwrap();
    store.verify(&digest).unwrap();
}

#[test]
fn artifacts_are_protected_from_changes_by_accident() {
    let (_folder, store) = store();
    let digest = store.put_bytes(b"weights").unwrap();
    let mode = fs::metadata(store.path(&digest))
        .unwrap()
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o444);
}

#[test]
fn what_is_not_there_is_missing() {
    let (_folder, store) = store();
    let digest = Digest::of(b"never put");
    assert!(!store.has(&digest));
    let error = store.verify(&digest).unwrap_err();
    assert!(matches!(error, Error::Missing { .. }));
    assert!(error.to_string().contains(&digest.to_string()));
    assert!(matches!(
        store.read(&digest).unwrap_err(),
        Error::Missing { .. }
    ));
}
