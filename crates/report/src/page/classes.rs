//! How well the ensemble knows each class, stage by stage.

use maud::{Markup, html};
use types::{PostProcessing, ScoreReport, Subject};

use super::chart::{self, Chart, figure, round};
use super::scores::{self, Metric, Place, split_name};
use crate::axis::Scale;
use crate::text::{class_name, clean, place, short_place, subject};

const SIZE: [f64; 2] = [224.0, 170.0];

/// Bars of one metric for every class.
struct Bars<'a> {
    ensembles: &'a [&'a ScoreReport],
    places: Vec<Place>,
    highest: f64,
}

pub(super) fn section(reports: &[ScoreReport]) -> Markup {
    let ensembles: Vec<&ScoreReport> = reports
        .iter()
        .filter(|report| report.subject == Subject::Ensemble)
        .collect();
    let Some(last) = ensembles.last() else {
        return html! { p.empty { "No scores of an ensemble yet." } };
    };
    let after = PostProcessing::Median;
    let mut groups = Vec::new();
    for split in last.events.keys() {
        let places = scores::classes(reports, *split, after, Metric::ClassPsds1);
        groups.push((
            format!(
                "{}: single-class PSDS1 after the median filter",
                split_name(*split)
            ),
            "reference events",
            places,
        ));
    }
    if let Some(segments) = &last.segments {
        let places = scores::classes(
            reports,
            segments.split,
            PostProcessing::Raw,
            Metric::ClassPauc,
        );
        groups.push((
            format!("{}: partial AUROC", split_name(segments.split)),
            "positive segments of one second",
            places,
        ));
    }
    let names: Vec<(String, String)> = ensembles
        .iter()
        .map(|report| (tint(report), name(report)))
        .collect();
    html! {
        (chart::legend(names.iter().map(|(tint, name)| (tint.clone(), name.as_str()))))
        @for (title, counted, places) in groups {
            @if !places.is_empty() {
                h3 { (title) }
                p.note { "n: " (counted) ". Whiskers: 95 % intervals." }
                div.panels tabindex="0" role="group" aria-label=(title) {
                    (Bars::new(&ensembles, places).draw())
                }
            }
        }
    }
}

/// The iteration's colour, paler for stage 1.
fn tint(report: &ScoreReport) -> String {
    match report.iteration {
        0 => "c0".to_owned(),
        iteration => {
            let pale = if report.stage == 1 { " pale" } else { "" };
            format!("{}{pale}", chart::colour(iteration as usize - 1))
        }
    }
}

fn name(report: &ScoreReport) -> String {
    if report.iteration == 0 {
        "0: untrained".to_owned()
    } else {
        let place = place(report.iteration, report.stage).to_lowercase();
        format!("{}: {place}", short_place(report))
    }
}

impl<'a> Bars<'a> {
    fn new(ensembles: &'a [&'a ScoreReport], places: Vec<Place>) -> Self {
        let values = places
            .iter()
            .flat_map(|place| ensembles.iter().filter_map(|report| place.value(report)));
        let highest = values
            .map(|(estimate, _)| estimate.interval.map_or(estimate.value, |ends| ends[1]))
            .fold(0.05, f64::max);
        Self {
            ensembles,
            places,
            highest,
        }
    }

    fn draw(&self) -> Markup {
        html! { @for place in &self.places { (self.panel(place)) } }
    }

    fn panel(&self, place: &Place) -> Markup {
        let class = class_name(place.class.as_deref().unwrap_or_default());
        let chart = Chart::new(
            SIZE,
            |ends| Scale::linear(0.0, self.ensembles.len() as f64, ends),
            |ends| Scale::from_zero(self.highest, ends),
        );
        let marks = html! {
            g data-split=(place.split) data-after=(place.after.as_str()) data-metric=(place.metric.as_str())
                data-class=[place.class.as_deref().map(clean)] {
                @for (index, report) in self.ensembles.iter().enumerate() {
                    (bar(&chart, index as f64, report, place))
                }
            }
        };
        let count = self
            .ensembles
            .iter()
            .rev()
            .find_map(|report| place.value(report)?.1);
        let title = html! {
            (class)
            @if let Some(count) = count { span.count { "n = " (count) } }
        };
        figure(
            &title,
            &chart.draw(&class, "iteration.stage", false, &marks),
        )
    }
}

fn bar(chart: &Chart, index: f64, report: &ScoreReport, place: &Place) -> Markup {
    let [left, right] = [0.14, 0.86].map(|part| round(chart.x.at(index + part)));
    let middle = round(chart.x.at(index + 0.5));
    let [bottom, _] = chart.y.places();
    let label = html! { text.middle x=(middle) y=(bottom + 14.0) { (short_place(report)) } };
    let Some((estimate, _)) = place.value(report) else {
        return html! { (label) text.middle x=(middle) y=(bottom - 4.0) { "–" } };
    };
    let top = round(chart.y.at(estimate.value));
    let interval = estimate
        .interval
        .map(|[low, high]| format!(" [{low:.3}, {high:.3}]"));
    html! {
        g data-iteration=(report.iteration) data-stage=(report.stage) data-subject=(subject(&report.subject)) {
            title { (name(report)) ": " (format!("{:.3}", estimate.value)) (interval.unwrap_or_default()) }
            rect class={ "bar " (tint(report)) } x=(left) y=(top) width=(round(right - left)) height=(round(bottom - top))
                data-part="value" data-value=(estimate.value) {}
            @if let Some(ends) = estimate.interval {
                @for (part, end) in ["low", "high"].into_iter().zip(ends) {
                    @let y = round(chart.y.at(end));
                    path.whisker d=(format!("M{} {y}h6M{middle} {y}V{top}", middle - 3.0)) data-part=(part) data-value=(end) {}
                }
            }
        }
        (label)
    }
}
