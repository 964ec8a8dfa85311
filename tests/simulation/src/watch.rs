//! The promises, checked after every event that could break one. What is looked at is what truly happens, not what the
//! coordinator believes.

use std::collections::{BTreeMap, BTreeSet};

use control::{
    Action, Cluster, GangMember, Input, RankReport, RunOutcome, StartRank, TaskState, WaitingFor,
};
use coordinator::{Said, SaidReport};
use types::{Digest, Failure, FailureClass, Fence, Rank, RunId, Step, TaskId, TaskKind, TaskName};

use crate::gang::{GRACE, Proc};
use crate::scenario::{Scenario, Work};
use crate::sim::{Sim, Violation};

/// A worker's machine and the life of its process.
type Life = (usize, u64);

/// What has been seen so far.
#[derive(Debug)]
pub(crate) struct Watch {
    pub(crate) violation: Option<Violation>,
    expected: BTreeMap<TaskName, BTreeMap<String, Digest>>,
    /// Each attempt that began.
    attempts: BTreeMap<Fence, (TaskName, Vec<GangMember>)>,
    newest_attempt: BTreeMap<TaskName, Fence>,
    /// The newest attempt of each task whose ranks made a step.
    newest_stepped: BTreeMap<TaskName, Fence>,
    done: BTreeMap<(RunId, TaskName), Option<Fence>>,
    /// Results that were written down: content key and outputs.
    committed: BTreeMap<TaskName, (Digest, BTreeMap<String, Digest>)>,
    /// Reports that the coordinator took while their attempt was live, until it acknowledges them.
    /// With the life of the coordinator that took them.
    taken: BTreeMap<(Life, u64), (TaskName, Step, u64)>,
    /// The newest checkpoint of each task that was acknowledged.
    checkpoints: BTreeMap<TaskName, Step>,
    /// What each rank logged,
    lines: BTreeMap<(Fence, Rank), (Life, Vec<String>)>,
    /// and how many of these lines were acknowledged.
    lines_acknowledged: BTreeMap<(Fence, Rank), u64>,
    /// Lives that ended before they had told everything.
    lost: BTreeSet<Life>,
    /// Tasks that may fail for good: one of their ranks failed by itself more often than is forgiven.
    own_failures: BTreeMap<TaskName, u32>,
    run_done: bool,
}

impl Watch {
    pub(crate) fn new(scenario: &Scenario) -> Self {
        Self {
            violation: None,
            expected: scenario.expected(),
            attempts: BTreeMap::new(),
            newest_attempt: BTreeMap::new(),
            newest_stepped: BTreeMap::new(),
            done: BTreeMap::new(),
            committed: BTreeMap::new(),
            taken: BTreeMap::new(),
            checkpoints: BTreeMap::new(),
            lines: BTreeMap::new(),
            lines_acknowledged: BTreeMap::new(),
            lost: BTreeSet::new(),
            own_failures: BTreeMap::new(),
            run_done: false,
        }
    }

    pub(crate) fn attempts(&self) -> usize {
        self.attempts.len()
    }

    /// Whether this is news.
    pub(crate) fn run_done(&mut self) -> bool {
        !std::mem::replace(&mut self.run_done, true)
    }

    pub(crate) fn life_ends(&mut self, life: Life, owing_nothing: bool) {
        if !owing_nothing {
            self.lost.insert(life);
        }
    }

    pub(crate) fn logs_line(&mut self, life: Life, fence: Fence, rank: Rank, line: &str) {
        let lines = self.lines.entry((fence, rank));
        let (_, lines) = lines.or_insert_with(|| (life, Vec::new()));
        lines.push(line.to_owned());
    }

    /// A rank fails by its own fault.
    pub(crate) fn fails(&mut self, task: &TaskName) {
        *self.own_failures.entry(task.clone()).or_default() += 1;
    }

    /// The coordinator is about to take this.
    pub(crate) fn hears(&mut self, cluster: &Cluster, office: u64, life: Life, said: &Said) {
        if let Said::Report {
            sequence,
            fence,
            what: SaidReport::Rank(RankReport::Checkpoint { step, .. }),
            ..
        } = said
            && let Some((task, _)) = cluster.live_attempt(*fence)
        {
            let taken = (task.name, *step, office);
            self.taken.insert((life, *sequence), taken);
        }
    }

    /// A worker has heard that everything up to this number is written down.
    pub(crate) fn acknowledged(&mut self, life: Life, up_to: u64, office: u64) {
        let taken: Vec<_> = self
            .taken
            .range((life, 0)..=(life, up_to))
            .map(|(place, _)| *place)
            .collect();
        for place in taken {
            // what an earlier coordinator took and this one did not is acknowledged as something stale
            if let Some((task, step, by)) = self.taken.remove(&place)
                && by == office
            {
                let newest = self.checkpoints.entry(task).or_default();
                *newest = step.max(*newest);
            }
        }
    }

    pub(crate) fn logs_acknowledged(&mut self, fence: Fence, rank: Rank, lines: u64) {
        let known = self.lines_acknowledged.entry((fence, rank)).or_default();
        *known = lines.max(*known);
    }
}

impl Sim {
    /// A rank process starts: nobody else may be on its device.
    pub(crate) fn check_rank_start(&mut self, new: &Proc) {
        let other = self
            .procs
            .values()
            .find(|proc| proc.alive && proc.station == new.station && proc.slot == new.slot);
        if let Some(other) = other {
            let detail = format!(
                "attempt {} starts on w{} while a rank of attempt {} lives there",
                new.fence, new.station, other.fence
            );
            self.violate("one gang per device", detail);
        }
    }

    /// The ranks of an attempt are about to make a step.
    pub(crate) fn check_step(&mut self, fence: Fence, members: &[u64]) {
        let now = self.now;
        let procs = members.iter().filter_map(|id| self.procs.get(id));
        let just_woke = |proc: &Proc| proc.woke.is_some_and(|woke| now <= woke + GRACE);
        let graced = procs.clone().any(just_woke);
        let Some(task) = procs.map(|proc| proc.task.clone()).next() else {
            return;
        };
        let newest = self
            .watch
            .newest_stepped
            .entry(task.clone())
            .or_insert(fence);
        if fence >= *newest {
            *newest = fence;
        } else if !graced {
            let detail = format!("attempt {fence} at {task} goes on beside attempt {newest}");
            self.violate("one gang per task", detail);
        }
    }

    pub(crate) fn check_attempt(&mut self, task: &TaskId, fence: Fence, gang: &[GangMember]) {
        if let Some((known, members)) = self.watch.attempts.get(&fence) {
            if *known != task.name || members != gang {
                let detail = format!("attempt {fence} was at {known}, now at {}", task.name);
                self.violate("a fence is used once", detail);
            }
            return;
        }
        if self.watch.committed.contains_key(&task.name) {
            let detail = format!("{} was done, and is tried again", task.name);
            self.violate("nothing is done again", detail);
        }
        let node = self.scenario.graph.get(&task.name);
        let sizes = node
            .map(|node| node.world_sizes.clone())
            .unwrap_or_default();
        let names: BTreeSet<_> = gang.iter().map(|seat| &seat.worker).collect();
        if !sizes.contains(&(gang.len() as u32)) || names.len() != gang.len() {
            let detail = format!(
                "{} gets {} workers, its sizes are {sizes:?}",
                task.name,
                gang.len()
            );
            self.violate("whole gangs", detail);
        }
        // an attempt whose beginning was written down in the last moment of a coordinator is told of later
        let newest = self.watch.newest_attempt.entry(task.name.clone());
        let newest = newest.or_insert(fence);
        *newest = fence.max(*newest);
        let known = (task.name.clone(), gang.to_vec());
        self.watch.attempts.insert(fence, known);
    }

    /// A worker is told to start a rank: with the newest checkpoint of this very work.
    pub(crate) fn check_start(&mut self, start: &StartRank) {
        let task = &start.task.name;
        let committed = self.watch.checkpoints.get(task).copied();
        let resumed = start.resume.map(|checkpoint| checkpoint.step);
        if self.watch.newest_attempt.get(task) == Some(&start.fence) && resumed < committed {
            // a checkpoint that came after the attempt began belongs to it, and is no reason to complain
            let fresh = self.attempt_is_fresh(start.fence);
            if fresh {
                let detail =
                    format!("{task} begins from {resumed:?}, {committed:?} was acknowledged");
                self.violate("nothing committed is lost", detail);
            }
        }
        let Some(resume) = start.resume else {
            return;
        };
        let Some(node) = self.scenario.graph.get(task) else {
            return;
        };
        let work = Work::new(node, &start.inputs, self.scenario.steps[task]);
        let mut state = work.beginning();
        for step in 1..=resume.step.0 {
            state = work.step(state, step);
        }
        if Digest::of(&work.checkpoint(state, resume.step.0)) != resume.digest {
            let detail = format!(
                "{task} is to go on from something else at step {}",
                resume.step
            );
            self.violate("a checkpoint of its own", detail);
        }
    }

    /// No rank of it has been started yet.
    fn attempt_is_fresh(&self, fence: Fence) -> bool {
        !self.procs.values().any(|proc| proc.fence == fence)
    }

    pub(crate) fn check_done(
        &mut self,
        task: &TaskId,
        key: Digest,
        outputs: &BTreeMap<String, Digest>,
        fence: Option<Fence>,
    ) {
        let name = &task.name;
        if self.watch.expected.get(name) != Some(outputs) {
            let detail = format!("{name} handed in something else than without faults");
            self.violate("the same bytes", detail);
        }
        if let Some(fence) = fence
            && self.watch.newest_attempt.get(name) != Some(&fence)
        {
            let detail = format!("{name} was taken from attempt {fence}");
            self.violate("no result from an old fence", detail);
        }
        let place = (task.run, name.clone());
        if let Some(before) = self.watch.done.insert(place, fence) {
            let detail = format!("{name} was taken from {before:?} and from {fence:?}");
            self.violate("a result is taken once", detail);
        }
        self.watch
            .committed
            .insert(name.clone(), (key, outputs.clone()));
    }

    /// A task may fail for good only when its own ranks failed more often than is forgiven.
    pub(crate) fn check_failed(&mut self, task: &TaskId, failure: &Failure) {
        let own = self
            .watch
            .own_failures
            .get(&task.name)
            .copied()
            .unwrap_or(0);
        let budget = self.scenario.settings.retry_budget;
        if failure.class != FailureClass::NotANumber || own <= budget {
            let detail = format!(
                "{} failed for good after {own} faults of its own: {failure}",
                task.name
            );
            self.violate("only user errors cost the budget", detail);
        }
    }

    /// A coordinator has read its journal: everything that was said to be written down has to be there.
    pub(crate) fn check_replay(&mut self, cluster: &Cluster) {
        for (task, (key, outputs)) in self.watch.committed.clone() {
            if cluster.remembered(&key) != Some(&outputs) {
                let detail = format!("the result of {task} is forgotten");
                self.violate("nothing committed is lost", detail);
            }
        }
        self.take_results(cluster);
        let recent = self.watch.lines_acknowledged.iter().rev().take(20);
        let recent: Vec<_> = recent.map(|(place, lines)| (*place, *lines)).collect();
        for ((fence, rank), acknowledged) in recent {
            let there = self.log_file(fence, rank).len() as u64;
            if there < acknowledged {
                let detail = format!(
                    "of attempt {fence}'s rank {rank} {acknowledged} log lines were acknowledged, {there} are there"
                );
                self.violate("nothing committed is lost", detail);
            }
        }
    }

    /// Results that were written down in the last moment of a coordinator, which nobody was told of.
    fn take_results(&mut self, cluster: &Cluster) {
        let Some(run) = cluster.runs().pop() else {
            return;
        };
        for task in cluster.tasks(run.run) {
            let (name, Some(key)) = (task.task.name, task.key) else {
                continue;
            };
            if task.state == TaskState::Done && !self.watch.committed.contains_key(&name) {
                if self.watch.expected.get(&name) != Some(&task.outputs) {
                    let detail = format!("{name} handed in something else than without faults");
                    self.violate("the same bytes", detail);
                }
                self.watch.committed.insert(name, (key, task.outputs));
            }
        }
    }

    fn log_file(&self, fence: Fence, rank: Rank) -> Vec<String> {
        let Some((task, _)) = self.watch.attempts.get(&fence) else {
            return Vec::new();
        };
        self.office
            .lines(&format!("/run/logs/{task}/{fence}.{rank}.log"))
    }

    /// Every task that does not run has a reason; where that reason is a time, somebody will be called then.
    pub(crate) fn check_cluster(&mut self) {
        let (Some(cluster), Some(run)) = (self.office.cluster(), self.office.run()) else {
            return;
        };
        let deadline = cluster.next_deadline();
        let now = self.office_now();
        let mut found = None;
        let reasons = cluster.reasons(run);
        for (node, why) in self.scenario.graph.tasks.iter().zip(reasons) {
            let wrong = match &why {
                WaitingFor::NoSuchTask => true,
                WaitingFor::Slots { free, need, .. } => free >= need,
                WaitingFor::Workers { have, need, .. } => have >= need,
                WaitingFor::Shutdown => !cluster.is_stopping(),
                WaitingFor::Inputs { tasks } => tasks.is_empty(),
                WaitingFor::BackOff { left, .. } | WaitingFor::Gathering { left } => {
                    deadline.is_none_or(|deadline| deadline > now.after(*left))
                }
                WaitingFor::SilentWorker { left, .. } => {
                    deadline.is_none_or(|deadline| deadline > now.after(*left))
                }
                _ => false,
            };
            if wrong {
                found = Some(format!(
                    "{}: {why:?}, next call {deadline:?} at {now:?}",
                    node.name
                ));
                break;
            }
        }
        if let Some(detail) = found {
            self.violate("every waiting task has a reason", detail);
        }
    }

    /// The run is done, and everybody has told everything.
    pub(crate) fn is_settled(&self) -> bool {
        self.office.is_up()
            && !self.office.is_paused()
            && self.stations.iter().all(crate::station::Station::is_quiet)
    }

    pub(crate) fn why_not_over(&self) -> String {
        let (Some(cluster), Some(run)) = (self.office.cluster(), self.office.run()) else {
            return "the coordinator is away".to_owned();
        };
        let tasks = self.scenario.graph.tasks.iter();
        let waiting = tasks.filter_map(|node| {
            let name = node.name.clone();
            match cluster.explain(&TaskId { run, name }) {
                WaitingFor::Done { .. } => None,
                why => Some(format!("{} waits: {why}", node.name)),
            }
        });
        let waiting: Vec<String> = waiting.collect();
        if !waiting.is_empty() {
            return waiting.join("; ");
        }
        let loud = self.stations.iter().filter(|station| !station.is_quiet());
        let names: Vec<&str> = loud.map(|station| station.name.as_str()).collect();
        format!(
            "all tasks are done, but {} have not told everything",
            names.join(", ")
        )
    }

    pub(crate) fn check_the_end(&mut self) {
        for name in self.watch.expected.keys().cloned().collect::<Vec<_>>() {
            if !self.watch.committed.contains_key(&name) {
                self.violate("the run ends", format!("{name} has no result"));
            }
        }
        self.check_logs();
        self.check_curves();
        self.check_second_submit();
    }

    /// Complete, in order, once. Only a worker that died may have taken the last few lines with it.
    fn check_logs(&mut self) {
        let lines = std::mem::take(&mut self.watch.lines);
        for ((fence, rank), (life, said)) in &lines {
            let found = self.log_file(*fence, *rank);
            let complete = !self.watch.lost.contains(life);
            let right = if complete {
                found == *said
            } else {
                said.starts_with(&found)
            };
            if !right {
                let detail = format!(
                    "attempt {fence} rank {rank} logged {} lines, {} are there: {:?}",
                    said.len(),
                    found.len(),
                    found.iter().zip(said).find(|(one, other)| one != other)
                );
                self.violate("logs are complete, in order, once", detail);
                break;
            }
        }
        self.watch.lines = lines;
    }

    /// Each step of a training once, whoever made it last.
    fn check_curves(&mut self) {
        let tried: BTreeSet<TaskName> = self
            .watch
            .attempts
            .values()
            .map(|(task, _)| task.clone())
            .collect();
        let scenario = std::sync::Arc::clone(&self.scenario);
        // tasks with the same content share the work, and so its curve
        let mut made: BTreeMap<Digest, BTreeSet<u64>> = BTreeMap::new();
        for node in &scenario.graph.tasks {
            let path = format!("/run/report/metrics/{}.jsonl", node.name);
            let lines = self.office.lines(&path);
            let places: Vec<_> = lines.iter().filter_map(|line| curve_place(line)).collect();
            if places.windows(2).any(|pair| pair[0] >= pair[1]) {
                let detail = format!("{}: {places:?}", node.name);
                self.violate("curves are complete, in order, once", detail);
            }
            let steps = made.entry(node.material).or_default();
            steps.extend(places.iter().map(|(_, step)| *step));
        }
        for node in &scenario.graph.tasks {
            if node.kind != TaskKind::Train || !tried.contains(&node.name) {
                continue;
            }
            let steps = &made[&node.material];
            let missing: Vec<u64> = (1..scenario.steps[&node.name])
                .filter(|step| !steps.contains(step))
                .collect();
            if !missing.is_empty() {
                let detail = format!("{}: missing: {missing:?}", node.name);
                self.violate("curves are complete, in order, once", detail);
            }
        }
    }

    /// The same graph again executes nothing.
    fn check_second_submit(&mut self) {
        let Some(mut cluster) = self.office.cluster().cloned() else {
            return;
        };
        let run = cluster.next_run();
        let again = Input::Submit {
            run,
            name: "again".to_owned(),
            graph: std::sync::Arc::clone(&self.scenario.graph),
        };
        let now = self.office_now();
        let actions = cluster.apply(now, again).unwrap_or_default();
        let begins = |action: &Action| matches!(action, Action::AttemptBegan { .. });
        let done = matches!(
            cluster.run(run).and_then(|run| run.ended),
            Some((_, RunOutcome::Done))
        );
        if !done || actions.iter().any(begins) {
            self.violate(
                "nothing is done again",
                "a second submit executes something".to_owned(),
            );
        }
    }
}

/// The fence and the step of a line of a curve.
fn curve_place(line: &str) -> Option<(u64, u64)> {
    let number = |key: &str| -> Option<u64> {
        let rest = &line[line.find(key)? + key.len()..];
        let end = rest.find(|other: char| !other.is_ascii_digit())?;
        rest[..end].parse().ok()
    };
    Some((number("\"fence\":")?, number("\"step\":")?))
}
