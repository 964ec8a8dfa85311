//! `coordinator logs`: what a task's ranks wrote, every line once.

use std::collections::BTreeMap;
use std::io::Write;
use std::time::{Duration, Instant};

use anyhow::Result;
use proto::v1;

use crate::cli::Reach;
use crate::client::{Away, Client};
use crate::terminal;

/// How soon a coordinator that has gone is looked for again, and for how long.
const LOOK_AGAIN: Duration = Duration::from_millis(500);
const GIVE_UP: Duration = Duration::from_secs(600);

/// Prints log lines, and knows which it has printed: a coordinator that is asked again tells everything again.
#[derive(Debug, Default)]
pub(crate) struct LogPrinter {
    /// Lines by attempt and rank.
    printed: BTreeMap<(u64, u32), u64>,
    /// The same in the present telling.
    told: BTreeMap<(u64, u32), u64>,
}

impl LogPrinter {
    /// A telling begins.
    pub(crate) fn begin(&mut self) {
        self.told.clear();
    }

    /// A line as it is to be printed, unless it has been.
    pub(crate) fn take(&mut self, line: &v1::LogLine) -> Option<String> {
        let from = (line.fence, line.rank);
        let told = self.told.entry(from).or_default();
        *told += 1;
        let printed = self.printed.entry(from).or_default();
        if told <= printed {
            return None;
        }
        *printed = *told;
        Some(format!("{}.{} | {}\n", line.fence, line.rank, line.line))
    }

    /// Prints a line that has not been printed.
    pub(crate) fn print(&mut self, line: &v1::LogLine) {
        if let Some(text) = self.take(line) {
            // A reader that has gone (`| head`) needs nothing more.
            let mut stdout = std::io::stdout().lock();
            let _ = stdout
                .write_all(text.as_bytes())
                .and_then(|()| stdout.flush());
        }
    }

    fn is_empty(&self) -> bool {
        self.printed.is_empty()
    }
}

/// Prints what there is.
///
/// # Errors
/// When the coordinator cannot be reached or does not know the task.
pub(crate) async fn print(reach: &Reach, task: &str) -> Result<()> {
    let mut printer = LogPrinter::default();
    Client::find(reach)?.logs(task, false, &mut printer).await?;
    say_if_empty(&printer, task);
    Ok(())
}

/// Prints what there is and what comes, until the task has ended. A coordinator that goes away meanwhile is waited for, also
/// where it listens elsewhere afterwards.
///
/// # Errors
/// When the coordinator cannot be reached at first, stays away, or does not know the task.
pub(crate) async fn follow(reach: &Reach, task: &str) -> Result<()> {
    let mut printer = LogPrinter::default();
    let mut client = Client::find(reach)?;
    let mut known = false;
    let mut away: Option<Instant> = None;
    loop {
        let began = Instant::now();
        let error = match client.logs(task, true, &mut printer).await {
            Ok(()) => break,
            Err(error) => error,
        };
        // one that does not even answer the first time may be the wrong one
        let gone = error
            .downcast_ref::<Away>()
            .filter(|away| known || away.after_answer);
        let Some(gone) = gone else {
            return Err(error);
        };
        known = true;
        if gone.after_answer {
            away = None;
        }
        let since = *away.get_or_insert_with(|| {
            terminal::say(&format!("{gone}; waiting for it"));
            began
        });
        if since.elapsed() > GIVE_UP {
            return Err(error);
        }
        tokio::time::sleep(LOOK_AGAIN).await;
        // between its lives there may be no address
        if let Ok(found) = Client::find(reach) {
            client = found;
        }
    }
    say_if_empty(&printer, task);
    Ok(())
}

fn say_if_empty(printer: &LogPrinter, task: &str) {
    if printer.is_empty() {
        terminal::say(&format!(
            "{task} has no log: it has not been executed, or its ranks wrote nothing"
        ));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_told_again_is_printed_once() {
        let mut printer = LogPrinter::default();
        let line = |fence, rank, text: &str| v1::LogLine {
            fence,
            rank,
            line: text.to_owned(),
        };
        let first = [line(1, 0, "a"), line(1, 1, "a"), line(1, 0, "b")];
        let again = [
            line(1, 0, "a"),
            line(1, 0, "b"),
            line(1, 0, "b"),
            line(1, 1, "a"),
            line(2, 0, "a"),
        ];
        let mut printed = Vec::new();
        printer.begin();
        printed.extend(first.iter().filter_map(|line| printer.take(line)));
        printer.begin();
        printed.extend(again.iter().filter_map(|line| printer.take(line)));
        assert_eq!(
            printed,
            [
                "1.0 | a\n",
                "1.1 | a\n",
                "1.0 | b\n",
                "1.0 | b\n",
                "2.0 | a\n"
            ]
        );
    }
}
