use std::collections::BTreeMap;
use std::time::Duration;

use types::{Digest, IdError, InputRef, TaskGraph, TaskKind, TaskName, TaskNode};

/// A line that describes no task.
#[derive(Debug)]
pub struct GraphError {
    line: String,
    problem: String,
}

impl std::fmt::Display for GraphError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "task line {:?}: {}", self.line, self.problem)
    }
}

impl std::error::Error for GraphError {}

/// A task graph from a few words per task, one task per line:
///
/// ```text
/// train a.train sizes=1,2 takes=60
/// predict a.predict checkpoint=a.train
/// evaluate a.score logits/a=a.predict as=v2
/// train b.train pretrained=file:weights
/// ```
///
/// The kind comes first, then the name. `sizes` are the world sizes (default 1), `takes` the estimate in seconds (default
/// 10), `keep` how many checkpoints stay (default 2), `as` changes the material (the default is the name, so that every task is work of its own). Anything else is an
/// input: a role, and the task whose output it is, or `file:` and the content of a file from outside. Outputs go by the kind: `checkpoint`, `logits`, `pseudo_labels`, `scores`.
///
/// # Errors
/// Names the line and what is wrong with it.
pub fn graph(text: &str) -> Result<TaskGraph, GraphError> {
    let mut graph = TaskGraph::default();
    for line in text.lines().map(str::trim).filter(|line| !line.is_empty()) {
        let node = node(line, &graph).map_err(|problem| GraphError {
            line: line.to_owned(),
            problem,
        })?;
        graph.tasks.push(node);
    }
    Ok(graph)
}

fn node(line: &str, graph: &TaskGraph) -> Result<TaskNode, String> {
    let mut words = line.split_whitespace();
    let kind = match words.next() {
        Some("train") => TaskKind::Train,
        Some("predict") => TaskKind::Predict,
        Some("pseudo_label") => TaskKind::PseudoLabel,
        Some("evaluate") => TaskKind::Evaluate,
        other => return Err(format!("{other:?} is no kind of task")),
    };
    let name = words.next().ok_or("a name is missing")?;
    let parsed = TaskName::new(name).map_err(|error| error.to_string())?;
    let mut node = TaskNode {
        name: parsed,
        kind,
        world_sizes: vec![1],
        inputs: Vec::new(),
        files: BTreeMap::new(),
        outputs: vec![output(kind).to_owned()],
        material: Digest::of(name.as_bytes()),
        spec: format!("{{\"task\":\"{name}\"}}").into(),
        estimate: Duration::from_secs(10),
        keep_checkpoints: 2,
    };
    for word in words {
        let (key, value) = word
            .split_once('=')
            .ok_or_else(|| format!("{word:?} is not key=value"))?;
        let number = |text: &str| {
            text.parse::<u32>()
                .map_err(|error| format!("{text:?}: {error}"))
        };
        match key {
            "sizes" => node.world_sizes = value.split(',').map(number).collect::<Result<_, _>>()?,
            "takes" => node.estimate = Duration::from_secs(number(value)?.into()),
            "keep" => node.keep_checkpoints = number(value)?,
            "as" => node.material = Digest::of(value.as_bytes()),
            role if value.starts_with("file:") => {
                let content = &value.as_bytes()["file:".len()..];
                node.files.insert(role.to_owned(), Digest::of(content));
            }
            role => {
                let task = TaskName::new(value).map_err(|error: IdError| error.to_string())?;
                let source = graph
                    .get(&task)
                    .ok_or_else(|| format!("{task} does not stand before it"))?;
                node.inputs.push(InputRef {
                    role: role.to_owned(),
                    output: output(source.kind).to_owned(),
                    task,
                });
            }
        }
    }
    node.inputs.sort();
    Ok(node)
}

const fn output(kind: TaskKind) -> &'static str {
    match kind {
        TaskKind::Train => "checkpoint",
        TaskKind::Predict => "logits",
        TaskKind::PseudoLabel => "pseudo_labels",
        TaskKind::Evaluate => "scores",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_become_a_graph() {
        let graph = graph("train a sizes=1,2 takes=60\n\npredict b checkpoint=a\n").unwrap();
        assert_eq!(graph.tasks[0].world_sizes, [1, 2]);
        assert_eq!(graph.tasks[0].estimate, Duration::from_secs(60));
        assert_eq!(graph.tasks[1].inputs[0].output, "checkpoint");
        assert_ne!(graph.tasks[0].material, graph.tasks[1].material);
    }

    #[test]
    fn a_wrong_word_is_named() {
        let error = graph("predict b checkpoint=a").unwrap_err().to_string();
        assert!(error.contains("a does not stand before it"), "{error}");
    }
}
