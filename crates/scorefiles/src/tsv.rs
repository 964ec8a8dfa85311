//! A folder of tables, one per clip: `onset`, `offset` and a column per class, a row per frame.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use eval::{ClipScores, Scores};
use rayon::prelude::*;

use crate::{Error, Problem, is_file_name};

/// Times nearer than this are one: programs add up the length of frames in more than one way.
const SAME_TIME: f64 = 1e-6;

/// Reads `<folder>/<clip>.tsv` of every clip; other files are left alone.
///
/// The first file by name gives the order of the classes. Others may have them in another order, but must have the same ones.
/// Frames may be of any length, but follow each other: a frame begins where the previous one ends (to a microsecond), or
/// there would be time with two scores or with none.
///
/// # Errors
/// A folder without tables; a table without header or frames; rows that are too short or too long; times that are none, overlap or
/// leave a gap; scores that are no numbers; classes that differ between files.
pub fn read_tsv_scores(folder: &Path) -> Result<Scores, Error> {
    let files = files(folder)?;
    let mut tables: Vec<Table> = (files.par_iter())
        .map(|(clip, path)| Table::read(clip, path))
        .collect::<Result<_, Error>>()?;
    let Some((first, others)) = tables.split_first_mut() else {
        return Err(Error::file(folder, Problem::EmptyFolder { found: 0 }));
    };
    others
        .par_iter_mut()
        .try_for_each(|table| table.order_like(first))?;
    let classes = first.classes.clone();
    Scores::new(
        classes,
        tables.into_iter().map(|table| table.scores).collect(),
    )
    .map_err(Error::scores(&[folder]))
}

/// Clips and their files, by the name of the clip.
fn files(folder: &Path) -> Result<BTreeMap<String, PathBuf>, Error> {
    let mut files = BTreeMap::new();
    let mut others = 0;
    for entry in fs::read_dir(folder).map_err(Error::io(folder, "list"))? {
        let path = entry.map_err(Error::io(folder, "list"))?.path();
        if path.extension().is_none_or(|extension| extension != "tsv") || path.is_dir() {
            others += 1;
            continue;
        }
        let Some(clip) = path.file_stem().and_then(|stem| stem.to_str()) else {
            return Err(Error::file(&path, Problem::NotUtf8));
        };
        files.insert(clip.to_owned(), path);
    }
    if files.is_empty() {
        return Err(Error::file(folder, Problem::EmptyFolder { found: others }));
    }
    Ok(files)
}

/// A table as it was read.
struct Table {
    path: PathBuf,
    classes: Vec<String>,
    scores: ClipScores,
}

impl Table {
    fn read(clip: &str, path: &Path) -> Result<Self, Error> {
        let bytes = fs::read(path).map_err(Error::io(path, "read"))?;
        let at = |line, problem| Error::Line {
            path: path.to_owned(),
            line,
            problem,
        };
        let text = std::str::from_utf8(&bytes).map_err(|error| {
            let before = &bytes[..error.valid_up_to()];
            let line = 1 + before.iter().filter(|byte| **byte == b'\n').count();
            at(line, Problem::NotUtf8)
        })?;
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        let mut lines = (1..)
            .zip(text.split('\n'))
            .map(|(line, row)| (line, row.strip_suffix('\r').unwrap_or(row)));
        let header = lines.next().map_or("", |(_, header)| header);
        let classes = classes(header).map_err(|problem| at(1, problem))?;
        let mut frames = Frames {
            classes: &classes,
            boundaries: Vec::new(),
            values: Vec::new(),
        };
        for (line, row) in lines {
            if !row.is_empty() {
                frames.push(row).map_err(|problem| at(line, problem))?;
            }
        }
        if frames.boundaries.is_empty() {
            return Err(at(1, Problem::NoFrames));
        }
        let scores = ClipScores {
            clip: clip.to_owned(),
            boundaries: frames.boundaries,
            values: frames.values,
        };
        Ok(Self {
            path: path.to_owned(),
            classes,
            scores,
        })
    }

    /// Moves the columns into the order of another table's.
    fn order_like(&mut self, first: &Self) -> Result<(), Error> {
        if self.classes == first.classes {
            return Ok(());
        }
        let at_header = |problem| Error::Line {
            path: self.path.clone(),
            line: 1,
            problem,
        };
        let places = |classes: &[String]| -> BTreeMap<String, usize> {
            classes.iter().cloned().zip(0..).collect()
        };
        let (own, known) = (places(&self.classes), places(&first.classes));
        if let Some(class) = self
            .classes
            .iter()
            .find(|class| !known.contains_key(*class))
        {
            let (class, first) = (class.clone(), first.path.clone());
            return Err(at_header(Problem::ClassUnknown { class, first }));
        }
        let column = |class: &String| {
            own.get(class).copied().ok_or_else(|| {
                let (class, first) = (class.clone(), first.path.clone());
                at_header(Problem::ClassMissing { class, first })
            })
        };
        let columns: Vec<usize> = first.classes.iter().map(column).collect::<Result<_, _>>()?;
        let frames = self.scores.values.chunks_exact(self.classes.len());
        let moved = frames.flat_map(|frame| columns.iter().map(|&column| frame[column]));
        self.scores.values = moved.collect();
        self.classes.clone_from(&first.classes);
        Ok(())
    }
}

fn classes(header: &str) -> Result<Vec<String>, Problem> {
    let mut names = header.split('\t').map(str::trim);
    let known = names.next() == Some("onset") && names.next() == Some("offset");
    let classes: Vec<String> = names.map(str::to_owned).collect();
    if !known || classes.is_empty() {
        return Err(Problem::Header {
            found: header.chars().take(200).collect(),
        });
    }
    let mut seen = BTreeSet::new();
    for (column, class) in (3..).zip(&classes) {
        if class.is_empty() {
            return Err(Problem::UnnamedClass { column });
        }
        if !is_cell(class) {
            let name = class.clone();
            return Err(Problem::NotAColumn { name });
        }
        if !seen.insert(class) {
            let class = class.clone();
            return Err(Problem::ClassTwice { class });
        }
    }
    Ok(classes)
}

/// The frames of a table so far.
struct Frames<'a> {
    classes: &'a [String],
    boundaries: Vec<f64>,
    values: Vec<f64>,
}

impl Frames<'_> {
    fn push(&mut self, row: &str) -> Result<(), Problem> {
        let expected = self.classes.len() + 2;
        let found = row.split('\t').count();
        if found != expected {
            return Err(Problem::Cells { found, expected });
        }
        let mut cells = row.split('\t').map(str::trim);
        let onset = time("onset", cells.next())?;
        let offset = time("offset", cells.next())?;
        match self.boundaries.last() {
            None => self.boundaries.push(onset),
            Some(&previous) if onset < previous - SAME_TIME => {
                return Err(Problem::Overlap { onset, previous });
            }
            Some(&previous) if onset > previous + SAME_TIME => {
                return Err(Problem::Gap { onset, previous });
            }
            Some(_) => {}
        }
        // both, because the onset may lie a hair beside the boundary
        if offset <= onset || self.boundaries.last().is_some_and(|last| offset <= *last) {
            return Err(Problem::NoLength { onset, offset });
        }
        self.boundaries.push(offset);
        for (class, cell) in self.classes.iter().zip(cells) {
            match cell.parse::<f64>() {
                Ok(value) if !value.is_nan() => self.values.push(value),
                _ => {
                    return Err(Problem::Score {
                        class: class.clone(),
                        onset,
                        offset,
                        found: cell.to_owned(),
                    });
                }
            }
        }
        Ok(())
    }
}

fn time(column: &'static str, cell: Option<&str>) -> Result<f64, Problem> {
    let cell = cell.unwrap_or_default();
    match cell.parse::<f64>() {
        Ok(time) if time.is_finite() && time >= 0.0 => Ok(time),
        _ => Err(Problem::Time {
            column,
            found: cell.to_owned(),
        }),
    }
}

/// Writes `<folder>/<clip>.tsv` of every clip; the folder is made as needed. Tables of other clips that lie there stay, and are read
/// with these again.
///
/// # Errors
/// A clip whose name is no file's, a class whose name does not fit in a header, and whatever the operating system says.
pub fn write_tsv_scores(folder: &Path, scores: &Scores) -> Result<(), Error> {
    if let Some(class) = (scores.classes().iter()).find(|class| !is_cell(class)) {
        let name = class.clone();
        return Err(Error::file(folder, Problem::NotAColumn { name }));
    }
    fs::create_dir_all(folder).map_err(Error::io(folder, "make the folder"))?;
    scores.clips().par_iter().try_for_each(|clip| {
        if !is_file_name(&clip.clip) {
            let name = clip.clip.clone();
            return Err(Error::file(folder, Problem::NotAClip { name }));
        }
        let path = folder.join(format!("{}.tsv", clip.clip));
        fs::write(&path, tsv_text(scores.classes(), clip)).map_err(Error::io(&path, "write"))
    })
}

/// Whether a text reads back from a table as it was.
fn is_cell(text: &str) -> bool {
    !text.is_empty() && text.trim() == text && !text.contains(['\t', '\n', '\r'])
}

/// The table of one clip. Numbers are the shortest that read back, written as Python writes them.
#[must_use]
pub fn tsv_text(classes: &[String], clip: &ClipScores) -> String {
    let mut text = String::with_capacity(20 * (clip.values.len() + 2 * clip.boundaries.len()));
    text.push_str("onset\toffset");
    for class in classes {
        text.push('\t');
        text.push_str(class);
    }
    text.push('\n');
    for (frame, times) in clip.boundaries.windows(2).enumerate() {
        text.push_str(&number(times[0]));
        text.push('\t');
        text.push_str(&number(times[1]));
        for value in clip
            .values
            .iter()
            .skip(frame * classes.len())
            .take(classes.len())
        {
            text.push('\t');
            text.push_str(&number(*value));
        }
        text.push('\n');
    }
    text
}

/// As Python's `repr`: of two shortest texts that are equally near the even one, and an exponent with a sign and two digits at
/// least.
pub(crate) fn number(value: f64) -> String {
    let shortest = format!("{value:e}");
    let Some((mantissa, exponent)) = shortest.split_once('e') else {
        return format!("{value:?}");
    };
    let decimals = mantissa
        .rsplit_once('.')
        .map_or(0, |(_, after)| after.len());
    let exponent: i32 = exponent.parse().unwrap_or(0);
    // a number exactly half way between two texts is rounded up by the shortest one, to even by one of that length
    let even = (decimals > 12)
        .then(|| format!("{value:.decimals$e}"))
        .filter(|even| *even != shortest && even.parse() == Ok(value));
    if (-4..16).contains(&exponent) || value == 0.0 {
        let after_point = i32::try_from(decimals).unwrap_or(0) - exponent;
        return match usize::try_from(after_point) {
            Ok(after_point @ 1..) if even.is_some() => format!("{value:.after_point$}"),
            Ok(0) if even.is_some() => format!("{value:.1}"),
            _ => format!("{value:?}"),
        };
    }
    let text = even.as_ref().unwrap_or(&shortest);
    let mantissa = text.split_once('e').map_or("", |(mantissa, _)| mantissa);
    let sign = if exponent < 0 { '-' } else { '+' };
    format!("{mantissa}e{sign}{:0>2}", exponent.unsigned_abs())
}

#[cfg(test)]
mod tests {
    use super::number;

    #[test]
    fn numbers_are_written_as_python_writes_them() {
        for (value, text) in [
            (0.0, "0.0"),
            (1.0, "1.0"),
            (0.1, "0.1"),
            (0.0001, "0.0001"),
            (0.00001, "1e-05"),
            (1.5e-7, "1.5e-07"),
            (1.25e-120, "1.25e-120"),
            (1e16, "1e+16"),
            (123_456_789_012_345_680.0, "1.2345678901234568e+17"),
            (f64::NEG_INFINITY, "-inf"),
            (f64::from(0.9_f32), "0.8999999761581421"),
            (f64::from(0.655_403_14_f32), "0.6554031372070312"),
            (-0.0, "-0.0"),
            (123_456_789_012_345.6, "123456789012345.6"),
            (5e-324, "5e-324"),
        ] {
            assert_eq!(number(value), text);
            assert_eq!(text.parse::<f64>(), Ok(value));
        }
    }
}
