use std::collections::VecDeque;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use nix::fcntl::{FallocateFlags, fallocate};
use serde::{Deserialize, Serialize};

/// Lines kept for the account of a failure.
const TAIL: usize = 50;
/// So much of a file is looked through for them.
const TAIL_BYTES: u64 = 1 << 20;
/// A longer line is cut: it is not a line.
const LONGEST_LINE: usize = 16 * 1024;
/// About the bytes of a batch.
const BATCH: usize = 256 * 1024;
/// What the coordinator has is taken off the disk in pieces of this size.
const PIECE: u64 = 16 << 20;
/// So much may wait on the disk for a coordinator that is away; a rank that writes more loses lines.
const MOST_WAITING: u64 = 1 << 30;

/// The log of one rank: a file that the rank process writes to by its own descriptor, so that no death of anybody else takes a
/// line along. The worker reads it and sends what the coordinator does not have.
///
/// A line's number depends on the file alone (and on what was dropped, which is written beside it). So a later life of the
/// worker sends the same lines under the same numbers, and the coordinator takes each once.
#[derive(Debug)]
pub(crate) struct LogBook {
    path: PathBuf,
    file: File,
    /// Nobody can write to it any more.
    complete: bool,
    /// Lines handed out since the last rewind, and where in the file the next one begins.
    sent: Position,
    /// The furthest that was ever handed out in this life.
    furthest: Position,
    /// Up to here the coordinator has them.
    acknowledged: Position,
    /// Ends of batches that are on their way.
    in_flight: VecDeque<Position>,
    kept: Kept,
    most_waiting: u64,
    /// Below this place nothing is on the disk any more.
    freed: u64,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Position {
    line: u64,
    byte: u64,
}

/// What the file itself does not say; in a file beside it, once it differs from the default.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Kept {
    /// The coordinator has everything before this place.
    start: Position,
    gaps: Vec<Gap>,
}

/// Lines that were dropped. Their place is taken by one line that says so.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Gap {
    from: Position,
    to: u64,
    notice: String,
}

/// Some consecutive lines.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct LogBatch {
    /// The number of the first one; a rank's lines count from 0.
    pub(crate) first: u64,
    pub(crate) lines: Vec<String>,
}

impl LogBook {
    /// An empty log in a new file, and the descriptor for the process that writes it.
    ///
    /// That descriptor holds a lock for as long as anybody has it: a later life of the worker sees by it whether the file may
    /// still grow.
    pub(crate) fn create(path: &Path) -> io::Result<(Self, File)> {
        let writer = OpenOptions::new()
            .create_new(true)
            .append(true)
            .open(path)?;
        writer.try_lock().map_err(io::Error::from)?;
        Ok((Self::open(path, Kept::default())?, writer))
    }

    /// A log that an earlier life of the worker left.
    pub(crate) fn left(path: &Path) -> io::Result<Self> {
        let kept = match fs::read(beside(path)) {
            Ok(text) => serde_json::from_slice(&text)?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => Kept::default(),
            Err(error) => return Err(error),
        };
        Self::open(path, kept)
    }

    fn open(path: &Path, kept: Kept) -> io::Result<Self> {
        Ok(Self {
            path: path.to_owned(),
            file: OpenOptions::new().read(true).append(true).open(path)?,
            complete: false,
            sent: kept.start,
            furthest: kept.start,
            acknowledged: kept.start,
            in_flight: VecDeque::new(),
            freed: kept.start.byte,
            kept,
            most_waiting: MOST_WAITING,
        })
    }

    /// Adds a line of somebody else than the process.
    pub(crate) fn push(&mut self, line: &str) -> io::Result<()> {
        self.file
            .write_all(format!("{}\n", line.replace('\n', " ")).as_bytes())
    }

    /// The process has ended, and whoever could write to the file with it.
    pub(crate) fn complete(&mut self) {
        self.complete = true;
    }

    /// Finds out whether anybody who could write to a file of an earlier life is left.
    pub(crate) fn complete_if_left_alone(&mut self) {
        self.complete |= self.file.try_lock().is_ok();
    }

    /// The next lines to send, as far as they are there, at most about 256 KiB.
    pub(crate) fn next_batch(&mut self) -> io::Result<Option<LogBatch>> {
        let first = self.sent.line;
        let gap = self.kept.gaps.iter().find(|gap| gap.from == self.sent);
        let (lines, byte) = match gap {
            Some(gap) => (vec![gap.notice.clone()], gap.to),
            None => self.lines_from(self.sent.byte)?,
        };
        if lines.is_empty() {
            return Ok(None);
        }
        self.sent = Position {
            line: first + lines.len() as u64,
            byte,
        };
        if self.sent.line > self.furthest.line {
            self.furthest = self.sent;
        }
        self.in_flight.push_back(self.sent);
        Ok(Some(LogBatch { first, lines }))
    }

    /// Lines from a place on, and where they end.
    fn lines_from(&self, start: u64) -> io::Result<(Vec<String>, u64)> {
        let ahead = self.kept.gaps.iter().map(|gap| gap.from.byte);
        let stop = ahead.filter(|&from| from > start).min();
        let most = stop.map_or(BATCH as u64, |stop| (stop - start).min(BATCH as u64));
        let bytes = self.read(start..start + most)?;
        let mut lines = Vec::new();
        let mut used = 0;
        while let Some(end) = bytes[used..].iter().position(|&byte| byte == b'\n') {
            lines.push(text(&bytes[used..used + end]));
            used += end + 1;
        }
        let end = start + used as u64;
        if !lines.is_empty() || bytes.is_empty() {
            return Ok((lines, end));
        }
        // one line without an end so far
        match self.end_of_line(start + bytes.len() as u64)? {
            Some(end) => Ok((vec![text(&bytes)], end)),
            None if self.complete => Ok((vec![text(&bytes)], self.len()?)),
            None => Ok((Vec::new(), start)),
        }
    }

    /// Where the line that is underway at a place has ended.
    fn end_of_line(&self, mut at: u64) -> io::Result<Option<u64>> {
        loop {
            let bytes = self.read(at..at + BATCH as u64)?;
            if bytes.is_empty() {
                return Ok(None);
            }
            if let Some(end) = bytes.iter().position(|&byte| byte == b'\n') {
                return Ok(Some(at + end as u64 + 1));
            }
            at += bytes.len() as u64;
        }
    }

    fn read(&self, range: Range<u64>) -> io::Result<Vec<u8>> {
        let size = usize::try_from(range.end - range.start).unwrap_or(BATCH);
        let mut bytes = vec![0; size];
        let mut read = 0;
        while read < size {
            match self
                .file
                .read_at(&mut bytes[read..], range.start + read as u64)
            {
                Ok(0) => break,
                Ok(more) => read += more,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        bytes.truncate(read);
        Ok(bytes)
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.file.metadata()?.len())
    }

    /// How much is on its way.
    pub(crate) fn batches_on_their_way(&self) -> usize {
        self.in_flight.len()
    }

    /// The coordinator has so many lines.
    pub(crate) fn acknowledge(&mut self, lines: u64) -> io::Result<()> {
        while let Some(&end) = self.in_flight.front()
            && end.line <= lines
        {
            self.acknowledged = end;
            self.in_flight.pop_front();
        }
        // the last lines stay, for the account of a failure
        let needless = self.acknowledged.byte.saturating_sub(TAIL_BYTES);
        if needless >= self.freed + PIECE {
            self.kept.start = self.acknowledged;
            let start = self.acknowledged.byte;
            self.kept.gaps.retain(|gap| gap.to > start);
            self.keep()?;
            self.free(self.freed..needless);
            self.freed = needless;
        }
        Ok(())
    }

    /// Makes room when too much waits for the coordinator: what has never been on its way goes, oldest first.
    pub(crate) fn drop_what_is_too_much(&mut self) -> io::Result<()> {
        let last = self.kept.gaps.last();
        let from = match last.filter(|gap| gap.from.line >= self.furthest.line) {
            // the end of the last gap, as long as nothing after it has been sent
            Some(gap) => Position {
                line: gap.from.line + 1,
                byte: gap.to,
            },
            None => self.furthest,
        };
        if self.complete || self.len()?.saturating_sub(from.byte) <= self.most_waiting {
            return Ok(());
        }
        let Some(to) = self.end_of_line(from.byte + self.most_waiting / 16)? else {
            return Ok(());
        };
        let mut lines = 0;
        let mut at = from.byte;
        while at < to {
            let bytes = self.read(at..to.min(at + BATCH as u64))?;
            lines += bytes.iter().filter(|&&byte| byte == b'\n').count();
            at += bytes.len() as u64;
        }
        let notice = format!(
            "[worker] {lines} lines ({} MiB) were dropped here: more than {} MiB waited for the coordinator",
            (to - from.byte) >> 20,
            self.most_waiting >> 20
        );
        tracing::warn!("{}: {notice}", self.path.display());
        self.kept.gaps.push(Gap { from, to, notice });
        self.keep()?;
        self.free(from.byte..to);
        Ok(())
    }

    /// Writes down what a later life of the worker has to know, before the bytes go.
    fn keep(&self) -> io::Result<()> {
        let path = beside(&self.path);
        let aside = path.with_extension("new");
        let mut file = File::create(&aside)?;
        file.write_all(&serde_json::to_vec(&self.kept)?)?;
        file.sync_all()?;
        fs::rename(aside, path)
    }

    /// Gives the room of some bytes back to the file system; places stay what they are.
    fn free(&self, bytes: Range<u64>) {
        let how = FallocateFlags::FALLOC_FL_PUNCH_HOLE | FallocateFlags::FALLOC_FL_KEEP_SIZE;
        let (Ok(from), Ok(size)) = (
            i64::try_from(bytes.start),
            i64::try_from(bytes.end - bytes.start),
        ) else {
            return;
        };
        if let Err(error) = fallocate(&self.file, how, from, size) {
            tracing::debug!(
                "{}: its file system gives no room back before the end ({error})",
                self.path.display()
            );
        }
    }

    /// A new connection: what was on its way is sent again.
    pub(crate) fn rewind(&mut self) {
        self.sent = self.acknowledged;
        self.in_flight.clear();
    }

    /// Whether the coordinator has every line that there will ever be.
    pub(crate) fn is_delivered(&self) -> bool {
        self.complete && self.len().is_ok_and(|len| self.acknowledged.byte >= len)
    }

    /// The last lines, oldest first.
    pub(crate) fn tail(&self) -> Vec<String> {
        let read = self.len().and_then(|len| {
            let start = len.saturating_sub(TAIL_BYTES);
            Ok((start, self.read(start..len)?))
        });
        let (start, bytes) = match read {
            Ok(read) => read,
            Err(error) => {
                tracing::warn!("{} cannot be read: {error}", self.path.display());
                return Vec::new();
            }
        };
        let bytes = bytes.strip_suffix(b"\n").unwrap_or(&bytes);
        if bytes.is_empty() {
            return Vec::new();
        }
        let mut lines: Vec<&[u8]> = bytes.split(|&byte| byte == b'\n').collect();
        // the first one may have begun before
        let torn = usize::from(start > 0);
        let from = lines
            .len()
            .saturating_sub(TAIL)
            .max(torn.min(lines.len() - 1));
        lines.drain(..from);
        lines.into_iter().map(text).collect()
    }

    /// Nobody needs it any more.
    pub(crate) fn remove(self) {
        let beside = beside(&self.path);
        for path in [&self.path, &beside] {
            if let Err(error) = fs::remove_file(path)
                && error.kind() != io::ErrorKind::NotFound
            {
                tracing::debug!("cannot remove {}: {error}", path.display());
            }
        }
    }
}

/// Where [`Kept`] is.
fn beside(path: &Path) -> PathBuf {
    path.with_extension("kept")
}

/// A line without its end; one that is too long is cut.
fn text(line: &[u8]) -> String {
    let line = &line[..line.len().min(LONGEST_LINE)];
    String::from_utf8_lossy(line).trim_end().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Written {
        folder: tempfile::TempDir,
        writer: File,
    }

    impl Written {
        fn new() -> (Self, LogBook) {
            let folder = tempfile::tempdir().unwrap();
            let (book, writer) = LogBook::create(&folder.path().join("log")).unwrap();
            (Self { folder, writer }, book)
        }

        fn line(&mut self, line: &str) {
            self.writer.write_all(line.as_bytes()).unwrap();
            self.writer.write_all(b"\n").unwrap();
        }

        /// The same log in the worker's next life.
        fn next_life(&self) -> LogBook {
            LogBook::left(&self.folder.path().join("log")).unwrap()
        }
    }

    fn lines(book: &mut LogBook) -> Vec<(u64, String)> {
        let mut all = Vec::new();
        while let Some(batch) = book.next_batch().unwrap() {
            all.extend((batch.first..).zip(batch.lines));
        }
        all
    }

    #[test]
    fn every_line_is_sent_until_it_is_acknowledged() {
        let (mut rank, mut book) = Written::new();
        assert!(book.tail().is_empty());
        for number in 0..120 {
            rank.line(&format!("line {number}"));
        }
        assert_eq!(book.tail().len(), 50);
        assert_eq!(book.tail()[49], "line 119");
        let batch = book.next_batch().unwrap().unwrap();
        assert_eq!((batch.first, batch.lines.len()), (0, 120));
        rank.line("more");
        let batch = book.next_batch().unwrap().unwrap();
        assert_eq!((batch.first, batch.lines.len()), (120, 1));
        assert_eq!(book.next_batch().unwrap(), None);
        book.acknowledge(120).unwrap();
        book.acknowledge(120).unwrap();

        book.rewind();
        book.push("after the cut").unwrap();
        let again = lines(&mut book);
        assert_eq!(again[0], (120, "more".to_owned()));
        assert_eq!(again[1], (121, "after the cut".to_owned()));
        assert_eq!(again.len(), 2);
        book.acknowledge(122).unwrap();
        assert!(!book.is_delivered(), "more could come");
        book.complete();
        assert!(book.is_delivered());
    }

    #[test]
    fn a_line_is_sent_when_it_has_ended_and_the_last_one_with_its_process() {
        let (mut rank, mut book) = Written::new();
        rank.writer.write_all(b"hal").unwrap();
        assert_eq!(book.next_batch().unwrap(), None);
        rank.line("f");
        let long = "x".repeat(3 * BATCH);
        rank.line(&long);
        rank.writer.write_all(b"\xffthe end").unwrap();
        let sent = lines(&mut book);
        assert_eq!(sent[0], (0, "half".to_owned()));
        assert_eq!((sent[1].0, sent[1].1.len()), (1, LONGEST_LINE));
        assert_eq!(sent.len(), 2);
        book.complete();
        assert_eq!(lines(&mut book), [(2, "\u{fffd}the end".to_owned())]);
        assert_eq!(book.tail().last().unwrap(), "\u{fffd}the end");
        book.acknowledge(3).unwrap();
        assert!(book.is_delivered());
    }

    #[test]
    fn a_later_life_sends_the_same_lines_under_the_same_numbers() {
        let (mut rank, mut book) = Written::new();
        let filler = "y".repeat(1000);
        for number in 0..40_000 {
            rank.line(&format!("{number} {filler}"));
        }
        let first = lines(&mut book);
        book.acknowledge(30_000).unwrap();
        drop(book);
        let mut book = rank.next_life();
        let start = book.kept.start;
        assert!(start.line > 20_000, "{start:?}");
        let again = lines(&mut book);
        let place = usize::try_from(start.line).unwrap();
        assert_eq!(again, first[place..]);

        book.complete_if_left_alone();
        book.acknowledge(40_000).unwrap();
        assert!(!book.is_delivered(), "the process still has the file");
        drop(rank.writer);
        book.complete_if_left_alone();
        assert!(book.is_delivered());
        book.remove();
        assert_eq!(fs::read_dir(rank.folder.path()).unwrap().count(), 0);
    }

    #[test]
    fn what_the_coordinator_has_takes_no_room() {
        use std::os::unix::fs::MetadataExt;
        let (mut rank, mut book) = Written::new();
        let filler = "z".repeat(1000);
        for number in 0..40_000 {
            rank.line(&format!("{number} {filler}"));
        }
        let full = book.file.metadata().unwrap();
        lines(&mut book);
        book.acknowledge(40_000).unwrap();
        let freed = book.file.metadata().unwrap();
        assert_eq!(freed.len(), full.len());
        assert!(
            freed.blocks() < full.blocks() / 4,
            "{} of {} blocks are left",
            freed.blocks(),
            full.blocks()
        );
        assert_eq!(book.tail().len(), 50);
        assert!(book.tail()[49].starts_with("39999 "));
    }

    #[test]
    fn what_does_not_fit_is_dropped_with_a_word_and_in_both_lives() {
        let (mut rank, mut book) = Written::new();
        book.most_waiting = 64 << 10;
        for number in 0..100 {
            rank.line(&format!("line {number:05}"));
        }
        let before = lines(&mut book);
        assert_eq!(before.len(), 100);
        for number in 100..30_000 {
            rank.line(&format!("line {number:05}"));
            if number % 100 == 0 {
                // the window is closed: nothing goes out, but the disk is looked after
                book.drop_what_is_too_much().unwrap();
            }
        }
        let gaps = book.kept.gaps.len();
        assert!(gaps > 10, "{gaps}");
        let after = lines(&mut book);
        assert_eq!(after[0].0, 100);
        let notices = after
            .iter()
            .filter(|(_, line)| line.contains("dropped here"));
        assert_eq!(notices.count(), gaps);
        assert!(
            after
                .iter()
                .zip(100..)
                .all(|((at, _), number)| *at == number)
        );
        let kept: Vec<&String> = after
            .iter()
            .map(|(_, line)| line)
            .filter(|line| line.starts_with("line"))
            .collect();
        assert_eq!(*kept.last().unwrap(), "line 29999");
        assert!(kept.is_sorted());
        let mut next = rank.next_life();
        let again = lines(&mut next);
        assert_eq!(again[..100], before);
        assert_eq!(again[100..], after);
    }
}
