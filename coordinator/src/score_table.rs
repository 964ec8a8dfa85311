use comfy_table::{Attribute, Cell, CellAlignment, LineStyle, Table, TableStyle};
use types::{EvaluationSettings, PostProcessing, Split};

use crate::scores::Row;

/// A column of values.
enum Column {
    /// PSDS1 of a split, after the median filter or with tuned boxes.
    Psds1(Split, PostProcessing),
    /// The mean of the classes' own, which shows learning where PSDS1 is still 0.
    ClassMean(Split),
    Mpauc,
}

impl Column {
    /// What the plan scores, from left to right.
    fn all(evaluation: &EvaluationSettings) -> Vec<Self> {
        let mut columns = Vec::new();
        for split in [evaluation.desed, evaluation.test].into_iter().flatten() {
            columns.push(Self::Psds1(split, PostProcessing::Median));
            columns.push(Self::Psds1(split, PostProcessing::Csebbs));
            if evaluation.desed == Some(split) {
                columns.push(Self::ClassMean(split));
            }
        }
        columns.extend(evaluation.maestro.map(|_| Self::Mpauc));
        columns
    }

    fn header(&self, evaluation: &EvaluationSettings) -> String {
        let name = match self {
            Self::Psds1(_, PostProcessing::Csebbs) => "PSDS1 cSEBBs",
            Self::Psds1(..) => "PSDS1",
            Self::ClassMean(_) => "mean single-class",
            Self::Mpauc => "mpAUC",
        };
        match self {
            Self::Psds1(split, _) if evaluation.test == Some(*split) => format!("test {name}"),
            _ => name.to_owned(),
        }
    }

    fn value(&self, row: &Row) -> Option<f64> {
        let scores = &row.scores;
        let estimate = match self {
            Self::Psds1(split, after) => scores.events(*split, *after)?.psds1,
            Self::ClassMean(split) => {
                scores
                    .events(*split, PostProcessing::Median)?
                    .psds1_class_mean
            }
            Self::Mpauc => scores.segments.as_ref()?.mpauc,
        };
        Some(estimate.value)
    }
}

/// The table of scores: a row per iteration, stage and subject. The best value of each column is bold where `coloured`.
pub(crate) fn render(rows: &[Row], evaluation: &EvaluationSettings, coloured: bool) -> String {
    let columns = Column::all(evaluation);
    let best: Vec<Option<f64>> = columns
        .iter()
        .map(|column| {
            rows.iter()
                .filter_map(|row| column.value(row))
                .reduce(f64::max)
        })
        .collect();
    let mut table = Table::new();
    let rule = LineStyle::none().fill('─').junction('─');
    table.load_style(TableStyle::new().header_separator(rule));
    if coloured {
        table.enforce_styling();
    } else {
        table.force_no_tty();
    }
    let header = ["iteration", "stage", "member"].map(str::to_owned);
    let metrics = columns.iter().map(|column| column.header(evaluation));
    table.set_header(
        header
            .into_iter()
            .chain(metrics)
            .chain(["result".to_owned()]),
    );
    let mut previous = None;
    for row in rows {
        let place = (row.scores.iteration, row.scores.stage);
        // What would only repeat the line above is left out.
        let (iteration, stage) = match (previous == Some(place), place) {
            (true, _) => (String::new(), String::new()),
            (false, (0, _)) => ("untrained".to_owned(), String::new()),
            (false, (iteration, stage)) => {
                let same = previous.is_some_and(|(before, _)| before == iteration);
                (
                    if same {
                        String::new()
                    } else {
                        iteration.to_string()
                    },
                    stage.to_string(),
                )
            }
        };
        previous = Some(place);
        let mut cells = vec![
            Cell::new(iteration),
            Cell::new(stage),
            Cell::new(row.subject()),
        ];
        for (column, best) in columns.iter().zip(&best) {
            let value = column.value(row);
            let cell = Cell::new(value.map_or("-".to_owned(), |value| format!("{value:.4}")));
            let is_best = value.is_some_and(|value| value > 0.0 && Some(value) == *best);
            cells.push(if is_best {
                cell.add_attribute(Attribute::Bold)
            } else {
                cell
            });
        }
        cells.push(Cell::new(row.result()));
        table.add_row(cells);
    }
    for index in 3..3 + columns.len() {
        if let Some(column) = table.column_mut(index) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    let lines: Vec<String> = table
        .lines()
        .map(|line| line.trim_end().to_owned())
        .collect();
    format!("{}\n", lines.join("\n"))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use types::{MemberName, Subject, TaskName};

    use super::*;

    fn row(iteration: u32, stage: u32, member: Option<&str>, values: [Option<f64>; 3]) -> Row {
        let [psds1, class_mean, mpauc] = values;
        let subject = member.map_or(Subject::Ensemble, |name| {
            Subject::Member(MemberName::new(name).unwrap())
        });
        Row {
            task: TaskName::new("t").unwrap(),
            executed: iteration > 1,
            scores: testkit::score_report(
                (iteration, stage),
                subject,
                psds1.unwrap(),
                class_mean.unwrap(),
                mpauc,
            ),
        }
    }

    fn evaluation() -> EvaluationSettings {
        EvaluationSettings {
            desed: Some(Split::DesedValidation),
            test: None,
            maestro: Some(Split::MaestroValidation),
            desed_classes: BTreeSet::new(),
            maestro_classes: BTreeSet::new(),
            replicates: 0,
            clips: 0,
        }
    }

    fn rows() -> Vec<Row> {
        vec![
            row(0, 0, Some("atst_a"), [Some(0.0), Some(0.0004), Some(0.05)]),
            row(0, 0, None, [Some(0.0), Some(0.0003), Some(0.05)]),
            row(1, 1, Some("atst_a"), [Some(0.01), Some(0.15), Some(0.3)]),
            row(1, 1, None, [Some(0.012), Some(0.16), Some(0.31)]),
            row(1, 2, Some("atst_a"), [Some(0.02), Some(0.2), Some(0.4)]),
            row(1, 2, None, [Some(0.021), Some(0.21), None]),
            row(2, 2, None, [Some(0.0311), Some(0.31), Some(0.39)]),
        ]
    }

    #[test]
    fn the_table_reads_from_the_untrained_models_to_the_last_ensemble() {
        let text = render(&rows(), &evaluation(), false);
        assert!(!text.contains('\u{1b}'));
        let lines: Vec<Vec<&str>> = text
            .lines()
            .map(|line| line.split_whitespace().collect())
            .collect();
        assert_eq!(
            lines[2],
            [
                "untrained",
                "atst_a",
                "0.0000",
                "0.1000",
                "0.0004",
                "0.0500",
                "remembered"
            ]
        );
        assert_eq!(
            lines[3],
            [
                "ensemble",
                "0.0000",
                "0.1000",
                "0.0003",
                "0.0500",
                "remembered"
            ]
        );
        assert_eq!(
            lines[4],
            [
                "1",
                "1",
                "atst_a",
                "0.0100",
                "0.1100",
                "0.1500",
                "0.3000",
                "remembered"
            ]
        );
        assert_eq!(
            lines[6],
            [
                "2",
                "atst_a",
                "0.0200",
                "0.1200",
                "0.2000",
                "0.4000",
                "remembered"
            ]
        );
        assert_eq!(
            lines[7],
            ["ensemble", "0.0210", "0.1210", "0.2100", "-", "remembered"]
        );
        assert_eq!(
            lines[8],
            [
                "2", "2", "ensemble", "0.0311", "0.1311", "0.3100", "0.3900", "executed"
            ]
        );
        assert!(
            text.lines().all(|line| line.chars().count() <= 100),
            "{text}"
        );
    }

    #[test]
    fn the_best_of_each_column_is_bold() {
        let text = render(&rows(), &evaluation(), true);
        assert_eq!(text.matches("\u{1b}[1m").count(), 4, "{text}");
    }
}
