//! What all charts share: the frame with its axes, lines, and the series' names.

use std::fmt::Write as _;

use maud::{Markup, html};

use crate::axis::Scale;

/// Colours that tell series apart; the style sheet has as many (Okabe and Ito's).
pub(super) const COLOURS: usize = 6;

/// The style sheet's class for a series.
pub(super) fn colour(index: usize) -> String {
    format!("c{}", index % COLOURS + 1)
}

/// Pixels around the plot: for the names of ticks and of the axis.
const LEFT: f64 = 38.0;
const RIGHT: f64 = 10.0;
const TOP: f64 = 8.0;
const BOTTOM: f64 = 36.0;

/// A chart of two axes.
pub(super) struct Chart {
    size: [f64; 2],
    pub(super) x: Scale,
    pub(super) y: Scale,
}

impl Chart {
    /// A picture of `size` pixels; the scales get the places of the plot's edges.
    pub(super) fn new(
        size: [f64; 2],
        x: impl FnOnce([f64; 2]) -> Scale,
        y: impl FnOnce([f64; 2]) -> Scale,
    ) -> Self {
        let [width, height] = size;
        Self {
            size,
            x: x([LEFT, width - RIGHT]),
            y: y([height - BOTTOM, TOP]),
        }
    }

    /// The picture, with what is in it; `name` says it to those who do not see it.
    pub(super) fn draw(&self, name: &str, x_name: &str, x_ticks: bool, marks: &Markup) -> Markup {
        let [width, height] = self.size;
        let [left, right] = self.x.places();
        let [bottom, _] = self.y.places();
        let y_ticks = self.y.ticks(((bottom - TOP) / 26.0).max(2.0));
        let x_ticks = if x_ticks {
            self.x.ticks(((right - left) / 52.0).max(2.0))
        } else {
            Vec::new()
        };
        html! {
            svg.chart viewBox=(format!("0 0 {width} {height}")) role="img" aria-label=(name) {
                @for (value, label) in &y_ticks {
                    @let y = round(self.y.at(*value));
                    path.grid d=(format!("M{left} {y}H{right}")) {}
                    text.end x=(left - 6.0) y=(y + 3.8) { (label) }
                }
                @for (value, label) in &x_ticks {
                    @let x = round(self.x.at(*value));
                    path.tick d=(format!("M{x} {bottom}v4")) {}
                    text.middle x=(x) y=(bottom + 16.0) { (label) }
                }
                path.axis d=(format!("M{left} {bottom}H{right}")) {}
                text.middle x=(round((left + right) / 2.0)) y=(height - 5.0) { (x_name) }
                (marks)
            }
        }
    }

    /// Through the points, growing in x.
    pub(super) fn line(&self, points: impl IntoIterator<Item = (f64, f64)>) -> String {
        let mut path = String::new();
        for (x, y) in points {
            let command = if path.is_empty() { 'M' } else { 'L' };
            // writing to a string cannot fail
            let _ = write!(path, "{command}{:.1} {:.1}", self.x.at(x), self.y.at(y));
        }
        path
    }

    /// From 0 on: each value holds from its point to the next, the last one to the end.
    pub(super) fn stairs(&self, points: impl IntoIterator<Item = (f64, f64)>) -> String {
        let [start, end] = self.x.places();
        let mut path = format!("M{start:.1} {:.1}", self.y.at(0.0));
        for (x, y) in points {
            let _ = write!(path, "H{:.1}V{:.1}", self.x.at(x), self.y.at(y));
        }
        let _ = write!(path, "H{end:.1}");
        path
    }
}

/// To a tenth of a pixel.
pub(super) fn round(value: f64) -> f64 {
    (value * 10.0).round() / 10.0
}

/// What the colours of a chart mean: (classes, name).
pub(super) fn legend<'a>(entries: impl IntoIterator<Item = (String, &'a str)>) -> Markup {
    html! {
        ul.legend {
            @for (classes, name) in entries {
                li { span class={ "swatch " (classes) } {} (name) }
            }
        }
    }
}

/// A chart with its title.
pub(super) fn figure(title: &Markup, chart: &Markup) -> Markup {
    html! { figure { figcaption { (title) } (chart) } }
}
