//! What the training tasks were told, and the plan.

use maud::{Markup, html};

use super::input::{RunPage, Settings};
use super::scrolled;
use crate::text::clean;

pub(super) fn section(page: &RunPage) -> Markup {
    html! {
        (differing(&page.settings))
        @if !page.settings.same.is_empty() {
            details {
                summary { "The same for all training tasks" }
                dl.settings {
                    @for (key, value) in &page.settings.same {
                        div { dt { (clean(key)) } dd { (clean(value)) } }
                    }
                }
            }
        }
        details {
            summary { "The whole plan" }
            pre.plan tabindex="0" { (clean(&page.plan_text)) }
        }
    }
}

fn differing(settings: &Settings) -> Markup {
    if settings.different.is_empty() {
        return html! {};
    }
    let table = html! {
        table.settings {
            thead {
                tr {
                    th scope="col" { "setting" }
                    @for task in &settings.tasks { th scope="col" { (head(task.as_str())) } }
                }
            }
            tbody {
                @for (key, values) in &settings.different {
                    tr {
                        th scope="row" { (clean(key)) }
                        @for value in values { td { (clean(value)) } }
                    }
                }
            }
        }
    };
    html! {
        h3 { "Where training tasks differ" }
        (scrolled("Settings that differ between the training tasks", &table))
    }
}

/// `i1.s1.atst` over two lines.
fn head(task: &str) -> Markup {
    let name = task.strip_suffix(".train").unwrap_or(task);
    let second = name.match_indices('.').nth(1).map(|(at, _)| at);
    html! {
        @match second {
            Some(at) => { (name[..at]) br; (name[at + 1..]) },
            None => (name),
        }
    }
}
