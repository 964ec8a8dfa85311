//! For `cargo xtask bench checkpoint`: `checkpoint_times STEPS FOLDER` trains a published-size network in stage 2, where everything is
//! trained, with a checkpoint after every third step, and prints one JSON object.

#![expect(clippy::print_stdout, reason = "the caller reads it")]

use std::collections::BTreeMap;
use std::error::Error;
use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use collective::ProcessGroup;
use dataset::synthetic::{self, Sizes};
use model::{SedModel, write_tensors};
use serde_json::json;
use tch::Device;
use train::{Depot, Host, RankContext};
use types::*;

/// Steps from one checkpoint to the next.
const EVERY: usize = 3;

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [steps, folder] = arguments.as_slice() else {
        return Err("expected: STEPS FOLDER".into());
    };
    let folder = Path::new(folder);
    let sizes = Sizes {
        weak: 7,
        ..Sizes::default()
    };
    let data = synthetic::write(&folder.join("data"), &sizes, 11)?;
    let spec = spec(data);
    let init = folder.join("init.safetensors");
    write_init(&spec, &init)?;
    let scratch = folder.join("scratch");
    fs::create_dir_all(&scratch)?;

    let mut host = Watch {
        steps: steps.parse()?,
        begun: Mutex::default(),
        depot: Arc::default(),
    };
    let inputs = BTreeMap::from([("init".to_owned(), init)]);
    let context = RankContext {
        device: Device::Cpu,
        group: &ProcessGroup::solo(),
        inputs: &inputs,
        resume: None,
        manifest: None,
        scratch: &scratch,
        host: &mut host,
    };
    train::run(&TaskSpec::Train(spec), context)?;
    let begun = host.begun.into_inner()?;
    let seconds: Vec<f64> = begun
        .windows(2)
        .map(|pair| (pair[1] - pair[0]).as_secs_f64())
        .collect();
    // a checkpoint belongs to the third step of three and is written during the next one; the first three warm up
    let rounds: Vec<_> = (EVERY..seconds.len().saturating_sub(EVERY))
        .step_by(EVERY)
        .map(|first| {
            json!({"without": seconds[first + 1], "with": seconds[first + 2], "writing": seconds[first + 3]})
        })
        .collect();
    let bytes = host.depot.0.load(Ordering::Relaxed);
    println!("{}", json!({"bytes": bytes, "rounds": rounds}));
    Ok(())
}

/// Both networks as stage 1 would leave them.
fn write_init(spec: &TrainSpec, path: &Path) -> Result<(), Box<dyn Error>> {
    let network = SedModel::new(&spec.model, spec.seed, Device::Cpu)?;
    let mut tensors = Vec::new();
    for prefix in ["student.", "teacher."] {
        for (name, _, tensor) in network.store().iter() {
            tensors.push((format!("{prefix}{name}"), tensor.shallow_clone()));
        }
    }
    Ok(write_tensors(path, &tensors, &BTreeMap::new())?)
}

/// Notes when steps begin, and stops after some.
struct Watch {
    steps: usize,
    begun: Mutex<Vec<Instant>>,
    depot: Arc<Bin>,
}

/// Throws checkpoints away; how large they were.
#[derive(Default)]
struct Bin(AtomicU64);

impl Depot for Bin {
    fn checkpoint(&self, _: Step, file: &Path) -> Result<(), train::Error> {
        let thrown = fs::metadata(file).and_then(|about| {
            self.0.store(about.len(), Ordering::Relaxed);
            fs::remove_file(file)
        });
        thrown.map_err(|error| train::Error::Host(error.to_string()))
    }

    fn waits_for_room(&self, _: &Path, _: u64) {}

    fn goes_on(&self) {}
}

impl Host for Watch {
    fn progress(&mut self, _: Progress) {}

    fn metrics(&mut self, _: MetricPoint) {}

    fn depot(&self) -> Arc<dyn Depot> {
        self.depot.clone()
    }

    fn stop_requested(&self) -> bool {
        let mut begun = self.begun.lock().unwrap_or_else(PoisonError::into_inner);
        begun.push(Instant::now());
        begun.len() > self.steps
    }
}

fn spec(data: DataSettings) -> TrainSpec {
    let mut spec = TrainSpec {
        stage: 2,
        data,
        ..testkit::training()
    };
    spec.model.transformer = TransformerSettings::PUBLISHED;
    spec.model.crnn = CrnnSettings::PUBLISHED;
    spec.training.epochs = 1_000_000;
    spec.training.loss.self_supervised = 60.0;
    spec.training.optimizer.kind = OptimizerKind::Adamw;
    spec.training.dropout = 0.3;
    spec.runtime.checkpoint_every_steps = EVERY as u64;
    spec.runtime.prefetch_threads = 1;
    spec
}
