//! What a page is made from.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use types::{
    EvaluationSettings, MemberName, MetricPoint, ScoreReport, ShownClips, Step, Subject, TaskKind,
    TaskName, Timestamp,
};

/// A run as its page shows it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RunPage {
    /// The plan's name.
    pub plan: String,
    /// What the plan wants to be said beside its scores.
    pub notice: Option<String>,
    /// How the run stands.
    pub state: RunState,
    /// When it was submitted.
    pub began: Timestamp,
    /// When it ended; none while it goes on.
    pub ended: Option<Timestamp>,
    /// When all this was true.
    pub now: Timestamp,
    /// What is scored.
    pub evaluation: EvaluationSettings,
    /// In the order of the table.
    pub scores: Vec<ScoreReport>,
    /// In the order of the tasks.
    pub curves: Vec<Curves>,
    /// Every task, each after those that it reads from.
    pub tasks: Vec<Task>,
    /// Clips of the last ensemble.
    pub clips: Option<ShownClips>,
    /// The settings of the training tasks.
    pub settings: Settings,
    /// The plan itself.
    pub plan_text: String,
}

/// How a run stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RunState {
    /// It goes on.
    Running,
    /// All is done.
    Done,
    /// A person stopped it; the same command goes on.
    Interrupted,
    /// A task failed for good.
    Failed,
    /// It was ended before the rest.
    Ended,
}

/// A task with its attempts.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Task {
    /// Unique.
    pub name: TaskName,
    /// What it does.
    pub kind: TaskKind,
    /// Iteration, from 1; 0 for untrained models.
    pub iteration: u32,
    /// Stage 1 or 2; 0 for untrained models; none for what follows both.
    pub stage: Option<u32>,
    /// Whose it is.
    pub subject: Subject,
    /// Tasks whose outputs it reads.
    pub after: Vec<TaskName>,
    /// Where it is in its life.
    pub state: TaskState,
    /// Why it is not done, in a sentence.
    pub reason: Option<String>,
    /// What there is to say of a failure, in lines.
    pub failure: Vec<String>,
    /// Oldest first.
    pub attempts: Vec<Attempt>,
}

/// Where a task is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TaskState {
    /// Failed for good.
    Failed,
    /// Its run was ended first.
    Cancelled,
    /// Has a gang.
    Running,
    /// For inputs or for workers.
    Waiting,
    /// Executed by this run.
    Done,
    /// Its result was there before the run.
    Remembered,
}

impl TaskState {
    /// All, in the order of legends.
    pub(crate) const ALL: [Self; 6] = [
        Self::Done,
        Self::Remembered,
        Self::Running,
        Self::Waiting,
        Self::Failed,
        Self::Cancelled,
    ];

    /// The word for people, and the class in the style sheet.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
            Self::Running => "running",
            Self::Waiting => "waiting",
            Self::Done => "done",
            Self::Remembered => "remembered",
        }
    }

    /// Colour alone says too little.
    pub(crate) const fn sign(self) -> &'static str {
        match self {
            Self::Failed => "✕",
            Self::Cancelled => "–",
            Self::Running => "▸",
            Self::Waiting => "·",
            Self::Done => "✓",
            Self::Remembered => "↺",
        }
    }
}

/// One try at a task.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Attempt {
    /// When its gang was chosen.
    pub began: Timestamp,
    /// None while it is live.
    pub ended: Option<Timestamp>,
    /// Its workers by rank.
    pub workers: Vec<String>,
    /// Why it ended without a result.
    pub cause: Option<String>,
}

/// The settings of all training tasks beside one another.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Settings {
    /// The tasks.
    pub tasks: Vec<TaskName>,
    /// Key and values in the order of the tasks.
    pub different: Vec<(String, Vec<String>)>,
    /// Key and the value of all tasks.
    pub same: Vec<(String, String)>,
}

/// The curves of one training task, thinned out for the eye.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Curves {
    /// Iteration, from 1.
    pub iteration: u32,
    /// Stage 1 or 2.
    pub stage: u32,
    /// Whose.
    pub member: MemberName,
    /// (step, value) by name: `loss`, `loss/strong`, `lr/cnn`, `validation/objective`, …
    pub lines: BTreeMap<String, Vec<(f32, f32)>>,
}

/// Points of a line that a chart can show.
const MOST_POINTS: usize = 300;
/// What names of values of validations begin with: each point counts.
pub(crate) const VALIDATION: &str = "validation/";

impl Curves {
    /// From every point of a task, steps growing: neighbours are averaged where there are more than a chart can show.
    #[must_use]
    pub fn new(iteration: u32, stage: u32, member: MemberName, points: &[MetricPoint]) -> Self {
        let mut all: BTreeMap<&str, Vec<(Step, f64)>> = BTreeMap::new();
        for point in points {
            for (name, value) in point.values.iter().filter(|(_, value)| value.is_finite()) {
                all.entry(name).or_default().push((point.step, *value));
            }
        }
        let lines = all.into_iter().map(|(name, line)| {
            let together = if name.starts_with(VALIDATION) {
                1
            } else {
                line.len().div_ceil(MOST_POINTS)
            };
            let mean = |bin: &[(Step, f64)]| {
                let count = bin.len() as f64;
                let step = bin.iter().map(|(step, _)| step.0 as f64).sum::<f64>() / count;
                let value = bin.iter().map(|(_, value)| value).sum::<f64>() / count;
                (step as f32, value as f32)
            };
            (name.to_owned(), line.chunks(together).map(mean).collect())
        });
        Self {
            lines: lines.collect(),
            iteration,
            stage,
            member,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_curves_are_thinned_and_validations_are_not() {
        let points: Vec<MetricPoint> = (1..=1000)
            .map(|step| {
                let mut values = BTreeMap::from([("loss".to_owned(), step as f64)]);
                if step % 2 == 0 {
                    values.insert("validation/objective".to_owned(), 0.5);
                }
                if step == 7 {
                    values.insert("loss".to_owned(), f64::NAN);
                }
                MetricPoint {
                    step: Step(step),
                    values,
                }
            })
            .collect();
        let curves = Curves::new(1, 2, MemberName::new("a").unwrap(), &points);
        assert_eq!(curves.lines["loss"].len(), 250);
        assert_eq!(curves.lines["loss"][0], (2.5, 2.5));
        assert_eq!(curves.lines["validation/objective"].len(), 500);
        let empty = Curves::new(1, 2, MemberName::new("a").unwrap(), &[]);
        assert!(empty.lines.is_empty());
    }
}
