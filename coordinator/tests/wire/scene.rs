use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use control::{Cluster, TaskView};
use dataset::synthetic::{self, Sizes};
use journal::JournalReader;
use proto::Token;
use tempfile::TempDir;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::{Channel, Endpoint};

/// Longer than anything here takes on a machine that is busy with other things.
pub(crate) const LIMIT: Duration = Duration::from_secs(60);

/// A channel that shows the token.
pub(crate) type Authorized = InterceptedService<Channel, Token>;

/// A folder with data, a plan and a run directory.
pub(crate) struct Scene {
    folder: TempDir,
}

impl Scene {
    /// One member, one iteration: train and predict for two stages, scores for member and ensemble.
    pub(crate) fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let sizes = Sizes {
            maestro_train_scenes: 1,
            maestro_validation: 1,
            recording_seconds: 10,
            strong: 2,
            external_strong: 0,
            synth: 2,
            weak: 5,
            unlabeled: 2,
            synth_validation: 2,
            desed_validation: 5,
            public_eval: 0,
            clip_seconds: 2.0,
        };
        synthetic::write(&folder.path().join("data"), &sizes, 1).unwrap();
        let scene = Self { folder };
        scene.write_plan("");
        scene
    }

    /// Writes the plan, with more lines for stage 2.
    pub(crate) fn write_plan(&self, stage2: &str) {
        fs::write(self.plan(), PLAN.replace("# more of stage 2", stage2)).unwrap();
    }

    pub(crate) fn plan(&self) -> PathBuf {
        self.folder.path().join("plan.toml")
    }

    pub(crate) fn run_dir(&self) -> PathBuf {
        self.folder.path().join("run")
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

    /// Where the coordinator can be reached, and its token; none while it is starting.
    pub(crate) fn address(&self) -> Option<(String, Token)> {
        let address = fs::read_to_string(self.run_dir().join("address")).ok()?;
        let token = fs::read_to_string(self.run_dir().join("token")).ok()?;
        Some((address.trim().to_owned(), Token::new(&token).ok()?))
    }

    /// A connection, with the token.
    pub(crate) async fn connect(&self) -> (Channel, Token) {
        let started = Instant::now();
        loop {
            if let Some((address, token)) = self.address()
                && let Ok(channel) = Endpoint::from_shared(address)
                    .unwrap()
                    .timeout(LIMIT)
                    .connect()
                    .await
            {
                return (channel, token);
            }
            assert!(started.elapsed() < LIMIT, "no coordinator can be reached");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
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

const PLAN: &str = r#"
name = "wire"
seed = 1

[data]
root = "data"
splits = ["maestro_train", "strong_train", "synth_train", "weak_train", "unlabeled_train"]

[validation]
desed = ["synth_validation"]

[defaults.model]
transformer = { dim = 16, depth = 1, heads = 2, mlp_ratio = 2 }
audioset_head = 8
crnn = { channels = [2, 2, 4, 4, 4, 4, 4], fusion_dim = 8, rnn_hidden = 8, rnn_layers = 1 }

[defaults.stage1]
epochs = 1
microbatch = { maestro = 1, strong = 1, synth = 1, weak = 1, unlabeled = 1 }
microbatches_per_step = 2
gpus = { min = 1, max = 2 }
optimizer.warmup_steps = 1
self_supervised.warmup_steps = 10

[defaults.stage2]
epochs = 1
microbatch = { maestro = 1, strong = 1, synth = 1, weak = 1, unlabeled = 1 }
microbatches_per_step = 2
gpus = { min = 1, max = 2 }
optimizer.warmup_steps = 1
self_supervised.warmup_steps = 10
augmentation.impulse_probability = 0
# more of stage 2

[[member]]
name = "a"
arch = "atst_frame"

[[iteration]]
"#;
