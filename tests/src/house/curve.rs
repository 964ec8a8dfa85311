use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

/// The score that every validation gives.
const OBJECTIVE: &str = "validation/objective";

/// One point of a training's curve as a run directory keeps it.
#[derive(Debug, Clone, PartialEq, serde::Deserialize)]
pub struct Point {
    /// The attempt that made it.
    pub fence: u64,
    /// Optimizer steps completed.
    pub step: u64,
    /// Losses, rates, scores.
    pub values: BTreeMap<String, f64>,
}

/// A training's curve.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Curve {
    /// In the order of the file.
    pub points: Vec<Point>,
}

impl Curve {
    /// The curve of a task; empty if there is none yet. A line that is being written does not count.
    pub fn read(run_dir: &Path, task: &str) -> Self {
        let path = run_dir.join("report/metrics").join(format!("{task}.jsonl"));
        let text = fs::read_to_string(path).unwrap_or_default();
        let points = text
            .split_inclusive('\n')
            .filter(|line| line.ends_with('\n'))
            .map(|line| {
                serde_json::from_str(line).unwrap_or_else(|error| panic!("{error} in {line:?}"))
            });
        Self {
            points: points.collect(),
        }
    }

    /// The last step that has a point; 0 if none has.
    pub fn last_step(&self) -> u64 {
        self.points
            .iter()
            .map(|point| point.step)
            .max()
            .unwrap_or(0)
    }

    /// What the curve says of each step: the newest attempt's point.
    pub fn by_step(&self) -> BTreeMap<u64, BTreeMap<String, f64>> {
        let mut newest: BTreeMap<u64, &Point> = BTreeMap::new();
        for point in &self.points {
            let known = newest.entry(point.step).or_insert(point);
            if known.fence < point.fence {
                *known = point;
            }
        }
        newest
            .into_iter()
            .map(|(step, point)| (step, point.values.clone()))
            .collect()
    }

    /// That every step has a point up to the last one, and no attempt two for one.
    pub fn assert_whole(&self) {
        let mut seen = std::collections::BTreeSet::new();
        for point in &self.points {
            assert!(
                seen.insert((point.fence, point.step)),
                "attempt {} has two points for step {}",
                point.fence,
                point.step
            );
        }
        let steps: Vec<u64> = self.by_step().into_keys().collect();
        let expected: Vec<u64> = (1..=self.last_step()).collect();
        assert_eq!(steps, expected, "a step without its point");
    }
}

/// That the log of an attempt's rank 0 has its first line, and one line for each validation that the curve knows of, in order and
/// once.
pub fn assert_log_whole(run_dir: &Path, task: &str, fence: u64) {
    let path = run_dir
        .join("logs")
        .join(task)
        .join(format!("{fence}.0.log"));
    let text =
        fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    assert!(
        text.lines()
            .next()
            .is_some_and(|line| line.contains(&format!("attempt {fence} of {task}"))),
        "the first line of {text}"
    );
    let told: Vec<u64> = text
        .lines()
        .filter(|line| line.contains("validated in"))
        .filter_map(|line| {
            let (_, rest) = line.split_once("step=")?;
            rest.split_whitespace().next()?.parse().ok()
        })
        .collect();
    let made: Vec<u64> = Curve::read(run_dir, task)
        .points
        .into_iter()
        .filter(|point| point.fence == fence && point.values.contains_key(OBJECTIVE))
        .map(|point| point.step)
        .collect();
    assert!(!made.is_empty(), "{task} was validated");
    assert_eq!(told, made, "the validations in {}", path.display());
}
