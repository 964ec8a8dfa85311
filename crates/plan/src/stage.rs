//! Keys of a stage and of a model, with the recipe's values of iteration 2 as defaults.

use types::{
    Architecture, AugmentationSettings, BeatsSettings, CrnnSettings, DecibelFloor,
    EmbeddingPooling, LossWeights, MelEdges, MicrobatchSizes, ModelSettings, OptimizerKind,
    OptimizerSettings, SelfSupervisedSettings, TeacherInit, TrainingSettings, TransformerSettings,
};

use crate::setting::{Limits, Setting, Slot, setting};

/// One stage of one member in one iteration, resolved.
#[derive(Debug, Clone, PartialEq)]
pub struct StageSettings {
    /// What is minimised, and how.
    pub training: TrainingSettings,
    /// Bounds of the gang's size. They cannot change a result.
    pub gpus: GpuBounds,
}

/// The smallest and the largest gang that a plan allows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GpuBounds {
    /// At least so many devices.
    pub min: u32,
    /// At most so many.
    pub max: u32,
}

impl StageSettings {
    /// The recipe's values for stage 1 or 2 of iteration 2 (recipe 10.1).
    #[must_use]
    pub(crate) fn published(architecture: Architecture, stage: u32) -> Self {
        let _ = architecture;
        let training = if stage == 1 {
            published_stage1()
        } else {
            published_stage2()
        };
        Self {
            training,
            gpus: GpuBounds { min: 1, max: 8 },
        }
    }
}

fn published_stage1() -> TrainingSettings {
    TrainingSettings {
        epochs: 200,
        microbatch: MicrobatchSizes {
            maestro: 12,
            strong: 10,
            synth: 10,
            weak: 20,
            unlabeled: 20,
        },
        microbatches_per_step: 1,
        loss: LossWeights {
            maestro: 0.5,
            strong: 0.25,
            synth: 0.12,
            weak: 0.1,
            self_supervised: 0.1,
            pseudo: 1.5,
        },
        self_supervised: SelfSupervisedSettings {
            warmup_steps: 14_000,
            max_factor: 2.0,
            no_class_mask: true,
            exclude_maestro_weak: false,
            include_maestro: true,
            interpolation_consistency: false,
        },
        optimizer: OptimizerSettings {
            kind: OptimizerKind::Adamw,
            lr_cnn: 5e-4,
            lr_rnn: 5e-4,
            lr_transformer: 1e-4,
            layer_factor: 0.5,
            weight_decay: 1e-2,
            warmup_steps: 4000,
        },
        ema_factor: 0.999,
        dropout: 0.3,
        transformer_train_mode: false,
        teacher_init: TeacherInit::Teacher,
        pseudo_no_class_mask: false,
        augmentation: AugmentationSettings {
            mixup_probability: 0.5,
            time_mask: false,
            ..AugmentationSettings::OFF
        },
    }
}

fn published_stage2() -> TrainingSettings {
    TrainingSettings {
        epochs: 250,
        microbatch: MicrobatchSizes {
            maestro: 7,
            strong: 5,
            synth: 5,
            weak: 9,
            unlabeled: 9,
        },
        microbatches_per_step: 8,
        loss: LossWeights {
            maestro: 12.0,
            strong: 3.0,
            synth: 0.25,
            weak: 1.0,
            self_supervised: 60.0,
            pseudo: 0.0,
        },
        self_supervised: SelfSupervisedSettings {
            warmup_steps: 270,
            max_factor: 1.0,
            no_class_mask: false,
            exclude_maestro_weak: false,
            include_maestro: true,
            interpolation_consistency: true,
        },
        optimizer: OptimizerSettings {
            kind: OptimizerKind::Adamw,
            lr_cnn: 1e-5,
            lr_rnn: 1e-4,
            lr_transformer: 1e-4,
            layer_factor: 0.5,
            weight_decay: 1e-3,
            warmup_steps: 270,
        },
        ema_factor: 0.999,
        dropout: 0.5,
        transformer_train_mode: false,
        teacher_init: TeacherInit::Teacher,
        pseudo_no_class_mask: false,
        augmentation: AugmentationSettings {
            mixup_probability: 0.5,
            time_mask: true,
            ..AugmentationSettings::OFF
        },
    }
}

/// The published network (recipe 4).
pub(crate) fn published_model(architecture: Architecture) -> ModelSettings {
    ModelSettings {
        architecture,
        transformer: TransformerSettings::PUBLISHED,
        audioset_head: Some(527),
        embedding_pooling: EmbeddingPooling::AdaptiveAverage,
        crnn: CrnnSettings::PUBLISHED,
        atst_floor: DecibelFloor::Batch,
        fpasst_mel: MelEdges::FIXED,
        beats: BeatsSettings::PUBLISHED,
        init_seed: 0,
    }
}

const SIZE: Limits = Limits::Whole(0, 4096);
const WEIGHT: Limits = Limits::Real(0.0, 1e6);
const SHARE: Limits = Limits::Real(0.0, 1.0);
const STEPS: Limits = Limits::Whole(0, 1_000_000_000);
const WIDTH: Limits = Limits::Whole(1, 16_384);
const RATE: Limits = Limits::Real(0.0, 1.0);
const GANG: Limits = Limits::Whole(1, 4096);

/// Keys of `stage1` and `stage2`.
#[rustfmt::skip]
pub(crate) static STAGE: &[Setting<StageSettings>] = &[
    setting("epochs", Limits::Whole(1, 1_000_000), |s| Slot::U32(&mut s.training.epochs), "passes over the data; one is as long as the data set that runs out first", "10.1"),
    setting("microbatch.maestro", SIZE, |s| Slot::U32(&mut s.training.microbatch.maestro), "MAESTRO clips in a micro-batch", "1.8"),
    setting("microbatch.strong", SIZE, |s| Slot::U32(&mut s.training.microbatch.strong), "real strong clips in a micro-batch, external ones included", "1.8"),
    setting("microbatch.synth", SIZE, |s| Slot::U32(&mut s.training.microbatch.synth), "synthetic clips in a micro-batch", "1.8"),
    setting("microbatch.weak", SIZE, |s| Slot::U32(&mut s.training.microbatch.weak), "weakly labeled clips in a micro-batch", "1.8"),
    setting("microbatch.unlabeled", SIZE, |s| Slot::U32(&mut s.training.microbatch.unlabeled), "unlabeled clips in a micro-batch", "1.8"),
    setting("microbatches_per_step", GANG, |s| Slot::U32(&mut s.training.microbatches_per_step), "micro-batches in one optimizer step; the world size divides them", "10.1"),
    setting("loss.maestro", WEIGHT, |s| Slot::F64(&mut s.training.loss.maestro), "weight of the MAESTRO frames", "5"),
    setting("loss.strong", WEIGHT, |s| Slot::F64(&mut s.training.loss.strong), "weight of the real strong frames", "5"),
    setting("loss.synth", WEIGHT, |s| Slot::F64(&mut s.training.loss.synth), "weight of the synthetic frames", "5"),
    setting("loss.weak", WEIGHT, |s| Slot::F64(&mut s.training.loss.weak), "weight of the weak labels", "5"),
    setting("loss.self_supervised", WEIGHT, |s| Slot::F64(&mut s.training.loss.self_supervised), "weight of the consistency with the teacher", "5"),
    setting("loss.pseudo", WEIGHT, |s| Slot::F64(&mut s.training.loss.pseudo), "weight of the distillation from pseudo-labels; 0 in an iteration without them", "5"),
    setting("self_supervised.warmup_steps", Limits::Whole(1, 1_000_000_000), |s| Slot::U64(&mut s.training.self_supervised.warmup_steps), "steps until the consistency weight has grown to `loss.self_supervised`", "5.1"),
    setting("self_supervised.max_factor", WEIGHT, |s| Slot::F64(&mut s.training.self_supervised.max_factor), "the consistency weight stops growing at this multiple", "5.1"),
    setting("self_supervised.no_class_mask", Limits::Any, |s| Slot::Bool(&mut s.training.self_supervised.no_class_mask), "compare student and teacher without the class mask", "2.5"),
    setting("self_supervised.exclude_maestro_weak", Limits::Any, |s| Slot::Bool(&mut s.training.self_supervised.exclude_maestro_weak), "leave MAESTRO clips out of the weak consistency", "2.5"),
    setting("self_supervised.interpolation_consistency", Limits::Any, |s| Slot::Bool(&mut s.training.self_supervised.interpolation_consistency), "interpolation consistency where mixup was drawn (stage 2)", "5.2"),
    setting("optimizer.kind", Limits::Any, |s| Slot::Choice(&mut s.training.optimizer.kind), "with decoupled weight decay or without any", "7"),
    setting("optimizer.lr_cnn", RATE, |s| Slot::F64(&mut s.training.optimizer.lr_cnn), "learning rate of the CNN", "10.1"),
    setting("optimizer.lr_rnn", RATE, |s| Slot::F64(&mut s.training.optimizer.lr_rnn), "learning rate of the rest of the CRNN", "10.1"),
    setting("optimizer.lr_transformer", RATE, |s| Slot::F64(&mut s.training.optimizer.lr_transformer), "learning rate of the transformer's top group (stage 2)", "10.1"),
    setting("optimizer.layer_factor", Limits::Positive(1.0), |s| Slot::F64(&mut s.training.optimizer.layer_factor), "each transformer group's rate is this times that of the group above", "7.2"),
    setting("optimizer.weight_decay", SHARE, |s| Slot::F64(&mut s.training.optimizer.weight_decay), "decoupled weight decay of every parameter", "10.1"),
    setting("optimizer.warmup_steps", STEPS, |s| Slot::U64(&mut s.training.optimizer.warmup_steps), "steps of linear warm-up before the half cosine to 0", "10.1"),
    setting("ema_factor", SHARE, |s| Slot::F64(&mut s.training.ema_factor), "upper limit of the teacher's averaging factor", "5.3"),
    setting("dropout", Limits::Real(0.0, 0.95), |s| Slot::F64(&mut s.training.dropout), "dropout in the CRNN", "10.1"),
    setting("augmentation.mixup_probability", SHARE, |s| Slot::F64(&mut s.training.augmentation.mixup_probability), "chance that a micro-batch is mixed", "6.3"),
    setting("augmentation.mixup_alpha", Limits::Positive(100.0), |s| Slot::F64(&mut s.training.augmentation.mixup_alpha), "both parameters of the Beta distribution of the mixing coefficient", "6.3"),
    setting("augmentation.time_mask", Limits::Any, |s| Slot::Bool(&mut s.training.augmentation.time_mask), "mask a stretch of time in the DESED strong clips", "6.5"),
    setting("augmentation.time_mask_min", SHARE, |s| Slot::F64(&mut s.training.augmentation.time_mask_min), "shortest masked share of a clip", "6.5"),
    setting("augmentation.time_mask_max", SHARE, |s| Slot::F64(&mut s.training.augmentation.time_mask_max), "longest masked share of a clip", "6.5"),
    setting("gpus.min", GANG, |s| Slot::U32(&mut s.gpus.min), "smallest gang (devices, GPU or CPU); not part of the content key", ""),
    setting("gpus.max", GANG, |s| Slot::U32(&mut s.gpus.max), "largest gang; not part of the content key", ""),
];

/// Keys of `model`.
#[rustfmt::skip]
pub(crate) static MODEL: &[Setting<ModelSettings>] = &[
    setting("transformer.dim", WIDTH, |m| Slot::U32(&mut m.transformer.dim), "width of the transformer, a multiple of `heads`", "4.4"),
    setting("transformer.depth", Limits::Whole(1, 256), |m| Slot::U32(&mut m.transformer.depth), "transformer blocks", "4.4"),
    setting("transformer.heads", Limits::Whole(1, 256), |m| Slot::U32(&mut m.transformer.heads), "attention heads", "4.4"),
    setting("transformer.mlp_ratio", Limits::Whole(1, 16), |m| Slot::U32(&mut m.transformer.mlp_ratio), "width of a block's MLP as a multiple of `dim`", "4.4"),
    setting("audioset_head", WIDTH, |m| Slot::OptionalU32(&mut m.audioset_head), "outputs of the frozen AudioSet projection; `false` for no wrapper", "4.3"),
    setting("embedding_pooling", Limits::Any, |m| Slot::Choice(&mut m.embedding_pooling), "how transformer embeddings become label frames", "4.2"),
    setting("crnn.channels", WIDTH, |m| Slot::Numbers(&mut m.crnn.channels), "output channels of the seven CNN blocks", "4.1"),
    setting("crnn.fusion_dim", WIDTH, |m| Slot::U32(&mut m.crnn.fusion_dim), "width of the fused input of the GRU", "4.2"),
    setting("crnn.rnn_hidden", WIDTH, |m| Slot::U32(&mut m.crnn.rnn_hidden), "hidden size of the GRU in each direction", "4.2"),
    setting("crnn.rnn_layers", Limits::Whole(1, 16), |m| Slot::U32(&mut m.crnn.rnn_layers), "layers of the GRU", "4.2"),
    setting("atst_floor", Limits::Any, |m| Slot::Choice(&mut m.atst_floor), "whether ATST's 80 dB floor follows the whole micro-batch, as published, or each clip", "3.2, T8"),
];
