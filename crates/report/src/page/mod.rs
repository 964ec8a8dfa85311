//! The page of a run: one HTML document that needs nothing else, no script and no other file.

mod chart;
mod classes;
mod curves;
mod graph;
mod input;
mod roc;
mod scores;
mod settings;
mod tasks;

use std::collections::BTreeSet;

use maud::{DOCTYPE, Markup, PreEscaped, html};
use types::{ShownClip, ShownClips};

pub use input::{Attempt, Curves, RunPage, RunState, Settings, Task, TaskState};

use crate::clip::untitled_svg;
use crate::text::{clean, time};

/// What a browser may load: nothing but what stands in the document.
const POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'; img-src data:";

/// The page as HTML. Every score on it carries its whole stored value.
#[must_use]
pub fn run_html(page: &RunPage) -> String {
    let sections: Vec<(&str, &str, Markup)> = [
        (
            "scores",
            "Scores",
            Some(scores::section(&page.scores, &page.evaluation)),
        ),
        ("classes", "Classes", Some(classes::section(&page.scores))),
        ("roc", "ROC curves", Some(roc::section(&page.scores))),
        ("training", "Training", Some(curves::section(&page.curves))),
        ("tasks", "Tasks", Some(tasks::section(page))),
        ("clips", "Clips", page.clips.as_ref().map(clips)),
        ("settings", "Settings", Some(settings::section(page))),
    ]
    .into_iter()
    .filter_map(|(id, title, content)| Some((id, title, content?)))
    .collect();
    let document = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta http-equiv="Content-Security-Policy" content=(POLICY);
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                title { (clean(&page.plan)) " · Tutti" }
                style { (PreEscaped(include_str!("style.css"))) }
            }
            body {
                (header(page))
                nav aria-label="Contents" {
                    @for (id, title, _) in &sections { a href=(format!("#{id}")) { (title) } }
                }
                main {
                    @for (id, title, content) in &sections {
                        section id=(id) aria-labelledby=(format!("{id}-title")) {
                            h2 id=(format!("{id}-title")) { (title) }
                            (content)
                        }
                    }
                }
                footer { "Written by Tutti, " (time(page.now)) }
            }
        }
    };
    document.into_string()
}

/// What is wider than the page scrolls by itself.
fn scrolled(name: &str, content: &Markup) -> Markup {
    html! { div.scroll tabindex="0" role="region" aria-label=(clean(name)) { (content) } }
}

fn header(page: &RunPage) -> Markup {
    let took = page.ended.unwrap_or(page.now).since(page.began);
    html! {
        header {
            p.brand { "Tutti" }
            h1 { (clean(&page.plan)) }
            p.state { (state(page)) }
            (bar(page))
            p.times {
                "Began " (time(page.began))
                @match page.ended {
                    Some(ended) => { ", ended " (time(ended)) ", " },
                    None => { ", as of " (time(page.now)) ", after " },
                }
                (types::human(took))
            }
            @if let Some(notice) = &page.notice { p.notice { (clean(notice)) } }
            @if page.state == RunState::Failed { (first_cause(page)) }
            (scores::tiles(&page.scores, &page.evaluation))
        }
    }
}

fn count(page: &RunPage, state: TaskState) -> usize {
    page.tasks.iter().filter(|task| task.state == state).count()
}

fn state(page: &RunPage) -> Markup {
    let remembered = count(page, TaskState::Remembered);
    let done = count(page, TaskState::Done) + remembered;
    let others = [TaskState::Running, TaskState::Failed, TaskState::Cancelled];
    let word = match page.state {
        RunState::Running => Some("running"),
        RunState::Done => None,
        RunState::Interrupted => Some("interrupted, the same command goes on"),
        RunState::Failed => Some("failed"),
        RunState::Ended => Some("ended before the rest"),
    };
    html! {
        strong { (done) " of " (page.tasks.len()) " tasks done" }
        @if remembered > 0 { ", " (remembered) " of them remembered" }
        @for state in others {
            @let number = count(page, state);
            @if number > 0 { ", " (number) " " (state.as_str()) }
        }
        @if let Some(word) = word { span class={ "word " (class(page.state)) } { (word) } }
    }
}

const fn class(state: RunState) -> &'static str {
    match state {
        RunState::Running => "running",
        RunState::Done => "done",
        RunState::Failed => "failed",
        RunState::Interrupted | RunState::Ended => "cancelled",
    }
}

/// The states of all tasks as shares of a line.
fn bar(page: &RunPage) -> Markup {
    let states: BTreeSet<TaskState> = page.tasks.iter().map(|task| task.state).collect();
    html! {
        div.progress aria-hidden="true" {
            @for state in TaskState::ALL.into_iter().filter(|state| states.contains(state)) {
                span class=(state.as_str()) style=(format!("flex-grow:{}", count(page, state))) {}
            }
        }
    }
}

fn first_cause(page: &RunPage) -> Markup {
    let failed = page
        .tasks
        .iter()
        .find(|task| task.state == TaskState::Failed);
    html! {
        @if let Some(task) = failed {
            div.cause role="note" {
                p { strong { (task.name) } " failed" }
                (tasks::log(&task.failure))
            }
        }
    }
}

fn clips(shown: &ShownClips) -> Markup {
    html! {
        p.note {
            "Chosen clips of " (scores::split_name(shown.split)) ", from the one whose events the newest ensemble found best to the one whose it found
            worst. Agreement: the share of the time of found and true events in which both are there."
        }
        @for (agreement, clip) in &shown.clips { (clip_figure(*agreement, clip)) }
    }
}

fn clip_figure(agreement: f64, clip: &ShownClip) -> Markup {
    html! {
        figure.picture {
            figcaption {
                (clean(&clip.name))
                span.count { "agreement " data value=(agreement) { (format!("{:.0} %", agreement * 100.0)) } }
            }
            @match untitled_svg(clip) {
                Ok(svg) => (scrolled(&clip.name, &PreEscaped(svg))),
                Err(error) => p.empty { "This picture could not be drawn: " (error) },
            }
        }
    }
}
