//! What running tasks leave for people: curves and logs. Both are taken once, however often a worker sends them again.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File, OpenOptions};
use std::io::{self, BufRead, BufReader, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use types::{Bug, Fence, MetricPoint, Rank, Step, TaskName, planted};

use crate::run_dir::RunDir;

/// Files that grow. A seam: `OpenFiles` are the system's; the simulation has others.
pub trait RecordFiles {
    /// All bytes of a file; none if there is no such file.
    ///
    /// # Errors
    /// When it cannot be read.
    fn read(&self, path: &Path) -> io::Result<Vec<u8>>;

    /// Cuts a file to its first bytes.
    ///
    /// # Errors
    /// When the system refuses.
    fn cut(&mut self, path: &Path, bytes: u64) -> io::Result<()>;

    /// Adds bytes at a file's end; the file, and its folder, are made if they are not there. It may stay open.
    ///
    /// # Errors
    /// When the system refuses. Some of the bytes may be there then.
    fn append(&mut self, path: &Path, bytes: &[u8]) -> io::Result<()>;

    /// Brings what was added to all files to the disk for good.
    ///
    /// # Errors
    /// When the system refuses.
    fn sync(&mut self) -> io::Result<()>;

    /// A file need not stay open.
    fn close(&mut self, path: &Path);
}

/// What is known of each file.
#[derive(Debug)]
pub struct Records<F> {
    run_dir: RunDir,
    files: F,
    curves: BTreeMap<TaskName, Curve>,
    logs: BTreeMap<(Fence, Rank), Log>,
}

/// A line of `report/metrics/<task>.jsonl`.
#[derive(Serialize, Deserialize)]
struct Line {
    fence: Fence,
    #[serde(flatten)]
    point: MetricPoint,
}

#[derive(Debug)]
struct Curve {
    path: PathBuf,
    /// The newest point that is there.
    last: Option<(Fence, Step)>,
}

#[derive(Debug)]
struct Log {
    path: PathBuf,
    lines: u64,
}

impl<F: RecordFiles> Records<F> {
    /// The records in this run directory.
    pub fn new(root: &Path, files: F) -> Self {
        Self {
            run_dir: RunDir::at(root),
            files,
            curves: BTreeMap::new(),
            logs: BTreeMap::new(),
        }
    }

    /// Adds a point to a task's curve, unless it is there. A resumed attempt repeats steps since its checkpoint under its own
    /// fence: readers take the newest fence of a step.
    ///
    /// # Errors
    /// When the file cannot be written: the point is not there then, and may be given again.
    pub fn metric(&mut self, task: &TaskName, fence: Fence, point: MetricPoint) -> io::Result<()> {
        if !self.curves.contains_key(task) {
            let path = self.run_dir.metrics(task);
            let last = last_point(&self.whole_lines(&path)?);
            self.curves.insert(task.clone(), Curve { path, last });
        }
        let Some(curve) = self.curves.get_mut(task) else {
            return Ok(());
        };
        let place = (fence, point.step);
        if curve.last.is_some_and(|last| last >= place) {
            return Ok(());
        }
        let mut line = serde_json::to_string(&Line { fence, point })?;
        line.push('\n');
        let added = self.files.append(&curve.path, line.as_bytes());
        if added.is_ok() {
            curve.last = Some(place);
        } else {
            // a part of it may be there: the file is looked at again before the next point
            self.curves.remove(task);
        }
        added
    }

    /// Adds consecutive lines to a rank's log, those that are missing; gives how many are there now.
    ///
    /// # Errors
    /// When the file cannot be read or written: the lines may be given again.
    pub fn log(
        &mut self,
        task: &TaskName,
        fence: Fence,
        rank: Rank,
        first: u64,
        lines: &[String],
    ) -> io::Result<u64> {
        if !self.logs.contains_key(&(fence, rank)) {
            let path = self.run_dir.log(task, fence, rank);
            let there = self.whole_lines(&path)?;
            let lines = there.iter().filter(|byte| **byte == b'\n').count() as u64;
            self.logs.insert((fence, rank), Log { path, lines });
        }
        let Some(log) = self.logs.get_mut(&(fence, rank)) else {
            return Ok(0);
        };
        // A gap would be a fault of the worker; what follows it is not taken, and sent again.
        let known = usize::try_from(log.lines.saturating_sub(first)).unwrap_or(usize::MAX);
        let known = if planted(Bug::LinesTwice) { 0 } else { known };
        if first <= log.lines && known < lines.len() {
            let mut text = String::new();
            for line in &lines[known..] {
                text.push_str(line);
                text.push('\n');
            }
            if let Err(error) = self.files.append(&log.path, text.as_bytes()) {
                self.logs.remove(&(fence, rank));
                return Err(error);
            }
            log.lines += (lines.len() - known) as u64;
        }
        Ok(log.lines)
    }

    /// Brings everything that was added to the disk for good; whether it is there. Otherwise every file is looked through again
    /// before it is written to.
    pub fn sync(&mut self) -> bool {
        let synced = self.files.sync();
        if let Err(error) = &synced {
            tracing::warn!("logs and curves cannot be brought to the disk: {error}");
            self.curves.clear();
            self.logs.clear();
        }
        synced.is_ok()
    }

    /// Closes the files of an attempt that is over. Late lines open them again.
    pub fn close(&mut self, task: &TaskName, fence: Fence) {
        if let Some(curve) = self.curves.remove(task) {
            self.files.close(&curve.path);
        }
        self.logs.retain(|(open, _), log| {
            if *open == fence {
                self.files.close(&log.path);
            }
            *open != fence
        });
    }

    /// The complete lines of a file; a torn last one is cut off.
    fn whole_lines(&mut self, path: &Path) -> io::Result<Vec<u8>> {
        let mut bytes = self.files.read(path)?;
        let whole = bytes
            .iter()
            .rposition(|byte| *byte == b'\n')
            .map_or(0, |place| place + 1);
        if whole < bytes.len() {
            self.files.cut(path, whole as u64)?;
            bytes.truncate(whole);
        }
        if !bytes.is_empty() {
            // Whoever wrote them may have died before they were on the disk for good: they are, with the next sync.
            self.files.append(path, b"")?;
        }
        Ok(bytes)
    }
}

/// The newest point of a curve.
fn last_point(bytes: &[u8]) -> Option<(Fence, Step)> {
    let lines = bytes.split(|byte| *byte == b'\n');
    let lines = lines.filter_map(|line| serde_json::from_slice::<Line>(line).ok());
    lines.map(|line| (line.fence, line.point.step)).max()
}

/// The system's files, open for as long as they grow.
#[derive(Debug, Default)]
pub(crate) struct OpenFiles {
    open: BTreeMap<PathBuf, File>,
    /// Those with bytes that are not on the disk for good.
    dirty: BTreeSet<PathBuf>,
    /// Those that need not be open once they are.
    closing: BTreeSet<PathBuf>,
}

impl RecordFiles for OpenFiles {
    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        match fs::read(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
            read => read,
        }
    }

    fn cut(&mut self, path: &Path, bytes: u64) -> io::Result<()> {
        OpenOptions::new().write(true).open(path)?.set_len(bytes)
    }

    fn append(&mut self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        if !self.open.contains_key(path) {
            if let Some(folder) = path.parent() {
                fs::create_dir_all(folder)?;
            }
            let is_new = !path.exists();
            let file = OpenOptions::new().append(true).create(true).open(path)?;
            if is_new && let Some(folder) = path.parent() {
                File::open(folder)?.sync_all()?;
            }
            self.open.insert(path.to_owned(), file);
        }
        self.closing.remove(path);
        if let Some(file) = self.open.get_mut(path) {
            file.write_all(bytes)?;
            self.dirty.insert(path.to_owned());
        }
        Ok(())
    }

    fn sync(&mut self) -> io::Result<()> {
        let dirty: Vec<&File> = self
            .dirty
            .iter()
            .filter_map(|path| self.open.get(path))
            .collect();
        // the file system writes several at once as fast as one
        std::thread::scope(|scope| {
            let (first, others) = match dirty.split_first() {
                None => return Ok(()),
                Some(split) => split,
            };
            let chunks = others.chunks(others.len().div_ceil(8).max(1));
            let syncing: Vec<_> = chunks
                .map(|files| scope.spawn(|| files.iter().try_for_each(|file| file.sync_data())))
                .collect();
            let mut synced = first.sync_data();
            for one in syncing {
                let one = one
                    .join()
                    .unwrap_or_else(|_| Err(io::ErrorKind::Other.into()));
                synced = synced.and(one);
            }
            synced
        })?;
        self.dirty.clear();
        for path in std::mem::take(&mut self.closing) {
            self.open.remove(&path);
        }
        Ok(())
    }

    fn close(&mut self, path: &Path) {
        if self.dirty.contains(path) {
            self.closing.insert(path.to_owned());
        } else {
            self.open.remove(path);
        }
    }
}

/// A task's curve: for each step the point of its newest fence, steps growing. Lines that are torn or not understood are left out.
///
/// # Errors
/// When the file is there and cannot be read.
pub(crate) fn curve(path: &Path) -> io::Result<Vec<MetricPoint>> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let mut newest: BTreeMap<Step, Line> = BTreeMap::new();
    for bytes in BufReader::new(file).split(b'\n') {
        let Ok(line) = serde_json::from_slice::<Line>(&bytes?) else {
            continue;
        };
        let known = newest.get(&line.point.step);
        if known.is_none_or(|known| known.fence <= line.fence) {
            newest.insert(line.point.step, line);
        }
    }
    Ok(newest.into_values().map(|line| line.point).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn records(folder: &tempfile::TempDir) -> Records<OpenFiles> {
        Records::new(folder.path(), OpenFiles::default())
    }

    #[test]
    fn lines_sent_again_are_taken_once() {
        let folder = tempfile::tempdir().unwrap();
        let task = TaskName::new("i1.s1.a.train").unwrap();
        let lines: Vec<String> = ["a", "b", "c"].map(str::to_owned).to_vec();
        let mut first = records(&folder);
        assert_eq!(
            first.log(&task, Fence(1), Rank(0), 0, &lines[..2]).unwrap(),
            2
        );
        // The next life of the coordinator hears everything again.
        let mut second = records(&folder);
        assert_eq!(second.log(&task, Fence(1), Rank(0), 0, &lines).unwrap(), 3);
        assert_eq!(
            second.log(&task, Fence(1), Rank(0), 9, &lines).unwrap(),
            3,
            "a gap is not taken"
        );
        let path = RunDir::at(folder.path()).log(&task, Fence(1), Rank(0));
        assert_eq!(fs::read_to_string(path).unwrap(), "a\nb\nc\n");
    }

    #[test]
    fn a_torn_line_is_cut_off_and_points_are_not_doubled() {
        let folder = tempfile::tempdir().unwrap();
        let task = TaskName::new("i1.s1.a.train").unwrap();
        let point = |step| MetricPoint {
            step: Step(step),
            values: BTreeMap::from([("loss".to_owned(), 0.5)]),
        };
        records(&folder).metric(&task, Fence(1), point(1)).unwrap();
        let path = RunDir::at(folder.path()).metrics(&task);
        OpenOptions::new()
            .append(true)
            .open(&path)
            .unwrap()
            .write_all(b"{\"fence\":1,\"st")
            .unwrap();
        let mut again = records(&folder);
        again.metric(&task, Fence(1), point(1)).unwrap();
        again.metric(&task, Fence(1), point(2)).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap().lines().count(), 2);
    }

    /// Remembers what was added and what has been brought to the disk.
    #[derive(Default, Clone)]
    struct Remembered(std::rc::Rc<std::cell::RefCell<(Vec<u8>, bool)>>);

    impl RecordFiles for Remembered {
        fn read(&self, _: &Path) -> io::Result<Vec<u8>> {
            Ok(self.0.borrow().0.clone())
        }

        fn cut(&mut self, _: &Path, bytes: u64) -> io::Result<()> {
            self.0.borrow_mut().0.truncate(bytes as usize);
            Ok(())
        }

        fn append(&mut self, _: &Path, bytes: &[u8]) -> io::Result<()> {
            let mut file = self.0.borrow_mut();
            file.0.extend(bytes);
            file.1 = true;
            Ok(())
        }

        fn sync(&mut self) -> io::Result<()> {
            self.0.borrow_mut().1 = false;
            Ok(())
        }

        fn close(&mut self, _: &Path) {}
    }

    #[test]
    fn lines_of_a_life_that_died_before_it_synced_them_are_synced_by_the_next() {
        let file = Remembered::default();
        let task = TaskName::new("i1.s1.a.train").unwrap();
        let lines = ["a".to_owned()];
        let mut first = Records::new(Path::new("/run"), file.clone());
        first.log(&task, Fence(1), Rank(0), 0, &lines).unwrap();
        drop(first);
        file.0.borrow_mut().1 = false; // known to be dirty only by the life that is gone
        let mut second = Records::new(Path::new("/run"), file.clone());
        assert_eq!(second.log(&task, Fence(1), Rank(0), 0, &lines).unwrap(), 1);
        assert!(file.0.borrow().1, "to be synced before it is acknowledged");
        assert!(second.sync());
        assert_eq!(file.0.borrow().0, b"a\n");
    }

    #[test]
    fn of_each_step_the_newest_fence_is_read_and_torn_lines_are_not() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.jsonl");
        assert!(curve(&path).unwrap().is_empty());
        let line = |fence, step, loss: &str| {
            format!("{{\"fence\":{fence},\"step\":{step},\"values\":{{\"loss\":{loss}}}}}\n")
        };
        let lines = [
            line(1, 1, "0.5"),
            line(1, 2, "0.4"),
            "\u{0}\n".to_owned(),
            line(2, 2, "0.3"),
            line(1, 2, "0.9"),
            line(2, 3, "null"),
            "{\"fence\":2,\"st".to_owned(),
        ];
        fs::write(&path, lines.concat()).unwrap();
        let points: Vec<(u64, f64)> = curve(&path)
            .unwrap()
            .iter()
            .map(|point| (point.step.0, point.values["loss"]))
            .collect();
        assert_eq!(points, [(1, 0.5), (2, 0.3)]);
    }
}
