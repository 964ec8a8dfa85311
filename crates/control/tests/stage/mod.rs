//! Plays a script's commands on a cluster, with the coordinator's loop around it: journal first, then actions.

mod show;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use control::{
    Cluster, DeviceKind, Input, LiveRank, RankReport, Record, Report, Settings, WorkerDescription,
};
use types::{
    Digest, Failure, FailureClass, Fence, Incarnation, Rank, RunId, SlotKind, Step, TaskGraph,
    TaskId, TaskName, WorkerId,
};

use self::show::Names;

/// One cluster and what it needs around it.
#[derive(Default)]
pub(crate) struct Stage {
    cluster: Cluster,
    clock: testkit::Clock,
    settings: Settings,
    journal: Vec<Record>,
    graphs: BTreeMap<String, Arc<TaskGraph>>,
    incarnations: BTreeMap<String, u64>,
    names: Names,
}

impl Stage {
    /// A graph for later `submit`s.
    pub(crate) fn add_graph(&mut self, name: &str, body: &str) {
        self.graphs
            .insert(name.to_owned(), Arc::new(testkit::graph(body).unwrap()));
    }

    /// Performs one command; what happens, line by line.
    pub(crate) fn command(&mut self, command: &str) -> Vec<String> {
        let words: Vec<_> = command.split_whitespace().collect();
        match words.as_slice() {
            ["wait", duration] => self.wait(parse_duration(duration)),
            ["explain", task] => vec![self.cluster.explain(&task_id(task)).to_string()],
            ["tasks", run] => self.show_tasks(run),
            ["workers"] => show::workers(&self.cluster),
            ["restart"] => self.restart(),
            ["referenced"] => vec![self.names.set(&self.cluster.referenced())],
            _ => {
                let input = self.parse(&words, command);
                self.apply(input)
            }
        }
    }

    fn apply(&mut self, input: Input) -> Vec<String> {
        let now = self.clock.now();
        let before = self.cluster.clone();
        match self.cluster.apply(now, input.clone()) {
            Ok(actions) => {
                if input.is_durable() {
                    self.journal.push(Record { at: now, input });
                } else {
                    assert!(self.cluster == before, "a volatile input changed the state");
                }
                actions
                    .iter()
                    .map(|action| self.names.action(action))
                    .collect()
            }
            Err(rejection) => {
                assert!(self.cluster == before, "a rejected input changed the state");
                vec![format!("rejected: {rejection}")]
            }
        }
    }

    /// Lets time pass. Workers that were heard at the beginning stay silent.
    fn wait(&mut self, duration: Duration) -> Vec<String> {
        let end = self.clock.now().after(duration);
        let start = self.clock.now();
        let mut happened = Vec::new();
        while let Some(deadline) = self
            .cluster
            .next_deadline()
            .filter(|deadline| *deadline <= end)
        {
            let now = self.clock.advance_to(deadline);
            let due = self.cluster.due(now);
            assert!(!due.is_empty(), "a deadline at which nothing is due");
            for input in due {
                let name = show::due(&input);
                let actions = self.apply(input);
                happened.push(format!(
                    "after {:.1} s: {name}",
                    now.since(start).as_secs_f64()
                ));
                happened.extend(actions.into_iter().map(|line| format!("  {line}")));
            }
        }
        self.clock.advance_to(end);
        happened
    }

    /// Kills the coordinator and starts it again from its journal.
    fn restart(&mut self) -> Vec<String> {
        let mut replayed = Cluster::new();
        for record in &self.journal {
            let text = record.to_json().unwrap();
            let record = Record::from_json(&text).unwrap();
            replayed.apply(record.at, record.input).unwrap();
        }
        assert!(
            replayed == self.cluster,
            "the replay differs from the live state"
        );
        self.cluster = replayed;
        self.apply(Input::CoordinatorStarted {
            settings: self.settings,
        })
    }

    fn show_tasks(&self, run: &str) -> Vec<String> {
        let tasks = self.cluster.tasks(RunId(run.parse().unwrap()));
        tasks
            .iter()
            .map(|task| format!("{:<10} {}: {}", task.task.name, task.state, task.waiting))
            .collect()
    }

    fn parse(&mut self, words: &[&str], command: &str) -> Input {
        match words {
            ["start", settings @ ..] => {
                for word in settings {
                    self.set(word);
                }
                Input::CoordinatorStarted {
                    settings: self.settings,
                }
            }
            ["submit", run, graph] => Input::Submit {
                run: RunId(run.parse().unwrap()),
                name: (*graph).to_owned(),
                graph: self.graphs[*graph].clone(),
            },
            ["cancel", run] => Input::CancelRun {
                run: RunId(run.parse().unwrap()),
            },
            ["retry", task] => Input::Retry {
                task: task_id(task),
            },
            ["lost", artifact] => Input::ArtifactLost {
                digest: self.names.digest(artifact),
            },
            ["shutdown"] => Input::Shutdown,
            [worker, "hello", rest @ ..] => self.hello(worker, rest),
            [worker, "heard"] => {
                let (worker, incarnation) = self.worker(worker);
                Input::Heard {
                    worker,
                    incarnation,
                }
            }
            [worker, "goodbye"] => {
                let (worker, incarnation) = self.worker(worker);
                Input::Goodbye {
                    worker,
                    incarnation,
                }
            }
            [worker, "exited", ..] => {
                let (worker, incarnation) = self.worker(worker);
                Input::Exited {
                    worker,
                    incarnation,
                    detail: after(command, "exited "),
                }
            }
            [worker, "drain"] => Input::Drain {
                worker: self.worker(worker).0,
            },
            [worker, "quarantine", ..] => {
                let (worker, incarnation) = self.worker(worker);
                Input::Quarantine {
                    worker,
                    incarnation,
                    reason: after(command, "quarantine "),
                }
            }
            [worker, seat, what, rest @ ..] => self.report(worker, seat, what, rest, command),
            _ => panic!("no such command: {command}"),
        }
    }

    fn set(&mut self, word: &str) {
        let (key, value) = word.split_once('=').unwrap();
        match key {
            "budget" => self.settings.retry_budget = value.parse().unwrap(),
            "gather" => self.settings.gather = parse_duration(value),
            "lost_after" => self.settings.lost_after = parse_duration(value),
            _ => panic!("no such setting: {key}"),
        }
    }

    /// `w1 hello [life=2] [host=h] [cuda] [holds=FENCE.RANK:SLOT]…`
    fn hello(&mut self, worker: &str, words: &[&str]) -> Input {
        let mut description = WorkerDescription {
            host: "h1".to_owned(),
            device: DeviceKind::Cpu,
            device_name: "cpu".to_owned(),
        };
        let mut live = Vec::new();
        for word in words {
            match word.split_once('=') {
                None if *word == "cuda" => description.device = DeviceKind::Cuda,
                Some(("life", life)) => {
                    self.incarnations
                        .insert(worker.to_owned(), life.parse().unwrap());
                }
                Some(("host", host)) => description.host = host.to_owned(),
                Some(("holds", held)) => {
                    let (seat, slot) = held.split_once(':').unwrap_or((held, "device"));
                    let (fence, rank) = parse_seat(seat);
                    let slot = if slot == "host" {
                        SlotKind::Host
                    } else {
                        SlotKind::Device
                    };
                    live.push(LiveRank { fence, rank, slot });
                }
                _ => panic!("no such word in hello: {word}"),
            }
        }
        let (worker, incarnation) = self.worker(worker);
        Input::Hello {
            worker,
            incarnation,
            description,
            live,
        }
    }

    fn report(
        &mut self,
        worker: &str,
        seat: &str,
        what: &str,
        rest: &[&str],
        command: &str,
    ) -> Input {
        let (fence, rank) = parse_seat(seat);
        let (worker, incarnation) = self.worker(worker);
        let what = match (what, rest) {
            ("started", []) => RankReport::Started,
            ("checkpoint", [step, artifact]) => RankReport::Checkpoint {
                step: Step(step.parse().unwrap()),
                digest: self.names.digest(artifact),
            },
            ("finished", outputs) => {
                let outputs = outputs.iter().map(|output| output.split_once('=').unwrap());
                let outputs = outputs
                    .map(|(name, artifact)| (name.to_owned(), self.names.digest(artifact)))
                    .collect();
                RankReport::Finished { outputs }
            }
            ("stopped", []) => RankReport::Stopped,
            ("failed", [class, ..]) => {
                let message = after(command, &format!("{class} "));
                let class: FailureClass = serde_json::from_value((*class).into()).unwrap();
                RankReport::Failed {
                    failure: Failure::new(class, message),
                }
            }
            _ => panic!("no such report: {command}"),
        };
        Input::Report(Report {
            worker,
            incarnation,
            fence,
            rank,
            what,
        })
    }

    fn worker(&self, name: &str) -> (WorkerId, Incarnation) {
        let (name, life) = name.split_once('#').unwrap_or((name, ""));
        let newest = self.incarnations.get(name).copied().unwrap_or(1);
        (
            WorkerId::new(name).unwrap(),
            Incarnation(life.parse().unwrap_or(newest)),
        )
    }
}

fn after(command: &str, words: &str) -> String {
    command
        .split_once(words)
        .map(|(_, rest)| rest.to_owned())
        .unwrap_or_default()
}

fn task_id(text: &str) -> TaskId {
    let (run, name) = text.split_once('/').unwrap();
    TaskId {
        run: RunId(run.parse().unwrap()),
        name: TaskName::new(name).unwrap(),
    }
}

fn parse_seat(text: &str) -> (Fence, Rank) {
    let (fence, rank) = text.split_once('.').unwrap();
    (Fence(fence.parse().unwrap()), Rank(rank.parse().unwrap()))
}

fn parse_duration(text: &str) -> Duration {
    let millis = text
        .strip_suffix("ms")
        .map(|number| number.parse::<u64>().unwrap());
    millis.map_or_else(
        || Duration::from_secs(text.trim_end_matches('s').parse().unwrap()),
        Duration::from_millis,
    )
}

impl Names {
    fn digest(&mut self, name: &str) -> Digest {
        let digest = Digest::of(name.as_bytes());
        self.remember(digest, name);
        digest
    }
}
