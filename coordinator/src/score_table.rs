use comfy_table::{Attribute, Cell, CellAlignment, LineStyle, Table, TableStyle};

use crate::report::Row;

const METRICS: [&str; 3] = ["PSDS1", "mean single-class PSDS", "mpAUC"];

/// The table of scores: a row per iteration, stage and subject. The best value of each column is bold where `coloured`.
pub(crate) fn render(rows: &[Row], coloured: bool) -> String {
    let best: Vec<Option<f64>> = (0..METRICS.len())
        .map(|metric| {
            rows.iter()
                .filter_map(|row| metrics(row)[metric])
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
    let header = ["iteration", "stage", "member"]
        .into_iter()
        .chain(METRICS)
        .chain(["result"]);
    table.set_header(header);
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
        for (value, best) in metrics(row).into_iter().zip(&best) {
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
    for index in 3..3 + METRICS.len() {
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

fn metrics(row: &Row) -> [Option<f64>; 3] {
    [
        row.scores.psds1,
        row.scores.psds1_class_mean,
        row.scores.mpauc,
    ]
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use types::{MemberName, ScoreReport, Subject, TaskName};

    use super::*;

    fn row(iteration: u32, stage: u32, member: Option<&str>, values: [Option<f64>; 3]) -> Row {
        let [psds1, psds1_class_mean, mpauc] = values;
        Row {
            task: TaskName::new("t").unwrap(),
            executed: iteration > 1,
            scores: ScoreReport {
                iteration,
                stage,
                subject: member.map_or(Subject::Ensemble, |name| {
                    Subject::Member(MemberName::new(name).unwrap())
                }),
                clips: BTreeMap::new(),
                psds1,
                psds1_class_mean,
                mpauc,
                psds1_by_class: BTreeMap::new(),
                pauc_by_class: BTreeMap::new(),
            },
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
        let text = render(&rows(), false);
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
                "0.0004",
                "0.0500",
                "remembered"
            ]
        );
        assert_eq!(
            lines[3],
            ["ensemble", "0.0000", "0.0003", "0.0500", "remembered"]
        );
        assert_eq!(
            lines[4],
            [
                "1",
                "1",
                "atst_a",
                "0.0100",
                "0.1500",
                "0.3000",
                "remembered"
            ]
        );
        assert_eq!(
            lines[6],
            ["2", "atst_a", "0.0200", "0.2000", "0.4000", "remembered"]
        );
        assert_eq!(
            lines[7],
            ["ensemble", "0.0210", "0.2100", "-", "remembered"]
        );
        assert_eq!(
            lines[8],
            [
                "2", "2", "ensemble", "0.0311", "0.3100", "0.3900", "executed"
            ]
        );
        assert!(
            text.lines().all(|line| line.chars().count() <= 100),
            "{text}"
        );
    }

    #[test]
    fn the_best_of_each_column_is_bold() {
        let text = render(&rows(), true);
        assert_eq!(text.matches("\u{1b}[1m").count(), 3, "{text}");
    }
}
