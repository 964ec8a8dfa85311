//! Files from outside the run that its tasks read: checkpoints to start from, stored pseudo-labels. A run takes a copy of each
//! into its artifact store, so that a worker fetches it like any other artifact and nothing depends on the file any more.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};
use types::Digest;

use crate::run_dir::RunDir;

/// What is remembered of a file: trusted as long as size and modification time stay.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
struct Known {
    bytes: u64,
    modified_ns: u64,
    digest: Digest,
}

/// The digests of these files, copied into the store where it does not have them. What a run directory remembers is not
/// read again.
///
/// # Errors
/// When a file cannot be read, or the store or the run directory cannot be written.
pub(crate) fn import(
    files: &BTreeSet<PathBuf>,
    run_dir: &RunDir,
    store: &artifact::Store,
) -> Result<BTreeMap<PathBuf, Digest>> {
    if files.is_empty() {
        return Ok(BTreeMap::new());
    }
    let cache = run_dir.file_cache();
    let remembered = read_cache(&cache);
    let mut now = BTreeMap::new();
    for path in files {
        let (bytes, modified_ns) = stamp(path)?;
        let known = remembered
            .get(path)
            .filter(|known| (known.bytes, known.modified_ns) == (bytes, modified_ns))
            .filter(|known| store.has(&known.digest));
        let digest = match known {
            Some(known) => known.digest,
            None => {
                tracing::info!("importing {} ({} MB)", path.display(), bytes / 1_000_000);
                store
                    .put_file(path)
                    .with_context(|| format!("importing {}", path.display()))?
            }
        };
        let known = Known {
            bytes,
            modified_ns,
            digest,
        };
        now.insert(path.clone(), known);
    }
    if now != remembered {
        let aside = cache.with_extension("new");
        fs::write(&aside, serde_json::to_vec(&now)?)
            .and_then(|()| fs::rename(&aside, &cache))
            .with_context(|| format!("cannot write {}", cache.display()))?;
    }
    Ok(digests(now))
}

/// The same for looking only: nothing is written, and files that cannot be read are left out.
pub(crate) fn look(files: &BTreeSet<PathBuf>, run_dir: &RunDir) -> BTreeMap<PathBuf, Digest> {
    let remembered = read_cache(&run_dir.file_cache());
    let found = files.iter().filter_map(|path| {
        let stamp = stamp(path).ok()?;
        let known = remembered
            .get(path)
            .filter(|known| (known.bytes, known.modified_ns) == stamp);
        let digest = match known {
            Some(known) => known.digest,
            None => artifact::digest_of_file(path).ok()?,
        };
        Some((path.clone(), digest))
    });
    found.collect()
}

fn digests(known: BTreeMap<PathBuf, Known>) -> BTreeMap<PathBuf, Digest> {
    known
        .into_iter()
        .map(|(path, known)| (path, known.digest))
        .collect()
}

/// Size, and nanoseconds of the modification time.
fn stamp(path: &Path) -> Result<(u64, u64)> {
    let metadata = fs::metadata(path).with_context(|| {
        format!(
            "cannot look at {}, which the plan names: put it there, or correct the plan",
            path.display()
        )
    })?;
    let modified = metadata
        .modified()?
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    let modified_ns = u64::try_from(modified.as_nanos()).unwrap_or(u64::MAX);
    Ok((metadata.len(), modified_ns))
}

/// A cache that cannot be read is as good as none: everything is digested again.
fn read_cache(path: &Path) -> BTreeMap<PathBuf, Known> {
    fs::read(path)
        .ok()
        .and_then(|bytes| serde_json::from_slice(&bytes).ok())
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_copied_once_and_again_when_it_changes_or_its_copy_is_gone() {
        let folder = tempfile::tempdir().unwrap();
        let run_dir = RunDir::create(&folder.path().join("run")).unwrap();
        let store = artifact::Store::open(run_dir.artifacts()).unwrap();
        let path = folder.path().join("weights.pt");
        let files = BTreeSet::from([path.clone()]);
        fs::write(&path, b"weights").unwrap();
        assert_eq!(
            look(&files, &run_dir),
            BTreeMap::from([(path.clone(), Digest::of(b"weights"))])
        );
        assert!(!run_dir.file_cache().exists());

        let first = import(&files, &run_dir, &store).unwrap()[&path];
        assert_eq!(first, Digest::of(b"weights"));
        assert_eq!(fs::read(store.path(&first)).unwrap(), b"weights");

        // What is remembered is believed: another digest in the cache shows that the file was not read again.
        let mut cache = read_cache(&run_dir.file_cache());
        let other = store.put_bytes(b"other").unwrap();
        cache.get_mut(&path).unwrap().digest = other;
        fs::write(run_dir.file_cache(), serde_json::to_vec(&cache).unwrap()).unwrap();
        assert_eq!(import(&files, &run_dir, &store).unwrap()[&path], other);
        assert_eq!(look(&files, &run_dir)[&path], other);
        store.remove(&other).unwrap();
        assert_eq!(import(&files, &run_dir, &store).unwrap()[&path], first);

        fs::write(&path, b"longer weights").unwrap();
        let changed = import(&files, &run_dir, &store).unwrap()[&path];
        assert_eq!(changed, Digest::of(b"longer weights"));
        assert!(store.has(&changed));
    }

    #[test]
    fn a_missing_file_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let run_dir = RunDir::create(&folder.path().join("run")).unwrap();
        let store = artifact::Store::open(run_dir.artifacts()).unwrap();
        let files = BTreeSet::from([folder.path().join("gone.ckpt")]);
        let error = import(&files, &run_dir, &store).unwrap_err();
        assert!(format!("{error:#}").contains("gone.ckpt"), "{error:#}");
        assert!(look(&files, &run_dir).is_empty());
    }
}
