use std::fmt::Debug;
use std::fs::{self, File, Permissions};
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use nix::sys::statvfs::statvfs;

/// What whoever keeps files for good asks of a disk. A seam: [`RealDisk`] is the system's; tests have one that loses what was
/// not synced.
///
/// Bytes are safe once [`Disk::settle`] has returned, names once [`Disk::sync_folder`] has for the folder that they are in.
/// Whatever was done since then may be there after a crash, or not, or in part.
pub trait Disk: Debug + Send + Sync {
    /// A new, empty file to be written from its beginning.
    ///
    /// # Errors
    /// When something has that name already, or the system refuses.
    fn create(&self, path: &Path) -> io::Result<Box<dyn NewFile>>;

    /// A file to be read.
    ///
    /// # Errors
    /// When it is not there, or the system refuses.
    fn open(&self, path: &Path) -> io::Result<Box<dyn OpenFile>>;

    /// Brings a file's bytes to the disk for good and protects them from changes by accident.
    ///
    /// # Errors
    /// When the system refuses; how much of it is safe is not known then.
    fn settle(&self, path: &Path) -> io::Result<()>;

    /// Gives a file another name on the same file system, in place of what had that name.
    ///
    /// # Errors
    /// When the system refuses; nothing has changed then.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;

    /// Takes a file's name away. Who has it open reads on.
    ///
    /// # Errors
    /// When there is no such file, or the system refuses.
    fn remove(&self, path: &Path) -> io::Result<()>;

    /// Makes a folder and those above it, as far as they are not there.
    ///
    /// # Errors
    /// When the system refuses.
    fn create_folder(&self, path: &Path) -> io::Result<()>;

    /// Makes the names in a folder safe.
    ///
    /// # Errors
    /// When the system refuses; how many of them are safe is not known then.
    fn sync_folder(&self, path: &Path) -> io::Result<()>;

    /// Paths of what is in a folder, sorted.
    ///
    /// # Errors
    /// When there is no such folder, or the system refuses.
    fn list(&self, folder: &Path) -> io::Result<Vec<PathBuf>>;

    /// What is at a path; a link is looked at, not followed.
    ///
    /// # Errors
    /// When nothing is there, or the system refuses.
    fn about(&self, path: &Path) -> io::Result<About>;

    /// Bytes that may still be written where this path, which is there, is.
    ///
    /// # Errors
    /// When the system refuses.
    fn free(&self, path: &Path) -> io::Result<u64>;
}

/// A file that is being written.
pub trait NewFile: Write + Debug + Send {}

/// A file that is read.
pub trait OpenFile: Read + Seek + Debug + Send {
    /// What tells this file from any other, whatever their names.
    ///
    /// # Errors
    /// When the system refuses.
    fn id(&self) -> io::Result<FileId>;
}

/// What tells a file from any other that is there at the same time: device and inode.
pub type FileId = (u64, u64);

/// What is at a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct About {
    /// Which file.
    pub id: FileId,
    /// Its length in bytes.
    pub size: u64,
    /// Not a folder, a link or something stranger.
    pub is_file: bool,
    /// How many names it has.
    pub names: u64,
}

/// The system's own disks.
#[derive(Debug, Clone, Copy, Default)]
pub struct RealDisk;

impl Disk for RealDisk {
    fn create(&self, path: &Path) -> io::Result<Box<dyn NewFile>> {
        Ok(Box::new(File::create_new(path)?))
    }

    fn open(&self, path: &Path) -> io::Result<Box<dyn OpenFile>> {
        Ok(Box::new(File::open(path)?))
    }

    fn settle(&self, path: &Path) -> io::Result<()> {
        let file = File::open(path)?;
        file.set_permissions(Permissions::from_mode(0o444))?;
        file.sync_all()
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)
    }

    fn create_folder(&self, path: &Path) -> io::Result<()> {
        fs::create_dir_all(path)
    }

    fn sync_folder(&self, path: &Path) -> io::Result<()> {
        File::open(path)?.sync_all()
    }

    fn list(&self, folder: &Path) -> io::Result<Vec<PathBuf>> {
        let entries = fs::read_dir(folder)?;
        let paths = entries.map(|entry| Ok(entry?.path()));
        let mut paths = paths.collect::<io::Result<Vec<_>>>()?;
        paths.sort();
        Ok(paths)
    }

    fn about(&self, path: &Path) -> io::Result<About> {
        let metadata = fs::symlink_metadata(path)?;
        Ok(About {
            id: (metadata.dev(), metadata.ino()),
            size: metadata.len(),
            is_file: metadata.is_file(),
            names: metadata.nlink(),
        })
    }

    fn free(&self, path: &Path) -> io::Result<u64> {
        let about = statvfs(path)?;
        Ok(about.blocks_available() * about.fragment_size())
    }
}

impl NewFile for File {}

impl OpenFile for File {
    fn id(&self) -> io::Result<FileId> {
        let metadata = self.metadata()?;
        Ok((metadata.dev(), metadata.ino()))
    }
}
