//! Tables of events, durations and weak labels.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use dataset::{DURATION_COLUMNS, EVENT_COLUMNS, Once, Row, Table, TableProblem, stem};
use eval::SoundEvent;

use crate::Error;
use crate::tsv::number;

/// Audio files are named so in tables that are written: clips have no extension.
const EXTENSION: &str = "wav";

pub(crate) fn read_table(path: &Path, columns: &[&'static str]) -> Result<Table, Error> {
    let bytes = fs::read(path).map_err(Error::io(path, "read"))?;
    Ok(Table::parse(path, &bytes, columns)?)
}

/// Reads `filename, onset, offset, event_label`: events by clip, in table order. A clip without events has one row, with the last
/// three fields empty.
///
/// Events of one class that touch or overlap are read as they are; scoring refuses them by name, and
/// [`types::merge_touching`] joins them.
///
/// # Errors
/// No table or no rows, a missing column, a row of another length, times that are none or have no length, a row that is there
/// twice, a clip with events and a row that says it has none.
pub fn read_ground_truth(path: &Path) -> Result<BTreeMap<String, Vec<SoundEvent>>, Error> {
    let table = read_table(path, &EVENT_COLUMNS[..4])?;
    let mut events: BTreeMap<String, Vec<SoundEvent>> = BTreeMap::new();
    let (mut rows, mut without) = (Once::default(), BTreeMap::new());
    for row in table.rows() {
        let clip = stem(table.file_name(row, 0)?);
        let list = events.entry(clip.to_owned()).or_default();
        if (1..4).all(|column| row.is_missing(column)) {
            rows.note(&table, row, 0, clip)?;
            without.insert(clip.to_owned(), row);
            continue;
        }
        let event = event(&table, row)?;
        let name = format!(
            "{clip}: {} from {} to {}",
            event.class, event.onset, event.offset
        );
        rows.note(&table, row, 0, &name)?;
        list.push(event);
    }
    for (clip, row) in without {
        if !events[&clip].is_empty() {
            let problem = TableProblem::EmptyField {
                expected: "an event, or no other row about this clip",
            };
            return Err(table.error(row, 1, problem).into());
        }
    }
    if events.is_empty() {
        return Err(table.error_in_table(TableProblem::NoRows).into());
    }
    Ok(events)
}

/// The event of a row of [`EVENT_COLUMNS`].
pub(crate) fn event(table: &Table, row: &Row) -> Result<SoundEvent, Error> {
    let (onset, offset) = table.times(row)?;
    if onset == offset {
        let time = row.field(1).to_owned();
        return Err(table.error(row, 2, TableProblem::NoLength { time }).into());
    }
    let class = table.text(row, 3, "a class")?.to_owned();
    Ok(SoundEvent {
        onset,
        offset,
        class,
    })
}

/// Writes events as [`read_ground_truth`] reads them; the folder is made as needed.
///
/// # Errors
/// A name that does not fit in a table, and whatever the operating system says.
pub fn write_ground_truth(
    path: &Path,
    events: &BTreeMap<String, Vec<SoundEvent>>,
) -> Result<(), Error> {
    let mut text = EVENT_COLUMNS[..4].join("\t") + "\n";
    for (clip, events) in events {
        // writing to a string cannot fail
        if events.is_empty() {
            let _ = writeln!(text, "{clip}.{EXTENSION}\t\t\t");
        }
        for event in events {
            let (onset, offset) = (number(event.onset), number(event.offset));
            let _ = writeln!(
                text,
                "{clip}.{EXTENSION}\t{onset}\t{offset}\t{}",
                event.class
            );
        }
    }
    write(path, &text)
}

/// Reads `filename, duration`: seconds by clip. A row may be there twice if it says the same.
///
/// # Errors
/// No table, a missing column, a row of another length, a duration that is not positive, a clip with two that differ.
pub fn read_durations(path: &Path) -> Result<BTreeMap<String, f64>, Error> {
    Ok(read_table(path, &DURATION_COLUMNS)?.durations()?)
}

/// Writes durations as [`read_durations`] reads them; the folder is made as needed.
///
/// # Errors
/// Whatever the operating system says.
pub fn write_durations(path: &Path, durations: &BTreeMap<String, f64>) -> Result<(), Error> {
    let mut text = DURATION_COLUMNS.join("\t") + "\n";
    for (clip, duration) in durations {
        let _ = writeln!(text, "{clip}.{EXTENSION}\t{}", number(*duration));
    }
    write(path, &text)
}

const WEAK_COLUMNS: [&str; 2] = ["filename", "event_labels"];

/// Reads `filename, event_labels` (names separated by commas): classes by clip. A clip in which nothing sounds has an empty field.
///
/// # Errors
/// No table or no rows, a missing column, a row of another length, a clip that is there twice, a class without a name or twice in
/// a row.
pub fn read_weak_labels(path: &Path) -> Result<BTreeMap<String, BTreeSet<String>>, Error> {
    let table = read_table(path, &WEAK_COLUMNS)?;
    let mut labels = BTreeMap::new();
    let mut clips = Once::default();
    for row in table.rows() {
        let clip = stem(table.file_name(row, 0)?);
        clips.note(&table, row, 0, clip)?;
        let mut classes = BTreeSet::new();
        if !row.is_missing(1) {
            for class in row.field(1).split(',').map(str::trim) {
                if class.is_empty() || !classes.insert(class.to_owned()) {
                    let problem = TableProblem::BadLabels {
                        found: row.field(1).to_owned(),
                    };
                    return Err(table.error(row, 1, problem).into());
                }
            }
        }
        labels.insert(clip.to_owned(), classes);
    }
    if labels.is_empty() {
        return Err(table.error_in_table(TableProblem::NoRows).into());
    }
    Ok(labels)
}

/// Writes weak labels as [`read_weak_labels`] reads them; the folder is made as needed.
///
/// # Errors
/// Whatever the operating system says.
pub fn write_weak_labels(
    path: &Path,
    labels: &BTreeMap<String, BTreeSet<String>>,
) -> Result<(), Error> {
    let mut text = WEAK_COLUMNS.join("\t") + "\n";
    for (clip, classes) in labels {
        let classes: Vec<&str> = classes.iter().map(String::as_str).collect();
        let _ = writeln!(text, "{clip}.{EXTENSION}\t{}", classes.join(","));
    }
    write(path, &text)
}

fn write(path: &Path, text: &str) -> Result<(), Error> {
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder).map_err(Error::io(folder, "make the folder"))?;
    }
    fs::write(path, text).map_err(Error::io(path, "write"))
}
