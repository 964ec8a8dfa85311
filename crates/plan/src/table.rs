//! Tables for a person.

use std::time::Duration;

use comfy_table::{CellAlignment, LineStyle, Table, TableStyle};
use types::{Architecture, human};

use crate::preview::{Preview, Reason, TaskState};
use crate::setting::{Setting, Slot};
use crate::settings::{ITERATION, IterationHead, MEMBER, MemberHead, PLAN, PlanSettings};
use crate::stage::{MODEL, STAGE, StageSettings, published_model};

impl Preview {
    /// The tasks as a table, and a line of totals.
    #[must_use]
    pub fn table(&self) -> String {
        let mut table = new_table(&["task", "state", "why", "after", "devices", "estimate"]);
        for task in &self.tasks {
            let (state, why) = match &task.state {
                TaskState::Done { .. } => ("done", String::new()),
                TaskState::WouldRun { why } => ("would run", reasons(why)),
            };
            let after = match task.after.as_slice() {
                names if names.len() > 2 => format!("{} tasks", names.len()),
                names => names
                    .iter()
                    .map(ToString::to_string)
                    .collect::<Vec<_>>()
                    .join("\n"),
            };
            let devices: Vec<String> = task.devices.iter().map(u32::to_string).collect();
            let estimate =
                human(Duration::try_from_secs_f64(task.estimate_seconds).unwrap_or_default());
            table.add_row([
                task.name.to_string(),
                state.to_owned(),
                why,
                after,
                devices.join(", "),
                estimate,
            ]);
        }
        if let Some(column) = table.column_mut(5) {
            column.set_cell_alignment(CellAlignment::Right);
        }
        format!("{}\n{}\n", plain(&table), self.totals_line())
    }

    /// Tasks, memo hits, tasks to run and the time they take, in one line.
    #[must_use]
    pub fn totals_line(&self) -> String {
        let totals = &self.totals;
        let count = |number: usize, noun: &str| {
            format!("{number} {noun}{}", if number == 1 { "" } else { "s" })
        };
        let time = match totals.estimate_seconds {
            _ if totals.to_run == 0 => "nothing to do".to_owned(),
            Some(seconds) => format!(
                "about {} on {}",
                human(Duration::try_from_secs_f64(seconds).unwrap_or_default()),
                count(totals.devices as usize, "device")
            ),
            None => format!(
                "a task needs more than {}",
                count(totals.devices as usize, "device")
            ),
        };
        format!(
            "{}: {} done, {} to run, {time}",
            count(totals.tasks, "task"),
            totals.done,
            totals.to_run
        )
    }

    /// The preview as JSON.
    #[must_use]
    pub fn json(&self) -> String {
        serde_json::to_string_pretty(self).expect("texts and numbers alone")
    }
}

/// The reference of all keys of a plan: name, type, default, meaning, and the section of the recipe behind it.
#[must_use]
pub fn keys_reference() -> String {
    let mut out = String::new();
    let mut section = |title: &str, rows: Vec<[String; 5]>| {
        let mut table = new_table(&["key", "type", "default", "meaning", "recipe"]);
        table.add_rows(rows);
        out.push_str(&format!("{title}\n{}\n\n", plain(&table)));
    };
    let (mut first, mut second) = (
        StageSettings::published(Architecture::AtstFrame, 1),
        StageSettings::published(Architecture::AtstFrame, 2),
    );
    section(
        "At the top of a plan, and in [data], [evaluation], [validation], [predict], [runtime]",
        rows(PLAN, &mut PlanSettings::default()),
    );
    section("In [[member]]", rows(MEMBER, &mut MemberHead::default()));
    section(
        "In `model` of [defaults] and of [[member]]",
        rows(MODEL, &mut published_model(Architecture::AtstFrame)),
    );
    section(
        "In [[iteration]]",
        rows(ITERATION, &mut IterationHead::default()),
    );
    let stages = STAGE
        .iter()
        .map(|setting| {
            let defaults = [
                (setting.field)(&mut first).show(),
                (setting.field)(&mut second).show(),
            ];
            let default = if defaults[0] == defaults[1] {
                defaults[0].clone()
            } else {
                format!("{} (stage 1)\n{} (stage 2)", defaults[0], defaults[1])
            };
            row(setting, &(setting.field)(&mut first), default)
        })
        .collect();
    section(
        "In `stage1` and `stage2` of [defaults], of [[member]], of [[iteration]] and of [iteration.member.NAME];\n\
         of several values for one key the last in this order wins",
        stages,
    );
    out
}

fn rows<T>(settings: &[Setting<T>], defaults: &mut T) -> Vec<[String; 5]> {
    settings
        .iter()
        .map(|setting| {
            let slot = (setting.field)(defaults);
            let default = if setting.doc.contains("required") {
                String::new()
            } else {
                slot.show()
            };
            row(setting, &slot, default)
        })
        .collect()
}

fn row<T>(setting: &Setting<T>, slot: &Slot<'_>, default: String) -> [String; 5] {
    let limits = setting.limits.show();
    let kind = slot.type_name();
    // Longer choices of names are wrapped over lines by hand, for the table has no fixed width.
    let named = matches!(slot, Slot::IterationRef(_));
    let kind = if limits.is_empty() || limits.len() > 40 || named {
        kind
    } else {
        format!("{kind}, {limits}")
    };
    let default = default.replace("\", \"", "\",\n\"");
    [
        setting.name.to_owned(),
        kind,
        default,
        setting.doc.to_owned(),
        setting.source.to_owned(),
    ]
}

/// A reason a line, and one line for all tasks that will run.
fn reasons(why: &[Reason]) -> String {
    let (upstream, own): (Vec<&Reason>, Vec<&Reason>) = why
        .iter()
        .partition(|reason| matches!(reason, Reason::Upstream { .. }));
    let mut lines: Vec<String> = own.iter().take(4).map(ToString::to_string).collect();
    if own.len() > 4 {
        lines.push(format!("and {} more changes", own.len() - 4));
    }
    match upstream.as_slice() {
        [] => {}
        [reason] => lines.push(reason.to_string()),
        all => lines.push(format!("inputs from {} tasks, which will run", all.len())),
    }
    lines.join("\n")
}

fn new_table(header: &[&str]) -> Table {
    let mut table = Table::new();
    let rule = LineStyle::none().fill('─').junction('─');
    table
        .load_style(TableStyle::new().header_separator(rule))
        .set_header(header.iter().copied());
    table
}

/// Without the spaces that fill the last column.
fn plain(table: &Table) -> String {
    table
        .to_string()
        .lines()
        .map(str::trim_end)
        .collect::<Vec<_>>()
        .join("\n")
}
