//! What a person, or a script, is shown.

use std::collections::BTreeMap;

use anyhow::Result;
use comfy_table::{Cell, CellAlignment, LineStyle, Table, TableStyle};
use eval::Interval;
use serde_json::{Map, Value as Json, json};

use super::options::Evaluate;

/// A value and where it lies for 95 % of the draws.
#[derive(Debug, Clone, Copy)]
pub(super) struct Value {
    value: f64,
    interval: Option<Interval>,
}

impl Value {
    pub(super) const fn new(value: f64, interval: Option<Interval>) -> Self {
        Self { value, interval }
    }

    fn json(self) -> Json {
        match self.interval {
            Some(Interval { low, high }) => json!({"value": self.value, "interval": [low, high]}),
            None => json!({"value": self.value}),
        }
    }

    fn cells(self) -> [String; 2] {
        let interval = self
            .interval
            .map(|Interval { low, high }| format!("{low:.4} to {high:.4}"));
        [
            format!("{:.4}", self.value),
            interval.unwrap_or_else(|| "-".to_owned()),
        ]
    }
}

/// Everything that was measured, in the order of the table.
#[derive(Debug)]
pub(super) struct Report {
    classes: Vec<String>,
    /// Clips, or recordings.
    units: usize,
    rows: Vec<(String, Value)>,
    by_class: Vec<(String, Vec<Value>)>,
    thresholds: BTreeMap<String, Vec<f64>>,
}

impl Report {
    pub(super) fn new(classes: &[String], units: usize) -> Self {
        Self {
            classes: classes.to_vec(),
            units,
            rows: Vec::new(),
            by_class: Vec::new(),
            thresholds: BTreeMap::new(),
        }
    }

    pub(super) fn add(&mut self, name: &str, value: Value) {
        self.rows.push((name.to_owned(), value));
    }

    /// In the order of classes.
    pub(super) fn add_classes(&mut self, name: &str, values: Vec<Value>) {
        self.by_class.push((name.to_owned(), values));
    }

    /// In the order of classes.
    pub(super) fn add_thresholds(&mut self, name: &str, thresholds: Vec<f64>) {
        self.thresholds.insert(name.to_owned(), thresholds);
    }

    pub(super) fn show(&self, options: &Evaluate) -> Result<String> {
        if options.json {
            return Ok(serde_json::to_string_pretty(&self.json())?);
        }
        let what = if options.maestro.is_some() {
            "recordings"
        } else {
            "clips"
        };
        let mut text = self.table(what).to_string();
        if options.per_class {
            text.push_str(&format!("\n\n{}", self.class_table()));
        }
        Ok(text)
    }

    fn json(&self) -> Json {
        let mut values = Map::new();
        for (name, value) in &self.rows {
            values.insert(name.clone(), value.json());
        }
        let by_class = self.classes.iter().enumerate().map(|(class, name)| {
            let of_class = self.by_class.iter().map(|(metric, values)| {
                let mut value = values[class].json();
                if let Some(thresholds) = self.thresholds.get(metric) {
                    // JSON has no infinity; below every score means that everything is found
                    let threshold = thresholds[class];
                    value["threshold"] = match threshold.is_finite() {
                        true => json!(threshold),
                        false => json!(threshold.to_string()),
                    };
                }
                (metric.clone(), value)
            });
            (name.clone(), Json::Object(of_class.collect()))
        });
        json!({
            "number": self.units,
            "values": values,
            "classes": by_class.collect::<Map<_, _>>(),
        })
    }

    fn table(&self, what: &str) -> Table {
        let mut table = plain();
        table.set_header([
            format!("{} {what}, {} classes", self.units, self.classes.len()),
            "value".to_owned(),
            "95 % interval".to_owned(),
        ]);
        for (name, value) in &self.rows {
            let [value, interval] = value.cells();
            table.add_row([name.clone(), value, interval]);
        }
        align_right(&mut table, 1..3);
        table
    }

    fn class_table(&self) -> Table {
        let mut table = plain();
        let names = self.by_class.iter().map(|(name, _)| name.clone());
        table.set_header(std::iter::once("class".to_owned()).chain(names));
        for (class, name) in self.classes.iter().enumerate() {
            let values = self.by_class.iter().map(|(metric, values)| {
                let [value, _] = values[class].cells();
                match self.thresholds.get(metric) {
                    Some(thresholds) => format!("{value} (> {:.3})", thresholds[class]),
                    None => value,
                }
            });
            table.add_row(std::iter::once(name.clone()).chain(values).map(Cell::new));
        }
        align_right(&mut table, 1..self.by_class.len() + 1);
        table
    }
}

/// No lines but one below the header.
pub(super) fn plain() -> Table {
    let mut table = Table::new();
    let rule = LineStyle::none().fill('─').junction('─');
    table.load_style(TableStyle::new().header_separator(rule));
    table
}

pub(super) fn align_right(table: &mut Table, columns: std::ops::Range<usize>) {
    for column in columns {
        if let Some(column) = table.column_mut(column) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
}
