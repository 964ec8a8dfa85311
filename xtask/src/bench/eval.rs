//! The metrics beside the published tools on the same data, in one go.

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use anyhow::{Context, Result, bail, ensure};
use comfy_table::{CellAlignment, LineStyle, Table, TableStyle};
use serde::Deserialize;

use super::{example, folder, human, median};
use crate::shell;

#[derive(clap::Args)]
pub(super) struct Eval {
    /// How often the two sides take turns
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=100))]
    rounds: u32,
    /// Clips on which `sebbs` tunes (it needs minutes and gigabytes for all 1168); ours tunes on as many, and on all
    #[arg(long, default_value_t = 200, value_parser = clap::value_parser!(u32).range(10..=1168))]
    sebbs_clips: u32,
}

/// What one side says about one task.
#[derive(Debug, Deserialize)]
struct Times {
    seconds: Vec<f64>,
    values: Vec<f64>,
    mebibytes: f64,
    /// Seconds below which nothing can get: reading the scores once,
    #[serde(default)]
    read: Option<f64>,
    /// and sorting what is sorted, where anything has to be.
    #[serde(default)]
    sort: Option<f64>,
}

/// A comparison, and how near the two sides' values have to be.
struct Task {
    name: String,
    label: String,
    tolerance: f64,
    /// The published tool takes long: once is enough.
    once: bool,
}

impl Eval {
    pub(super) fn run(&self) -> Result<ExitCode> {
        let folder = folder("eval")?;
        let site = packages(&folder)?;
        let program = example("scorefiles", "eval_times")?;
        let data = folder.join("data");
        shell::step(
            "data for both sides",
            Command::new(&program).arg("make").arg(&data),
        )?;
        let ours = |task: &str| times(Command::new(&program).args([task, "5"]).arg(&data));
        let script = shell::root().join("tests/python/eval_times.py");
        let theirs = |task: &str| {
            times(
                Command::new("python3")
                    .arg(&script)
                    .arg(&site)
                    .args([task, "1"])
                    .arg(&data),
            )
        };

        let task = |name: &str, label: &str, once: bool| Task {
            name: name.to_owned(),
            label: label.to_owned(),
            tolerance: 1e-9,
            once,
        };
        let clips = self.sebbs_clips;
        let tasks = [
            task("psds1", "PSDS1", false),
            task("psds2", "PSDS2", false),
            task("mpauc", "mpAUC with overlap-add", false),
            task(
                &format!("csebbs{clips}"),
                &format!("cSEBBs tuning, {clips} clips"),
                true,
            ),
        ];
        let mut table = table();
        for task in &tasks {
            shell::say(&task.label);
            let rounds = if task.once { 1 } else { self.rounds };
            let (mut mine, mut published) = (Vec::new(), Vec::new());
            for _ in 0..rounds {
                mine.push(ours(&task.name)?);
                published.push(theirs(&task.name)?);
            }
            table.add_row(task.compare(&mine, &published)?);
        }
        let whole = ours("csebbs")?;
        println!("\n{table}\n");
        println!(
            "cSEBBs tuning on all clips, ours alone: {}, {:.0} MiB",
            human(median(whole.seconds.clone())?),
            whole.mebibytes
        );
        println!(
            "Medians. 1168 clips of 156 frames and 10 classes; mpAUC: 20 recordings in clips that overlap by 9 s, 11 classes.\n\
             The floor is what reading all scores once and sorting them by class (mpAUC: the scores of seconds) takes on the same cores."
        );
        Ok(ExitCode::SUCCESS)
    }
}

impl Task {
    /// A row of the table; an error where the two sides disagree.
    fn compare(&self, ours: &[Times], theirs: &[Times]) -> Result<Vec<String>> {
        let (one, two) = (&ours[0].values, &theirs[0].values);
        ensure!(
            one.len() == two.len(),
            "{}: {} values here, {} there",
            self.label,
            one.len(),
            two.len()
        );
        let worst = (one.iter().zip(two))
            .map(|(one, two)| (one - two).abs())
            .max_by(f64::total_cmp)
            .unwrap_or(0.0);
        if worst.is_nan() || worst > self.tolerance {
            bail!(
                "{}: the two sides differ by {worst:e}: {one:?} here, {two:?} there",
                self.label
            );
        }
        let seconds = |times: &[Times]| {
            median(
                times
                    .iter()
                    .flat_map(|times| times.seconds.clone())
                    .collect(),
            )
        };
        let memory = |times: &[Times]| {
            times
                .iter()
                .map(|times| times.mebibytes)
                .fold(0.0, f64::max)
        };
        let (fast, slow) = (seconds(ours)?, seconds(theirs)?);
        let floor = match (ours[0].read, ours[0].sort) {
            (Some(read), Some(sort)) => format!("{} + {}", human(read), human(sort)),
            (Some(read), None) => human(read),
            _ => "-".to_owned(),
        };
        Ok(vec![
            self.label.clone(),
            human(slow),
            human(fast),
            format!("{:.0} x", slow / fast),
            floor,
            format!("{:.0} MiB", memory(theirs)),
            format!("{:.0} MiB", memory(ours)),
            format!("{worst:.0e}"),
        ])
    }
}

fn table() -> Table {
    let mut table = Table::new();
    let rule = LineStyle::none().fill('─').junction('─');
    table
        .load_style(TableStyle::new().header_separator(rule))
        .set_header([
            "",
            "published",
            "ours",
            "ratio",
            "floor: read + sort",
            "memory",
            "ours",
            "largest difference",
        ]);
    for column in 1..8 {
        if let Some(column) = table.column_mut(column) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    table
}

/// The published tools, installed once.
fn packages(folder: &Path) -> Result<PathBuf> {
    let wanted = shell::root().join("tests/python/eval_requirements.txt");
    let (site, made_for) = (folder.join("site"), folder.join("site.txt"));
    let text =
        std::fs::read(&wanted).with_context(|| format!("cannot read {}", wanted.display()))?;
    if std::fs::read(&made_for).is_ok_and(|made| made == text) {
        return Ok(site);
    }
    if site.exists() {
        std::fs::remove_dir_all(&site)?;
    }
    shell::step(
        "installing the published tools (pip, some minutes)",
        Command::new("python3")
            .args(["-m", "pip", "install", "--quiet", "--target"])
            .arg(&site)
            .arg("--requirement")
            .arg(&wanted)
            .env("PIP_ROOT_USER_ACTION", "ignore")
            .env("PIP_DISABLE_PIP_VERSION_CHECK", "1"),
    )?;
    std::fs::write(&made_for, text)?;
    Ok(site)
}

fn times(command: &mut Command) -> Result<Times> {
    let program = command.get_program().to_string_lossy().into_owned();
    let output = command
        .output()
        .with_context(|| format!("cannot start {program}"))?;
    ensure!(
        output.status.success(),
        "{program} ended with {}: {}",
        output.status,
        String::from_utf8_lossy(&output.stderr)
    );
    serde_json::from_slice(&output.stdout)
        .with_context(|| format!("{program} said something else than times"))
}
