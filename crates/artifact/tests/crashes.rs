//! A store on a disk that loses whatever was not synced, or is full.
#![expect(clippy::unwrap_used, reason = "helpers of tests may panic")]

use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use artifact::{Disk as _, Error, Store};
use proptest::prelude::*;
use testkit::Disk;
use types::Digest;

const ROOT: &str = "/run/artifacts";

fn open(disk: &Disk) -> Store {
    Store::open_on(Arc::new(disk.clone()), ROOT).unwrap()
}

/// What a program does between two crashes.
#[derive(Debug, Clone)]
enum Deed {
    Put(Vec<u8>),
    /// Written by another program, then taken over.
    Take(Vec<u8>),
    /// Begun and given up.
    Abandon(Vec<u8>),
    /// Begun and torn by the crash.
    Tear(Vec<u8>),
}

fn deed() -> impl Strategy<Value = Deed> {
    let bytes = || proptest::collection::vec(any::<u8>(), 0..400);
    prop_oneof![
        4 => bytes().prop_map(Deed::Put),
        2 => bytes().prop_map(Deed::Take),
        1 => bytes().prop_map(Deed::Abandon),
        2 => bytes().prop_map(Deed::Tear),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn what_was_put_survives_every_crash_whole(seed: u64, lives in proptest::collection::vec(proptest::collection::vec(deed(), 0..6), 1..5)) {
        let disk = Disk::new(seed);
        let mut kept: BTreeMap<Digest, Vec<u8>> = BTreeMap::new();
        for deeds in lives {
            // the run directory's own folders come first, and are synced by who makes them
            disk.create_folder(Path::new(ROOT)).unwrap();
            disk.sync_folder(Path::new("/")).unwrap();
            disk.sync_folder(Path::new("/run")).unwrap();
            let store = open(&disk);
            for deed in deeds {
                match deed {
                    Deed::Put(bytes) => {
                        kept.insert(store.put_bytes(&bytes).unwrap(), bytes);
                    }
                    Deed::Take(bytes) => {
                        let aside = store.aside();
                        disk.create(&aside).unwrap().write_all(&bytes).unwrap();
                        kept.insert(store.take_file(&aside, None).unwrap(), bytes);
                    }
                    Deed::Abandon(bytes) => store.begin().unwrap().write(&bytes).unwrap(),
                    Deed::Tear(bytes) => {
                        let mut torn = store.begin().unwrap();
                        torn.write(&bytes).unwrap();
                        std::mem::forget(torn);
                    }
                }
            }
            disk.crash();
        }
        let store = open(&disk);
        let listed = store.list().unwrap();
        let expected: Vec<_> = kept.iter().map(|(digest, bytes)| (*digest, bytes.len() as u64)).collect();
        prop_assert_eq!(listed, expected);
        for digest in kept.keys() {
            store.verify(digest).unwrap();
        }
        prop_assert_eq!(disk.files().len(), kept.len(), "nothing is left aside");
    }
}

#[test]
fn what_a_dying_process_left_is_safe_once_the_store_is_open_again() {
    for seed in 0..20 {
        let disk = Disk::new(seed);
        disk.create_folder(Path::new(ROOT)).unwrap();
        disk.sync_folder(Path::new("/")).unwrap();
        disk.sync_folder(Path::new("/run")).unwrap();
        let store = open(&disk);
        // as far as `take_file` comes before it syncs the name
        let (aside, digest) = (store.aside(), Digest::of(b"teacher"));
        let path = store.path(&digest);
        disk.create(&aside).unwrap().write_all(b"teacher").unwrap();
        disk.settle(&aside).unwrap();
        disk.create_folder(path.parent().unwrap()).unwrap();
        disk.rename(&aside, &path).unwrap();
        drop(store);

        assert!(open(&disk).has(&digest), "and so it may be promised");
        disk.crash();
        assert!(open(&disk).has(&digest), "seed {seed}");
    }
}

#[test]
fn a_full_disk_says_what_is_needed_and_free_and_leaves_nothing() {
    let disk = Disk::new(1);
    let store = open(&disk);
    let first = store.put_bytes(&[1; 600]).unwrap();
    disk.set_capacity(1000);
    let error = store.put_bytes(&[2; 5000]).unwrap_err();
    let Error::DiskFull {
        needed, free, path, ..
    } = &error
    else {
        panic!("{error}")
    };
    assert_eq!((*needed, *free), (5000, 0));
    assert!(path.starts_with(PathBuf::from(ROOT).join("aside")));
    assert_eq!(
        error.to_string(),
        format!(
            "no room on {}: writing needs 4.9 KiB, 0 B is free",
            path.display()
        )
    );
    assert_eq!(disk.used(), 600, "nothing of it is left");
    let error = store.need_room(300, 200).unwrap_err().to_string();
    assert!(error.ends_with("needs 500 B, 400 B is free"), "{error}");
    store.need_room(300, 100).unwrap();

    disk.set_capacity(10_000);
    let second = store.put_bytes(&[2; 5000]).unwrap();
    assert_eq!(store.list().unwrap().len(), 2);
    store.verify(&first).unwrap();
    store.verify(&second).unwrap();
}

#[test]
fn who_only_looks_changes_nothing() {
    let disk = Disk::new(1);
    let store = open(&disk);
    let digest = store.put_bytes(b"kept").unwrap();
    let mut torn = store.begin().unwrap();
    torn.write(b"half").unwrap();
    let before = disk.files();
    let folder = tempfile::tempdir().unwrap();
    let looked = Store::look(folder.path().join("artifacts"));
    assert_eq!(looked.list().unwrap(), []);
    assert!(!folder.path().join("artifacts").exists());
    assert_eq!(disk.files(), before);
    assert!(store.has(&digest));
}

#[test]
fn rotten_bytes_are_found() {
    let disk = Disk::new(1);
    let store = open(&disk);
    let digest = store.put_bytes(b"teacher").unwrap();
    disk.rot(&store.path(&digest), 2).unwrap();
    assert!(matches!(store.verify(&digest), Err(Error::Damaged { .. })));
}
