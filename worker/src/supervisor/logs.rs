use std::collections::VecDeque;
use std::fs::{self, File, OpenOptions};
use std::io::{self, BufRead, BufReader, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

/// Lines kept for the account of a failure.
const TAIL: usize = 50;
/// A longer line is cut: it is not a line.
pub(crate) const LONGEST_LINE: usize = 16 * 1024;

/// The log of one rank. Every line goes to a file first; what is sent is read from there, so that a coordinator that is
/// away for hours costs no memory and no line.
#[derive(Debug)]
pub(crate) struct LogBook {
    path: PathBuf,
    writer: File,
    reader: BufReader<File>,
    lines_written: u64,
    /// Lines handed out since the last rewind, and where in the file the next one begins.
    sent: Position,
    /// Up to here the coordinator has them.
    acknowledged: Position,
    /// Ends of batches that are on their way.
    in_flight: VecDeque<Position>,
    tail: VecDeque<String>,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Position {
    line: u64,
    byte: u64,
}

/// Some consecutive lines.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct LogBatch {
    /// The number of the first one; a rank's lines count from 0.
    pub(crate) first: u64,
    pub(crate) lines: Vec<String>,
}

impl LogBook {
    /// An empty log in a new file.
    pub(crate) fn create(path: &Path) -> io::Result<Self> {
        let writer = OpenOptions::new()
            .create(true)
            .write(true)
            .truncate(true)
            .open(path)?;
        Ok(Self {
            path: path.to_owned(),
            reader: BufReader::new(File::open(path)?),
            writer,
            lines_written: 0,
            sent: Position::default(),
            acknowledged: Position::default(),
            in_flight: VecDeque::new(),
            tail: VecDeque::new(),
        })
    }

    /// Adds one line (without its newline).
    pub(crate) fn push(&mut self, line: &str) -> io::Result<()> {
        if self.tail.len() == TAIL {
            self.tail.pop_front();
        }
        self.tail.push_back(line.to_owned());
        let mut bytes = line.replace('\n', " ").into_bytes();
        bytes.push(b'\n');
        self.writer.write_all(&bytes)?;
        self.lines_written += 1;
        Ok(())
    }

    /// The next lines to send, at most so many, at most about 256 KiB.
    pub(crate) fn next_batch(&mut self, most: usize) -> io::Result<Option<LogBatch>> {
        const MOST_BYTES: usize = 256 * 1024;
        let first = self.sent.line;
        let mut lines = Vec::new();
        let mut bytes = 0;
        while self.sent.line < self.lines_written && lines.len() < most && bytes < MOST_BYTES {
            let mut line = String::new();
            let read = self.reader.read_line(&mut line)?;
            if read == 0 {
                return Err(io::Error::new(
                    io::ErrorKind::UnexpectedEof,
                    format!("{} is shorter than it was", self.path.display()),
                ));
            }
            self.sent.line += 1;
            self.sent.byte += read as u64;
            bytes += read;
            line.truncate(line.trim_end_matches('\n').len());
            lines.push(line);
        }
        if lines.is_empty() {
            return Ok(None);
        }
        self.in_flight.push_back(self.sent);
        Ok(Some(LogBatch { first, lines }))
    }

    /// How much is on its way.
    pub(crate) fn batches_on_their_way(&self) -> usize {
        self.in_flight.len()
    }

    /// The coordinator has so many lines.
    pub(crate) fn acknowledge(&mut self, lines: u64) {
        while let Some(&end) = self.in_flight.front()
            && end.line <= lines
        {
            self.acknowledged = end;
            self.in_flight.pop_front();
        }
    }

    /// A new connection: what was on its way is sent again.
    pub(crate) fn rewind(&mut self) -> io::Result<()> {
        self.sent = self.acknowledged;
        self.in_flight.clear();
        self.reader.seek(SeekFrom::Start(self.sent.byte))?;
        Ok(())
    }

    /// Whether the coordinator has every line.
    pub(crate) fn is_delivered(&self) -> bool {
        self.acknowledged.line == self.lines_written
    }

    /// The last lines, oldest first.
    pub(crate) fn tail(&self) -> Vec<String> {
        self.tail.iter().cloned().collect()
    }

    /// Nobody needs it any more.
    pub(crate) fn remove(self) {
        if let Err(error) = fs::remove_file(&self.path) {
            tracing::debug!("cannot remove {}: {error}", self.path.display());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_line_is_sent_until_it_is_acknowledged() {
        let folder = tempfile::tempdir().unwrap();
        let mut log = LogBook::create(&folder.path().join("log")).unwrap();
        for number in 0..120 {
            log.push(&format!("line {number}")).unwrap();
        }
        assert_eq!(log.tail().len(), 50);
        assert_eq!(log.tail()[49], "line 119");
        let batch = log.next_batch(100).unwrap().unwrap();
        assert_eq!((batch.first, batch.lines.len()), (0, 100));
        let batch = log.next_batch(100).unwrap().unwrap();
        assert_eq!((batch.first, batch.lines.len()), (100, 20));
        assert_eq!(log.next_batch(100).unwrap(), None);
        log.acknowledge(100);
        log.acknowledge(100);
        assert!(!log.is_delivered());

        log.rewind().unwrap();
        log.push("after the cut").unwrap();
        let batch = log.next_batch(100).unwrap().unwrap();
        assert_eq!((batch.first, batch.lines.len()), (100, 21));
        assert_eq!(batch.lines[0], "line 100");
        assert_eq!(batch.lines[20], "after the cut");
        log.acknowledge(121);
        assert!(log.is_delivered());
    }
}
