//! A place to run the shipped programs in: a temporary folder with data, a plan and a run directory. Every process started
//! here has a time limit, and what is left of it is killed when its handle goes.

#![allow(dead_code, reason = "each test file uses its part")]

use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// How long a whole run of the smoke plan may take on a slow, busy machine.
pub(crate) const RUN_LIMIT: Duration = Duration::from_secs(240);

/// The folder that cargo put the programs into.
fn programs() -> PathBuf {
    let test = std::env::current_exe().expect("a test knows itself");
    let folder = test
        .parent()
        .and_then(Path::parent)
        .expect("a test is in target/<profile>/deps");
    for program in ["coordinator", "worker"] {
        assert!(
            folder.join(program).exists(),
            "{program} is not built; `cargo xtask test` builds it, or: cargo build -p {program}"
        );
    }
    folder.to_owned()
}

/// The temporary folder.
pub(crate) struct House {
    folder: tempfile::TempDir,
}

impl House {
    /// With the tiny data set and a copy of `configs/smoke.toml` that points at it.
    pub(crate) fn new() -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let house = Self { folder };
        dataset::synthetic::write(&house.data(), &dataset::synthetic::Sizes::default(), 1)
            .expect("the tiny data set");
        let smoke = Path::new(env!("CARGO_MANIFEST_DIR")).join("../configs/smoke.toml");
        house.write_plan(&fs::read_to_string(smoke).expect("configs/smoke.toml"));
        house
    }

    pub(crate) fn path(&self) -> &Path {
        self.folder.path()
    }

    pub(crate) fn data(&self) -> PathBuf {
        self.path().join("data")
    }

    pub(crate) fn plan(&self) -> PathBuf {
        self.path().join("smoke.toml")
    }

    pub(crate) fn run_dir(&self) -> PathBuf {
        self.path().join("run")
    }

    pub(crate) fn plan_text(&self) -> String {
        fs::read_to_string(self.plan()).expect("the plan")
    }

    /// Writes a plan, its data folder replaced by this house's.
    pub(crate) fn write_plan(&self, text: &str) {
        let data = format!("root = {:?}", self.data());
        let lines: Vec<String> = text
            .lines()
            .map(|line| {
                if line.trim_start().starts_with("root =") {
                    data.clone()
                } else {
                    line.to_owned()
                }
            })
            .collect();
        assert!(lines.contains(&data), "the plan names a data root");
        fs::write(self.plan(), lines.join("\n") + "\n").expect("the plan is written");
    }

    /// Replaces one piece of the plan's text, which must be there exactly once.
    pub(crate) fn edit_plan(&self, old: &str, new: &str) {
        let text = self.plan_text();
        assert_eq!(text.matches(old).count(), 1, "{old:?} in the plan");
        fs::write(self.plan(), text.replace(old, new)).expect("the plan is written");
    }

    /// `coordinator --plan … --run-dir … --local-workers N` on a port of its own.
    pub(crate) fn run(&self, local_workers: u32) -> Process {
        let mut command = self.coordinator();
        command
            .arg("--plan")
            .arg(self.plan())
            .arg("--run-dir")
            .arg(self.run_dir())
            .args([
                "--listen",
                "127.0.0.1:0",
                "--local-workers",
                &local_workers.to_string(),
            ]);
        Process::start(command, self.path())
    }

    /// The bare program, with nothing of the caller's environment that could change what it does.
    pub(crate) fn coordinator(&self) -> Command {
        let mut command = Command::new(programs().join("coordinator"));
        command
            .current_dir(self.path())
            .env_remove("RUST_LOG")
            .env("OMP_NUM_THREADS", "1");
        command
    }

    /// `coordinator <args>`, to the end.
    pub(crate) fn ask(&self, args: &[&str]) -> Finished {
        let mut command = self.coordinator();
        command.args(args);
        Process::start(command, self.path()).wait(Duration::from_secs(60))
    }

    /// `coordinator plan show --json`, parsed.
    pub(crate) fn plan_show(&self) -> serde_json::Value {
        let (plan, run) = (self.plan(), self.run_dir());
        let shown = self.ask(&[
            "plan",
            "show",
            plan.to_str().expect("a plain path"),
            "--run-dir",
            run.to_str().expect("a plain path"),
            "--json",
        ]);
        assert!(shown.status.success(), "{}", shown.all());
        serde_json::from_str(&shown.stdout).expect("plan show --json prints JSON")
    }

    /// What the journal says, replayed by the shipped code.
    pub(crate) fn history(&self) -> History {
        History::read(&self.run_dir())
    }
}

/// A started program with its output in files.
pub(crate) struct Process {
    child: Child,
    stdout: PathBuf,
    stderr: PathBuf,
    started: Instant,
}

/// A program that has ended.
pub(crate) struct Finished {
    pub(crate) status: ExitStatus,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
    pub(crate) took: Duration,
}

impl Finished {
    /// Both outputs, for messages.
    pub(crate) fn all(&self) -> String {
        format!(
            "{}\n--- stdout\n{}\n--- stderr\n{}",
            self.status, self.stdout, self.stderr
        )
    }
}

impl Process {
    pub(crate) fn start(mut command: Command, folder: &Path) -> Self {
        let (out, stdout) = tempfile::NamedTempFile::new_in(folder)
            .expect("a file")
            .keep()
            .expect("kept");
        let (err, stderr) = tempfile::NamedTempFile::new_in(folder)
            .expect("a file")
            .keep()
            .expect("kept");
        let child = command
            .stdin(Stdio::null())
            .stdout(out)
            .stderr(err)
            .spawn()
            .unwrap_or_else(|error| panic!("{command:?}: {error}"));
        Self {
            child,
            stdout,
            stderr,
            started: Instant::now(),
        }
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn signal(&self, signal: Signal) {
        send(self.id(), signal);
    }

    /// Both outputs so far.
    pub(crate) fn output(&self) -> String {
        format!("{}{}", read(&self.stdout), read(&self.stderr))
    }

    pub(crate) fn is_running(&mut self) -> bool {
        self.child.try_wait().expect("a child of ours").is_none()
    }

    /// Waits until `found` gives something; fails with the program's output after the limit, or when the program ends.
    pub(crate) fn until<T>(
        &mut self,
        what: &str,
        limit: Duration,
        mut found: impl FnMut() -> Option<T>,
    ) -> T {
        let deadline = Instant::now() + limit;
        loop {
            if let Some(value) = found() {
                return value;
            }
            assert!(
                self.is_running(),
                "the program ended before {what}\n{}",
                self.output()
            );
            assert!(
                Instant::now() < deadline,
                "no {what} within {limit:?}\n{}",
                self.output()
            );
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Waits for the end; a program that takes longer is killed and fails the test.
    pub(crate) fn wait(mut self, limit: Duration) -> Finished {
        let deadline = Instant::now() + limit;
        loop {
            if let Some(status) = self.child.try_wait().expect("a child of ours") {
                return Finished {
                    status,
                    stdout: read(&self.stdout),
                    stderr: read(&self.stderr),
                    took: self.started.elapsed(),
                };
            }
            assert!(
                Instant::now() < deadline,
                "still running after {limit:?}\n{}",
                self.output()
            );
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if self.child.try_wait().ok().flatten().is_none() {
            let family = descendants(self.id());
            let _ = self.child.kill();
            let _ = self.child.wait();
            for id in family {
                if let Ok(id) = i32::try_from(id) {
                    let _ = kill(Pid::from_raw(id), Signal::SIGKILL);
                }
            }
        }
    }
}

fn read(path: &Path) -> String {
    let mut text = Vec::new();
    if let Ok(mut file) = File::open(path) {
        let _ = file.read_to_end(&mut text);
    }
    String::from_utf8_lossy(&text).into_owned()
}

pub(crate) fn send(id: u32, signal: Signal) {
    let id = i32::try_from(id).expect("process ids fit");
    kill(Pid::from_raw(id), signal).unwrap_or_else(|error| panic!("{signal} to {id}: {error}"));
}

/// A process as /proc shows it.
#[derive(Debug, Clone)]
pub(crate) struct Seen {
    pub(crate) id: u32,
    pub(crate) parent: u32,
    pub(crate) command_line: Vec<String>,
}

/// Every process that is not a zombie.
pub(crate) fn processes() -> Vec<Seen> {
    let mut seen = Vec::new();
    for entry in fs::read_dir("/proc").expect("/proc").flatten() {
        let Some(id) = entry
            .file_name()
            .to_str()
            .and_then(|name| name.parse::<u32>().ok())
        else {
            continue;
        };
        let Ok(stat) = fs::read_to_string(entry.path().join("stat")) else {
            continue;
        };
        // "id (name) state parent …", where the name may hold anything.
        let Some((_, rest)) = stat.rsplit_once(')') else {
            continue;
        };
        let mut fields = rest.split_whitespace();
        let (Some(state), Some(parent)) = (
            fields.next(),
            fields.next().and_then(|field| field.parse().ok()),
        ) else {
            continue;
        };
        if state == "Z" {
            continue;
        }
        let line = fs::read(entry.path().join("cmdline")).unwrap_or_default();
        let command_line = line
            .split(|byte| *byte == 0)
            .map(|part| String::from_utf8_lossy(part).into_owned())
            .collect();
        seen.push(Seen {
            id,
            parent,
            command_line,
        });
    }
    seen
}

/// Children, grandchildren and so on.
pub(crate) fn descendants(id: u32) -> Vec<u32> {
    let all = processes();
    let mut family = vec![id];
    let mut next = 0;
    while next < family.len() {
        let parent = family[next];
        family.extend(
            all.iter()
                .filter(|seen| seen.parent == parent)
                .map(|seen| seen.id),
        );
        next += 1;
    }
    family.remove(0);
    family
}

/// Rank processes below a coordinator or worker, each with its worker as the parent: the warden between them, which has the same
/// command line, is left out.
pub(crate) fn ranks_below(id: u32) -> Vec<Seen> {
    let family = descendants(id);
    let mut rank_or_warden = processes();
    rank_or_warden.retain(|seen| {
        family.contains(&seen.id) && seen.command_line.get(1).is_some_and(|word| word == "rank")
    });
    let parents: std::collections::BTreeMap<u32, u32> = rank_or_warden
        .iter()
        .map(|seen| (seen.id, seen.parent))
        .collect();
    let ranks = rank_or_warden.into_iter().filter_map(|rank| {
        let parent = *parents.get(&rank.parent)?;
        Some(Seen { parent, ..rank })
    });
    ranks.collect()
}

/// Worker processes below a coordinator.
pub(crate) fn workers_below(id: u32) -> Vec<Seen> {
    let family = descendants(id);
    processes()
        .into_iter()
        .filter(|seen| {
            family.contains(&seen.id)
                && seen
                    .command_line
                    .first()
                    .is_some_and(|word| word.ends_with("worker"))
                && seen.command_line.get(1).is_none_or(|word| word != "rank")
        })
        .collect()
}

pub(crate) fn is_alive(id: u32) -> bool {
    processes().iter().any(|seen| seen.id == id)
}

/// The journal of a run directory, replayed by the shipped code.
pub(crate) struct History {
    pub(crate) cluster: control::Cluster,
    /// Everything that the core wanted done, in order.
    pub(crate) actions: Vec<control::Action>,
}

impl History {
    pub(crate) fn read(run_dir: &Path) -> Self {
        Self::replay(&Self::open(run_dir).expect("the journal"))
    }

    /// The journal of a coordinator that may be about to make it: nothing yet where there is no file, or a blank one.
    pub(crate) fn so_far(run_dir: &Path) -> Option<Self> {
        match Self::open(run_dir) {
            Ok(journal) => Some(Self::replay(&journal)),
            Err(journal::Error::NotAJournal { .. }) => None,
            Err(_) if !run_dir.join("journal.sqlite").exists() => None,
            Err(error) => panic!("the journal: {error}"),
        }
    }

    fn open(run_dir: &Path) -> Result<journal::JournalReader, journal::Error> {
        journal::JournalReader::open(&run_dir.join("journal.sqlite"))
    }

    fn replay(journal: &journal::JournalReader) -> Self {
        let mut cluster = control::Cluster::new();
        let mut actions = Vec::new();
        for record in journal.records() {
            let record = record.expect("a record");
            actions.extend(
                cluster
                    .apply(record.at, record.input)
                    .expect("what was recorded was accepted"),
            );
        }
        Self { cluster, actions }
    }

    /// The latest run.
    pub(crate) fn run(&self) -> types::RunId {
        self.cluster.runs().last().expect("a run").run
    }

    /// Names of tasks that an attempt finished, in order, over all runs: a name that is there twice was executed twice.
    pub(crate) fn executed(&self) -> Vec<String> {
        self.actions
            .iter()
            .filter_map(|action| match action {
                control::Action::TaskDone {
                    task,
                    fence: Some(_),
                    ..
                } => Some(task.name.to_string()),
                _ => None,
            })
            .collect()
    }

    /// The latest run's task of that name.
    pub(crate) fn task(&self, name: &str) -> control::TaskView {
        self.cluster
            .tasks(self.run())
            .into_iter()
            .find(|task| task.task.name.as_str() == name)
            .unwrap_or_else(|| panic!("no task {name}"))
    }

    /// That no content key was computed by two attempts.
    pub(crate) fn assert_nothing_ran_twice(&self) {
        let mut seen = std::collections::BTreeMap::new();
        for action in &self.actions {
            if let control::Action::TaskDone {
                task,
                key,
                fence: Some(fence),
                ..
            } = action
                && let Some(earlier) = seen.insert(*key, *fence)
            {
                panic!("{task} was finished by attempts {earlier} and {fence}");
            }
        }
    }
}
