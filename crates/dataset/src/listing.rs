//! The clips of a split, in the order in which the reference would list them (recipe 1.4, 1.5).

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use types::{DataSettings, Split, SplitFiles};

use crate::classes::Purpose;
use crate::clip::{Annotation, Clip};
use crate::error::{Error, Place, TableProblem};
use crate::labels::LabeledEvent;
use crate::metadata::{WeakRow, read_exclude, read_strong, read_weak, stem};

/// Extensions of sound files in a folder without a table.
const SOUND_EXTENSIONS: [&str; 4] = ["wav", "flac", "ogg", "mp3"];

/// The clips of `split`, excluded ones left out: strong and MAESTRO clips by first appearance in the table, weak clips by row
/// (those without audio are skipped, as in the reference), unlabeled ones by name. With [`Purpose::Training`] labels carry
/// aliases.
///
/// # Errors
/// A table, audio folder or strong clip's audio file that is missing; a fault in a table.
pub fn clips(data: &DataSettings, split: Split, purpose: Purpose) -> Result<Vec<Clip>, Error> {
    let source = Source::open(data, split)?;
    let excluded = source.excluded()?;
    let clips = match split {
        Split::WeakTrain => source.weak(&source.weak_rows()?, &excluded)?,
        Split::UnlabeledTrain => source.unlabeled(&excluded)?,
        _ => source.strong(&excluded)?,
    };
    Ok(for_purpose(clips, purpose))
}

pub(crate) fn for_purpose(clips: Vec<Clip>, purpose: Purpose) -> Vec<Clip> {
    match purpose {
        Purpose::Training => clips.into_iter().map(Clip::with_aliases).collect(),
        Purpose::Evaluation => clips,
    }
}

/// One split's files, with the names in its audio folder.
pub(crate) struct Source<'a> {
    data: &'a DataSettings,
    split: Split,
    files: &'a SplitFiles,
    folder: PathBuf,
    present: BTreeSet<String>,
}

impl<'a> Source<'a> {
    pub(crate) fn open(data: &'a DataSettings, split: Split) -> Result<Self, Error> {
        let files = files_of(data, split)?;
        let folder = data.root.join(&files.audio);
        let present = names_in(&folder, split)?;
        Ok(Self {
            data,
            split,
            files,
            folder,
            present,
        })
    }

    pub(crate) fn excluded(&self) -> Result<BTreeSet<String>, Error> {
        match self.data.exclude.get(&self.split) {
            Some(list) => read_exclude(&self.data.root.join(list), self.split),
            None => Ok(BTreeSet::new()),
        }
    }

    fn metadata(&self) -> Result<PathBuf, Error> {
        metadata_of(self.data, self.files, self.split)
    }

    fn clip(&self, filename: &str, annotation: Annotation) -> Clip {
        Clip {
            split: self.split,
            stem: stem(filename).to_owned(),
            path: self.folder.join(filename),
            annotation,
            purpose: Purpose::Evaluation,
        }
    }

    fn strong(&self, excluded: &BTreeSet<String>) -> Result<Vec<Clip>, Error> {
        let table = self.metadata()?;
        let mut order: Vec<String> = Vec::new();
        let mut events: BTreeMap<String, Vec<LabeledEvent>> = BTreeMap::new();
        let mut stems = Stems::new(&table);
        for row in read_strong(&table, self.split)? {
            if excluded.contains(&row.filename) {
                continue;
            }
            let event = LabeledEvent {
                onset: row.onset,
                offset: row.offset,
                class: row.class,
                confidence: row.confidence,
            };
            if let Some(list) = events.get_mut(&row.filename) {
                list.push(event);
                continue;
            }
            if !self.present.contains(&row.filename) {
                return Err(Error::Missing {
                    path: self.folder.join(&row.filename),
                    what: "audio file",
                    needed_by: format!("{} line {}", table.display(), row.line),
                });
            }
            stems.note(&row.filename, row.line)?;
            order.push(row.filename.clone());
            events.insert(row.filename, vec![event]);
        }
        Ok(order
            .into_iter()
            .map(|filename| {
                let events = events.remove(&filename).unwrap_or_default();
                self.clip(&filename, Annotation::Strong(events))
            })
            .collect())
    }

    pub(crate) fn weak_rows(&self) -> Result<Vec<WeakRow>, Error> {
        read_weak(&self.metadata()?, self.split)
    }

    /// The clips of `rows`, the first row of each file counting.
    pub(crate) fn weak(
        &self,
        rows: &[WeakRow],
        excluded: &BTreeSet<String>,
    ) -> Result<Vec<Clip>, Error> {
        let table = self.metadata()?;
        let mut stems = Stems::new(&table);
        let mut seen = BTreeSet::new();
        let mut clips = Vec::with_capacity(rows.len());
        for row in rows {
            let wanted = self.present.contains(&row.filename) && !excluded.contains(&row.filename);
            if wanted && seen.insert(&row.filename) {
                stems.note(&row.filename, row.line)?;
                let annotation = Annotation::Weak(row.classes.clone());
                clips.push(self.clip(&row.filename, annotation));
            }
        }
        Ok(clips)
    }

    fn unlabeled(&self, excluded: &BTreeSet<String>) -> Result<Vec<Clip>, Error> {
        let mut stems = Stems::new(&self.folder);
        let mut clips = Vec::with_capacity(self.present.len());
        for name in &self.present {
            let is_sound = Path::new(name).extension().is_some_and(|extension| {
                SOUND_EXTENSIONS
                    .iter()
                    .any(|known| extension.eq_ignore_ascii_case(known))
            });
            if is_sound && !excluded.contains(name) {
                stems.note(name, 0)?;
                clips.push(self.clip(name, Annotation::None));
            }
        }
        Ok(clips)
    }
}

pub(crate) fn files_of(data: &DataSettings, split: Split) -> Result<&SplitFiles, Error> {
    data.sources
        .get(&split)
        .ok_or(Error::SplitNotConfigured { split })
}

pub(crate) fn metadata_of(
    data: &DataSettings,
    files: &SplitFiles,
    split: Split,
) -> Result<PathBuf, Error> {
    files
        .metadata
        .as_ref()
        .map(|path| data.root.join(path))
        .ok_or(Error::TableNotConfigured {
            split,
            what: "metadata",
        })
}

/// Names of the files in an audio folder. Hidden files are none of ours.
fn names_in(folder: &Path, split: Split) -> Result<BTreeSet<String>, Error> {
    let entries = fs::read_dir(folder).map_err(|source| match source.kind() {
        std::io::ErrorKind::NotFound => Error::Missing {
            path: folder.to_owned(),
            what: "audio folder",
            needed_by: format!("split {split}"),
        },
        _ => Error::Io {
            path: folder.to_owned(),
            doing: "list the folder",
            source,
        },
    })?;
    let mut names = BTreeSet::new();
    for entry in entries {
        let entry = entry.map_err(Error::io(folder, "list the folder"))?;
        if let Ok(name) = entry.file_name().into_string()
            && !name.starts_with('.')
        {
            names.insert(name);
        }
    }
    Ok(names)
}

/// Clips are known by their stems, so two files must not share one.
struct Stems {
    path: PathBuf,
    seen: BTreeSet<String>,
}

impl Stems {
    fn new(path: &Path) -> Self {
        Self {
            path: path.to_owned(),
            seen: BTreeSet::new(),
        }
    }

    fn note(&mut self, filename: &str, line: u64) -> Result<(), Error> {
        if self.seen.insert(stem(filename).to_owned()) {
            return Ok(());
        }
        Err(Error::Table {
            place: Place {
                path: self.path.clone(),
                line,
                column: Some("filename"),
            },
            problem: TableProblem::SameStem {
                name: filename.to_owned(),
            },
        })
    }
}
