use std::collections::BTreeMap;
use std::time::Duration;

use comfy_table::{ColumnConstraint, ContentArrangement, LineStyle, Table, TableStyle};
use proto::v1;

/// Everything of a status reply for a person. `now` in milliseconds since the epoch.
pub(crate) fn text(reply: &v1::StatusReply, now: u64) -> String {
    let mut text = String::new();
    if let Some(run) = &reply.run {
        let age = |at: u64| types::human(Duration::from_millis(now.saturating_sub(at)));
        let since = match (&run.outcome, run.ended_at) {
            (Some(outcome), Some(at)) => format!("{outcome} {} ago", age(at)),
            _ => format!("going on for {}", age(run.submitted_at)),
        };
        let mut counts: BTreeMap<&str, u32> = BTreeMap::new();
        for task in &reply.tasks {
            *counts.entry(task.state.as_str()).or_default() += 1;
        }
        let counts: Vec<String> = counts
            .iter()
            .map(|(state, count)| format!("{count} {state}"))
            .collect();
        text.push_str(&format!(
            "{}, run {}: {since}; tasks: {}\n\n",
            run.name,
            run.run,
            counts.join(", ")
        ));
    }
    if let Some(reason) = &reply.paused {
        text.push_str(&format!("paused: {reason}\n\n"));
    }
    let mut tasks = new_table(&["task", "state", "on", "progress or reason"]);
    for task in &reply.tasks {
        let what = match &task.progress {
            _ if task.paused.is_some() => {
                format!("paused: {}", task.paused.as_deref().unwrap_or_default())
            }
            Some(progress) if task.state == "running" => progress_text(progress),
            _ if task.state == "done" && task.remembered => "remembered".to_owned(),
            _ if task.state == "done" => String::new(),
            _ => shortened(&task.waiting),
        };
        tasks.add_row([
            task.task.clone(),
            task.state.clone(),
            task.gang.join(", "),
            what,
        ]);
    }
    if let Some(column) = tasks.column_mut(0) {
        // Names are for copying: they stay in one piece.
        column.set_constraint(ColumnConstraint::ContentWidth);
    }
    text.push_str(&format!("{}\n\n", plain(&tasks)));
    if reply.workers.is_empty() {
        text.push_str("no worker has come yet\n");
        return text;
    }
    let mut workers = new_table(&["worker", "state", "host", "device", "runs", "heard"]);
    for worker in &reply.workers {
        let heard = worker.heard_at.map_or("not yet".to_owned(), |at| {
            format!(
                "{} ago",
                types::human(Duration::from_millis(now.saturating_sub(at)))
            )
        });
        workers.add_row([
            worker.worker.clone(),
            match &worker.problem {
                Some(problem) => format!("{} (restart it): {problem}", worker.state),
                None => worker.state.clone(),
            },
            worker.host.clone(),
            worker.device.clone(),
            worker.tasks.join("\n"),
            heard,
        ]);
    }
    text.push_str(&format!("{}\n", plain(&workers)));
    text
}

/// `waits for A and 3 more`: the whole list is for `explain`.
fn shortened(waiting: &str) -> String {
    let tasks: Vec<&str> = waiting.split(", ").collect();
    let more = waiting
        .rsplit_once(" and ")
        .and_then(|(_, rest)| rest.strip_suffix(" more")?.parse().ok());
    match tasks.as_slice() {
        [first, others @ ..] if first.starts_with("waits for i") && !others.is_empty() => {
            format!("{first} and {} more", others.len() + more.unwrap_or(0))
        }
        _ => waiting.to_owned(),
    }
}

fn progress_text(progress: &v1::ProgressStatus) -> String {
    let mut text = format!("{}/{} {}", progress.done, progress.total, progress.unit);
    if let Some(loss) = progress.loss {
        text.push_str(&format!(", loss {loss:.4}"));
    }
    if let Some(speed) = progress.clips_per_second {
        text.push_str(&format!(", {speed:.1} clips/s"));
    }
    text
}

/// The same for scripts.
pub(crate) fn json(reply: &v1::StatusReply) -> String {
    use serde_json::json;
    let run = reply.run.as_ref().map(|run| {
        json!({
            "run": run.run, "name": run.name, "submitted_at": run.submitted_at, "ended_at": run.ended_at,
            "outcome": run.outcome,
        })
    });
    let tasks = reply.tasks.iter().map(|task| {
        let outputs: BTreeMap<&String, &String> = task.outputs.iter().collect();
        json!({
            "task": task.task, "kind": task.kind, "state": task.state, "waiting": task.waiting,
            "remembered": task.remembered, "attempts": task.attempts, "gang": task.gang, "fence": task.fence,
            "progress": task.progress.as_ref().map(|progress| json!({
                "done": progress.done, "total": progress.total, "unit": progress.unit, "loss": progress.loss,
                "clips_per_second": progress.clips_per_second,
            })),
            "outputs": outputs, "paused": task.paused,
        })
    });
    let workers = reply.workers.iter().map(|worker| {
        json!({
            "worker": worker.worker, "state": worker.state, "host": worker.host, "device": worker.device,
            "tasks": worker.tasks, "heard_at": worker.heard_at,
            "problem": worker.problem,
        })
    });
    let all = json!({ "run": run, "paused": reply.paused, "tasks": tasks.collect::<Vec<_>>(), "workers": workers.collect::<Vec<_>>() });
    format!("{all:#}\n")
}

fn new_table(header: &[&str]) -> Table {
    let mut table = Table::new();
    let rule = LineStyle::none().fill('─').junction('─');
    table
        .load_style(TableStyle::new().header_separator(rule))
        .set_content_arrangement(ContentArrangement::Dynamic)
        .set_header(header.iter().copied());
    table
}

/// Without the spaces that fill the last column.
fn plain(table: &Table) -> String {
    table
        .lines()
        .map(|line| line.trim_end().to_owned())
        .collect::<Vec<_>>()
        .join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn task(name: &str, state: &str, waiting: &str) -> v1::TaskStatus {
        v1::TaskStatus {
            task: name.to_owned(),
            kind: "train".to_owned(),
            state: state.to_owned(),
            waiting: waiting.to_owned(),
            ..v1::TaskStatus::default()
        }
    }

    fn reply() -> v1::StatusReply {
        let mut running = task("i1.s1.atst_a.train", "running", "");
        running.gang = vec!["local-0".to_owned(), "local-1".to_owned()];
        running.progress = Some(v1::ProgressStatus {
            done: 120,
            total: 294,
            unit: "steps".to_owned(),
            loss: Some(0.5123),
            clips_per_second: Some(38.0),
        });
        v1::StatusReply {
            run: Some(v1::RunStatus {
                run: 2,
                name: "demo".to_owned(),
                submitted_at: 1000,
                ..Default::default()
            }),
            tasks: vec![
                running,
                task(
                    "i1.s2.atst_a.train",
                    "blocked",
                    "waits for i1.s1.atst_a.train",
                ),
            ],
            workers: vec![v1::WorkerStatus {
                worker: "local-0".to_owned(),
                state: "busy".to_owned(),
                host: "here".to_owned(),
                device: "2 cores".to_owned(),
                tasks: vec!["i1.s1.atst_a.train".to_owned()],
                heard_at: Some(60_000),
                problem: None,
            }],
            paused: None,
        }
    }

    #[test]
    fn what_waits_for_room_is_said_first_and_instead_of_the_progress() {
        let mut reply = reply();
        reply.paused = Some("no room on /runs/one".to_owned());
        reply.tasks[0].paused = Some("no room on /cache".to_owned());
        let said = text(&reply, 61_000);
        let first = said.lines().nth(2);
        assert_eq!(first, Some("paused: no room on /runs/one"), "{said}");
        assert!(said.contains("paused: no room on /cache"), "{said}");
        assert!(!said.contains("120/294 steps"), "{said}");
        let json: serde_json::Value = serde_json::from_str(&json(&reply)).unwrap();
        assert_eq!(json["paused"], "no room on /runs/one");
        assert_eq!(json["tasks"][0]["paused"], "no room on /cache");
    }

    #[test]
    fn status_shows_tasks_and_workers() {
        let text = text(&reply(), 61_000);
        assert!(
            text.starts_with("demo, run 2: going on for 60 s; tasks: 1 blocked, 1 running\n"),
            "{text}"
        );
        assert!(
            text.contains("120/294 steps, loss 0.5123, 38.0 clips/s"),
            "{text}"
        );
        assert!(text.contains("waits for i1.s1.atst_a.train"), "{text}");
        assert!(text.contains("1 s ago"), "{text}");
        let mut stuck = reply();
        stuck.workers[0].state = "quarantined".to_owned();
        stuck.workers[0].problem = Some("no end".to_owned());
        let shown = super::text(&stuck, 61_000);
        assert!(
            shown.contains("quarantined (restart it): no end"),
            "{shown}"
        );
        let json: serde_json::Value = serde_json::from_str(&json(&reply())).unwrap();
        assert_eq!(json["tasks"][0]["progress"]["done"], 120);
        assert_eq!(json["run"]["outcome"], serde_json::Value::Null);
    }

    #[test]
    fn long_lists_of_tasks_are_cut() {
        assert_eq!(
            shortened("waits for i1.a, i1.b"),
            "waits for i1.a and 1 more"
        );
        assert_eq!(
            shortened("waits for i1.a, i1.b, i1.c, i1.d and 3 more"),
            "waits for i1.a and 6 more"
        );
        assert_eq!(shortened("waits for i1.a"), "waits for i1.a");
        assert_eq!(
            shortened("waits for 1 device; 0 free now"),
            "waits for 1 device; 0 free now"
        );
    }
}
