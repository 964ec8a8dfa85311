//! A place to run the shipped programs in: a temporary folder with data, a plan and a run directory. Every process started
//! here has a time limit, and what is left of it is killed when its handle goes.
//!
//! What is wrong is a panic that says so: everything here is called by tests, or by a chore that is one.

mod curve;
mod endless;
mod history;
mod link;
mod process;
mod remains;
mod seen;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

pub use curve::{Curve, Point, assert_log_whole};
pub use endless::{Endless, Known, SOON};
pub use history::History;
pub use link::{Link, Weather};
pub use process::{Finished, Process, send};
pub use remains::Remains;
pub use seen::{Seen, descendants, is_alive, of_house, processes, ranks_below, workers_below};

/// How long a whole run of the smoke plan may take on a slow, busy machine.
pub const RUN_LIMIT: Duration = Duration::from_secs(240);

/// The variable by which every process of a house can be told from all others.
pub(crate) const MARK: &str = "TUTTI_HOUSE";

/// The folder that cargo put the programs into.
fn programs() -> PathBuf {
    let own = std::env::current_exe().expect("a program knows itself");
    let mut folder = own.parent().expect("a program is in a folder").to_owned();
    if folder.ends_with("deps") {
        // a test is in target/<profile>/deps
        folder.pop();
    }
    for program in ["coordinator", "worker"] {
        assert!(
            folder.join(program).exists(),
            "{program} is not built; `cargo xtask test` builds it, or: cargo build -p {program}"
        );
    }
    folder
}

/// The temporary folder.
#[derive(Debug)]
pub struct House {
    folder: tempfile::TempDir,
}

impl Default for House {
    fn default() -> Self {
        Self::new()
    }
}

impl House {
    /// With the tiny data set and a copy of `configs/smoke.toml` that points at it.
    pub fn new() -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let house = Self { folder };
        dataset::synthetic::write(&house.data(), &dataset::synthetic::Sizes::default(), 1)
            .expect("the tiny data set");
        let smoke = Path::new(env!("CARGO_MANIFEST_DIR")).join("../configs/smoke.toml");
        house.write_plan(&fs::read_to_string(smoke).expect("configs/smoke.toml"));
        house
    }

    /// Where everything is.
    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    /// The data set.
    pub fn data(&self) -> PathBuf {
        self.path().join("data")
    }

    /// The plan's file.
    pub fn plan(&self) -> PathBuf {
        self.path().join("smoke.toml")
    }

    /// The run directory; the coordinator makes it.
    pub fn run_dir(&self) -> PathBuf {
        self.path().join("run")
    }

    /// The plan as it is now.
    pub fn plan_text(&self) -> String {
        fs::read_to_string(self.plan()).expect("the plan")
    }

    /// Writes a plan, its data folder replaced by this house's.
    pub fn write_plan(&self, text: &str) {
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
    pub fn edit_plan(&self, old: &str, new: &str) {
        let text = self.plan_text();
        assert_eq!(text.matches(old).count(), 1, "{old:?} in the plan");
        fs::write(self.plan(), text.replace(old, new)).expect("the plan is written");
    }

    /// `coordinator --plan … --run-dir … --local-workers N` on a port of its own.
    pub fn run(&self, local_workers: u32) -> Process {
        self.run_with(&["--local-workers", &local_workers.to_string()])
    }

    /// `coordinator --plan … --run-dir …` on a port of its own, with more arguments.
    pub fn run_with(&self, more: &[&str]) -> Process {
        let mut command = self.coordinator();
        command
            .arg("--plan")
            .arg(self.plan())
            .arg("--run-dir")
            .arg(self.run_dir())
            .args(["--listen", "127.0.0.1:0"])
            .args(more);
        Process::start(command, self.path())
    }

    /// A link to this house's coordinator, whichever process that is at the time.
    pub fn link(&self) -> Link {
        let address = self.run_dir().join("address");
        Link::open(move || {
            let url = fs::read_to_string(&address).ok()?;
            url.trim().strip_prefix("http://")?.parse().ok()
        })
    }

    /// `worker --cpu` that somebody started on its own.
    pub fn worker(&self, name: &str, link: &Link) -> Process {
        let mut command = self.program("worker");
        command
            .args(["--cpu", "--name", name, "--address", "127.0.0.1"])
            .args(["--coordinator", &link.url()])
            .arg("--work-dir")
            .arg(self.path().join("workers").join(name));
        Process::start(command, self.path())
    }

    /// The bare program.
    pub fn coordinator(&self) -> Command {
        self.program("coordinator")
    }

    /// One of the programs, with nothing of the caller's environment that could change what it does.
    fn program(&self, name: &str) -> Command {
        let mut command = Command::new(programs().join(name));
        command
            .current_dir(self.path())
            .env_remove("RUST_LOG")
            .env("OMP_NUM_THREADS", "1")
            .env("TUTTI_TOKEN", "of-this-house")
            .env(MARK, self.path());
        command
    }

    /// `coordinator <args>`, to the end.
    pub fn ask(&self, args: &[&str]) -> Finished {
        let mut command = self.coordinator();
        command.args(args);
        Process::start(command, self.path()).wait(Duration::from_secs(60))
    }

    /// `coordinator plan show --json`, parsed.
    pub fn plan_show(&self) -> serde_json::Value {
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

    /// A question to the coordinator that runs here.
    pub fn ask_running(&self, args: &[&str]) -> Finished {
        let run = self.run_dir();
        let mut args = args.to_vec();
        args.extend(["--run-dir", run.to_str().expect("a plain path")]);
        self.ask(&args)
    }

    /// What the journal says, replayed by the shipped code.
    pub fn history(&self) -> History {
        History::read(&self.run_dir())
    }
}
