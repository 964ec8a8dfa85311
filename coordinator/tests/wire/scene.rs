use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use control::{Cluster, TaskView};
use journal::JournalReader;
use proto::Token;
use tempfile::TempDir;
use tonic::transport::Channel;

use crate::reach::{self, LIMIT};
use crate::small_plan;

/// A folder with data, a plan and a run directory.
pub(crate) struct Scene {
    folder: TempDir,
    run_dir: PathBuf,
}

impl AsRef<Path> for Scene {
    fn as_ref(&self) -> &Path {
        &self.run_dir
    }
}

impl Scene {
    /// One member, one iteration: train and predict for two stages, scores for member and ensemble.
    pub(crate) fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        small_plan::write_data(folder.path());
        let run_dir = folder.path().join("run");
        let scene = Self { folder, run_dir };
        scene.write_plan("");
        scene
    }

    /// Writes the plan, with more lines for stage 2.
    pub(crate) fn write_plan(&self, stage2: &str) {
        fs::write(self.plan(), small_plan::text(stage2)).unwrap();
    }

    /// Writes a plan of many members and iterations, stages as small as ever.
    pub(crate) fn write_large_plan(&self, members: u32, iterations: u32) {
        let text = small_plan::text("");
        let (head, _) = text.split_once("[[member]]").unwrap();
        // with one more split a plan of so many tasks would be refused
        let head = head
            .replace(r#", "unlabeled_train""#, "")
            .replace("unlabeled = 1", "unlabeled = 0")
            .replace("max = 2", "max = 1");
        let members = (0..members).map(|member| {
            format!("[[member]]\nname = \"m{member}\"\narch = \"atst_frame\"\nseed = {member}\n")
        });
        let iterations = (0..iterations).map(|_| "[[iteration]]\n".to_owned());
        let text: String = std::iter::once(head)
            .chain(members)
            .chain(iterations)
            .collect();
        fs::write(self.plan(), text).unwrap();
    }

    pub(crate) fn plan(&self) -> PathBuf {
        self.folder.path().join("plan.toml")
    }

    pub(crate) fn run_dir(&self) -> PathBuf {
        self.run_dir.clone()
    }

    /// Starts `coordinator --plan …` on a port of its own choice.
    pub(crate) fn start(&self) -> Coordinator {
        // A dead coordinator's port must not be taken for this one's.
        let _ = fs::remove_file(self.run_dir().join("address"));
        let run_dir = self.run_dir();
        let arguments = [
            "--plan",
            path_text(&self.plan()),
            "--run-dir",
            path_text(&run_dir),
            "--listen",
            "127.0.0.1:0",
        ]
        .map(str::to_owned);
        self.start_with(&arguments)
    }

    /// Starts the program with any arguments.
    pub(crate) fn start_with(&self, arguments: &[String]) -> Coordinator {
        let output = self.folder.path().join("output.txt");
        let file = fs::File::create(&output).unwrap();
        let child = Command::new(env!("CARGO_BIN_EXE_coordinator"))
            .args(arguments)
            .env_remove("TUTTI_TOKEN")
            .env_remove("RUST_LOG")
            .stdin(Stdio::null())
            .stdout(file.try_clone().unwrap())
            .stderr(file)
            .spawn()
            .unwrap();
        Coordinator {
            child,
            output,
            started: Instant::now(),
        }
    }

    /// A connection, with the token.
    pub(crate) async fn connect(&self) -> (Channel, Token) {
        reach::connect(&self.run_dir).await
    }

    /// What the journal alone knows of the latest run.
    pub(crate) fn tasks_in_journal(&self) -> Vec<TaskView> {
        let journal = JournalReader::open(&self.run_dir().join("journal.sqlite")).unwrap();
        let mut cluster = Cluster::new();
        for record in journal.records() {
            let record = record.unwrap();
            cluster.apply(record.at, record.input).unwrap();
        }
        let run = cluster.runs().pop().unwrap().run;
        cluster.tasks(run)
    }

    /// All files below the artifact store.
    pub(crate) fn stored_files(&self) -> Vec<PathBuf> {
        files_below(&self.run_dir().join("artifacts"))
    }
}

/// Every file below a folder, in order.
pub(crate) fn files_below(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files_below(&path));
        } else {
            found.push(path);
        }
    }
    found.sort();
    found
}

/// A process that is killed when the test is over.
pub(crate) struct Coordinator {
    child: Child,
    output: PathBuf,
    started: Instant,
}

/// How a process ended.
pub(crate) struct Ended {
    pub(crate) code: Option<i32>,
    pub(crate) output: String,
    pub(crate) took: Duration,
}

impl Coordinator {
    /// Waits for its end by itself.
    pub(crate) async fn end(mut self) -> Ended {
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                let took = self.started.elapsed();
                return Ended {
                    code: status.code(),
                    output: self.output(),
                    took,
                };
            }
            assert!(
                self.started.elapsed() < LIMIT,
                "still running:\n{}",
                self.output()
            );
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// What `kill -9` does.
    pub(crate) fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// What Ctrl-C does.
    pub(crate) fn interrupt(&self) {
        let pid = nix::unistd::Pid::from_raw(i32::try_from(self.child.id()).unwrap());
        nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGINT).unwrap();
    }

    fn output(&self) -> String {
        fs::read_to_string(&self.output).unwrap()
    }
}

impl Drop for Coordinator {
    fn drop(&mut self) {
        // It may have ended long ago.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

pub(crate) fn path_text(path: &Path) -> &str {
    path.to_str().unwrap()
}
