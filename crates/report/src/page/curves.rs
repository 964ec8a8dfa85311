//! Losses, validations and learning rates over the steps of training.

use std::collections::BTreeSet;

use maud::{Markup, html};

use super::chart::{self, Chart, figure};
use super::input::{Curves, VALIDATION};
use crate::axis::Scale;
use crate::text::clean;

const LARGE: [f64; 2] = [384.0, 230.0];
const SMALL: [f64; 2] = [224.0, 150.0];
/// The six terms of a loss fit into one line.
const TERM: [f64; 2] = [186.0, 130.0];

pub(super) fn section(curves: &[Curves]) -> Markup {
    let stages: BTreeSet<u32> = curves.iter().map(|one| one.stage).collect();
    if curves.iter().all(|one| one.lines.is_empty()) {
        return html! { p.empty { "No training step has been reported yet." } };
    }
    let iterations: BTreeSet<u32> = curves.iter().map(|one| one.iteration).collect();
    let names: Vec<(String, String)> = iterations
        .into_iter()
        .map(|iteration| (colour(iteration), format!("iteration {iteration}")))
        .collect();
    html! {
        (chart::legend(names.iter().map(|(colour, name)| (colour.clone(), name.as_str()))))
        @for stage in stages {
            @let all: Vec<&Curves> = curves.iter().filter(|one| one.stage == stage).collect();
            (stage_section(stage, &all))
        }
    }
}

fn colour(iteration: u32) -> String {
    chart::colour(iteration.saturating_sub(1) as usize)
}

fn stage_section(stage: u32, curves: &[&Curves]) -> Markup {
    let mut members: Vec<&str> = Vec::new();
    for one in curves {
        if !members.contains(&one.member.as_str()) {
            members.push(one.member.as_str());
        }
    }
    let names: BTreeSet<&str> = curves
        .iter()
        .flat_map(|one| one.lines.keys().map(String::as_str))
        .collect();
    // a term that a stage does not have is 0 throughout
    let told = |name: &str| {
        let lines = curves.iter().filter_map(|one| one.lines.get(name));
        lines.flatten().any(|point| point.1 != 0.0)
    };
    let with = |prefix: &str| -> Vec<&str> {
        let names = names.iter().copied();
        let of_kind = names.filter(|name| name.starts_with(prefix));
        of_kind
            .filter(|name| prefix == VALIDATION || told(name))
            .collect()
    };
    let (terms, validations) = (with("loss/"), with(VALIDATION));
    let compared = |name, title: &str, size| Compared {
        curves,
        name,
        title: title.to_owned(),
        size,
    };
    let of = |member: &str| -> Vec<&Curves> {
        let all = curves.iter().copied();
        all.filter(|one| one.member.as_str() == member).collect()
    };
    html! {
        h3 { "Stage " (stage) }
        div.members {
            @for member in &members { (compared("loss", &format!("{member}: loss"), LARGE).draw(&of(member))) }
        }
        @if !validations.is_empty() {
            h4 { "Validation during training" }
            @for member in &members {
                div.panels tabindex="0" role="group" aria-label=(format!("Validations of {member}, stage {stage}")) {
                    @for name in &validations {
                        (compared(name, &format!("{member}: {}", short(name)), SMALL).draw(&of(member)))
                    }
                }
            }
        }
        @if !terms.is_empty() {
            details open {
                summary { "Terms of the loss, stage " (stage) }
                @for member in &members {
                    div.panels.narrow tabindex="0" role="group" aria-label=(format!("Terms of the loss of {member}, stage {stage}")) {
                        @for name in &terms {
                            (compared(name, &format!("{member}: {}", short(name)), TERM).draw(&of(member)))
                        }
                    }
                }
            }
        }
        @if names.iter().any(|name| name.starts_with("lr/")) {
            details {
                summary { "Learning rates, stage " (stage) }
                (rates(curves, &with("lr/")))
            }
        }
    }
}

/// Without its group.
fn short(name: &str) -> String {
    let name = name.split_once('/').map_or(name, |(_, rest)| rest);
    clean(name).replace('_', " ")
}

/// One value of one member, its iterations beside one another.
struct Compared<'a> {
    /// Of all members: their charts have the same scales.
    curves: &'a [&'a Curves],
    name: &'a str,
    title: String,
    size: [f64; 2],
}

impl Compared<'_> {
    fn draw(&self, of: &[&Curves]) -> Markup {
        let all = || {
            let lines = self
                .curves
                .iter()
                .filter_map(|one| one.lines.get(self.name));
            lines.flatten()
        };
        let last = all().map(|point| f64::from(point.0)).fold(1.0, f64::max);
        let highest = all().map(|point| f64::from(point.1)).fold(0.0, f64::max);
        let chart = Chart::new(
            self.size,
            |ends| Scale::linear(0.0, last, ends),
            |ends| Scale::from_zero(highest, ends),
        );
        let validated = self.name.starts_with(VALIDATION);
        let marks = html! {
            @for one in of {
                @if let Some(line) = one.lines.get(self.name) {
                    @let points = line.iter().map(|(x, y)| (f64::from(*x), f64::from(*y)));
                    path class={ @if !validated { "thin " } "line " (colour(one.iteration)) } d=(chart.line(points)) {
                        title { "iteration " (one.iteration) }
                    }
                    @if validated { (validation_points(&chart, line, one.iteration, self.name)) }
                }
            }
        };
        figure(
            &html! { (clean(&self.title)) },
            &chart.draw(&self.title, "step", true, &marks),
        )
    }
}

/// Each point, the best objective marked.
fn validation_points(chart: &Chart, line: &[(f32, f32)], iteration: u32, name: &str) -> Markup {
    let best = line
        .iter()
        .map(|point| point.1)
        .reduce(f32::max)
        .filter(|_| name == "validation/objective");
    html! {
        @for (step, value) in line {
            @let is_best = best == Some(*value);
            circle class={ @if is_best { "best " } "dot " (colour(iteration)) } cx=(format!("{:.1}", chart.x.at(f64::from(*step))))
                cy=(format!("{:.1}", chart.y.at(f64::from(*value)))) r=(if is_best { 5 } else { 3 }) {
                title { "step " (step) ": " (value) @if is_best { ", the best" } }
            }
        }
    }
}

/// A chart for each task, a line for each group of parameters.
fn rates(curves: &[&Curves], names: &[&str]) -> Markup {
    let values = || {
        let lines = curves.iter().flat_map(|one| &one.lines);
        let rates = lines.filter(|(name, _)| name.starts_with("lr/"));
        rates.flat_map(|(_, line)| line.iter().map(|point| f64::from(point.1)))
    };
    let highest = values().fold(1e-9, f64::max);
    // warm-up and decay reach 0, which no power of ten is
    let peaks = curves.iter().flat_map(|one| &one.lines);
    let peaks = peaks.filter(|(name, _)| name.starts_with("lr/"));
    let lowest_peak = peaks
        .map(|(_, line)| {
            line.iter()
                .map(|point| f64::from(point.1))
                .fold(0.0, f64::max)
        })
        .filter(|peak| *peak > 0.0)
        .fold(highest, f64::min);
    let lowest = lowest_peak / 100.0;
    let legend = names
        .iter()
        .enumerate()
        .map(|(index, name)| (chart::colour(index), short(name)))
        .collect::<Vec<_>>();
    html! {
        (chart::legend(legend.iter().map(|(colour, name)| (colour.clone(), name.as_str()))))
        div.panels tabindex="0" role="group" aria-label="Learning rates" {
            @for one in curves {
                @let last = one.lines.values().flatten().map(|point| f64::from(point.0)).fold(1.0, f64::max);
                @let chart = Chart::new(SMALL, |ends| Scale::linear(0.0, last, ends), |ends| Scale::decades(lowest, highest, ends));
                @let marks = html! {
                    @for (index, name) in names.iter().enumerate() {
                        @if let Some(line) = one.lines.get(*name) {
                            @let points = line.iter().filter(|point| f64::from(point.1) >= lowest);
                            path class={ "line " (chart::colour(index)) } d=(chart.line(points.map(|(x, y)| (f64::from(*x), f64::from(*y))))) {
                                title { (short(name)) }
                            }
                        }
                    }
                };
                @let title = format!("{}, iteration {}", one.member, one.iteration);
                (figure(&html! { (title) }, &chart.draw(&title, "step", true, &marks)))
            }
        }
    }
}
