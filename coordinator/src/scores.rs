//! What `evaluate` tasks have handed in.

use anyhow::{Context, Result};
use control::TaskView;
use plan::Plan;
use serde::Serialize;
use types::{Digest, ScoreReport, Subject, TaskKind, TaskName, Timestamp};

/// One line of the table of scores.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Row {
    /// The `evaluate` task.
    pub(crate) task: TaskName,
    /// By this call of the program.
    #[serde(skip)]
    pub(crate) executed: bool,
    #[serde(flatten)]
    pub(crate) scores: ScoreReport,
}

impl Row {
    /// The member's name, or `ensemble`.
    pub(crate) fn subject(&self) -> &str {
        match &self.scores.subject {
            Subject::Member(name) => name.as_str(),
            Subject::Ensemble => "ensemble",
        }
    }

    /// `executed` or `remembered`.
    pub(crate) fn result(&self) -> &'static str {
        if self.executed {
            "executed"
        } else {
            "remembered"
        }
    }
}

/// Whether this call executed a task. A task that an earlier call of the same run finished is remembered, too.
pub(crate) fn executed(task: &TaskView, since: Timestamp) -> bool {
    !task.remembered && task.ended.is_some_and(|ended| ended >= since)
}

/// The scores of every `evaluate` task that is done, in the order of the table.
///
/// # Errors
/// When an artifact of scores is damaged.
pub(crate) fn rows(
    plan: &Plan,
    tasks: &[TaskView],
    store: &artifact::Store,
    since: Timestamp,
) -> Result<Vec<Row>> {
    let mut rows = Vec::new();
    for task in tasks.iter().filter(|task| task.kind == TaskKind::Evaluate) {
        let Some(digest) = task.outputs.get("scores") else {
            continue;
        };
        let scores: ScoreReport = read_json(store, digest)
            .with_context(|| format!("the scores of {}, artifact {digest}", task.task.name))?;
        rows.push(Row {
            task: task.task.name.clone(),
            executed: executed(task, since),
            scores,
        });
    }
    let members = plan.members();
    rows.sort_by_key(|row| {
        let place = match &row.scores.subject {
            types::Subject::Member(name) => members.iter().position(|member| &member.name == name),
            types::Subject::Ensemble => None,
        };
        (
            row.scores.iteration,
            row.scores.stage,
            place.unwrap_or(members.len()),
        )
    });
    Ok(rows)
}

/// An artifact that holds JSON.
///
/// # Errors
/// When it is damaged, or is something else.
pub(crate) fn read_json<T: serde::de::DeserializeOwned>(
    store: &artifact::Store,
    digest: &Digest,
) -> Result<T> {
    let file = store.open_verified(digest)?;
    Ok(serde_json::from_reader(std::io::BufReader::new(file))?)
}
