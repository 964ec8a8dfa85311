#![expect(
    clippy::print_stderr,
    reason = "whoever reads a test's output should know that it was left out"
)]

use std::fs::{self, File};
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::process::Command;

/// A small file system of its own, as long as it lives: for programs that are to meet a disk that is truly full.
#[derive(Debug)]
pub struct SmallDisk(PathBuf);

impl SmallDisk {
    /// Makes the folder and mounts a file system of so many MiB there. None where that is not allowed, and the test has to be left out.
    ///
    /// # Panics
    /// When `CI` is set and it is not allowed: there everything is tested.
    #[must_use]
    pub fn mount(folder: &Path, mebibytes: u32) -> Option<Self> {
        fs::create_dir_all(folder).expect("the folder can be made");
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &format!("size={mebibytes}m")])
            .arg("tutti-test")
            .arg(folder)
            .output();
        match mounted {
            Ok(output) if output.status.success() => Some(Self(folder.to_owned())),
            other => {
                assert!(
                    std::env::var_os("CI").is_none(),
                    "no tmpfs can be mounted: {other:?}"
                );
                eprintln!("skipped: mounting a tmpfs needs root ({other:?})");
                None
            }
        }
    }

    /// Fills it to the last page; the file that does so.
    ///
    /// # Panics
    /// When it cannot be written for another reason than that it is full.
    #[must_use]
    pub fn fill(&self) -> PathBuf {
        let ballast = self.0.join("ballast");
        let mut file = File::create(&ballast).expect("the ballast can be made");
        loop {
            match file.write_all(&[1; 4096]) {
                Ok(()) => {}
                Err(error) if error.kind() == ErrorKind::StorageFull => return ballast,
                Err(error) => panic!("{error}"),
            }
        }
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}
