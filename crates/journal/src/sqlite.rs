use std::collections::VecDeque;
use std::fs;
use std::path::{Path, PathBuf};

use control::{Record, RecordError};
use rusqlite::{Connection, ErrorCode, OpenFlags, OptionalExtension, params};

use crate::lock::Lock;
use crate::{Error, Journal, Records};

/// Marks a SQLite file as ours: "tutt".
const APPLICATION: i64 = 0x7475_7474;
/// The version of the tables. The records have their own.
const VERSION: i64 = 1;
/// Records read at a time.
const PAGE: usize = 1000;

/// The journal of a run directory. One process at a time has it open for writing.
#[derive(Debug)]
pub struct SqliteJournal {
    file: JournalFile,
    _lock: Lock,
}

/// A look into a journal that changes nothing, whether or not a coordinator has it open.
#[derive(Debug)]
pub struct JournalReader {
    file: JournalFile,
}

#[derive(Debug)]
struct JournalFile {
    path: PathBuf,
    connection: Connection,
}

impl SqliteJournal {
    /// Opens the journal at `path`, and makes it if there is none.
    ///
    /// # Errors
    /// [`Error::InUse`] if another process has it open; [`Error::NotAJournal`], [`Error::Version`] or [`Error::Damaged`]
    /// by what is there; nothing is changed then.
    pub fn open(path: &Path) -> Result<Self, Error> {
        let lock = Lock::take(path)?;
        let connection = Connection::open(path).map_err(|source| failure(path, "open", source))?;
        let mut file = JournalFile {
            path: path.to_owned(),
            connection,
        };
        if file.is_blank()? {
            file.create()?;
        }
        file.check()?;
        file.make_durable()?;
        Ok(Self { file, _lock: lock })
    }

    /// How many records it has.
    ///
    /// # Errors
    /// When SQLite cannot tell.
    pub fn len(&self) -> Result<u64, Error> {
        self.file.last()
    }

    /// Whether it has no record.
    ///
    /// # Errors
    /// When SQLite cannot tell.
    pub fn is_empty(&self) -> Result<bool, Error> {
        Ok(self.len()? == 0)
    }
}

impl Journal for SqliteJournal {
    fn append(&mut self, records: &[Record]) -> Result<(), Error> {
        self.file.append(records)
    }

    fn records(&self) -> Result<Records<'_>, Error> {
        Ok(Box::new(Pages::new(&self.file)))
    }
}

impl JournalReader {
    /// Opens the journal at `path` for reading.
    ///
    /// # Errors
    /// [`Error::Missing`] if there is none, else as [`SqliteJournal::open`] without `InUse`.
    pub fn open(path: &Path) -> Result<Self, Error> {
        if !path.exists() {
            return Err(Error::Missing {
                path: path.to_owned(),
            });
        }
        let mut wal = path.as_os_str().to_owned();
        wal.push("-wal");
        // Without a write-ahead log nobody is writing, and the file can be read as it lies: SQLite would otherwise make
        // a log, and remove it again.
        let quiet = fs::metadata(&wal).map_or(0, |found| found.len()) == 0;
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY
            | OpenFlags::SQLITE_OPEN_URI
            | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let place = if quiet {
            format!("{}?immutable=1", uri(path))
        } else {
            uri(path)
        };
        let connection = Connection::open_with_flags(place, flags)
            .map_err(|source| failure(path, "open", source))?;
        let file = JournalFile {
            path: path.to_owned(),
            connection,
        };
        file.check()?;
        Ok(Self { file })
    }

    /// All records, oldest first.
    pub fn records(&self) -> Records<'_> {
        Box::new(Pages::new(&self.file))
    }
}

/// A path as SQLite's URI, with what has a meaning in URIs escaped.
fn uri(path: &Path) -> String {
    let mut text = "file:".to_owned();
    for byte in path.as_os_str().as_encoded_bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'/' | b'.' | b'-' | b'_' | b'~' => {
                text.push(char::from(*byte))
            }
            other => text.push_str(&format!("%{other:02X}")),
        }
    }
    text
}

impl JournalFile {
    fn failure(&self, doing: &'static str) -> impl Fn(rusqlite::Error) -> Error + '_ {
        move |source| failure(&self.path, doing, source)
    }

    fn pragma(&self, name: &str) -> Result<i64, Error> {
        self.connection
            .pragma_query_value(None, name, |row| row.get(0))
            .map_err(self.failure("read the header"))
    }

    /// A file without any content: just made, or made by somebody who died before writing.
    fn is_blank(&self) -> Result<bool, Error> {
        let tables = self
            .connection
            .query_row("SELECT count(*) FROM sqlite_schema", [], |row| {
                row.get::<_, i64>(0)
            });
        let tables = tables.map_err(self.failure("read the tables"))?;
        Ok(tables == 0 && self.pragma("application_id")? == 0)
    }

    fn create(&mut self) -> Result<(), Error> {
        let path = self.path.clone();
        let failed = |source| failure(&path, "create the tables", source);
        let transaction = self.connection.transaction().map_err(failed)?;
        transaction
            .execute_batch(&format!(
                "CREATE TABLE records (number INTEGER PRIMARY KEY, body TEXT NOT NULL) STRICT;
                 PRAGMA application_id = {APPLICATION};
                 PRAGMA user_version = {VERSION};"
            ))
            .map_err(failed)?;
        transaction.commit().map_err(failed)
    }

    fn check(&self) -> Result<(), Error> {
        let application = self.pragma("application_id")?;
        if application != APPLICATION {
            let found = "a SQLite database of another program".to_owned();
            return Err(Error::NotAJournal {
                path: self.path.clone(),
                found,
            });
        }
        let version = self.pragma("user_version")?;
        if version != VERSION {
            return Err(Error::Version {
                path: self.path.clone(),
                found: version,
                expected: VERSION,
            });
        }
        let verdict = self
            .connection
            .query_row("PRAGMA quick_check(1)", [], |row| row.get::<_, String>(0));
        let verdict = verdict.map_err(self.failure("check"))?;
        if verdict == "ok" {
            Ok(())
        } else {
            Err(Error::Damaged {
                path: self.path.clone(),
                detail: verdict,
            })
        }
    }

    /// What is acknowledged has to survive a power cut: every commit is synced.
    fn make_durable(&self) -> Result<(), Error> {
        let mode = self
            .connection
            .query_row("PRAGMA journal_mode = WAL", [], |row| {
                row.get::<_, String>(0)
            });
        let mode = mode.map_err(self.failure("switch to a write-ahead log"))?;
        if mode != "wal" {
            let detail = format!(
                "SQLite keeps its log as {mode:?}, expected \"wal\" (is the file system a network one?)"
            );
            return Err(Error::Damaged {
                path: self.path.clone(),
                detail,
            });
        }
        self.connection
            .execute_batch("PRAGMA synchronous = FULL")
            .map_err(self.failure("set synchronous writing"))
    }

    fn last(&self) -> Result<u64, Error> {
        let last = self
            .connection
            .query_row("SELECT max(number) FROM records", [], |row| {
                row.get::<_, Option<i64>>(0)
            });
        let last = last
            .optional()
            .map_err(self.failure("read"))?
            .flatten()
            .unwrap_or(0);
        u64::try_from(last)
            .map_err(|_| self.damaged(format!("record number {last}, expected a positive one")))
    }

    fn append(&mut self, records: &[Record]) -> Result<(), Error> {
        let first = self.last()? + 1;
        let path = self.path.clone();
        let failed = |source| failure(&path, "record", source);
        // Dropped without a commit, a transaction is rolled back.
        let transaction = self.connection.transaction().map_err(failed)?;
        {
            let mut insert = transaction
                .prepare_cached("INSERT INTO records (number, body) VALUES (?1, ?2)")
                .map_err(failed)?;
            for (record, number) in records.iter().zip(first..) {
                let body = record.to_json().map_err(|source| Error::Record {
                    path: path.clone(),
                    number,
                    source,
                })?;
                insert
                    .execute(params![number.cast_signed(), body])
                    .map_err(failed)?;
            }
        }
        transaction.commit().map_err(failed)
    }

    /// The next records after `after`, at most [`PAGE`].
    fn page(&self, after: u64) -> Result<VecDeque<(u64, String)>, Error> {
        let failed = self.failure("read");
        let mut select = self
            .connection
            .prepare_cached(
                "SELECT number, body FROM records WHERE number > ?1 ORDER BY number LIMIT ?2",
            )
            .map_err(&failed)?;
        let rows = select.query_map(params![after.cast_signed(), PAGE.cast_signed()], |row| {
            Ok((
                row.get::<_, i64>(0)?.cast_unsigned(),
                row.get::<_, String>(1)?,
            ))
        });
        rows.map_err(&failed)?
            .collect::<Result<_, _>>()
            .map_err(failed)
    }

    fn damaged(&self, detail: String) -> Error {
        Error::Damaged {
            path: self.path.clone(),
            detail,
        }
    }
}

/// Records in order, a page at a time.
struct Pages<'a> {
    file: &'a JournalFile,
    page: VecDeque<(u64, String)>,
    last: u64,
    over: bool,
}

impl<'a> Pages<'a> {
    fn new(file: &'a JournalFile) -> Self {
        Self {
            file,
            page: VecDeque::new(),
            last: 0,
            over: false,
        }
    }

    fn advance(&mut self) -> Result<Option<Record>, Error> {
        if self.page.is_empty() {
            self.page = self.file.page(self.last)?;
        }
        let Some((number, body)) = self.page.pop_front() else {
            return Ok(None);
        };
        if number != self.last + 1 {
            let detail = format!(
                "record {number} follows record {}, expected {}",
                self.last,
                self.last + 1
            );
            return Err(self.file.damaged(detail));
        }
        self.last = number;
        let unreadable = |source: RecordError| Error::Record {
            path: self.file.path.clone(),
            number,
            source,
        };
        Record::from_json(&body).map(Some).map_err(unreadable)
    }
}

impl Iterator for Pages<'_> {
    type Item = Result<Record, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.over {
            return None;
        }
        let next = self.advance().transpose();
        self.over = !matches!(next, Some(Ok(_)));
        next
    }
}

fn failure(path: &Path, doing: &'static str, source: rusqlite::Error) -> Error {
    let path = path.to_owned();
    match source.sqlite_error_code() {
        Some(ErrorCode::DiskFull) => Error::Full { path },
        Some(ErrorCode::NotADatabase) => Error::NotAJournal {
            path,
            found: "no SQLite database at all".to_owned(),
        },
        Some(ErrorCode::DatabaseCorrupt) => Error::Damaged {
            path,
            detail: source.to_string(),
        },
        _ => Error::Sqlite {
            path,
            doing,
            source,
        },
    }
}

#[cfg(test)]
mod tests {
    use control::Input;
    use types::Timestamp;

    use super::*;

    fn record(at: u64) -> Record {
        Record {
            at: Timestamp(at),
            input: Input::Tick,
        }
    }

    #[test]
    fn a_full_disk_records_all_or_nothing_and_passes() {
        let folder = tempfile::tempdir().unwrap();
        let mut journal = SqliteJournal::open(&folder.path().join("journal.sqlite")).unwrap();
        journal.append(&[record(1)]).unwrap();
        let pages = journal.file.pragma("page_count").unwrap();
        journal
            .file
            .connection
            .pragma_update(None, "max_page_count", pages + 2)
            .unwrap();
        let many: Vec<_> = (2..5000).map(record).collect();
        let error = journal.append(&many).unwrap_err();
        assert!(
            matches!(error, Error::Full { .. }) && error.may_pass(),
            "{error}"
        );
        assert_eq!(journal.len().unwrap(), 1);
        journal.append(&[record(2)]).unwrap();
        journal
            .file
            .connection
            .pragma_update(None, "max_page_count", 1_000_000)
            .unwrap();
        journal.append(&many).unwrap();
        assert_eq!(journal.records().unwrap().count(), 5000);
    }

    #[test]
    fn a_missing_record_is_noticed() {
        let folder = tempfile::tempdir().unwrap();
        let mut journal = SqliteJournal::open(&folder.path().join("journal.sqlite")).unwrap();
        journal.append(&[record(1), record(2), record(3)]).unwrap();
        journal
            .file
            .connection
            .execute("DELETE FROM records WHERE number = 2", [])
            .unwrap();
        let read: Vec<_> = journal.records().unwrap().collect();
        assert_eq!(read.len(), 2);
        assert!(
            matches!(&read[1], Err(Error::Damaged { detail, .. }) if detail.contains("record 3 follows record 1"))
        );
    }

    #[test]
    fn every_commit_is_synced() {
        let folder = tempfile::tempdir().unwrap();
        let journal = SqliteJournal::open(&folder.path().join("journal.sqlite")).unwrap();
        assert_eq!(journal.file.pragma("synchronous").unwrap(), 2, "2 is FULL");
    }
}
