//! Comparisons: what was compared, how far apart the two are, and what is accepted.

use std::cell::RefCell;

use anyhow::Result;
use serde_json::Value;

use super::case::number;

/// Accept if |got − want| ≤ `atol` + `rtol`·|want|.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Tolerance {
    /// Absolute part.
    pub atol: f64,
    /// Part relative to the expected value.
    pub rtol: f64,
}

impl Tolerance {
    /// Equal, and nothing else.
    pub const EXACT: Self = Self {
        atol: 0.0,
        rtol: 0.0,
    };

    /// |got − want| as a share of what is accepted; 0 where they are equal.
    fn ratio(self, got: f64, want: f64) -> f64 {
        match error(got, want) {
            0.0 => 0.0,
            // never negative, so that what is not a number sorts last
            error => (error / (self.atol + self.rtol * want.abs())).abs(),
        }
    }

    /// From `{"atol": …, "rtol": …}`.
    ///
    /// # Errors
    /// When one is missing.
    pub fn read(value: &Value) -> Result<Self> {
        Ok(Self {
            atol: number(value, "atol")?,
            rtol: number(value, "rtol")?,
        })
    }
}

/// How a comparison ended.
#[derive(Debug, Clone, PartialEq)]
pub enum Outcome {
    /// Within the tolerance.
    Within,
    /// Not, or not comparable; what was wrong.
    Failed(String),
    /// The reference itself says that no match is to be expected.
    IllConditioned,
    /// Nothing in this house computes it; why.
    Outside(&'static str),
}

impl Outcome {
    /// Whether nothing was compared, for a reason that the report names.
    #[must_use]
    pub fn is_left_out(&self) -> bool {
        matches!(self, Self::IllConditioned | Self::Outside(_))
    }
}

/// A line of the report.
#[derive(Debug, Clone)]
pub struct Row {
    /// The tensor or value.
    pub name: String,
    /// Largest |got − want|.
    pub error: Option<f64>,
    /// Largest |got − want| / (atol + rtol·|want|); 0 where both are 0.
    pub ratio: Option<f64>,
    /// What is accepted.
    pub tolerance: Tolerance,
    /// How far the reference's float32 result is from its own float64 result.
    pub round_off: Option<f64>,
    /// The end.
    pub outcome: Outcome,
}

/// The comparisons of one case.
#[derive(Debug)]
pub struct CaseReport {
    /// The case's own name.
    pub name: String,
    /// In the order in which they were made.
    pub rows: Vec<Row>,
    /// Why the case could not be run to its end.
    pub error: Option<String>,
}

impl CaseReport {
    /// Whether everything was compared and is within its tolerance.
    #[must_use]
    pub fn passed(&self) -> bool {
        self.error.is_none()
            && !self.rows.is_empty()
            && !(self.rows.iter()).any(|row| matches!(row.outcome, Outcome::Failed(_)))
    }

    /// The row that is nearest to its limit, or farthest beyond it.
    #[must_use]
    pub fn worst(&self) -> Option<&Row> {
        (self.rows.iter())
            .filter(|row| row.ratio.is_some())
            .max_by(|a, b| a.ratio.unwrap_or(0.0).total_cmp(&b.ratio.unwrap_or(0.0)))
    }
}

/// A part of a value: its name, the numbers that came out, and those that are expected.
pub(crate) type Part<'a> = (&'a str, Vec<f64>, Vec<f64>);

/// The comparisons of a case that is being run.
#[derive(Debug, Default)]
pub struct Rows(RefCell<Vec<Row>>);

impl Rows {
    /// Ends the case.
    #[must_use]
    pub fn into_report(self, name: String, run: Result<()>) -> CaseReport {
        CaseReport {
            name,
            rows: self.0.into_inner(),
            error: run.err().map(|error| format!("{error:#}")),
        }
    }

    /// Adds a line.
    pub fn push(&self, row: Row) {
        self.0.borrow_mut().push(row);
    }

    /// Notes something that should have been compared and was not.
    pub fn not_compared(&self, name: &str) {
        self.push(Row {
            outcome: Outcome::Failed(format!("not compared: {name}")),
            ..Row::new(name, Tolerance::EXACT)
        });
    }

    /// Compares a number of the description.
    pub fn check_number(&self, name: &str, got: f64, want: f64, tolerance: Tolerance) {
        let mut row = Row::new(name, tolerance);
        row.judge(error(got, want), tolerance.ratio(got, want));
        self.push(row);
    }

    /// Compares a list of numbers of the description as one value.
    pub fn check_numbers(&self, name: &str, got: &[f64], want: &[f64], tolerance: Tolerance) {
        self.check_parts(name, &[("", got.to_vec(), want.to_vec())], tolerance);
    }

    /// Compares the numbers of several parts as one value; a failure names the part.
    pub(crate) fn check_parts(&self, name: &str, parts: &[Part<'_>], tolerance: Tolerance) {
        if let Some((part, got, want)) = parts.iter().find(|(_, got, want)| got.len() != want.len())
        {
            let found = format!("{} numbers, expected {}", got.len(), want.len());
            return self.check_text(name, Err(of_part(part, found)));
        }
        let pairs = parts.iter().flat_map(|(part, got, want)| {
            let ratio = |got, want| tolerance.ratio(got, want);
            (got.iter().zip(want)).map(move |(got, want)| (ratio(*got, *want), *part, *got, *want))
        });
        // what is not a number counts as farthest away
        let worst = pairs.max_by(|a, b| a.0.total_cmp(&b.0));
        let (ratio, part, got, want) = worst.unwrap_or((0.0, "", 0.0, 0.0));
        let mut row = Row::new(name, tolerance);
        row.judge(error(got, want), ratio);
        if let Outcome::Failed(found) = &row.outcome {
            let found = of_part(part, format!("{got}, expected {want}: {found}"));
            row.outcome = Outcome::Failed(found);
        }
        self.push(row);
    }

    /// Compares something that is no number, exactly.
    pub fn check_equal<T: PartialEq + std::fmt::Debug>(&self, name: &str, got: &T, want: &T) {
        let outcome = match got == want {
            true => Ok(()),
            false => Err(shortened(&format!("{got:?}, expected {want:?}"))),
        };
        self.check_text(name, outcome);
    }

    /// Notes the end of an exact comparison.
    pub fn check_text(&self, name: &str, outcome: Result<(), String>) {
        self.push(Row {
            error: outcome.is_ok().then_some(0.0),
            ratio: outcome.is_ok().then_some(0.0),
            outcome: match outcome {
                Ok(()) => Outcome::Within,
                Err(found) => Outcome::Failed(found),
            },
            ..Row::new(name, Tolerance::EXACT)
        });
    }
}

/// |got − want|; of two equal infinities 0.
fn error(got: f64, want: f64) -> f64 {
    if got == want { 0.0 } else { (got - want).abs() }
}

fn of_part(part: &str, found: String) -> String {
    match part {
        "" => found,
        part => format!("{part}: {found}"),
    }
}

impl Row {
    /// A line about which nothing is known yet.
    #[must_use]
    pub fn new(name: &str, tolerance: Tolerance) -> Self {
        Self {
            name: name.to_owned(),
            error: None,
            ratio: None,
            tolerance,
            round_off: None,
            outcome: Outcome::Within,
        }
    }

    pub(crate) fn judge(&mut self, error: f64, ratio: f64) {
        self.error = Some(error);
        self.ratio = Some(ratio);
        // a comparison with what is not a number fails
        let within = ratio <= 1.0;
        if !within {
            self.outcome = Outcome::Failed(format!("{error:.2e} beyond the tolerance"));
        }
    }
}

fn shortened(text: &str) -> String {
    match text.char_indices().nth(400) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}
