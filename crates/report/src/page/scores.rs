//! Tables of scores: the short one, the whole one, and one for each metric by class.

use std::collections::BTreeSet;

use maud::{Markup, html};
use types::{
    BoxSettings, Estimate, EvaluationSettings, PostProcessing, ScoreReport, Split, Subject,
};

use super::scrolled;
use crate::text::{class_name, clean, place, subject};

/// What a value is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Metric {
    Psds1,
    Psds2,
    ClassMean,
    Mpauc,
    /// One class's PSDS1.
    ClassPsds1,
    /// One class's partial AUROC.
    ClassPauc,
}

impl Metric {
    /// The name in the files of scores.
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Psds1 => "psds1",
            Self::Psds2 => "psds2",
            Self::ClassMean => "psds1_class_mean",
            Self::Mpauc => "mpauc",
            Self::ClassPsds1 => "psds1_by_class",
            Self::ClassPauc => "pauc_by_class",
        }
    }

    const fn title(self) -> &'static str {
        match self {
            Self::Psds1 => "PSDS1",
            Self::Psds2 => "PSDS2",
            Self::ClassMean => "mean single-class PSDS1",
            Self::Mpauc => "mpAUC",
            Self::ClassPsds1 => "single-class PSDS1",
            Self::ClassPauc => "pAUC",
        }
    }
}

/// Where a value is found in any report.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) split: Split,
    pub(super) after: PostProcessing,
    pub(super) metric: Metric,
    pub(super) class: Option<String>,
}

impl Place {
    const fn of(split: Split, after: PostProcessing, metric: Metric) -> Self {
        Self {
            split,
            after,
            metric,
            class: None,
        }
    }

    /// The value, and of how many references a class has.
    pub(super) fn value(&self, report: &ScoreReport) -> Option<(Estimate, Option<u64>)> {
        let segments = || {
            report
                .segments
                .as_ref()
                .filter(|segments| segments.split == self.split)
        };
        let events = || report.events(self.split, self.after);
        let of_class = |scores: &std::collections::BTreeMap<String, types::ClassScore>| {
            let score = scores.get(self.class.as_ref()?)?;
            Some((score.score, Some(score.num_reference)))
        };
        match self.metric {
            Metric::Psds1 => Some((events()?.psds1, None)),
            Metric::Psds2 => Some((events()?.psds2, None)),
            Metric::ClassMean => Some((events()?.psds1_class_mean, None)),
            Metric::Mpauc => Some((segments()?.mpauc, None)),
            Metric::ClassPsds1 => of_class(&events()?.psds1_by_class),
            Metric::ClassPauc => of_class(&segments()?.pauc_by_class),
        }
    }
}

/// A split in words.
pub(super) fn split_name(split: Split) -> String {
    let name = split.as_str().replace('_', " ");
    name.replace("desed", "DESED").replace("maestro", "MAESTRO")
}

pub(super) fn after_name(after: PostProcessing) -> &'static str {
    match after {
        PostProcessing::Raw => "raw",
        PostProcessing::Median => "median",
        PostProcessing::Csebbs => "cSEBBs",
    }
}

/// A value for people that carries itself in full.
pub(super) fn number(part: &str, value: f64) -> Markup {
    html! { data data-part=(part) value=(value) { (format!("{value:.3}")) } }
}

/// A value with its interval.
pub(super) fn estimate(estimate: Estimate) -> Markup {
    html! {
        (number("value", estimate.value))
        @if let Some([low, high]) = estimate.interval {
            " " span.ci { "[" (number("low", low)) ", " (number("high", high)) "]" }
        }
    }
}

struct Column {
    /// Two rows of the head.
    group: String,
    name: String,
    place: Place,
}

/// Splits that are scored by PSDS: the one that post-processing is tuned on first.
fn event_splits(reports: &[ScoreReport], evaluation: &EvaluationSettings) -> Vec<Split> {
    let mut splits: Vec<Split> = [evaluation.desed, evaluation.test]
        .into_iter()
        .flatten()
        .collect();
    let found: BTreeSet<Split> = reports
        .iter()
        .flat_map(|report| report.events.keys().copied())
        .collect();
    splits.extend(
        found
            .iter()
            .filter(|split| !splits.contains(split))
            .copied()
            .collect::<Vec<_>>(),
    );
    splits.retain(|split| found.contains(split));
    splits
}

fn segment_splits(reports: &[ScoreReport]) -> BTreeSet<Split> {
    let segments = reports.iter().filter_map(|report| report.segments.as_ref());
    segments.map(|segments| segments.split).collect()
}

fn columns(
    reports: &[ScoreReport],
    evaluation: &EvaluationSettings,
    shown: &[(PostProcessing, Metric)],
    whole: bool,
) -> Vec<Column> {
    let mut columns = Vec::new();
    for split in event_splits(reports, evaluation) {
        let test = if evaluation.test == Some(split) {
            " (test)"
        } else {
            ""
        };
        for (after, metric) in shown {
            let (group, name) = if whole {
                (
                    format!("{}{test}, {}", split_name(split), after_name(*after)),
                    metric.title().to_owned(),
                )
            } else {
                let after = match (metric, after) {
                    (Metric::Psds1, PostProcessing::Csebbs) => " cSEBBs",
                    _ => "",
                };
                (
                    format!("{}{test}", split_name(split)),
                    format!("{}{after}", metric.title()),
                )
            };
            let place = Place::of(split, *after, *metric);
            columns.push(Column { group, name, place });
        }
    }
    for split in segment_splits(reports) {
        columns.push(Column {
            group: split_name(split),
            name: Metric::Mpauc.title().to_owned(),
            place: Place::of(split, PostProcessing::Raw, Metric::Mpauc),
        });
    }
    columns
}

/// Everything about scores but bars and curves.
pub(super) fn section(reports: &[ScoreReport], evaluation: &EvaluationSettings) -> Markup {
    if reports.is_empty() {
        return html! { p.empty { "No scores yet: they come with the first evaluation that is done." } };
    }
    let median = PostProcessing::Median;
    let short = [
        (median, Metric::Psds1),
        (PostProcessing::Csebbs, Metric::Psds1),
        (median, Metric::Psds2),
        (median, Metric::ClassMean),
    ];
    let whole: Vec<(PostProcessing, Metric)> = PostProcessing::ALL
        .into_iter()
        .flat_map(|after| {
            [Metric::Psds1, Metric::Psds2, Metric::ClassMean].map(|metric| (after, metric))
        })
        .collect();
    html! {
        p.note {
            "Below each value its 95 % interval by bootstrap over clips (MAESTRO: over recordings). Events are scored after the class-wise
            median filter, or as change-detection boxes (cSEBBs). The best value of a column is bold."
        }
        (table(reports, &columns(reports, evaluation, &short, false), "Scores"))
        details {
            summary { "Every metric and post-processing" }
            (table(reports, &columns(reports, evaluation, &whole, true), "All scores"))
        }
        details {
            summary { "Every class" }
            @for split in event_splits(reports, evaluation) {
                @for after in PostProcessing::ALL {
                    (by_class(reports, split, after, Metric::ClassPsds1))
                }
            }
            @for split in segment_splits(reports) {
                (by_class(reports, split, PostProcessing::Raw, Metric::ClassPauc))
            }
        }
        (boxes(reports))
    }
}

/// The classes of a metric in any report.
pub(super) fn classes(
    reports: &[ScoreReport],
    split: Split,
    after: PostProcessing,
    metric: Metric,
) -> Vec<Place> {
    let mut names = BTreeSet::new();
    for report in reports {
        if metric == Metric::ClassPauc {
            let segments = report.segments.as_ref();
            names.extend(segments.iter().flat_map(|one| one.pauc_by_class.keys()));
        } else {
            let events = report.events(split, after);
            names.extend(events.iter().flat_map(|one| one.psds1_by_class.keys()));
        }
    }
    let places = names.into_iter().map(|name| Place {
        class: Some(name.clone()),
        ..Place::of(split, after, metric)
    });
    places.collect()
}

fn by_class(
    reports: &[ScoreReport],
    split: Split,
    after: PostProcessing,
    metric: Metric,
) -> Markup {
    let title = match metric {
        Metric::ClassPauc => format!("{}, {}", split_name(split), metric.title()),
        _ => format!(
            "{}, {}, {}",
            split_name(split),
            after_name(after),
            metric.title()
        ),
    };
    let columns: Vec<Column> = classes(reports, split, after, metric)
        .into_iter()
        .map(|place| Column {
            group: title.clone(),
            name: place.class.as_deref().map(class_name).unwrap_or_default(),
            place,
        })
        .collect();
    if columns.is_empty() {
        return html! {};
    }
    table(reports, &columns, &title)
}

/// Neighbours with the same key, counted.
fn runs<T, K: PartialEq>(items: &[T], key: impl Fn(&T) -> K) -> Vec<&[T]> {
    items.chunk_by(|a, b| key(a) == key(b)).collect()
}

/// A body for each stage, a row for each subject.
fn table(reports: &[ScoreReport], columns: &[Column], title: &str) -> Markup {
    let best: Vec<Option<f64>> = columns
        .iter()
        .map(|column| {
            let values = reports
                .iter()
                .filter_map(|report| column.place.value(report));
            values.map(|(estimate, _)| estimate.value).reduce(f64::max)
        })
        .collect();
    let table = html! {
        table.scores {
            thead {
                tr {
                    th rowspan="2" scope="col" { "stage" }
                    th rowspan="2" scope="col" { "subject" }
                    @for group in runs(columns, |column| column.group.clone()) {
                        th.group colspan=(group.len()) scope="colgroup" { (clean(&group[0].group)) }
                    }
                }
                tr {
                    @for column in columns {
                        th.num scope="col" {
                            (column.name)
                            (references(reports, &column.place))
                        }
                    }
                }
            }
            @for group in runs(reports, |report| (report.iteration, report.stage)) {
                tbody {
                    @for (index, report) in group.iter().enumerate() {
                        tr.ensemble[report.subject == Subject::Ensemble]
                            data-iteration=(report.iteration) data-stage=(report.stage) data-subject=(subject(&report.subject)) {
                            @if index == 0 {
                                th.stage rowspan=(group.len()) scope="rowgroup" { (place(report.iteration, report.stage)) }
                            }
                            th scope="row" { (subject(&report.subject)) }
                            @for (column, best) in columns.iter().zip(&best) {
                                (cell(report, &column.place, *best))
                            }
                        }
                    }
                }
            }
        }
    };
    scrolled(title, &table)
}

fn cell(report: &ScoreReport, place: &Place, best: Option<f64>) -> Markup {
    let value = place.value(report).map(|(estimate, _)| estimate);
    let is_best = value.is_some_and(|value| value.value > 0.0 && Some(value.value) == best);
    html! {
        td.num.best[is_best] data-split=(place.split) data-after=(place.after.as_str())
            data-metric=(place.metric.as_str()) data-class=[place.class.as_deref().map(clean)] {
            @match value {
                Some(value) => (estimate(value)),
                None => "–",
            }
        }
    }
}

/// How many references a class has, as the newest report counts them.
fn references(reports: &[ScoreReport], place: &Place) -> Markup {
    let count = reports
        .iter()
        .rev()
        .find_map(|report| place.value(report)?.1);
    html! {
        @if let Some(count) = count {
            span.count data-split=(place.split) data-after=(place.after.as_str()) data-metric=(place.metric.as_str())
                data-class=[place.class.as_deref().map(clean)] {
                " n = " data data-part="num_reference" value=(count) { (count) }
            }
        }
    }
}

/// What was tuned, by class.
fn boxes(reports: &[ScoreReport]) -> Markup {
    let classes: BTreeSet<&String> = reports
        .iter()
        .flat_map(|report| report.csebbs.keys())
        .collect();
    if classes.is_empty() {
        return html! {};
    }
    let tuned_on = reports.iter().rev().find_map(|report| report.tuned_on);
    let table = html! {
        table.scores {
            thead {
                tr {
                    th scope="col" { "stage" }
                    th scope="col" { "subject" }
                    @for class in &classes { th.num scope="col" { (class_name(class)) } }
                }
            }
            @for group in runs(reports, |report| (report.iteration, report.stage)) {
                tbody {
                    @for (index, report) in group.iter().enumerate() {
                        tr.ensemble[report.subject == Subject::Ensemble]
                            data-iteration=(report.iteration) data-stage=(report.stage) data-subject=(subject(&report.subject)) {
                            @if index == 0 {
                                th.stage rowspan=(group.len()) scope="rowgroup" { (place(report.iteration, report.stage)) }
                            }
                            th scope="row" { (subject(&report.subject)) }
                            @for class in &classes {
                                td.num data-metric="csebbs" data-class=(clean(class)) {
                                    @match report.csebbs.get(*class) {
                                        Some(settings) => (box_settings(settings)),
                                        None => "–",
                                    }
                                }
                            }
                        }
                    }
                }
            }
        }
    };
    html! {
        details {
            summary { "Tuned settings of the change-detection boxes" }
            p.note {
                "Length of the step filter in seconds; below it, gaps are closed whose neighbours are less than × times higher or higher by less than +"
                @if let Some(split) = tuned_on { ", tuned on " (split_name(split)) }
                "."
            }
            (scrolled("Settings of the boxes", &table))
        }
    }
}

fn box_settings(settings: &BoxSettings) -> Markup {
    let plain = |part: &str, value: f64| html! { data data-part=(part) value=(value) { (format!("{}", (value * 1e3).round() / 1e3)) } };
    html! {
        (plain("step_seconds", settings.step_seconds)) " s "
        span.ci {
            @if let Some(factor) = settings.merge_relative { "×" (plain("merge_relative", factor)) }
            @if let Some(difference) = settings.merge_absolute { " +" (plain("merge_absolute", difference)) }
        }
    }
}

/// The ensemble's values that a reader looks for first.
pub(super) fn tiles(reports: &[ScoreReport], evaluation: &EvaluationSettings) -> Markup {
    let Some(last) = reports
        .iter()
        .rfind(|report| report.subject == Subject::Ensemble)
    else {
        return html! {};
    };
    let shown = [
        (PostProcessing::Median, Metric::Psds1),
        (PostProcessing::Csebbs, Metric::Psds1),
        (PostProcessing::Median, Metric::ClassMean),
    ];
    let columns = columns(std::slice::from_ref(last), evaluation, &shown, false);
    html! {
        p.lead { "The newest ensemble" span.muted { " · " (place(last.iteration, last.stage)) } }
        dl.tiles data-iteration=(last.iteration) data-stage=(last.stage) data-subject=(subject(&last.subject)) {
            @for column in &columns {
                @if let Some((value, _)) = column.place.value(last) {
                    div data-split=(column.place.split) data-after=(column.place.after.as_str()) data-metric=(column.place.metric.as_str()) {
                        dt { (column.name) span.muted { " " (column.group) } }
                        dd { (estimate(value)) }
                    }
                }
            }
        }
    }
}
