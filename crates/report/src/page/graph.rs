//! The task graph: a column for each stage, in it a node for each member and kind of task.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use maud::{Markup, html};
use types::{Subject, TaskKind, TaskName, Timestamp};

use super::input::{Task, TaskState};
use super::scrolled;
use super::tasks::{kind_name, signs, time_taken};
use crate::text::{place, subject, took};

const LEFT: f64 = 84.0;
const TOP: f64 = 30.0;
const NODE: [f64; 2] = [150.0, 38.0];
/// From one column, node or row to the next.
const PITCH: f64 = 184.0;
const STEP: f64 = 50.0;
const ROW_GAP: f64 = 20.0;

/// Iteration, and stage; what follows both stages comes after them.
type Column = (u32, u32);

fn column(task: &Task) -> Column {
    (task.iteration, task.stage.unwrap_or(u32::MAX))
}

/// Shards and splits in one.
struct Node<'a> {
    kind: TaskKind,
    tasks: Vec<&'a Task>,
    x: f64,
    y: f64,
}

/// The members in order, the ensemble last.
fn rows(tasks: &[Task]) -> Vec<&Subject> {
    let mut rows: Vec<&Subject> = Vec::new();
    for task in tasks {
        if !rows.contains(&&task.subject) {
            rows.push(&task.subject);
        }
    }
    rows.sort_by_key(|subject| **subject == Subject::Ensemble);
    rows
}

pub(super) fn draw(tasks: &[Task], now: Timestamp) -> Markup {
    let rows = rows(tasks);
    let columns: BTreeSet<Column> = tasks.iter().map(column).collect();
    let columns: Vec<Column> = columns.into_iter().collect();
    let mut cells: BTreeMap<(usize, usize), BTreeMap<TaskKind, Vec<&Task>>> = BTreeMap::new();
    for task in tasks {
        let row = rows.iter().position(|row| **row == task.subject);
        let at = columns.iter().position(|one| *one == column(task));
        if let (Some(row), Some(at)) = (row, at) {
            let cell = cells.entry((row, at)).or_default();
            cell.entry(task.kind).or_default().push(task);
        }
    }
    let heights: Vec<f64> = (0..rows.len())
        .map(|row| {
            let of_row = cells.iter().filter(|((one, _), _)| *one == row);
            let most = of_row.map(|(_, kinds)| kinds.len()).max().unwrap_or(1);
            most as f64 * STEP + ROW_GAP
        })
        .collect();
    let top = |row: usize| TOP + heights[..row].iter().sum::<f64>();
    let mut nodes = Vec::new();
    for ((row, at), kinds) in cells {
        for (index, (kind, tasks)) in kinds.into_iter().enumerate() {
            nodes.push(Node {
                kind,
                tasks,
                x: LEFT + at as f64 * PITCH,
                y: top(row) + ROW_GAP / 2.0 + index as f64 * STEP,
            });
        }
    }
    let width = LEFT + columns.len() as f64 * PITCH;
    let height = top(rows.len()) + 4.0;
    let states: BTreeSet<TaskState> = tasks.iter().map(|task| task.state).collect();
    let picture = html! {
        svg.graph viewBox=(format!("0 0 {width} {height}")) width=(width) height=(height) role="img"
            aria-label="Tasks and what they read from; the table below says the same in words" {
            @for (row, subject_of_row) in rows.iter().enumerate() {
                @if row > 0 { path.grid d=(format!("M0 {}H{width}", top(row))) {} }
                text.head x="0" y=(top(row) + ROW_GAP / 2.0 + NODE[1] / 2.0 + 4.0) { (subject(subject_of_row)) }
            }
            @for (index, (iteration, stage)) in columns.iter().enumerate() {
                text.head x=(LEFT + index as f64 * PITCH) y="16" {
                    @if *stage == u32::MAX { "After iteration " (iteration) } @else { (place(*iteration, *stage)) }
                }
            }
            @for path in edges(&nodes) { path.edge d=(path) {} }
            @for one in &nodes { (node(one, now)) }
        }
    };
    html! {
        (signs(&states))
        (scrolled("Task graph", &picture))
    }
}

/// From each node to those that read from it, each once.
fn edges(nodes: &[Node<'_>]) -> BTreeSet<String> {
    let home: BTreeMap<&TaskName, usize> = nodes
        .iter()
        .enumerate()
        .flat_map(|(index, node)| node.tasks.iter().map(move |task| (&task.name, index)))
        .collect();
    let pairs: BTreeSet<(usize, usize)> = nodes
        .iter()
        .enumerate()
        .flat_map(|(to, node)| {
            let sources = node.tasks.iter().flat_map(|task| &task.after);
            let homes = sources.filter_map(|name| home.get(name).copied());
            homes.map(move |from| (from, to)).collect::<Vec<_>>()
        })
        .filter(|(from, to)| from != to)
        .collect();
    pairs
        .into_iter()
        .map(|(from, to)| edge(&nodes[from], &nodes[to]))
        .collect()
}

fn edge(from: &Node<'_>, to: &Node<'_>) -> String {
    let [width, height] = NODE;
    if from.x == to.x {
        if to.y - from.y <= STEP {
            // just below
            let x = from.x + width / 2.0;
            return format!("M{x} {}V{}", from.y + height, to.y);
        }
        // along the right side, past what is between
        let (x, y, end) = (from.x + width, from.y + height / 2.0, to.y + height / 2.0);
        return format!("M{x} {y}h8q8 0 8 8V{}q0 8 -8 8h-8", end - 8.0);
    }
    let (x, y) = (from.x + width, from.y + height / 2.0);
    let end = to.y + height / 2.0;
    let middle = (x + to.x) / 2.0;
    format!("M{x} {y}C{middle} {y} {middle} {end} {} {end}", to.x)
}

/// The worst state counts: whoever looks wants to know it.
fn node(node: &Node<'_>, now: Timestamp) -> Markup {
    let [width, height] = NODE;
    let state = node.tasks.iter().map(|task| task.state).min();
    let state = state.unwrap_or(TaskState::Waiting);
    let of_state = |wanted| {
        node.tasks
            .iter()
            .filter(|task| task.state == wanted)
            .count()
    };
    let count = node.tasks.len();
    let finished = of_state(TaskState::Done) + of_state(TaskState::Remembered);
    let time: Duration = node.tasks.iter().map(|task| time_taken(task, now)).sum();
    let attempts: usize = node.tasks.iter().map(|task| task.attempts.len()).sum();
    let begun = node
        .tasks
        .iter()
        .filter(|task| !task.attempts.is_empty())
        .count();
    let mut line = if count > 1 && (finished < count || of_state(state) < count) {
        format!("{finished} of {count} done")
    } else {
        state.as_str().to_owned()
    };
    if attempts > begun {
        line = format!("{line}, {attempts} attempts");
    }
    let names: Vec<&str> = node.tasks.iter().map(|task| task.name.as_str()).collect();
    html! {
        g class={ "node " (state.as_str()) } {
            title { (names.join("\n")) }
            rect.box x=(node.x) y=(node.y) width=(width) height=(height) rx="5" {}
            rect.state x=(node.x) y=(node.y) width="5" height=(height) rx="2" {}
            text.name x=(node.x + 14.0) y=(node.y + 16.0) {
                (kind_name(node.kind)) @if count > 1 { " ×" (count) }
            }
            @if !time.is_zero() { text.end x=(node.x + width - 8.0) y=(node.y + 16.0) { (took(time)) } }
            text.small x=(node.x + 14.0) y=(node.y + 31.0) { (state.sign()) " " (line) }
        }
    }
}
