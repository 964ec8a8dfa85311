//! The ranks of `cargo xtask bench reduce`: `reduce_times RANK RANKS FOLDER STEPS small|published`. The ranks meet in FOLDER; each takes STEPS optimizer
//! steps with either reduction, in turns, and rank 0 prints seconds and sizes as one JSON object.

#![expect(clippy::print_stdout, reason = "the caller reads it")]

use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use anyhow::{Result, bail};
use collective::{FolderStore, GlooOptions, ProcessGroup, Store, rng};
use model::{FrontEnds, SedModel};
use serde_json::json;
use tch::{Device, Kind, Tensor};
use train::{Features, Inputs, Learner, Optimizer, Targets};
use types::{
    CrnnSettings, MicrobatchSizes, OptimizerKind, Reduction, TrainSpec, TransformerSettings,
};

/// Steps that are not timed: the first ones allocate.
const WARM_UP: usize = 2;
const SECONDS: i64 = 10;

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [rank, ranks, folder, steps, size] = arguments.as_slice() else {
        bail!("expected: RANK RANKS FOLDER STEPS small|published");
    };
    let (rank, ranks) = (rank.parse()?, ranks.parse()?);
    let spec = spec(u32::try_from(ranks)?, size == "published");
    collective::runtime::set_threads(1);
    let store = Store::new(Arc::new(FolderStore::new(Path::new(folder))?))?;
    let group = ProcessGroup::gloo(&store, rank, ranks, &GlooOptions::default())?;
    let mut ordered = Side::new(spec.clone(), Reduction::Ordered, &group)?;
    let mut fast = Side::new(spec, Reduction::Fast, &group)?;
    let steps: usize = steps.parse()?;
    for step in 0..WARM_UP + steps {
        for side in [&mut ordered, &mut fast] {
            let seconds = side.step(&group)?;
            if step >= WARM_UP {
                side.seconds.push(seconds);
            }
        }
    }
    if rank == 0 {
        let said = json!({
            "ordered": ordered.seconds,
            "fast": fast.seconds,
            "parameters": ordered.parameters(),
            "clips": ordered.inputs.mask.size()[0],
        });
        println!("{said}");
    }
    Ok(())
}

/// One reduction with networks of its own.
struct Side {
    learner: Learner,
    inputs: Inputs,
    rank: u32,
    step: u64,
    seconds: Vec<f64>,
}

impl Side {
    fn new(mut spec: TrainSpec, reduction: Reduction, group: &ProcessGroup) -> Result<Self> {
        spec.training.reduction = reduction;
        let network = || SedModel::new(&spec.model, spec.seed, Device::Cpu);
        let (student, teacher) = (network()?, network()?);
        let optimizer = Optimizer::new(&student, &spec.training.optimizer, spec.stage, 1000);
        let learner = Learner::new(
            &spec.training,
            spec.stage,
            student,
            teacher,
            optimizer,
            group,
        )?;
        let rank = u32::try_from(group.rank())?;
        Ok(Self {
            inputs: inputs(&spec, &learner, rank)?,
            learner,
            rank,
            step: 0,
            seconds: Vec::new(),
        })
    }

    /// One optimizer step of the gang, in seconds.
    fn step(&mut self, group: &ProcessGroup) -> Result<f64> {
        group.barrier()?;
        let began = Instant::now();
        self.learner.begin_step(u32::try_from(group.size())?)?;
        self.learner
            .learn(self.step, self.rank, &self.inputs, true)?;
        self.learner.finish_step(self.step)?;
        self.step += 1;
        group.barrier()?;
        Ok(began.elapsed().as_secs_f64())
    }

    fn parameters(&self) -> usize {
        (self.learner.optimizer().parameters().map(Tensor::numel)).sum()
    }
}

/// Both networks trained, one micro-batch for each rank in a step, so that nothing hides the exchange: the published CRNN with a small
/// transformer and half of a published micro-batch, or with the published transformer and one clip of each kind.
fn spec(ranks: u32, published: bool) -> TrainSpec {
    let mut spec = TrainSpec {
        stage: 2,
        ..testkit::training()
    };
    spec.model.crnn = CrnnSettings::PUBLISHED;
    if published {
        spec.model.transformer = TransformerSettings::PUBLISHED;
    } else {
        spec.model.transformer = TransformerSettings {
            dim: 192,
            depth: 4,
            heads: 3,
            mlp_ratio: 4,
        };
        spec.training.microbatch = MicrobatchSizes {
            maestro: 3,
            strong: 2,
            synth: 2,
            weak: 5,
            unlabeled: 5,
        };
    }
    spec.training.microbatches_per_step = ranks;
    spec.training.optimizer.kind = OptimizerKind::Adamw;
    spec.training.dropout = 0.3;
    spec
}

/// A micro-batch of noise.
fn inputs(spec: &TrainSpec, learner: &Learner, rank: u32) -> Result<Inputs> {
    rng::seed(u64::from(rank))?;
    let float = (Kind::Float, Device::Cpu);
    let clips = i64::from(spec.training.microbatch.total());
    let front_ends = FrontEnds::new(&spec.model, Device::Cpu);
    let waveforms = Tensor::randn([clips, SECONDS * 16_000], float) * 0.1;
    let features = || Features {
        mel: front_ends.crnn(&waveforms),
        transformer: front_ends.transformer(&waveforms),
    };
    let (classes, frames) = (model::NUM_CLASSES, model::LABEL_FRAMES);
    let weak = learner.layout().weak.len;
    Ok(Inputs {
        student: features(),
        teacher: features(),
        mask: Tensor::ones([clips, classes], (Kind::Bool, Device::Cpu)),
        targets: Targets {
            strong: Tensor::rand([clips, classes, frames], float),
            weak: Tensor::rand([weak, classes], float),
            pseudo: None,
        },
        mixup: None,
        skipped_layers: None,
    })
}
