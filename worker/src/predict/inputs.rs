//! Which files, and what to call them.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Result, bail};
use walkdir::{DirEntry, WalkDir};

/// Files that count in a folder; a file that is named itself may be called anything.
const EXTENSIONS: [&str; 8] = ["wav", "wave", "flac", "ogg", "oga", "mp3", "aif", "aiff"];

/// A file to listen to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Input {
    /// Where it is.
    pub(crate) path: PathBuf,
    /// Its name in the output: the file name, or the path below the folder that was given.
    pub(crate) name: String,
}

impl Input {
    /// The name without its extension, by which its own files are called.
    pub(crate) fn stem(&self) -> &str {
        self.name
            .rsplit_once('.')
            .filter(|(stem, extension)| {
                !stem.is_empty() && !stem.ends_with('/') && !extension.contains('/')
            })
            .map_or(&self.name, |(stem, _)| stem)
    }
}

/// The files of all paths in the order given, each once, and what is wrong with paths that give none.
///
/// # Errors
/// When two files would have one name in the output; `own_files`: or one stem.
pub(crate) fn collect(paths: &[PathBuf], own_files: bool) -> Result<(Vec<Input>, Vec<String>)> {
    let mut inputs = Vec::new();
    let mut problems = Vec::new();
    for path in paths {
        let found = if path.is_dir() {
            folder(path, &mut problems)
        } else {
            let name = path.file_name().unwrap_or(path.as_os_str());
            vec![(path.clone(), PathBuf::from(name))]
        };
        for (path, name) in found {
            match name.to_str() {
                Some(name) if !name.contains(char::is_control) => {
                    let name = name.to_owned();
                    inputs.push(Input { path, name });
                }
                _ => problems.push(format!(
                    "{path:?}: the name is not UTF-8 or has a tab or line break, which a table cannot hold; rename the file"
                )),
            }
        }
    }
    let mut seen: BTreeMap<String, PathBuf> = BTreeMap::new();
    let mut unique = Vec::with_capacity(inputs.len());
    for input in inputs {
        let key = if own_files { input.stem() } else { &input.name };
        match seen.get(key) {
            Some(first) if same_file(first, &input.path) => {}
            Some(first) => bail!(
                "{} and {} would both be called {key:?} in the output; give a folder that holds both, or one after the other",
                first.display(),
                input.path.display()
            ),
            None => {
                seen.insert(key.to_owned(), input.path.clone());
                unique.push(input);
            }
        }
    }
    Ok((unique, problems))
}

/// Sound files below `root` with their paths from there, sorted.
fn folder(root: &Path, problems: &mut Vec<String>) -> Vec<(PathBuf, PathBuf)> {
    let visible = |entry: &DirEntry| {
        entry.depth() == 0 || !entry.file_name().as_encoded_bytes().starts_with(b".")
    };
    let before = problems.len();
    let mut found = Vec::new();
    let walk = WalkDir::new(root).follow_links(true).sort_by_file_name();
    for entry in walk.into_iter().filter_entry(visible) {
        match entry {
            Ok(entry) if entry.file_type().is_file() && is_sound(entry.path()) => {
                let path = entry.into_path();
                let name = path.strip_prefix(root).unwrap_or(&path).to_owned();
                found.push((path, name));
            }
            Ok(_) => {}
            Err(error) => problems.push(format!("cannot search this folder: {error}")),
        }
    }
    if found.is_empty() && problems.len() == before {
        problems.push(format!(
            "{}: no sound file in this folder (looked for {})",
            root.display(),
            EXTENSIONS.join(", ")
        ));
    }
    found
}

fn is_sound(path: &Path) -> bool {
    path.extension().is_some_and(|extension| {
        EXTENSIONS
            .iter()
            .any(|known| extension.eq_ignore_ascii_case(known))
    })
}

fn same_file(one: &Path, other: &Path) -> bool {
    match (one.canonicalize(), other.canonicalize()) {
        (Ok(one), Ok(other)) => one == other,
        _ => one == other,
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn folders_are_searched_in_order_and_files_count_once() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path();
        fs::create_dir(root.join("b")).unwrap();
        for name in ["c.WAV", "b/x.flac", "a.wav", "notes.txt", ".hidden.wav"] {
            fs::write(root.join(name), "").unwrap();
        }
        let paths = [root.join("notes.txt"), root.to_owned(), root.join("a.wav")];
        let (inputs, problems) = collect(&paths, false).unwrap();
        let names: Vec<&str> = inputs.iter().map(|input| input.name.as_str()).collect();
        assert_eq!(names, ["notes.txt", "a.wav", "b/x.flac", "c.WAV"]);
        assert_eq!(inputs[2].stem(), "b/x");
        assert!(problems.is_empty());
    }

    #[test]
    fn one_name_for_two_files_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path();
        fs::create_dir(root.join("b")).unwrap();
        for name in ["a.wav", "a.flac", "b/a.wav"] {
            fs::write(root.join(name), "").unwrap();
        }
        let said = collect(&[root.join("a.wav"), root.join("b")], false).unwrap_err();
        assert!(said.to_string().contains("both be called \"a.wav\""));
        assert!(collect(&[root.to_owned()], false).is_ok());
        assert!(collect(&[root.to_owned()], true).is_err());
    }

    #[test]
    fn an_empty_folder_is_a_problem() {
        let folder = tempfile::tempdir().unwrap();
        let (inputs, problems) = collect(&[folder.path().to_owned()], false).unwrap();
        assert!(inputs.is_empty());
        assert!(problems[0].contains("no sound file"), "{problems:?}");
    }

    #[test]
    fn a_stem_keeps_folders() {
        let stem = |name: &str| {
            let (path, name) = (PathBuf::new(), name.to_owned());
            Input { path, name }.stem().to_owned()
        };
        assert_eq!(stem("Y1_30.000_40.000.wav"), "Y1_30.000_40.000");
        assert_eq!(stem("a.b/c"), "a.b/c");
        assert_eq!(stem("a/.wav"), "a/.wav");
    }
}
