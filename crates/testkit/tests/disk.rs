//! The disk that forgets: what it must keep, what it may lose, and that both happen.
#![expect(clippy::unwrap_used, reason = "helpers of tests may panic")]

use std::collections::BTreeSet;
use std::io::{self, ErrorKind, Read, Write};
use std::path::Path;

use artifact::Disk as _;
use testkit::Disk;

fn write(disk: &Disk, path: &str, bytes: &[u8]) {
    let mut file = disk.create(Path::new(path)).unwrap();
    file.write_all(bytes).unwrap();
}

/// A disk with the folder `/a`, for good.
fn disk(seed: u64) -> Disk {
    let disk = Disk::new(seed);
    disk.create_folder(Path::new("/a")).unwrap();
    disk.sync_folder(Path::new("/")).unwrap();
    disk
}

#[test]
fn what_is_settled_and_synced_survives_and_nothing_else_is_sure_to() {
    let mut seen = BTreeSet::new();
    for seed in 0..200 {
        let disk = disk(seed);
        write(&disk, "/a/kept", b"kept");
        disk.settle(Path::new("/a/kept")).unwrap();
        disk.sync_folder(Path::new("/a")).unwrap();
        write(&disk, "/a/torn", b"torn");
        disk.crash();
        assert_eq!(disk.read(Path::new("/a/kept")).unwrap(), b"kept");
        seen.insert(disk.read(Path::new("/a/torn")).ok());
    }
    assert!(seen.contains(&None), "a name may be lost");
    assert!(
        seen.contains(&Some(b"torn".to_vec())),
        "or all may be there"
    );
    assert!(seen.contains(&Some(b"to".to_vec())), "or a part");
    assert!(
        seen.contains(&Some(b"t\0\0".to_vec())),
        "or a length without bytes"
    );
}

#[test]
fn a_synced_name_without_settled_bytes_may_be_an_empty_file() {
    let lengths: BTreeSet<usize> = (0..50)
        .map(|seed| {
            let disk = disk(seed);
            write(&disk, "/a/x", b"xy");
            disk.sync_folder(Path::new("/a")).unwrap();
            disk.crash();
            disk.read(Path::new("/a/x")).unwrap().len()
        })
        .collect();
    assert_eq!(lengths, BTreeSet::from([0, 1, 2]));
}

#[test]
fn a_rename_happens_or_does_not() {
    let mut seen = BTreeSet::new();
    for seed in 0..50 {
        let disk = disk(seed);
        disk.create_folder(Path::new("/b")).unwrap();
        disk.sync_folder(Path::new("/")).unwrap();
        for (path, bytes) in [("/a/new", b"new"), ("/b/x", b"old")] {
            write(&disk, path, bytes);
            disk.settle(Path::new(path)).unwrap();
        }
        disk.sync_folder(Path::new("/a")).unwrap();
        disk.sync_folder(Path::new("/b")).unwrap();
        disk.rename(Path::new("/a/new"), Path::new("/b/x")).unwrap();
        disk.crash();
        let there = disk.read(Path::new("/b/x")).unwrap();
        assert_eq!(there == b"old", disk.read(Path::new("/a/new")).is_ok());
        seen.insert(there);
    }
    assert_eq!(seen, BTreeSet::from([b"new".to_vec(), b"old".to_vec()]));
}

#[test]
fn syncing_a_folder_makes_a_rename_into_it_safe_with_all_that_led_to_it() {
    for seed in 0..50 {
        let disk = disk(seed);
        disk.create_folder(Path::new("/b")).unwrap();
        disk.sync_folder(Path::new("/")).unwrap();
        write(&disk, "/a/x", b"x");
        disk.settle(Path::new("/a/x")).unwrap();
        disk.rename(Path::new("/a/x"), Path::new("/b/x")).unwrap();
        disk.sync_folder(Path::new("/b")).unwrap();
        disk.crash();
        assert_eq!(disk.files(), [Path::new("/b/x")]);
    }
}

#[test]
fn the_same_seed_gives_the_same_ruins() {
    let ruins = |seed| {
        let disk = disk(seed);
        for number in 0..20 {
            write(&disk, &format!("/a/{number}"), &[7; 30]);
        }
        disk.crash();
        let files = disk.files().into_iter();
        files
            .map(|path| (disk.read(&path).unwrap(), path))
            .collect::<Vec<_>>()
    };
    assert_eq!(ruins(3), ruins(3));
    assert_ne!(ruins(3), ruins(4));
}

#[test]
fn a_full_disk_takes_what_fits_until_there_is_room() {
    let disk = disk(0);
    disk.set_capacity(5);
    let mut file = disk.create(Path::new("/a/x")).unwrap();
    let full = file.write_all(b"seven b").unwrap_err();
    assert_eq!(full.kind(), ErrorKind::StorageFull);
    assert_eq!(disk.read(Path::new("/a/x")).unwrap(), b"seven");
    assert_eq!(disk.free(Path::new("/a")).unwrap(), 0);
    disk.set_capacity(100);
    file.write_all(b" bytes").unwrap();
    assert_eq!((disk.used(), disk.free(Path::new("/a")).unwrap()), (11, 89));
    disk.remove(Path::new("/a/x")).unwrap();
    assert_eq!(disk.used(), 0);
}

#[test]
fn who_has_a_file_open_reads_on_and_writes_no_more_after_a_crash() {
    let disk = disk(0);
    write(&disk, "/a/x", b"x");
    let mut reader = disk.open(Path::new("/a/x")).unwrap();
    disk.remove(Path::new("/a/x")).unwrap();
    let mut read = String::new();
    reader.read_to_string(&mut read).unwrap();
    assert_eq!(read, "x");

    write(&disk, "/a/y", b"y");
    disk.settle(Path::new("/a/y")).unwrap();
    disk.sync_folder(Path::new("/a")).unwrap();
    let mut writer = disk.append(Path::new("/a/y")).unwrap();
    writer.write_all(b"z").unwrap();
    disk.cut(Path::new("/a/y"), 1).unwrap();
    disk.crash();
    assert!(writer.write_all(b"z").is_err());
    assert_eq!(disk.read(Path::new("/a/y")).unwrap(), b"y");
    disk.rot(Path::new("/a/y"), 0).unwrap();
    assert_ne!(disk.read(Path::new("/a/y")).unwrap(), b"y");
}

#[test]
fn what_cannot_be_is_refused_with_the_systems_words() {
    let disk = disk(0);
    let kind = |result: io::Result<()>| result.unwrap_err().kind();
    let create = |path: &str| disk.create(Path::new(path)).map(drop);
    create("/a/x").unwrap();
    assert_eq!(kind(create("/a/x")), ErrorKind::AlreadyExists);
    assert_eq!(kind(create("/no/x")), ErrorKind::NotFound);
    assert_eq!(kind(create("/a/x/y")), ErrorKind::NotADirectory);
    assert_eq!(kind(disk.remove(Path::new("/a/no"))), ErrorKind::NotFound);
    assert_eq!(kind(disk.remove(Path::new("/a"))), ErrorKind::IsADirectory);
}
