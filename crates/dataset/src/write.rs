//! Writing the tables that this room reads; for made-up data sets and for those cut from other recordings.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use crate::classes::CLASSES;
use crate::error::Error;
use crate::metadata::{StrongRow, WeakRow};

/// Writes a strong table; `soft` adds the column `confidence` of MAESTRO Real. Folders are made as needed.
///
/// # Errors
/// Whatever the operating system says.
pub fn write_strong(path: &Path, rows: &[StrongRow], soft: bool) -> Result<(), Error> {
    let mut text = String::from("filename\tonset\toffset\tevent_label");
    text.push_str(if soft { "\tconfidence\n" } else { "\n" });
    for row in rows {
        let class = CLASSES[row.class];
        // Writing to a string cannot fail.
        let _ = write!(
            text,
            "{}\t{}\t{}\t{class}",
            row.filename, row.onset, row.offset
        );
        let _ = match soft {
            true => writeln!(text, "\t{}", row.confidence),
            false => writeln!(text),
        };
    }
    write_table(path, &text)
}

/// Writes a weak table.
///
/// # Errors
/// Whatever the operating system says.
pub fn write_weak(path: &Path, rows: &[WeakRow]) -> Result<(), Error> {
    let mut text = String::from("filename\tevent_labels\n");
    for row in rows {
        let classes: Vec<&str> = row.classes.iter().map(|&class| CLASSES[class]).collect();
        let _ = writeln!(text, "{}\t{}", row.filename, classes.join(","));
    }
    write_table(path, &text)
}

/// Writes a table of durations in seconds.
///
/// # Errors
/// Whatever the operating system says.
pub fn write_durations(path: &Path, rows: &[(String, f64)]) -> Result<(), Error> {
    let mut text = String::from("filename\tduration\n");
    for (filename, duration) in rows {
        let _ = writeln!(text, "{filename}\t{duration}");
    }
    write_table(path, &text)
}

/// Writes an exclude list.
///
/// # Errors
/// Whatever the operating system says.
pub fn write_exclude(path: &Path, filenames: &[String]) -> Result<(), Error> {
    let mut text = String::from("filename\n");
    for filename in filenames {
        let _ = writeln!(text, "{filename}");
    }
    write_table(path, &text)
}

fn write_table(path: &Path, text: &str) -> Result<(), Error> {
    if let Some(folder) = path.parent() {
        make_folder(folder)?;
    }
    fs::write(path, text).map_err(Error::io(path, "write"))
}

pub(crate) fn make_folder(folder: &Path) -> Result<(), Error> {
    fs::create_dir_all(folder).map_err(Error::io(folder, "make the folder"))
}
