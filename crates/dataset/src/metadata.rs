//! Readers for the four kinds of annotation tables of recipe 1.1.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use types::Split;

use crate::classes::{self, CLASSES};
use crate::error::{Error, TableProblem};
use crate::table::{Once, Row, Table};

/// A row of a strong or MAESTRO table: one event in one clip.
#[derive(Debug, Clone, PartialEq)]
pub struct StrongRow {
    /// Audio file name with its extension.
    pub filename: String,
    /// Start in seconds.
    pub onset: f64,
    /// End in seconds; not before the onset.
    pub offset: f64,
    /// Index into [`CLASSES`].
    pub class: usize,
    /// Soft label in [0, 1]; 1 where the table has none.
    pub confidence: f64,
    /// Line in the table, for messages.
    pub line: u64,
}

/// A row of a weak table: one clip and its classes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WeakRow {
    /// Audio file name with its extension.
    pub filename: String,
    /// Indices into [`CLASSES`], in the order of the table.
    pub classes: Vec<usize>,
    /// Line in the table, for messages.
    pub line: u64,
}

/// Times after this are none of a recording's; scoring makes a row of scores for each second of it.
const LONGEST: f64 = 86_400.0;

const SECONDS: &str = "a number of seconds from 0 to 86400 (a day)";

/// Reads `filename, onset, offset, event_label` of DESED or, with `confidence`, of MAESTRO Real, in table order. Rows with a
/// missing value are left out: that is how a clip without events is written (recipe 1.4).
///
/// # Errors
/// No such file, a missing column, a row of another length, a number that is none or out of range, an event that ends
/// before it begins, a class that is not one of the split's.
pub fn read_strong(path: &Path, split: Split) -> Result<Vec<StrongRow>, Error> {
    let soft = split.is_maestro();
    let columns = &EVENT_COLUMNS[..if soft { 5 } else { 4 }];
    let table = Table::read(path, columns, &format!("split {split}"))?;
    events(&table, Some(split), soft)
}

/// As [`read_strong`] for a table that belongs to no split: classes of both corpora, and `confidence` where there is such a column.
///
/// # Errors
/// As [`read_strong`].
pub fn read_events(path: &Path) -> Result<Vec<StrongRow>, Error> {
    match Table::read(path, &EVENT_COLUMNS, "the ground truth") {
        Ok(table) => events(&table, None, true),
        // without that column, or with a fault that shows again
        Err(_) => {
            let table = Table::read(path, &EVENT_COLUMNS[..4], "the ground truth")?;
            events(&table, None, false)
        }
    }
}

/// Columns of a table of events; the last one only where labels are soft.
pub const EVENT_COLUMNS: [&str; 5] = ["filename", "onset", "offset", "event_label", "confidence"];

fn events(table: &Table, split: Option<Split>, soft: bool) -> Result<Vec<StrongRow>, Error> {
    let columns = if soft { 5 } else { 4 };
    let mut rows = Vec::with_capacity(table.rows().len());
    for row in table.rows() {
        if (0..columns).any(|column| row.is_missing(column)) {
            // A wrong file name is worth a word even in a row without events.
            if !row.is_missing(0) {
                table.file_name(row, 0)?;
            }
            continue;
        }
        let filename = table.file_name(row, 0)?.to_owned();
        let (onset, offset) = table.times(row)?;
        let class = class_of(table, row, 3, row.field(3), split)?;
        let confidence = match soft {
            true => table.confidence(row)?,
            false => 1.0,
        };
        rows.push(StrongRow {
            filename,
            onset,
            offset,
            class,
            confidence,
            line: row.line,
        });
    }
    if rows.is_empty() {
        return Err(table.error_in_table(TableProblem::NoRows));
    }
    Ok(rows)
}

/// What the columns of recipe 1.1 hold.
impl Table {
    /// Onset and offset in a row of [`EVENT_COLUMNS`]; the offset is not before the onset.
    ///
    /// # Errors
    /// When they are no times.
    pub fn times(&self, row: &Row) -> Result<(f64, f64), Error> {
        let onset = self.number(row, 1, SECONDS, |x| (0.0..=LONGEST).contains(&x))?;
        let offset = self.number(row, 2, SECONDS, |x| (0.0..=LONGEST).contains(&x))?;
        if offset < onset {
            let problem = TableProblem::EndsBeforeItBegins {
                onset: row.field(1).to_owned(),
                offset: row.field(2).to_owned(),
            };
            return Err(self.error(row, 2, problem));
        }
        Ok((onset, offset))
    }

    /// The soft label in a row of [`EVENT_COLUMNS`].
    ///
    /// # Errors
    /// When it is not from 0 to 1.
    pub fn confidence(&self, row: &Row) -> Result<f64, Error> {
        self.number(row, 4, "a number from 0 to 1", |x| (0.0..=1.0).contains(&x))
    }

    /// Seconds by file name without its last extension, from a table of [`DURATION_COLUMNS`].
    ///
    /// # Errors
    /// As [`read_durations`].
    pub fn durations(&self) -> Result<BTreeMap<String, f64>, Error> {
        let mut durations = BTreeMap::new();
        let mut once = Once::default();
        for row in self.rows() {
            let filename = self.file_name(row, 0)?;
            let expected = "a number of seconds above 0, at most 86400 (a day)";
            let duration = self.number(row, 1, expected, |x| x > 0.0 && x <= LONGEST)?;
            let stem = stem(filename);
            if durations.get(stem) == Some(&duration) {
                continue;
            }
            once.note(self, row, 0, stem)?;
            durations.insert(stem.to_owned(), duration);
        }
        Ok(durations)
    }
}

/// Reads `filename, event_labels` (names separated by commas), in table order, every row (recipe 1.5 drops duplicates and
/// rows without audio later, because the split of recipe 1.6 counts them).
///
/// # Errors
/// As [`read_strong`].
pub fn read_weak(path: &Path, split: Split) -> Result<Vec<WeakRow>, Error> {
    let columns = ["filename", "event_labels"];
    let table = Table::read(path, &columns, &format!("split {split}"))?;
    let mut rows = Vec::with_capacity(table.rows().len());
    for row in table.rows() {
        let filename = table.file_name(row, 0)?.to_owned();
        let labels = table.text(row, 1, "class names separated by commas")?;
        let classes = labels
            .split(',')
            .map(|label| class_of(&table, row, 1, label.trim(), Some(split)))
            .collect::<Result<Vec<_>, Error>>()?;
        rows.push(WeakRow {
            filename,
            classes,
            line: row.line,
        });
    }
    if rows.is_empty() {
        return Err(table.error_in_table(TableProblem::NoRows));
    }
    Ok(rows)
}

/// Reads `filename, duration`; keys are file names without their last extension, values are seconds.
///
/// # Errors
/// As [`read_strong`]; a clip with two durations that differ.
pub fn read_durations(path: &Path, split: Split) -> Result<BTreeMap<String, f64>, Error> {
    let needed_by = format!("the durations of split {split}");
    Table::read(path, &DURATION_COLUMNS, &needed_by)?.durations()
}

/// Columns of a table of durations.
pub const DURATION_COLUMNS: [&str; 2] = ["filename", "duration"];

/// Reads the column `filename` of an exclude list (recipe 1.7).
///
/// # Errors
/// No such file or column.
pub fn read_exclude(path: &Path, split: Split) -> Result<BTreeSet<String>, Error> {
    let needed_by = format!("the exclude list of split {split}");
    let table = Table::read(path, &["filename"], &needed_by)?;
    table
        .rows()
        .iter()
        .map(|row| table.file_name(row, 0).map(str::to_owned))
        .collect()
}

/// A file name without its last extension: the name by which clips are known everywhere.
#[must_use]
pub fn stem(filename: &str) -> &str {
    filename.rsplit_once('.').map_or(
        filename,
        |(stem, _)| if stem.is_empty() { filename } else { stem },
    )
}

/// The classes that a table of `split` may name; all, for a table of no split.
fn known_classes(split: Option<Split>) -> &'static [&'static str] {
    match split {
        None => &CLASSES,
        Some(split) if split.is_maestro() => classes::maestro_classes(),
        Some(_) => classes::desed_classes(),
    }
}

fn class_of(
    table: &Table,
    row: &Row,
    column: usize,
    name: &str,
    split: Option<Split>,
) -> Result<usize, Error> {
    let known = known_classes(split);
    if known.contains(&name)
        && let Some(index) = classes::class_index(name)
    {
        return Ok(index);
    }
    let hint = match (classes::similar_class(name), split) {
        (Some(class), _) if known.contains(&class) => format!(", did you mean {class:?}?"),
        (_, Some(split)) if CLASSES.contains(&name) => {
            format!(" in split {split} (it is a class of the other corpus)")
        }
        _ => String::new(),
    };
    let problem = TableProblem::UnknownClass {
        found: name.to_owned(),
        hint,
        expected: known.join(", "),
    };
    Err(table.error(row, column, problem))
}
