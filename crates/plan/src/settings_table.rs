//! The settings of all training tasks beside one another.

use std::ops::Range;

use serde::Serialize;
use types::TaskName;

use crate::graph::train_name;
use crate::plan::{Member, Plan, PseudoLabels};
use crate::stage::{MODEL, STAGE};

/// The effective settings of every `train` task of a plan: what is the same for all, and what differs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct SettingsTable {
    /// The tasks, in the plan's order.
    pub tasks: Vec<TaskName>,
    /// One row for each setting, in the order of the reference of keys.
    pub settings: Vec<SettingRow>,
}

/// One setting of every task.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct SettingRow {
    /// Its key, without the stage: `model.transformer.dim`, `loss.maestro`.
    pub setting: String,
    /// As a plan would write them, in the order of the tasks.
    pub values: Vec<String>,
}

impl SettingRow {
    /// The value of all tasks, if it is the same.
    #[must_use]
    pub fn common(&self) -> Option<&str> {
        let (first, rest) = self.values.split_first()?;
        rest.iter().all(|value| value == first).then_some(first)
    }
}

impl Plan {
    /// The settings of every `train` task after all layers.
    #[must_use]
    pub fn settings_table(&self) -> SettingsTable {
        let mut table = SettingsTable {
            tasks: Vec::new(),
            settings: Vec::new(),
        };
        let mut add = |row: usize, setting: String, value: String| {
            if row == table.settings.len() {
                table.settings.push(SettingRow {
                    setting,
                    values: Vec::new(),
                });
            }
            table.settings[row].values.push(value);
        };
        for (number, iteration) in (1..).zip(&self.iterations) {
            for (stage, settings) in (1..).zip(&iteration.stages) {
                for member in &self.members {
                    table.tasks.push(train_name(number, stage, &member.name));
                    let mut stage_settings = settings[&member.name].clone();
                    let mut model = self.trained(number, stage, member);
                    let (init, labels) = self.sources(number, stage, member);
                    let mut row = 0;
                    let mut next = |setting: &str, value: String| {
                        add(row, setting.to_owned(), value);
                        row += 1;
                    };
                    next("arch", format!("\"{}\"", model.architecture.as_str()));
                    next("seed", model.init_seed.to_string());
                    next("starts from", init);
                    next("pseudo-labels", labels);
                    for setting in MODEL {
                        next(
                            &format!("model.{}", setting.name),
                            (setting.field)(&mut model).show(),
                        );
                    }
                    for setting in STAGE {
                        next(setting.name, (setting.field)(&mut stage_settings).show());
                    }
                }
            }
        }
        table
    }
}

impl Plan {
    /// Where the weights and the pseudo-labels of a task come from, in a word.
    fn sources(&self, number: u32, stage: u32, member: &Member) -> (String, String) {
        let iteration = &self.iterations[number as usize - 1];
        let weight = iteration.stages[stage as usize - 1][&member.name]
            .training
            .loss
            .pseudo;
        let init = match &member.init {
            _ if stage == 2 => format!("i{number}.s1"),
            Some(_) => "file".to_owned(),
            None => "-".to_owned(),
        };
        let labels = match &iteration.pseudo_labels {
            Some(PseudoLabels::Iteration(from)) if weight > 0.0 => format!("i{from}"),
            Some(PseudoLabels::Files(_)) if weight > 0.0 => "files".to_owned(),
            _ => "-".to_owned(),
        };
        (init, labels)
    }
}

impl SettingsTable {
    /// For a terminal of that many columns: settings that all tasks share in a list, the others in a table with a column for
    /// each task, in as many blocks as the width asks for.
    #[must_use]
    pub fn render(&self, width: usize) -> String {
        let (common, different): (Vec<&SettingRow>, Vec<&SettingRow>) =
            self.settings.iter().partition(|row| row.common().is_some());
        let mut out = String::new();
        if !different.is_empty() {
            out.push_str("Settings that differ between the training tasks\n\n");
            let blocks = self.blocks(&different, width);
            for block in blocks {
                out.push_str(&self.block(&different, block));
                out.push('\n');
            }
        }
        out.push_str(&format!(
            "The same for {}\n\n{}",
            match self.tasks.len() {
                1 => self.tasks[0].to_string(),
                number => format!("all {number} training tasks"),
            },
            in_columns(&common, width)
        ));
        out
    }

    /// Columns of tasks that fit beside the names of the settings, as even as they can be.
    fn blocks(&self, rows: &[&SettingRow], width: usize) -> Vec<Range<usize>> {
        let room = width.saturating_sub(names(rows));
        let fits = |each: usize| {
            let mut blocks = (0..self.tasks.len()).step_by(each);
            blocks.all(|start| {
                let block = start..(start + each).min(self.tasks.len());
                block.map(|task| self.column(rows, task)).sum::<usize>() <= room
            })
        };
        let most = self.tasks.len();
        let mut each = most.max(1);
        for count in 1..=most {
            each = most.div_ceil(count);
            if fits(each) {
                break;
            }
        }
        (0..most)
            .step_by(each)
            .map(|start| start..(start + each).min(most))
            .collect()
    }

    /// Width of a task's column with the space before it.
    fn column(&self, rows: &[&SettingRow], task: usize) -> usize {
        let heads = self.heads(task);
        let values = rows.iter().flat_map(|row| lines(&row.values[task]));
        let widths = values
            .map(|line| line.chars().count())
            .chain(heads.iter().map(|head| head.chars().count()));
        widths.max().unwrap_or(0) + GAP
    }

    /// `i1.s1` over `atst`: the task's name without what all share.
    fn heads(&self, task: usize) -> [String; 2] {
        let name = self.tasks[task].as_str();
        let name = name.strip_suffix(".train").unwrap_or(name);
        let mut parts = name.splitn(3, '.');
        let place: Vec<&str> = parts.by_ref().take(2).collect();
        [place.join("."), parts.next().unwrap_or_default().to_owned()]
    }

    fn block(&self, rows: &[&SettingRow], block: Range<usize>) -> String {
        let name_width = names(rows);
        let widths: Vec<usize> = block.clone().map(|task| self.column(rows, task)).collect();
        let mut out = String::new();
        let mut line = |name: &str, cells: Vec<&str>| {
            let mut text = format!("{name:name_width$}");
            for (cell, width) in cells.into_iter().zip(&widths) {
                text.push_str(&format!("{cell:>width$}"));
            }
            out.push_str(text.trim_end());
            out.push('\n');
        };
        let heads: Vec<[String; 2]> = block.clone().map(|task| self.heads(task)).collect();
        for row in 0..2 {
            line("", heads.iter().map(|head| head[row].as_str()).collect());
        }
        line(
            &"─".repeat(name_width + widths.iter().sum::<usize>()),
            Vec::new(),
        );
        let mut section = "";
        for row in rows {
            let (group, name) = place(&row.setting);
            if group != section && !group.is_empty() {
                line(group, Vec::new());
            }
            section = group;
            let name = if group.is_empty() {
                name.to_owned()
            } else {
                format!("  {name}")
            };
            let cells: Vec<Vec<&str>> =
                block.clone().map(|task| lines(&row.values[task])).collect();
            let height = cells.iter().map(Vec::len).max().unwrap_or(0);
            for at in 0..height {
                let name = if at == 0 { name.as_str() } else { "" };
                line(
                    name,
                    cells
                        .iter()
                        .map(|cell| cell.get(at).copied().unwrap_or(""))
                        .collect(),
                );
            }
        }
        out
    }
}

/// Columns between two tasks.
const GAP: usize = 2;

/// `self_supervised.warmup_steps` as the group that it is shown in, and its name there.
fn place(setting: &str) -> (&str, &str) {
    setting.rsplit_once('.').unwrap_or(("", setting))
}

/// Width of the column of names.
fn names(rows: &[&SettingRow]) -> usize {
    let widths = rows.iter().map(|row| {
        let (group, name) = place(&row.setting);
        group.len().max(name.len() + 2)
    });
    widths.max().unwrap_or(0)
}

/// A value in lines of a narrow column: long names break before an underscore.
fn lines(value: &str) -> Vec<&str> {
    let value = short(value);
    match value.find('_').filter(|_| value.len() > 8) {
        Some(at) => vec![&value[..at], &value[at..]],
        None => vec![value],
    }
}

/// Names of choices need no quotation marks here.
fn short(value: &str) -> &str {
    value
        .strip_prefix('"')
        .and_then(|rest| rest.strip_suffix('"'))
        .unwrap_or(value)
}

/// `name  value` down the columns, as many of them as fit.
fn in_columns(rows: &[&SettingRow], width: usize) -> String {
    let names = rows.iter().map(|row| row.setting.len()).max().unwrap_or(0);
    let lines: Vec<String> = rows
        .iter()
        .filter_map(|row| Some(format!("{:names$}  {}", row.setting, short(row.common()?))))
        .collect();
    let widest = lines.iter().map(String::len).max().unwrap_or(0);
    let columns = ((width + 4) / (widest + 4)).clamp(1, 3);
    let height = lines.len().div_ceil(columns);
    let mut out = String::new();
    for row in 0..height {
        let cells: Vec<String> = lines
            .iter()
            .skip(row)
            .step_by(height.max(1))
            .map(|line| format!("{line:widest$}"))
            .collect();
        out.push_str(cells.join("    ").trim_end());
        out.push('\n');
    }
    out
}
