//! Keys of a stage and of a model, with the recipe's values of iteration 2 as defaults.

use types::{
    Architecture, AugmentationSettings, BeatsSettings, CrnnSettings, DecibelFloor,
    EmbeddingPooling, Keep, LossWeights, MelEdges, MicrobatchSizes, ModelSettings, OptimizerKind,
    OptimizerSettings, Reduction, SelfSupervisedSettings, TeacherInit, TrainingSettings,
    TransformerSettings, world_sizes,
};

use crate::setting::{Limits, Setting, Slot, setting};

/// One stage of one member in one iteration, resolved.
#[derive(Debug, Clone, PartialEq)]
pub struct StageSettings {
    /// What is minimised, and how.
    pub training: TrainingSettings,
    /// Which state of the networks is the result, where there is validation.
    pub keep: Keep,
    /// Random edges of fPaSST's mel bank, which differ between the stages (recipe 3.3).
    pub fpasst_mel: MelEdges,
    /// How embeddings become label frames: as the member's network says, or as the preset where that says nothing.
    pub embedding_pooling: EmbeddingPooling,
    /// Bounds of the gang's size. They cannot change a result, unless the reduction is fast.
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

/// Sets of values that a plan's keys are written over. What iteration 1 was trained with is not published (recipe 10.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Preset {
    /// The authors' commands for iteration 2 (recipe 10.1).
    #[default]
    LikeI2,
    /// The defaults of the authors' scripts, which look like iteration 1.
    Default,
}

impl StageSettings {
    /// The recipe's values for stage 1 or 2 of iteration 2 (recipe 10.1): the authors' commands.
    #[must_use]
    pub(crate) fn published(architecture: Architecture, stage: u32) -> Self {
        Self::of_preset(Preset::LikeI2, architecture, stage)
    }

    /// The sizes that a gang may have, growing.
    pub(crate) fn world_sizes(&self) -> Vec<u32> {
        let mut sizes = world_sizes(self.training.microbatches_per_step);
        sizes.retain(|size| (self.gpus.min..=self.gpus.max).contains(size));
        sizes
    }

    /// A preset's values for stage 1 or 2.
    #[must_use]
    pub(crate) fn of_preset(preset: Preset, architecture: Architecture, stage: u32) -> Self {
        let mut settings = Self {
            training: if stage == 1 {
                published_stage1(architecture)
            } else {
                published_stage2(architecture)
            },
            keep: Keep::Best,
            fpasst_mel: match architecture {
                Architecture::Fpasst => MelEdges { low: 1, high: 2000 },
                _ => MelEdges::FIXED,
            },
            embedding_pooling: published_model(architecture).embedding_pooling,
            gpus: GpuBounds { min: 1, max: 8 },
        };
        if preset == Preset::Default {
            settings.embedding_pooling = EmbeddingPooling::AdaptiveAverage;
            if stage == 1 {
                settings.script_defaults_of_stage1();
            } else {
                settings.script_defaults_of_stage2(architecture);
            }
        }
        settings
    }

    fn script_defaults_of_stage1(&mut self) {
        self.fpasst_mel = MelEdges::FIXED;
        let training = &mut self.training;
        training.loss = LossWeights {
            maestro: 0.08,
            strong: 0.05,
            synth: 0.08,
            weak: 0.21,
            self_supervised: 0.58,
            pseudo: 0.0,
        };
        training.optimizer.lr_cnn = 1e-3;
        training.optimizer.lr_rnn = 1e-3;
        training.self_supervised.no_class_mask = false;
        training.self_supervised.exclude_maestro_weak = false;
        training.augmentation.mixstyle_probability = 0.5;
        training.augmentation.filter_probability = 0.8;
    }

    fn script_defaults_of_stage2(&mut self, architecture: Architecture) {
        if architecture == Architecture::Fpasst {
            self.fpasst_mel = MelEdges {
                low: 10,
                high: 1000,
            };
        }
        let training = &mut self.training;
        training.loss = LossWeights {
            maestro: 2.0,
            strong: 1.0,
            synth: 1.0,
            weak: 1.0,
            self_supervised: 70.0,
            pseudo: 0.0,
        };
        training.microbatches_per_step = 1;
        training.self_supervised.exclude_maestro_weak = false;
        training.optimizer.kind = OptimizerKind::Adam;
        training.optimizer.lr_cnn = 1e-4;
        training.optimizer.lr_rnn = 1e-3;
        training.optimizer.lr_transformer = 1e-4;
        training.optimizer.layer_factor = 1.0;
        training.augmentation.warp_probability = 0.5;
        training.augmentation.warp_maestro = false;
    }
}

fn published_stage1(architecture: Architecture) -> TrainingSettings {
    let beats = architecture == Architecture::Beats;
    let fpasst = architecture == Architecture::Fpasst;
    let (microbatch, microbatches_per_step) = if beats {
        (sizes([3, 3, 3, 5, 5]), 4)
    } else {
        (sizes([12, 10, 10, 20, 20]), 1)
    };
    TrainingSettings {
        epochs: 200,
        microbatch,
        microbatches_per_step,
        reduction: Reduction::Ordered,
        loss: LossWeights {
            maestro: 0.5,
            strong: 0.25,
            synth: if beats { 0.08 } else { 0.12 },
            weak: 0.1,
            self_supervised: 0.1,
            pseudo: 1.5,
        },
        self_supervised: SelfSupervisedSettings {
            warmup_steps: 14_000,
            max_factor: 2.0,
            no_class_mask: !fpasst,
            exclude_maestro_weak: fpasst,
            include_maestro: true,
            interpolation_consistency: false,
        },
        optimizer: OptimizerSettings {
            kind: OptimizerKind::Adamw,
            lr_cnn: 5e-4,
            lr_rnn: 5e-4,
            // Frozen: neither of the two is used.
            lr_transformer: 0.0,
            layer_factor: 1.0,
            weight_decay: 1e-2,
            warmup_steps: 4000,
        },
        ema_factor: 0.999,
        dropout: 0.3,
        transformer_train_mode: false,
        teacher_init: TeacherInit::Teacher,
        pseudo_no_class_mask: false,
        augmentation: AugmentationSettings {
            wavmix_probability: 0.5,
            mixup_probability: 0.5,
            // The command for BEATs does not switch it off (recipe 6.7).
            mixstyle_probability: if beats { 0.5 } else { 0.0 },
            ..AugmentationSettings::OFF
        },
    }
}

fn published_stage2(architecture: Architecture) -> TrainingSettings {
    let atst = architecture == Architecture::AtstFrame;
    let fpasst = architecture == Architecture::Fpasst;
    let (microbatch, microbatches_per_step) = if architecture == Architecture::Beats {
        (sizes([3, 2, 2, 3, 3]), 36)
    } else {
        (sizes([7, 5, 5, 9, 9]), 8)
    };
    TrainingSettings {
        epochs: 250,
        microbatch,
        microbatches_per_step,
        reduction: Reduction::Ordered,
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
            exclude_maestro_weak: !atst,
            include_maestro: true,
            interpolation_consistency: true,
        },
        optimizer: OptimizerSettings {
            kind: OptimizerKind::Adamw,
            lr_cnn: if atst { 1e-5 } else { 5e-5 },
            lr_rnn: if atst { 1e-4 } else { 5e-4 },
            lr_transformer: 1e-4,
            layer_factor: if atst { 0.5 } else { 1.0 },
            weight_decay: 1e-3,
            warmup_steps: 270,
        },
        ema_factor: 0.999,
        dropout: 0.5,
        transformer_train_mode: false,
        teacher_init: TeacherInit::Teacher,
        pseudo_no_class_mask: false,
        augmentation: AugmentationSettings {
            wavmix_probability: 0.5,
            impulse_probability: 0.5,
            mixup_probability: 0.5,
            mixstyle_probability: 0.5,
            filter_probability: 0.8,
            time_mask: true,
            warp_probability: if fpasst { 0.0 } else { 0.5 },
            warp_maestro: !fpasst,
            ..AugmentationSettings::OFF
        },
    }
}

/// In batch order.
const fn sizes([maestro, strong, synth, weak, unlabeled]: [u32; 5]) -> MicrobatchSizes {
    MicrobatchSizes {
        maestro,
        strong,
        synth,
        weak,
        unlabeled,
    }
}

/// The published network (recipe 4, 10.1).
pub(crate) fn published_model(architecture: Architecture) -> ModelSettings {
    ModelSettings {
        architecture,
        transformer: TransformerSettings::PUBLISHED,
        audioset_head: match architecture {
            Architecture::Beats => None,
            Architecture::AtstFrame | Architecture::Fpasst => Some(527),
        },
        embedding_pooling: match architecture {
            Architecture::AtstFrame => EmbeddingPooling::AdaptiveAverage,
            Architecture::Fpasst | Architecture::Beats => EmbeddingPooling::NearestExact,
        },
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
const DROPOUT: Limits = Limits::Real(0.0, 0.95);
const ALPHA: Limits = Limits::Positive(100.0);
/// So that the lower edge stays below the upper one whatever is drawn.
const EDGE: Limits = Limits::Whole(1, 4000);

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
    setting("reduction", Limits::Any, |s| Slot::Choice(&mut s.training.reduction), "order of a step's gradient sums: one for gangs of all sizes, whose results are equal to the bit; or the fastest of a gang, whose size `gpus` must fix", ""),
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
    setting("self_supervised.include_maestro", Limits::Any, |s| Slot::Bool(&mut s.training.self_supervised.include_maestro), "compare student and teacher on MAESTRO clips at all", "5.1"),
    setting("self_supervised.interpolation_consistency", Limits::Any, |s| Slot::Bool(&mut s.training.self_supervised.interpolation_consistency), "interpolation consistency where mixup was drawn (stage 2)", "5.2"),
    setting("optimizer.kind", Limits::Any, |s| Slot::Choice(&mut s.training.optimizer.kind), "with decoupled weight decay or without any", "7"),
    setting("optimizer.lr_cnn", RATE, |s| Slot::F64(&mut s.training.optimizer.lr_cnn), "learning rate of the CNN", "10.1"),
    setting("optimizer.lr_rnn", RATE, |s| Slot::F64(&mut s.training.optimizer.lr_rnn), "learning rate of the rest of the CRNN", "10.1"),
    setting("optimizer.lr_transformer", RATE, |s| Slot::F64(&mut s.training.optimizer.lr_transformer), "learning rate of the transformer's top group (stage 2)", "10.1"),
    setting("optimizer.layer_factor", Limits::Positive(1.0), |s| Slot::F64(&mut s.training.optimizer.layer_factor), "each transformer group's rate is this times that of the group above", "7.2"),
    setting("optimizer.weight_decay", SHARE, |s| Slot::F64(&mut s.training.optimizer.weight_decay), "decoupled weight decay of every parameter", "10.1"),
    setting("optimizer.warmup_steps", STEPS, |s| Slot::U64(&mut s.training.optimizer.warmup_steps), "steps of linear warm-up before the half cosine to 0", "10.1"),
    setting("ema_factor", SHARE, |s| Slot::F64(&mut s.training.ema_factor), "upper limit of the teacher's averaging factor", "5.3"),
    setting("dropout", DROPOUT, |s| Slot::F64(&mut s.training.dropout), "dropout in the CRNN", "10.1"),
    setting("transformer_train_mode", Limits::Any, |s| Slot::Bool(&mut s.training.transformer_train_mode), "whether BEATs' own dropout acts in stage 2; which of the two the authors had is not known", "5.4, T25"),
    setting("teacher_init", Limits::Any, |s| Slot::Choice(&mut s.training.teacher_init), "which of stage 1's networks the teacher of stage 2 starts from; only its BatchNorm statistics outlive the first step", "7.2"),
    setting("pseudo_no_class_mask", Limits::Any, |s| Slot::Bool(&mut s.training.pseudo_no_class_mask), "compare pseudo-labels with predictions without the class mask", "2.5"),
    setting("keep", Limits::Any, |s| Slot::Choice(&mut s.keep), "which state of the networks is the result: the one with the highest objective of the validations, or the last; which of the two the authors published is not known", "7, 13"),
    setting("fpasst_mel.low", EDGE, |s| Slot::U32(&mut s.fpasst_mel.low), "range of the random lower edge of fPaSST's mel bank in Hz, 1 for none; unused by the others", "3.3"),
    setting("fpasst_mel.high", EDGE, |s| Slot::U32(&mut s.fpasst_mel.high), "range of its upper edge in Hz, 1 for none; in evaluation the edge lies in the middle", "3.3"),
    setting("augmentation.wavmix_probability", SHARE, |s| Slot::F64(&mut s.training.augmentation.wavmix_probability), "chance that a recording is mixed with another of its set", "6.1"),
    setting("augmentation.wavmix_alpha", ALPHA, |s| Slot::F64(&mut s.training.augmentation.wavmix_alpha), "both parameters of the Beta distribution of its weight", "6.1"),
    setting("augmentation.wavmix_target", Limits::Any, |s| Slot::Choice(&mut s.training.augmentation.wavmix_target), "sets that are mixed: MAESTRO, strong and synthetic; with the weakly labeled; all", "6.1"),
    setting("augmentation.impulse_probability", SHARE, |s| Slot::F64(&mut s.training.augmentation.impulse_probability), "chance that a recording is convolved with a device's impulse response", "6.2"),
    setting("augmentation.gain_db", Limits::Whole(0, 60), |s| Slot::U32(&mut s.training.augmentation.gain_db), "random gain of a clip, so many decibels up and down; 0 for none", "6.5"),
    setting("augmentation.mixup_probability", SHARE, |s| Slot::F64(&mut s.training.augmentation.mixup_probability), "chance that a micro-batch is mixed", "6.3"),
    setting("augmentation.mixup_alpha", ALPHA, |s| Slot::F64(&mut s.training.augmentation.mixup_alpha), "both parameters of the Beta distribution of the mixing coefficient", "6.3"),
    setting("augmentation.joint_maestro", Limits::Any, |s| Slot::Bool(&mut s.training.augmentation.joint_maestro), "mix MAESTRO with the DESED strong clips (mixup and mixstyle), or each by itself", "6.3"),
    setting("augmentation.mixstyle_probability", SHARE, |s| Slot::F64(&mut s.training.augmentation.mixstyle_probability), "chance of frequency-wise mixstyle", "6.4"),
    setting("augmentation.mixstyle_alpha", ALPHA, |s| Slot::F64(&mut s.training.augmentation.mixstyle_alpha), "both parameters of the Beta distribution of its weight", "6.4"),
    setting("augmentation.filter_probability", SHARE, |s| Slot::F64(&mut s.training.augmentation.filter_probability), "chance of filter augmentation", "6.5"),
    setting("augmentation.filter_db", Limits::Real(0.0, 60.0), |s| Slot::F64(&mut s.training.augmentation.filter_db), "its largest gain in decibels, up and down", "6.5"),
    setting("augmentation.filter_bands_min", Limits::Whole(1, 64), |s| Slot::U32(&mut s.training.augmentation.filter_bands_min), "fewest bands of a filter", "6.5"),
    setting("augmentation.filter_bands_max", Limits::Whole(1, 64), |s| Slot::U32(&mut s.training.augmentation.filter_bands_max), "most bands of a filter", "6.5"),
    setting("augmentation.filter_min_width", Limits::Whole(1, 64), |s| Slot::U32(&mut s.training.augmentation.filter_min_width), "narrowest band in mel bins", "6.5"),
    setting("augmentation.time_mask", Limits::Any, |s| Slot::Bool(&mut s.training.augmentation.time_mask), "mask a stretch of time in the DESED strong clips", "6.5"),
    setting("augmentation.time_mask_min", SHARE, |s| Slot::F64(&mut s.training.augmentation.time_mask_min), "shortest masked share of a clip", "6.5"),
    setting("augmentation.time_mask_max", SHARE, |s| Slot::F64(&mut s.training.augmentation.time_mask_max), "longest masked share of a clip", "6.5"),
    setting("augmentation.time_shift", SHARE, |s| Slot::F64(&mut s.training.augmentation.time_shift), "standard deviation of a cyclic shift as a share of a clip; 0 for none", "6.5"),
    setting("augmentation.warp_probability", SHARE, |s| Slot::F64(&mut s.training.augmentation.warp_probability), "chance of frequency warping of the transformer's features (stage 2)", "6.5"),
    setting("augmentation.warp_min", Limits::Real(0.01, 1.0), |s| Slot::F64(&mut s.training.augmentation.warp_min), "smallest share of bands that is stretched", "6.5"),
    setting("augmentation.warp_max", Limits::Real(0.01, 1.0), |s| Slot::F64(&mut s.training.augmentation.warp_max), "largest share of bands that is stretched", "6.5"),
    setting("augmentation.warp_maestro", Limits::Any, |s| Slot::Bool(&mut s.training.augmentation.warp_maestro), "warp MAESTRO clips too", "6.5"),
    setting("gpus.min", GANG, |s| Slot::U32(&mut s.gpus.min), "smallest gang (devices, GPU or CPU); part of the content key only where `reduction` is \"fast\"", ""),
    setting("gpus.max", GANG, |s| Slot::U32(&mut s.gpus.max), "largest gang; as `gpus.min`", ""),
];

/// Keys of `model`.
#[rustfmt::skip]
pub(crate) static MODEL: &[Setting<ModelSettings>] = &[
    setting("transformer.dim", WIDTH, |m| Slot::U32(&mut m.transformer.dim), "width of the transformer, a multiple of `heads`", "4.4"),
    setting("transformer.depth", Limits::Whole(1, 256), |m| Slot::U32(&mut m.transformer.depth), "transformer blocks", "4.4"),
    setting("transformer.heads", Limits::Whole(1, 256), |m| Slot::U32(&mut m.transformer.heads), "attention heads", "4.4"),
    setting("transformer.mlp_ratio", Limits::Whole(1, 16), |m| Slot::U32(&mut m.transformer.mlp_ratio), "width of a block's MLP as a multiple of `dim`", "4.4"),
    setting("beats.patch_dim", WIDTH, |m| Slot::U32(&mut m.beats.patch_dim), "channels of the patch embedding of BEATs; the keys of `beats` are unused by the others", "4.6"),
    setting("beats.position_kernel", Limits::Whole(1, 1024), |m| Slot::U32(&mut m.beats.position_kernel), "width of its positional convolution", "4.6"),
    setting("beats.position_groups", WIDTH, |m| Slot::U32(&mut m.beats.position_groups), "groups of that convolution; they divide the width of the transformer", "4.6"),
    setting("beats.buckets", Limits::Whole(4, 16_384), |m| Slot::U32(&mut m.beats.buckets), "buckets of its relative position bias", "4.6"),
    setting("beats.max_distance", Limits::Whole(1, 1_000_000), |m| Slot::U32(&mut m.beats.max_distance), "distance from which all share one bucket", "4.6"),
    setting("beats.gradient_decay", SHARE, |m| Slot::F64(&mut m.beats.gradient_decay), "factor of the gradient at the input of every layer, in evaluation too; 1 for none", "4.6"),
    setting("beats.dropout", DROPOUT, |m| Slot::F64(&mut m.beats.dropout), "dropout after each branch; all dropout of the transformer needs `transformer_train_mode`", "4.6, T25"),
    setting("beats.attention_dropout", DROPOUT, |m| Slot::F64(&mut m.beats.attention_dropout), "dropout of attention weights", "4.6, T25"),
    setting("beats.activation_dropout", DROPOUT, |m| Slot::F64(&mut m.beats.activation_dropout), "dropout inside the MLP", "4.6, T25"),
    setting("beats.input_dropout", DROPOUT, |m| Slot::F64(&mut m.beats.input_dropout), "dropout of the embedded patches", "4.6, T25"),
    setting("beats.layerdrop", DROPOUT, |m| Slot::F64(&mut m.beats.layerdrop), "chance that a layer is left out", "4.6, T25"),
    setting("audioset_head", WIDTH, |m| Slot::OptionalU32(&mut m.audioset_head), "outputs of the frozen AudioSet projection; `false` for no wrapper", "4.3"),
    setting("embedding_pooling", Limits::Any, |m| Slot::Choice(&mut m.embedding_pooling), "how transformer embeddings become label frames", "4.2"),
    setting("crnn.channels", WIDTH, |m| Slot::Numbers(&mut m.crnn.channels), "output channels of the seven CNN blocks", "4.1"),
    setting("crnn.fusion_dim", WIDTH, |m| Slot::U32(&mut m.crnn.fusion_dim), "width of the fused input of the GRU", "4.2"),
    setting("crnn.rnn_hidden", WIDTH, |m| Slot::U32(&mut m.crnn.rnn_hidden), "hidden size of the GRU in each direction", "4.2"),
    setting("crnn.rnn_layers", Limits::Whole(1, 16), |m| Slot::U32(&mut m.crnn.rnn_layers), "layers of the GRU", "4.2"),
    setting("atst_floor", Limits::Any, |m| Slot::Choice(&mut m.atst_floor), "whether ATST's 80 dB floor follows the whole micro-batch, as published, or each clip", "3.2, T8"),
];
