//! Ground truth for scoring: what really sounds when, and how long clips and recordings are (recipe 9.3, 9.4).

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use types::{DataSettings, SoundEvent, Split, merge_touching};

use crate::classes::CLASSES;
use crate::clip::{Annotation, Clip};
use crate::error::{Error, Place, TableProblem};
use crate::listing::{files_of, metadata_of};
use crate::metadata::{StrongRow, read_durations, read_strong, stem};
use crate::partition::recording_of;

/// A soft label counts as an event above this.
pub const ACTIVE_ABOVE: f64 = 0.5;

/// Reference events and durations by clip or recording. Both maps have the same keys.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Truth {
    /// Events sorted by onset.
    pub events: BTreeMap<String, Vec<SoundEvent>>,
    /// Seconds.
    pub durations: BTreeMap<String, f64>,
}

/// Ground truth of a DESED split for PSDS: events of `classes`; clips without any are left out, and so are their durations.
///
/// # Errors
/// A missing or faulty table; a clip without duration.
pub fn desed_truth(
    data: &DataSettings,
    split: Split,
    classes: &BTreeSet<String>,
) -> Result<Truth, Error> {
    let files = files_of(data, split)?;
    let mut events: BTreeMap<String, Vec<SoundEvent>> = BTreeMap::new();
    for row in read_strong(&metadata_of(data, files, split)?, split)? {
        let class = CLASSES[row.class];
        if classes.contains(class) && row.onset < row.offset {
            let list = events.entry(stem(&row.filename).to_owned()).or_default();
            list.push(SoundEvent {
                onset: row.onset,
                offset: row.offset,
                class: class.to_owned(),
            });
        }
    }
    for list in events.values_mut() {
        sort(list);
    }
    let (path, known) = durations(data, split)?;
    let durations = pick(events.keys(), &known, &path)?;
    Ok(Truth { events, durations })
}

/// Ground truth of a MAESTRO split for mpAUC, in the time of the recordings: soft labels above 0.5 of `classes`, moved by
/// their window's start, touching or overlapping ones of a class joined (recipe 9.4). Every recording that has a window is
/// there, with or without events.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct MaestroTruth {
    /// By recording.
    pub recordings: Truth,
    /// Stems of the windows with at least one event that counts; the reference's test loop averages these alone.
    pub active_windows: BTreeSet<String>,
}

/// See [`MaestroTruth`].
///
/// # Errors
/// As [`desed_truth`]; a file name that is not a window's.
pub fn maestro_truth(
    data: &DataSettings,
    split: Split,
    classes: &BTreeSet<String>,
) -> Result<MaestroTruth, Error> {
    let files = files_of(data, split)?;
    let table = metadata_of(data, files, split)?;
    let rows = read_strong(&table, split)?;
    let mut truth = MaestroTruth::default();
    for row in &rows {
        let stem = stem(&row.filename);
        let window = Window::parse(stem).ok_or_else(|| not_a_window(&table, row))?;
        let list = truth
            .recordings
            .events
            .entry(window.recording.to_owned())
            .or_default();
        let class = CLASSES[row.class];
        if row.confidence > ACTIVE_ABOVE && classes.contains(class) && row.onset < row.offset {
            list.push(SoundEvent {
                onset: row.onset + window.start,
                offset: row.offset + window.start,
                class: class.to_owned(),
            });
            truth.active_windows.insert(stem.to_owned());
        }
    }
    for list in truth.recordings.events.values_mut() {
        *list = merge_touching(list);
        sort(list);
    }
    let (path, known) = durations(data, split)?;
    truth.recordings.durations = pick(truth.recordings.events.keys(), &known, &path)?;
    Ok(truth)
}

/// Ground truth of MAESTRO windows each by itself, as the authors validate (recipe 7.3): soft labels above 0.5 of `classes`, touching
/// or overlapping ones of a class joined; a window ends with its last event, and one without any is left out.
#[must_use]
pub fn window_truth(windows: &[Clip], classes: &BTreeSet<String>) -> Truth {
    let mut truth = Truth::default();
    for window in windows {
        let Annotation::Strong(labels) = &window.annotation else {
            continue;
        };
        let counts = labels.iter().filter(|label| {
            label.confidence > ACTIVE_ABOVE
                && label.onset < label.offset
                && classes.contains(CLASSES[label.class])
        });
        let events: Vec<SoundEvent> = counts
            .map(|label| SoundEvent {
                onset: label.onset,
                offset: label.offset,
                class: CLASSES[label.class].to_owned(),
            })
            .collect();
        let end = events.iter().map(|event| event.offset).fold(0.0, f64::max);
        if end > 0.0 {
            let mut events = merge_touching(&events);
            sort(&mut events);
            truth.durations.insert(window.stem.clone(), end);
            truth.events.insert(window.stem.clone(), events);
        }
    }
    truth
}

/// The time span that a MAESTRO window's name tells: `<recording>-<start>-<end>`, in hundredths of a second.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Window<'a> {
    /// The recording.
    pub recording: &'a str,
    /// Start in whole seconds of the recording, rounded down as the reference does.
    pub start: f64,
    /// Length in seconds.
    pub length: f64,
}

impl<'a> Window<'a> {
    /// Reads a window's stem; `None` if it is not of that form.
    #[must_use]
    pub fn parse(stem: &'a str) -> Option<Self> {
        let (rest, end) = stem.rsplit_once('-')?;
        let (recording, start) = rest.rsplit_once('-')?;
        let (start, end) = (start.parse::<u32>().ok()?, end.parse::<u32>().ok()?);
        let length = end.checked_sub(start).filter(|length| *length > 0)?;
        (recording == recording_of(stem)).then_some(Self {
            recording,
            start: f64::from(start / 100),
            length: f64::from(length) / 100.0,
        })
    }
}

fn not_a_window(table: &std::path::Path, row: &StrongRow) -> Error {
    Error::Table {
        place: Place {
            path: table.to_owned(),
            line: row.line,
            column: Some("filename"),
        },
        problem: TableProblem::NotAWindow {
            found: row.filename.clone(),
        },
    }
}

fn sort(events: &mut [SoundEvent]) {
    events.sort_by(|a, b| {
        (a.onset.total_cmp(&b.onset))
            .then_with(|| a.offset.total_cmp(&b.offset))
            .then_with(|| a.class.cmp(&b.class))
    });
}

fn durations(data: &DataSettings, split: Split) -> Result<(PathBuf, BTreeMap<String, f64>), Error> {
    let files = files_of(data, split)?;
    let path = files.durations.as_ref().ok_or(Error::TableNotConfigured {
        split,
        what: "durations",
    })?;
    let path = data.root.join(path);
    let durations = read_durations(&path, split)?;
    Ok((path, durations))
}

fn pick<'a>(
    names: impl Iterator<Item = &'a String>,
    known: &BTreeMap<String, f64>,
    path: &std::path::Path,
) -> Result<BTreeMap<String, f64>, Error> {
    names
        .map(|name| match known.get(name) {
            Some(duration) => Ok((name.clone(), *duration)),
            None => Err(Error::Table {
                place: Place {
                    path: path.to_owned(),
                    line: 1,
                    column: Some("filename"),
                },
                problem: TableProblem::NoDuration { name: name.clone() },
            }),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_window_is_read_from_its_name() {
        let window = Window::parse("cafe_restaurant_00-000150-001150").unwrap();
        assert_eq!(window.recording, "cafe_restaurant_00");
        assert_eq!((window.start, window.length), (1.0, 10.0));
        assert!(Window::parse("cafe_restaurant_00").is_none());
        assert!(Window::parse("a-5-5").is_none());
        assert!(Window::parse("a-5-4").is_none());
    }
}
