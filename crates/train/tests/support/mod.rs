//! A tiny task on procedural data, and gangs of processes that run it.
#![allow(
    dead_code,
    clippy::unwrap_used,
    reason = "each test file uses a part of this, and a test may panic"
)]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use collective::{FolderStore, GlooOptions, ProcessGroup, Store};
use dataset::synthetic::{self, Sizes};
use serde::{Deserialize, Serialize};
use tch::Device;
use train::{Depot, Error, Host, Outcome, RankContext};
use types::*;

/// Longest life of a process that a test starts.
const LIMIT: Duration = Duration::from_secs(120);

/// The smallest set in which every kind of clip occurs, with 6 weak clips to learn from.
pub(crate) fn data(folder: &Path) -> DataSettings {
    let sizes = Sizes {
        weak: 7,
        ..Sizes::default()
    };
    synthetic::write(&folder.join("data"), &sizes, 11).unwrap()
}

pub(crate) fn model() -> ModelSettings {
    ModelSettings {
        transformer: TransformerSettings {
            dim: 16,
            depth: 1,
            heads: 2,
            mlp_ratio: 2,
        },
        audioset_head: Some(12),
        crnn: CrnnSettings {
            channels: [2, 2, 4, 4, 4, 4, 4],
            fusion_dim: 8,
            rnn_hidden: 8,
            rnn_layers: 2,
        },
        atst_floor: DecibelFloor::Batch,
        init_seed: 3,
        ..testkit::training().model
    }
}

/// Two micro-batches of 6 clips per step; an epoch has three, so that every other step is short.
pub(crate) fn train_spec(data: &DataSettings, stage: u32, epochs: u32) -> TrainSpec {
    let mut spec = TrainSpec {
        seed: 7,
        stage,
        model: model(),
        data: data.clone(),
        ..testkit::training()
    };
    let training = &mut spec.training;
    training.epochs = epochs;
    training.microbatch.weak = 2;
    training.microbatches_per_step = 2;
    training.loss = LossWeights {
        maestro: 0.5,
        strong: 0.25,
        synth: 0.12,
        weak: 0.1,
        self_supervised: if stage == 1 { 0.1 } else { 60.0 },
        pseudo: 0.0,
    };
    training.self_supervised = SelfSupervisedSettings {
        warmup_steps: 10,
        max_factor: 1.0,
        no_class_mask: stage == 1,
        exclude_maestro_weak: stage == 2,
        include_maestro: true,
        interpolation_consistency: true,
    };
    training.optimizer = OptimizerSettings {
        kind: OptimizerKind::Adamw,
        lr_cnn: 4e-3,
        lr_rnn: 4e-3,
        lr_transformer: 1e-3,
        layer_factor: 0.5,
        weight_decay: 1e-2,
        warmup_steps: 3,
    };
    training.ema_factor = 0.999;
    training.dropout = 0.3;
    training.augmentation.mixup_probability = 0.5;
    training.augmentation.time_mask = stage == 2;
    spec.runtime.checkpoint_every_steps = 1000;
    spec.runtime.prefetch_threads = 1;
    spec
}

/// Remembers everything; can ask for a stop.
#[derive(Default)]
pub(crate) struct Recorder {
    pub(crate) metrics: Vec<MetricPoint>,
    pub(crate) progress: Vec<Progress>,
    pub(crate) checkpoints: Vec<(u64, PathBuf)>,
    pub(crate) stop_after: Option<u64>,
    pub(crate) depot: Arc<Shelf>,
}

/// Where its checkpoints go.
#[derive(Default)]
pub(crate) struct Shelf {
    pub(crate) folder: PathBuf,
    pub(crate) checkpoints: Mutex<Vec<(u64, PathBuf)>>,
    /// The checkpoint after this step is not taken.
    pub(crate) refused: Option<u64>,
    /// How often more there is no room.
    pub(crate) full: AtomicU32,
    /// How often that was heard, and that it goes on.
    pub(crate) heard: Mutex<(u32, u32)>,
}

impl Shelf {
    pub(crate) fn in_folder(folder: &Path) -> Self {
        Self {
            folder: folder.to_owned(),
            ..Self::default()
        }
    }

    /// Has the next attempt to write this file end on a device that is always full.
    pub(crate) fn fill(file: &Path) {
        let mut aside = file.as_os_str().to_owned();
        aside.push(".part");
        std::os::unix::fs::symlink("/dev/full", aside).unwrap();
    }
}

impl Depot for Shelf {
    fn checkpoint(&self, step: Step, file: &Path) -> Result<(), Error> {
        if self.refused == Some(step.0) {
            return Err(Error::Host("the shelf is closed".to_owned()));
        }
        let kept = self.folder.join(format!("step{step}.safetensors"));
        fs::rename(file, &kept).map_err(|error| Error::Host(error.to_string()))?;
        self.checkpoints.lock().unwrap().push((step.0, kept));
        Ok(())
    }

    fn waits_for_room(&self, folder: &Path, needed: u64) {
        assert!(needed > 1000, "a checkpoint of {needed} bytes");
        self.heard.lock().unwrap().0 += 1;
        if self.full.load(Ordering::Relaxed) > 0 {
            self.full.fetch_sub(1, Ordering::Relaxed);
            Self::fill(&folder.join("checkpoint.safetensors"));
        }
    }

    fn goes_on(&self) {
        self.heard.lock().unwrap().1 += 1;
    }
}

impl Recorder {
    pub(crate) fn losses(&self) -> Vec<f64> {
        losses(&self.metrics)
    }
}

pub(crate) fn losses(points: &[MetricPoint]) -> Vec<f64> {
    points.iter().map(|point| point.values["loss"]).collect()
}

impl Host for Recorder {
    fn progress(&mut self, progress: Progress) {
        self.progress.push(progress);
    }

    fn metrics(&mut self, point: MetricPoint) {
        self.metrics.push(point);
    }

    fn depot(&self) -> Arc<dyn Depot> {
        self.depot.clone()
    }

    fn stop_requested(&self) -> bool {
        self.stop_after
            .is_some_and(|stop| self.metrics.len() as u64 + 1 >= stop)
    }
}

/// What one run in this process gave.
pub(crate) struct Ran {
    pub(crate) outcome: Result<Outcome, Error>,
    pub(crate) host: Recorder,
}

impl Ran {
    pub(crate) fn output(&self, name: &str) -> PathBuf {
        match &self.outcome {
            Ok(Outcome::Finished(files)) => files[name].clone(),
            other => panic!("{other:?}"),
        }
    }
}

/// Runs a task alone, in a folder of its own below `folder`.
pub(crate) fn run_solo(
    spec: &TaskSpec,
    folder: &Path,
    inputs: &BTreeMap<String, PathBuf>,
    resume: Option<&Path>,
    stop_after: Option<u64>,
) -> Ran {
    let group = ProcessGroup::solo();
    let host = recorder(Shelf::in_folder(folder), stop_after);
    run_in_group(spec, &group, host, inputs, resume, None)
}

/// Runs a task alone whose checkpoints go to this shelf.
pub(crate) fn run_with_shelf(spec: &TaskSpec, shelf: Shelf, stop_after: Option<u64>) -> Ran {
    let host = recorder(shelf, stop_after);
    run_in_group(
        spec,
        &ProcessGroup::solo(),
        host,
        &BTreeMap::new(),
        None,
        None,
    )
}

/// Runs a task whose data is held against a manifest first.
pub(crate) fn run_checked(spec: &TaskSpec, folder: &Path, manifest: &Path) -> Ran {
    let group = ProcessGroup::solo();
    let host = recorder(Shelf::in_folder(folder), None);
    run_in_group(spec, &group, host, &BTreeMap::new(), None, Some(manifest))
}

fn recorder(shelf: Shelf, stop_after: Option<u64>) -> Recorder {
    Recorder {
        stop_after,
        depot: Arc::new(shelf),
        ..Recorder::default()
    }
}

fn run_in_group(
    spec: &TaskSpec,
    group: &ProcessGroup,
    mut host: Recorder,
    inputs: &BTreeMap<String, PathBuf>,
    resume: Option<&Path>,
    manifest: Option<&Path>,
) -> Ran {
    tch::set_num_threads(1);
    let scratch = scratch(&host.depot.folder);
    fs::create_dir_all(&scratch).unwrap();
    let outcome = train::run(
        spec,
        RankContext {
            device: Device::Cpu,
            group,
            inputs,
            resume,
            manifest,
            scratch: &scratch,
            host: &mut host,
        },
    );
    host.checkpoints = host.depot.checkpoints.lock().unwrap().clone();
    Ran { outcome, host }
}

/// Where a task run in this folder writes.
pub(crate) fn scratch(folder: &Path) -> PathBuf {
    folder.join("scratch")
}

/// What a rank process is told, and what it leaves.
#[derive(Serialize, Deserialize)]
struct Orders {
    spec: TaskSpec,
    inputs: BTreeMap<String, PathBuf>,
    folder: PathBuf,
    rank: usize,
    size: usize,
    resume: Option<PathBuf>,
    stop_after: Option<u64>,
}

const ORDERS: &str = "TRAIN_TEST_RANK_ORDERS";

/// The body of a test that is a rank process when [`run_gang`] starts it, and nothing otherwise.
pub(crate) fn rank_process() {
    let Ok(path) = std::env::var(ORDERS) else {
        return;
    };
    let orders: Orders = serde_json::from_slice(&fs::read(path).unwrap()).unwrap();
    let keys = FolderStore::new(orders.folder.join("keys")).unwrap();
    let store = Store::new(Arc::new(keys)).unwrap();
    let options = GlooOptions {
        timeout: Duration::from_secs(30),
        ..GlooOptions::default()
    };
    let group = ProcessGroup::gloo(&store, orders.rank, orders.size, &options).unwrap();
    let folder = orders.folder.join(format!("rank{}", orders.rank));
    let host = recorder(Shelf::in_folder(&folder), orders.stop_after);
    let resume = orders.resume.as_deref();
    let ran = run_in_group(&orders.spec, &group, host, &orders.inputs, resume, None);
    ran.outcome.unwrap();
    let metrics = serde_json::to_vec(&ran.host.metrics).unwrap();
    fs::write(folder.join("metrics.json"), metrics).unwrap();
}

/// Runs a task in a gang of processes (each is the test `name` of this very executable); returns what rank 0
/// reported and its folder.
pub(crate) fn run_gang(
    name: &str,
    spec: &TaskSpec,
    folder: &Path,
    inputs: &BTreeMap<String, PathBuf>,
    size: usize,
) -> (Vec<MetricPoint>, PathBuf) {
    run_gang_part(name, spec, folder, inputs, size, None, None)
}

/// The same from a checkpoint on, or with a stop after so many updates. Rank 0's folder holds `scratch/checkpoint.safetensors` at the end, and
/// `step<N>.safetensors` for every checkpoint on the way.
pub(crate) fn run_gang_part(
    name: &str,
    spec: &TaskSpec,
    folder: &Path,
    inputs: &BTreeMap<String, PathBuf>,
    size: usize,
    resume: Option<&Path>,
    stop_after: Option<u64>,
) -> (Vec<MetricPoint>, PathBuf) {
    fs::create_dir_all(folder).unwrap();
    let children: Vec<Child> = (0..size)
        .map(|rank| {
            let orders = Orders {
                spec: spec.clone(),
                inputs: inputs.clone(),
                folder: folder.to_owned(),
                rank,
                size,
                resume: resume.map(Path::to_owned),
                stop_after,
            };
            let path = folder.join(format!("orders{rank}.json"));
            fs::write(&path, serde_json::to_vec(&orders).unwrap()).unwrap();
            Command::new(std::env::current_exe().unwrap())
                .args([name, "--exact", "--nocapture"])
                .env(ORDERS, path)
                .env("OMP_NUM_THREADS", "1")
                .stdin(Stdio::null())
                .spawn()
                .unwrap()
        })
        .collect();
    wait_for(children);
    let folder = folder.join("rank0");
    let metrics = fs::read(folder.join("metrics.json")).unwrap();
    (serde_json::from_slice(&metrics).unwrap(), folder)
}

fn wait_for(mut children: Vec<Child>) {
    let started = Instant::now();
    let mut failed = None;
    while !children.is_empty() {
        children.retain_mut(|child| match child.try_wait().unwrap() {
            Some(status) => {
                if !status.success() {
                    failed = Some(status.to_string());
                }
                false
            }
            None => true,
        });
        if failed.is_some() || started.elapsed() > LIMIT {
            for mut child in children {
                child.kill().unwrap();
                child.wait().unwrap();
            }
            panic!("a rank ended with {failed:?} after {:?}", started.elapsed());
        }
        std::thread::sleep(Duration::from_millis(10));
    }
}
