//! Tasks as a timeline and as a table.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use maud::{Markup, html};
use types::{TaskKind, Timestamp};

use super::chart::{self, round};
use super::input::{Attempt, RunPage, Task, TaskState};
use super::{graph, scrolled};
use crate::axis::TimeAxis;
use crate::text::{clean, time, took, utc};

pub(super) fn section(page: &RunPage) -> Markup {
    if page.tasks.is_empty() {
        return html! { p.empty { "The plan has no tasks." } };
    }
    html! {
        (graph::draw(&page.tasks, page.now))
        (timeline(page))
        details {
            summary { "Every task" }
            (table(page))
        }
    }
}

pub(super) fn kind_name(kind: TaskKind) -> &'static str {
    match kind {
        TaskKind::PseudoLabel => "pseudo-labels",
        kind => kind.as_str(),
    }
}

const KINDS: [(TaskKind, &str); 4] = [
    (TaskKind::Train, "c1"),
    (TaskKind::Predict, "c6"),
    (TaskKind::PseudoLabel, "c3"),
    (TaskKind::Evaluate, "c2"),
];

/// What the states look like.
pub(super) fn signs(states: &BTreeSet<TaskState>) -> Markup {
    html! {
        ul.legend {
            @for state in TaskState::ALL.into_iter().filter(|state| states.contains(state)) {
                li { span class={ "swatch state " (state.as_str()) } {} (state.sign()) " " (state.as_str()) }
            }
        }
    }
}

fn length(attempt: &Attempt, now: Timestamp) -> Duration {
    attempt.ended.unwrap_or(now).since(attempt.began)
}

/// Over all attempts.
pub(super) fn time_taken(task: &Task, now: Timestamp) -> Duration {
    task.attempts
        .iter()
        .map(|attempt| length(attempt, now))
        .sum()
}

/// An attempt at its worker.
struct Bar<'a> {
    task: &'a Task,
    attempt: &'a Attempt,
}

/// A lane for each thing that a worker does at a time.
fn lanes(page: &RunPage) -> BTreeMap<&str, Vec<Vec<Bar<'_>>>> {
    let mut bars: Vec<Bar<'_>> = page
        .tasks
        .iter()
        .flat_map(|task| {
            task.attempts
                .iter()
                .map(move |attempt| Bar { task, attempt })
        })
        .collect();
    bars.sort_by_key(|bar| bar.attempt.began);
    let mut workers: BTreeMap<&str, Vec<Vec<Bar<'_>>>> = BTreeMap::new();
    for bar in bars {
        for worker in &bar.attempt.workers {
            let lanes = workers.entry(worker).or_default();
            let free = lanes.iter().position(|lane| {
                let last = lane.last();
                last.is_none_or(|last| last.attempt.ended.unwrap_or(page.now) <= bar.attempt.began)
            });
            let copy = Bar { ..bar };
            match free {
                Some(lane) => lanes[lane].push(copy),
                None => lanes.push(vec![copy]),
            }
        }
    }
    workers
}

const WIDTH: f64 = 1188.0;
const LEFT: f64 = 84.0;
const RIGHT: f64 = 1180.0;
const LANE: f64 = 18.0;

fn timeline(page: &RunPage) -> Markup {
    let workers = lanes(page);
    let attempts = || page.tasks.iter().flat_map(|task| &task.attempts);
    let Some(began) = attempts().map(|attempt| attempt.began).min() else {
        return html! {};
    };
    let ended = attempts()
        .map(|attempt| attempt.ended.unwrap_or(page.now))
        .max();
    let duration = ended.unwrap_or(page.now).since(began).as_secs_f64();
    let axis = TimeAxis::new(duration, LEFT, RIGHT);
    let x = |at: Timestamp| round(axis.x(at.since(began).as_secs_f64()));
    let mut y = 4.0;
    let mut rows = Vec::new();
    for (worker, lanes) in &workers {
        rows.push((y, *worker, lanes));
        y += lanes.len() as f64 * LANE + 8.0;
    }
    let height = y + 44.0;
    let picture = html! {
        svg.graph.timeline viewBox=(format!("0 0 {WIDTH} {height}")) width=(WIDTH) height=(height) role="img"
            aria-label="When which worker did what; the table below says the same in words" {
            @for tick in axis.ticks() {
                @let x = round(axis.x(tick));
                path.grid d=(format!("M{x} 0V{y}")) {}
                text.middle x=(x) y=(y + 16.0) { (axis.label(tick)) }
            }
            path.axis d=(format!("M{LEFT} {y}H{RIGHT}")) {}
            text.middle x=((LEFT + RIGHT) / 2.0) y=(y + 36.0) { (axis.name()) }
            @for (top, worker, lanes) in &rows {
                text.head x="0" y=(top + 13.0) { (clean(worker)) }
                @for (index, lane) in lanes.iter().enumerate() {
                    @for bar in lane {
                        @let start = x(bar.attempt.began);
                        @let end = x(bar.attempt.ended.unwrap_or(page.now));
                        rect class={ "bar " (bar_class(bar)) } x=(start) y=(top + index as f64 * LANE)
                            width=(round((end - start).max(1.0))) height=(LANE - 3.0) rx="2" {
                            title {
                                (bar.task.name) ": " (took(length(bar.attempt, page.now))) ", from " (utc(bar.attempt.began))
                                @if let Some(cause) = &bar.attempt.cause { "; " (clean(cause)) }
                            }
                        }
                    }
                }
            }
        }
    };
    let tried = |kind| {
        let mut of_kind = page.tasks.iter().filter(|task| task.kind == kind);
        of_kind.any(|task| !task.attempts.is_empty())
    };
    let kinds = KINDS.into_iter().filter(|(kind, _)| tried(*kind));
    let mut meanings: Vec<(String, &str)> = kinds
        .map(|(kind, colour)| (colour.to_owned(), kind_name(kind)))
        .collect();
    if attempts().any(|attempt| attempt.cause.is_some()) {
        meanings.push(("bad".to_owned(), "without a result"));
    }
    html! {
        h3 { "By worker" }
        (chart::legend(meanings))
        (scrolled("Timeline", &picture))
    }
}

fn bar_class(bar: &Bar<'_>) -> &'static str {
    if bar.attempt.cause.is_some() {
        return "bad";
    }
    let found = KINDS.into_iter().find(|(kind, _)| *kind == bar.task.kind);
    found.map_or("c0", |(_, class)| class)
}

fn table(page: &RunPage) -> Markup {
    let rows = html! {
        table.tasks {
            thead {
                tr {
                    th scope="col" { "task" }
                    th scope="col" { "state" }
                    th scope="col" { "began" }
                    th.num scope="col" { "took" }
                    th.num scope="col" { "attempts" }
                    th scope="col" { "worker" }
                    th scope="col" { "why" }
                }
            }
            tbody {
                @for task in &page.tasks {
                    tr {
                        th scope="row" { (task.name) }
                        td class={ "state " (task.state.as_str()) } { (task.state.sign()) " " (task.state.as_str()) }
                        td { @match task.attempts.first() { Some(attempt) => (time(attempt.began)), None => "–" } }
                        td.num { @if task.attempts.is_empty() { "–" } @else { (took(time_taken(task, page.now))) } }
                        td.num { @if task.attempts.is_empty() { "–" } @else { (task.attempts.len()) } }
                        td {
                            @match task.attempts.last() {
                                Some(attempt) => (clean(&attempt.workers.join(", "))),
                                None => "–",
                            }
                        }
                        td.why { (why(task)) }
                    }
                }
            }
        }
    };
    scrolled("Every task", &rows)
}

/// Why it is not done; of one that is done, why earlier attempts had no result.
fn why(task: &Task) -> Markup {
    html! {
        @if let Some(reason) = &task.reason { p { (clean(reason)) } }
        @if !task.failure.is_empty() { (log(&task.failure)) }
        @if task.failure.is_empty() {
            @for (attempt, cause) in (1..).zip(&task.attempts).filter_map(|(number, one)| Some((number, one.cause.as_ref()?))) {
                p { "attempt " (attempt) ": " (clean(cause)) }
            }
        }
    }
}

/// What a failure left, line by line.
pub(super) fn log(lines: &[String]) -> Markup {
    html! { pre.log { @for line in lines { (clean(line)) "\n" } } }
}
