//! What running tasks leave for people: curves and logs. Both are taken once, however often a worker sends them again.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use types::{Fence, MetricPoint, Rank, Step, TaskName};

use crate::run_dir::RunDir;

/// The open files.
#[derive(Debug)]
pub(crate) struct Records {
    run_dir: RunDir,
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
    file: File,
    /// The newest point that is there.
    last: Option<(Fence, Step)>,
    unsynced: bool,
}

#[derive(Debug)]
struct Log {
    file: File,
    lines: u64,
    unsynced: bool,
}

impl Records {
    pub(crate) fn new(run_dir: RunDir) -> Self {
        Self {
            run_dir,
            curves: BTreeMap::new(),
            logs: BTreeMap::new(),
        }
    }

    /// Adds a point to a task's curve, unless it is there. A resumed attempt repeats steps since its checkpoint under its own
    /// fence: readers take the newest fence of a step.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub(crate) fn metric(
        &mut self,
        task: &TaskName,
        fence: Fence,
        point: MetricPoint,
    ) -> io::Result<()> {
        if !self.curves.contains_key(task) {
            let path = self.run_dir.metrics(task);
            let last = last_point(&path)?;
            let file = OpenOptions::new().append(true).create(true).open(path)?;
            let curve = Curve {
                file,
                last,
                unsynced: false,
            };
            self.curves.insert(task.clone(), curve);
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
        if let Err(error) = curve.file.write_all(line.as_bytes()) {
            // what is torn is cut off when the file is opened again
            self.curves.remove(task);
            return Err(error);
        }
        curve.last = Some(place);
        curve.unsynced = true;
        Ok(())
    }

    /// Adds consecutive lines to a rank's log, those that are missing; gives how many are there now.
    ///
    /// # Errors
    /// When the file cannot be read or written.
    pub(crate) fn log(
        &mut self,
        task: &TaskName,
        fence: Fence,
        rank: Rank,
        first: u64,
        lines: &[String],
    ) -> io::Result<u64> {
        if !self.logs.contains_key(&(fence, rank)) {
            let path = self.run_dir.log(task, fence, rank);
            fs::create_dir_all(self.run_dir.logs(task))?;
            let lines = whole_lines(&path)?;
            let file = OpenOptions::new().append(true).create(true).open(path)?;
            let log = Log {
                file,
                lines,
                unsynced: false,
            };
            self.logs.insert((fence, rank), log);
        }
        let Some(log) = self.logs.get_mut(&(fence, rank)) else {
            return Ok(0);
        };
        // A gap would be a fault of the worker; what follows it is not taken, and sent again.
        let known = usize::try_from(log.lines.saturating_sub(first)).unwrap_or(usize::MAX);
        if first <= log.lines && known < lines.len() {
            let mut text = String::new();
            for line in &lines[known..] {
                text.push_str(line);
                text.push('\n');
            }
            if let Err(error) = log.file.write_all(text.as_bytes()) {
                // what is torn is cut off when the file is opened again
                self.logs.remove(&(fence, rank));
                return Err(error);
            }
            log.lines += (lines.len() - known) as u64;
            log.unsynced = true;
        }
        Ok(log.lines)
    }

    /// Makes sure that everything is on the disk that was written since the last time; whether it is. A file that may have lost
    /// something is opened and looked through again before it is written to.
    pub(crate) fn sync(&mut self) -> bool {
        let mut all = true;
        let mut sync = |file: &File, unsynced: &mut bool| {
            let synced = !std::mem::take(unsynced) || on_disk(file);
            all &= synced;
            synced
        };
        self.curves
            .retain(|_, curve| sync(&curve.file, &mut curve.unsynced));
        self.logs
            .retain(|_, log| sync(&log.file, &mut log.unsynced));
        all
    }

    /// Closes the files of an attempt that is over. Late lines open them again.
    pub(crate) fn close(&mut self, task: &TaskName, fence: Fence) {
        self.curves.remove(task);
        self.logs.retain(|(open, _), _| *open != fence);
    }
}

fn on_disk(file: &File) -> bool {
    let synced = file.sync_data();
    if let Err(error) = &synced {
        tracing::warn!("a log or a curve cannot be brought to the disk: {error}");
    }
    synced.is_ok()
}

/// The newest point of a curve that an earlier life of the coordinator wrote. A line torn by a crash is cut off.
fn last_point(path: &PathBuf) -> io::Result<Option<(Fence, Step)>> {
    whole_lines(path)?;
    let Ok(file) = File::open(path) else {
        return Ok(None);
    };
    let mut last = None;
    for line in BufReader::new(file).lines() {
        if let Ok(line) = serde_json::from_str::<Line>(&line?) {
            last = last.max(Some((line.fence, line.point.step)));
        }
    }
    Ok(last)
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

/// Complete lines of a file; a torn last one is cut off.
fn whole_lines(path: &PathBuf) -> io::Result<u64> {
    let mut file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(0),
        Err(error) => return Err(error),
    };
    let mut bytes = vec![0; 1 << 20];
    let (mut lines, mut at, mut whole) = (0, 0, 0);
    loop {
        let read = file.read(&mut bytes)?;
        if read == 0 {
            break;
        }
        let ends = bytes[..read].iter().filter(|byte| **byte == b'\n').count();
        if let Some(last) = bytes[..read].iter().rposition(|byte| *byte == b'\n') {
            whole = at + last as u64 + 1;
        }
        lines += ends as u64;
        at += read as u64;
    }
    if whole < at {
        OpenOptions::new().write(true).open(path)?.set_len(whole)?;
    }
    Ok(lines)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn records(folder: &tempfile::TempDir) -> Records {
        Records::new(RunDir::create(folder.path()).unwrap())
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
