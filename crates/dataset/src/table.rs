//! Tab-separated tables with a header row, read strictly: every complaint names file, line and column.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use crate::error::{Error, Place, TableProblem};

/// A table in memory: the columns that were asked for, in the order of asking.
#[derive(Debug)]
pub struct Table {
    path: PathBuf,
    columns: Vec<&'static str>,
    rows: Vec<Row>,
}

/// One row; fields in the order in which columns were asked for.
#[derive(Debug)]
pub struct Row {
    /// Line in the table, for messages.
    pub line: u64,
    fields: Vec<String>,
}

impl Table {
    /// Reads the columns `columns` of the table at `path`; other columns are ignored. `needed_by` goes into the message
    /// if there is no such file.
    pub(crate) fn read(
        path: &Path,
        columns: &[&'static str],
        needed_by: &str,
    ) -> Result<Self, Error> {
        let bytes = fs::read(path).map_err(|source| match source.kind() {
            std::io::ErrorKind::NotFound => Error::Missing {
                path: path.to_owned(),
                what: "table",
                needed_by: needed_by.to_owned(),
            },
            _ => Error::Io {
                path: path.to_owned(),
                doing: "read",
                source,
            },
        })?;
        Self::parse(path, &bytes, columns)
    }

    /// The columns `columns` of a table that was read from `path`; other columns are ignored.
    ///
    /// # Errors
    /// Not UTF-8, no header, a missing column, a row of another length than the header.
    pub fn parse(path: &Path, bytes: &[u8], columns: &[&'static str]) -> Result<Self, Error> {
        let at = |line, column, problem| Error::Table {
            place: Place {
                path: path.to_owned(),
                line,
                column,
            },
            problem,
        };
        let text = std::str::from_utf8(bytes).map_err(|error| {
            let line = 1 + bytes[..error.valid_up_to()]
                .iter()
                .filter(|b| **b == b'\n')
                .count();
            at(line as u64, None, TableProblem::NotUtf8)
        })?;
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        let expected = || columns.join(", ");
        // Quotes mean nothing in these tables, and the reader's own field count check would not say the line's text.
        let mut reader = csv::ReaderBuilder::new()
            .delimiter(b'\t')
            .quoting(false)
            .flexible(true)
            .has_headers(false)
            .from_reader(text.as_bytes());
        let mut records = reader.records();
        let unreadable = |error: csv::Error| {
            let line = error.position().map_or(1, csv::Position::line);
            at(line, None, TableProblem::NotUtf8)
        };
        let header = match records.next() {
            Some(record) => record.map_err(unreadable)?,
            None => {
                let problem = TableProblem::Empty {
                    expected: expected(),
                };
                return Err(at(1, None, problem));
            }
        };
        let mut places = Vec::with_capacity(columns.len());
        for &column in columns {
            let place = header.iter().position(|name| name.trim() == column);
            places.push(place.ok_or_else(|| {
                let found = header.iter().collect::<Vec<_>>();
                let comma_hint = if found.len() == 1 && found[0].contains(',') {
                    " (this one looks comma-separated)"
                } else {
                    ""
                };
                let problem = TableProblem::MissingColumn {
                    found: found.join(", "),
                    expected: expected(),
                    comma_hint,
                };
                at(1, Some(column), problem)
            })?);
        }
        let mut rows = Vec::new();
        for record in records {
            let record = record.map_err(unreadable)?;
            let line = record.position().map_or(0, csv::Position::line);
            if record.len() != header.len() {
                let problem = TableProblem::FieldCount {
                    found: record.len(),
                    expected: header.len(),
                    row: record.iter().collect::<Vec<_>>().join("\t"),
                };
                return Err(at(line, None, problem));
            }
            let fields = places.iter().map(|&place| record[place].trim().to_owned());
            rows.push(Row {
                line,
                fields: fields.collect(),
            });
        }
        Ok(Self {
            path: path.to_owned(),
            columns: columns.to_vec(),
            rows,
        })
    }

    /// Rows in table order.
    #[must_use]
    pub fn rows(&self) -> &[Row] {
        &self.rows
    }

    /// The error for `problem` in `row` at `column`.
    #[must_use]
    pub fn error(&self, row: &Row, column: usize, problem: TableProblem) -> Error {
        Error::Table {
            place: Place {
                path: self.path.clone(),
                line: row.line,
                column: self.columns.get(column).copied(),
            },
            problem,
        }
    }

    /// The error for `problem` with the table as a whole.
    #[must_use]
    pub fn error_in_table(&self, problem: TableProblem) -> Error {
        Error::Table {
            place: Place {
                path: self.path.clone(),
                line: 1,
                column: None,
            },
            problem,
        }
    }

    /// The text at `column`, which must not be empty.
    ///
    /// # Errors
    /// When it is.
    pub fn text<'a>(
        &self,
        row: &'a Row,
        column: usize,
        expected: &'static str,
    ) -> Result<&'a str, Error> {
        let text = row.field(column);
        if text.is_empty() {
            return Err(self.error(row, column, TableProblem::EmptyField { expected }));
        }
        Ok(text)
    }

    /// The name of an audio file at `column`.
    ///
    /// # Errors
    /// When it is empty or leads into another folder.
    pub fn file_name<'a>(&self, row: &'a Row, column: usize) -> Result<&'a str, Error> {
        let text = self.text(row, column, "the name of an audio file")?;
        // The name is joined to a folder, so it must stay in it.
        let plain = Path::new(text).file_name().is_some_and(|name| name == text);
        if !plain || text.contains(['/', '\\']) {
            let found = text.to_owned();
            return Err(self.error(row, column, TableProblem::NotAFileName { found }));
        }
        Ok(text)
    }

    /// A finite number at `column` for which `valid` holds.
    ///
    /// # Errors
    /// When there is none.
    pub fn number(
        &self,
        row: &Row,
        column: usize,
        expected: &'static str,
        valid: impl Fn(f64) -> bool,
    ) -> Result<f64, Error> {
        let text = self.text(row, column, expected)?;
        match text.parse::<f64>() {
            Ok(number) if number.is_finite() && valid(number) => Ok(number),
            _ => {
                let found = text.to_owned();
                Err(self.error(row, column, TableProblem::BadNumber { found, expected }))
            }
        }
    }
}

impl Row {
    /// The text at `column`, without the spaces around it.
    #[must_use]
    pub fn field(&self, column: usize) -> &str {
        &self.fields[column]
    }

    /// Whether a field has one of the spellings of "no value" that pandas knows and people write.
    #[must_use]
    pub fn is_missing(&self, column: usize) -> bool {
        matches!(
            self.field(column),
            "" | "NaN" | "nan" | "NA" | "N/A" | "NULL" | "null" | "None"
        )
    }
}

/// Notes the first line of each name and complains about the second.
#[derive(Debug, Default)]
pub struct Once(BTreeMap<String, u64>);

impl Once {
    /// Notes `name`, which stands in `row` at `column`.
    ///
    /// # Errors
    /// When it was noted before.
    pub fn note(
        &mut self,
        table: &Table,
        row: &Row,
        column: usize,
        name: &str,
    ) -> Result<(), Error> {
        if let Some(&first) = self.0.get(name) {
            let name = name.to_owned();
            return Err(table.error(row, column, TableProblem::Duplicate { name, first }));
        }
        self.0.insert(name.to_owned(), row.line);
        Ok(())
    }
}
