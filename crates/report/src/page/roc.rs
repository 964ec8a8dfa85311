//! The curves under which PSDS1 is the area.

use maud::{Markup, html};
use types::{EventScores, PostProcessing, RocCurve, ScoreReport, Split, Subject};

use super::chart::{self, Chart, figure};
use super::scores::{after_name, split_name};
use crate::axis::Scale;
use crate::text::{class_name, place};

/// Where PSDS1 ends, in effective false positives per hour.
const HIGHEST_RATE: f64 = 100.0;

/// What is compared, each with its colour.
const SHOWN: [(PostProcessing, &str); 2] = [
    (PostProcessing::Median, "c1"),
    (PostProcessing::Csebbs, "c2"),
];

pub(super) fn section(reports: &[ScoreReport]) -> Markup {
    let last = reports
        .iter()
        .rfind(|report| report.subject == Subject::Ensemble && !report.events.is_empty());
    let Some(last) = last else {
        return html! { p.empty { "No curves of an ensemble yet." } };
    };
    html! {
        p.note {
            "The newest ensemble (" (place(last.iteration, last.stage).to_lowercase()) "): true positive rate over effective false positives per hour. All
            classes: their mean minus their standard deviation, the curve under which PSDS1 is the area."
        }
        (chart::legend(SHOWN.map(|(after, colour)| (colour.to_owned(), after_name(after)))))
        @for split in last.events.keys() { (curves(last, *split)) }
    }
}

fn curves(report: &ScoreReport, split: Split) -> Markup {
    let shown: Vec<(&EventScores, &str)> = SHOWN
        .into_iter()
        .filter_map(|(after, colour)| Some((report.events(split, after)?, colour)))
        .collect();
    let mut classes: Vec<&String> = shown
        .iter()
        .flat_map(|(scores, _)| scores.roc_by_class.keys())
        .collect();
    classes.sort();
    classes.dedup();
    html! {
        h3 { (split_name(split)) }
        div.roc {
            div.big {
                (panel("All classes", [464.0, 360.0], shown.iter().map(|(scores, colour)| (&scores.roc, *colour))))
            }
            div.panels tabindex="0" role="group" aria-label="Curves by class" {
                @for class in classes {
                    (panel(
                        &class_name(class), [224.0, 170.0],
                        shown.iter().filter_map(|(scores, colour)| Some((scores.roc_by_class.get(class)?, *colour))),
                    ))
                }
            }
        }
    }
}

fn panel<'a>(
    title: &str,
    size: [f64; 2],
    curves: impl Iterator<Item = (&'a RocCurve, &'a str)>,
) -> Markup {
    let chart = Chart::new(
        size,
        |ends| Scale::linear(0.0, HIGHEST_RATE, ends),
        |ends| Scale::linear(0.0, 1.0, ends),
    );
    let marks = html! {
        @for (curve, colour) in curves {
            @let points = curve.efpr.iter().copied().zip(curve.tpr.iter().copied());
            path class={ "line " (colour) } d=(chart.stairs(points.take_while(|(rate, _)| *rate <= HIGHEST_RATE))) {}
        }
    };
    let name = format!("{title}: true positive rate over false positives per hour");
    figure(
        &html! { (title) },
        &chart.draw(&name, "false positives per hour", true, &marks),
    )
}
