//! The list of all files that a plan's data consists of, so that every worker can prove that it has the same.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use types::{DataSettings, Digest};

use crate::classes::Purpose;
use crate::error::Error;
use crate::impulse::impulse_files;
use crate::listing::clips;

/// Size and content of one file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileEntry {
    /// Size.
    pub bytes: u64,
    /// BLAKE3 of the content.
    pub blake3: Digest,
}

/// Every table, exclude list and sound file of the splits in use, by path relative to the data root.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    files: BTreeMap<String, FileEntry>,
}

/// The first file in which two manifests differ.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    /// Relative to the data root.
    pub path: String,
    /// What this manifest says; `None` if it does not have the file.
    pub here: Option<FileEntry>,
    /// What the other says.
    pub there: Option<FileEntry>,
}

/// What the cache knows about a file: trusted as long as size and modification time stay.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
struct Cached {
    bytes: u64,
    modified_ns: u64,
    blake3: Digest,
}

impl Manifest {
    /// Lists and digests all files of `data` that clips or ground truth are read from. With `cache`, a file whose size and
    /// modification time are as that JSON file remembers is not read again; the cache is brought up to date.
    ///
    /// # Errors
    /// As [`clips`], so a missing file is named; a file that cannot be read; a cache that cannot be written.
    pub fn build(data: &DataSettings, cache: Option<&Path>) -> Result<Self, Error> {
        let known = cache.map(read_cache).unwrap_or_default();
        let entries = entries(data, &known)?;
        if let Some(cache) = cache
            && entries != known
        {
            write_aside(cache, &json(&entries, cache)?)?;
        }
        Ok(Self::of(entries))
    }

    /// The same without bringing the cache up to date: nothing is written.
    ///
    /// # Errors
    /// As [`Manifest::build`].
    pub fn look(data: &DataSettings, cache: Option<&Path>) -> Result<Self, Error> {
        let known = cache.map(read_cache).unwrap_or_default();
        Ok(Self::of(entries(data, &known)?))
    }

    fn of(entries: BTreeMap<String, Cached>) -> Self {
        let files = entries
            .into_iter()
            .map(|(name, Cached { bytes, blake3, .. })| (name, FileEntry { bytes, blake3 }))
            .collect();
        Self { files }
    }

    /// Files by path relative to the data root.
    #[must_use]
    pub fn files(&self) -> &BTreeMap<String, FileEntry> {
        &self.files
    }

    /// Sum of all sizes.
    #[must_use]
    pub fn total_bytes(&self) -> u64 {
        self.files.values().map(|entry| entry.bytes).sum()
    }

    /// The digest that is part of every task's key, and the name of [`Manifest::to_json`] as an artifact.
    #[must_use]
    pub fn digest(&self) -> Digest {
        Digest::of(&self.to_json())
    }

    /// The first file, by path, in which `self` and `other` differ.
    #[must_use]
    pub fn first_difference(&self, other: &Self) -> Option<Difference> {
        let paths: BTreeSet<&String> = self.files.keys().chain(other.files.keys()).collect();
        paths.into_iter().find_map(|path| {
            let here = self.files.get(path).copied();
            let there = other.files.get(path).copied();
            (here != there).then(|| Difference {
                path: path.clone(),
                here,
                there,
            })
        })
    }

    /// As JSON text; equal manifests have equal texts.
    #[must_use]
    pub fn to_json(&self) -> Vec<u8> {
        serde_json::to_vec_pretty(self).expect("paths as text, numbers and digests are always JSON")
    }

    /// Reads what [`Manifest::to_json`] wrote.
    ///
    /// # Errors
    /// When the file cannot be read or is no manifest.
    pub fn read(path: &Path) -> Result<Self, Error> {
        let bytes = fs::read(path).map_err(Error::io(path, "read"))?;
        serde_json::from_slice(&bytes).map_err(|error| Error::Manifest {
            path: path.to_owned(),
            cause: error.to_string(),
        })
    }
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = &self.path;
        match (self.here, self.there) {
            (Some(_), None) => write!(f, "{path} is here but not in the other copy"),
            (None, Some(_)) => write!(f, "{path} is in the other copy but not here"),
            (Some(here), Some(there)) if here.bytes != there.bytes => write!(
                f,
                "{path} has {} bytes here and {} bytes in the other copy",
                here.bytes, there.bytes
            ),
            _ => write!(f, "{path} has another content here than in the other copy"),
        }
    }
}

/// All files, digested where the cache does not know them.
fn entries(
    data: &DataSettings,
    known: &BTreeMap<String, Cached>,
) -> Result<BTreeMap<String, Cached>, Error> {
    list(data)?
        .into_par_iter()
        .map(|(name, path)| {
            let entry = examine(&path, known.get(&name))?;
            Ok((name, entry))
        })
        .collect()
}

/// Relative names and places of all files.
fn list(data: &DataSettings) -> Result<BTreeMap<String, PathBuf>, Error> {
    let mut paths = BTreeMap::new();
    let mut note = |relative: PathBuf| {
        let name = relative
            .components()
            .map(|part| part.as_os_str().to_string_lossy())
            .collect::<Vec<_>>()
            .join("/");
        paths.insert(name, data.root.join(relative));
    };
    for (&split, files) in &data.sources {
        for table in [&files.metadata, &files.durations].into_iter().flatten() {
            note(table.clone());
        }
        if let Some(list) = data.exclude.get(&split) {
            note(list.clone());
        }
        for clip in clips(data, split, Purpose::Evaluation)? {
            if let Some(name) = clip.path.file_name() {
                note(files.audio.join(name));
            }
        }
    }
    for response in impulse_files(data)? {
        note(response);
    }
    if let Some(path) = paths.values().find(|path| !path.is_file()) {
        return Err(Error::Missing {
            path: path.clone(),
            what: "file",
            needed_by: "the plan's [data]".to_owned(),
        });
    }
    Ok(paths)
}

fn examine(path: &Path, known: Option<&Cached>) -> Result<Cached, Error> {
    let metadata = fs::metadata(path).map_err(Error::io(path, "look at"))?;
    let bytes = metadata.len();
    let modified = metadata
        .modified()
        .map_err(Error::io(path, "look at"))?
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    let modified_ns = u64::try_from(modified.as_nanos()).unwrap_or(u64::MAX);
    if let Some(known) = known
        && (known.bytes, known.modified_ns) == (bytes, modified_ns)
    {
        return Ok(*known);
    }
    let mut hasher = blake3::Hasher::new();
    hasher.update_mmap(path).map_err(Error::io(path, "read"))?;
    Ok(Cached {
        bytes: hasher.count(),
        modified_ns,
        blake3: Digest::from_bytes(*hasher.finalize().as_bytes()),
    })
}

/// A cache that cannot be read is as good as none: everything is digested again.
fn read_cache(path: &Path) -> BTreeMap<String, Cached> {
    fs::read(path)
        .ok()
        .and_then(|bytes| serde_json::from_slice(&bytes).ok())
        .unwrap_or_default()
}

fn json(entries: &BTreeMap<String, Cached>, path: &Path) -> Result<Vec<u8>, Error> {
    serde_json::to_vec(entries).map_err(|error| Error::Manifest {
        path: path.to_owned(),
        cause: error.to_string(),
    })
}

/// Writes beside the file and renames, so that nobody reads half of it.
fn write_aside(path: &Path, bytes: &[u8]) -> Result<(), Error> {
    let aside = path.with_extension(format!("{}.part", std::process::id()));
    fs::write(&aside, bytes).map_err(Error::io(&aside, "write"))?;
    fs::rename(&aside, path).map_err(Error::io(path, "replace"))
}
