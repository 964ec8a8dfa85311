//! The report for a person.

use std::fmt;

use comfy_table::{CellAlignment, LineStyle, Table, TableStyle};

use super::rows::{CaseReport, Outcome, Row};

/// The cases of every kind.
#[derive(Debug, Default)]
pub struct Report {
    /// Kinds with their cases, of which there may be none.
    pub kinds: Vec<(&'static str, Vec<CaseReport>)>,
}

/// How much is shown of a case.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Detail {
    /// Every comparison.
    Tensors,
    /// The worst comparison, and all that failed.
    Worst,
}

impl Report {
    /// Whether there were cases and all of them passed.
    #[must_use]
    pub fn passed(&self) -> bool {
        let mut cases = self.kinds.iter().flat_map(|(_, cases)| cases).peekable();
        cases.peek().is_some() && cases.all(CaseReport::passed)
    }
}

impl fmt::Display for Report {
    /// One line per kind.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut table = table([
            "kind",
            "cases",
            "values",
            "worst / tolerance",
            "not compared",
            "result",
        ]);
        for (kind, cases) in &self.kinds {
            let rows = || cases.iter().flat_map(|case| &case.rows);
            let left = rows().filter(|row| row.outcome.is_left_out()).count();
            let worst = (rows().filter_map(|row| row.ratio)).fold(0.0, f64::max);
            let failed = cases.iter().filter(|case| !case.passed()).count();
            let result = match (cases.len(), failed) {
                (0, _) => "absent".to_owned(),
                (_, 0) => "ok".to_owned(),
                (_, failed) => format!("FAIL ({failed} of {})", cases.len()),
            };
            let values = rows().count() - left;
            table.add_row(match cases.len() {
                0 => [
                    (*kind).to_owned(),
                    "0".to_owned(),
                    dash(),
                    dash(),
                    dash(),
                    result,
                ],
                count => [
                    (*kind).to_owned(),
                    count.to_string(),
                    values.to_string(),
                    format!("{worst:.3}"),
                    left.to_string(),
                    result,
                ],
            });
        }
        align_right(&mut table, 1..=4);
        write!(f, "{table}")
    }
}

impl CaseReport {
    /// The case as text.
    #[must_use]
    pub fn show(&self, kind: &str, detail: Detail) -> String {
        let mut text = format!("{kind}/{}", self.name);
        if let Some(error) = &self.error {
            text.push_str(&format!(": ERROR\n  {error}"));
        }
        let worst = self.worst().map(|row| row.name.clone());
        let shown = |row: &&Row| match detail {
            Detail::Tensors => true,
            Detail::Worst => {
                matches!(row.outcome, Outcome::Failed(_)) || Some(&row.name) == worst.as_ref()
            }
        };
        let mut table = table([
            "value",
            "largest error",
            "/ tolerance",
            "atol",
            "rtol",
            "reference's round-off",
            "",
        ]);
        for row in self.rows.iter().filter(shown) {
            let exact = row.tolerance.atol == 0.0 && row.tolerance.rtol == 0.0;
            let number = |value: Option<f64>| value.map_or_else(dash, scientific);
            let (atol, rtol) = match (row.outcome.is_left_out(), exact) {
                (true, _) => (dash(), dash()),
                (false, true) => ("exact".to_owned(), dash()),
                (false, false) => (
                    scientific(row.tolerance.atol),
                    scientific(row.tolerance.rtol),
                ),
            };
            table.add_row([
                row.name.clone(),
                number(row.error),
                row.ratio.map_or_else(dash, |ratio| format!("{ratio:.3}")),
                atol,
                rtol,
                number(row.round_off),
                match &row.outcome {
                    Outcome::Within => "ok".to_owned(),
                    Outcome::Failed(found) => format!("FAIL: {found}"),
                    Outcome::IllConditioned => {
                        "not compared: ill-conditioned, says the case".to_owned()
                    }
                    Outcome::Outside(why) => format!("not compared: {why}"),
                },
            ]);
        }
        align_right(&mut table, 1..=5);
        if !self.rows.is_empty() {
            text.push_str(&format!("\n{table}"));
        }
        text
    }
}

fn table<const N: usize>(header: [&str; N]) -> Table {
    let mut table = Table::new();
    let rule = LineStyle::none().fill('─').junction('─');
    table
        .load_style(TableStyle::new().header_separator(rule))
        .set_header(header);
    table
}

fn align_right(table: &mut Table, columns: std::ops::RangeInclusive<usize>) {
    for column in columns {
        if let Some(column) = table.column_mut(column) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
}

fn dash() -> String {
    "-".to_owned()
}

fn scientific(value: f64) -> String {
    match value {
        0.0 => "0".to_owned(),
        value => format!("{value:.1e}"),
    }
}
