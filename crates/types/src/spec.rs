//! What a worker is told to do, complete: settings resolved, nothing left to look up in a plan.
//!
//! Every field here is part of a task's content key, except those that `key.rs` of room `plan` lists: a data folder's
//! place and [`RuntimeSettings`] cannot change a result.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::{Digest, MemberName, Split, Subject, TaskKind};

/// The complete description of one task.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum TaskSpec {
    /// Train one member through one stage.
    Train(TrainSpec),
    /// Write frame logits.
    Predict(PredictSpec),
    /// Average logits.
    PseudoLabel(PseudoLabelSpec),
    /// Score.
    Evaluate(EvaluateSpec),
}

impl TaskSpec {
    /// The kind without its content.
    #[must_use]
    pub const fn kind(&self) -> TaskKind {
        match self {
            Self::Train(_) => TaskKind::Train,
            Self::Predict(_) => TaskKind::Predict,
            Self::PseudoLabel(_) => TaskKind::PseudoLabel,
            Self::Evaluate(_) => TaskKind::Evaluate,
        }
    }
}

/// Settings of a `train` task. Inputs by role: `pseudo_labels` (from iteration 2 on), `init` (stage 2: the stage-1
/// checkpoint of the same iteration and member). Output: `checkpoint`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TrainSpec {
    /// The plan's seed; every draw is a function of it and of where in the run it stands (ARCHITECTURE.md, "Sameness").
    pub seed: u64,
    /// From 1.
    pub iteration: u32,
    /// 1: transformer frozen. 2: both trained.
    pub stage: u32,
    /// Which member.
    pub member: MemberName,
    /// Its network.
    pub model: ModelSettings,
    /// Where the data is.
    pub data: DataSettings,
    /// What is minimised, and how.
    pub training: TrainingSettings,
    /// What cannot change the result.
    pub runtime: RuntimeSettings,
}

/// Settings of a `predict` task. Inputs by role: `checkpoint` (absent for an untrained model). Output: `logits`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PredictSpec {
    /// The plan's seed: initialises an untrained model, and chooses the crop of clips longer than 10 s.
    pub seed: u64,
    /// From 1; 0 for an untrained model.
    pub iteration: u32,
    /// 1 or 2; 0 for an untrained model.
    pub stage: u32,
    /// Which member.
    pub member: MemberName,
    /// Its network.
    pub model: ModelSettings,
    /// Where the data is.
    pub data: DataSettings,
    /// Which clips.
    pub split: Split,
    /// This shard's index,
    pub shard: u32,
    /// of so many. Shard `k` of `n` takes the clips `k·len/n .. (k+1)·len/n` in the split's order.
    pub num_shards: u32,
    /// Clips per forward pass. Part of the key: ATST's decibel floor depends on it (recipe T8).
    pub batch_size: u32,
    /// What cannot change the result.
    pub runtime: RuntimeSettings,
}

/// Settings of a `pseudo_label` task. Inputs by role: `logits/<member>/<split>/<shard>`. Output: `pseudo_labels`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PseudoLabelSpec {
    /// The iteration whose models label.
    pub iteration: u32,
    /// Members, equal weights.
    pub members: BTreeSet<MemberName>,
    /// Splits that get labels, with the number of shards of each.
    pub splits: BTreeMap<Split, u32>,
}

/// Settings of an `evaluate` task. Inputs by role: `logits/<member>/<split>/<shard>`. Output: `scores`
/// (a [`crate::ScoreReport`]).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct EvaluateSpec {
    /// From 1; 0 for untrained models.
    pub iteration: u32,
    /// 1 or 2; 0 for untrained models.
    pub stage: u32,
    /// Who is scored.
    pub subject: Subject,
    /// The members whose logits are averaged; one for [`Subject::Member`].
    pub members: BTreeSet<MemberName>,
    /// Where the ground truth is.
    pub data: DataSettings,
    /// What is computed.
    pub evaluation: EvaluationSettings,
    /// Shards of each split in `evaluation`.
    pub shards: BTreeMap<Split, u32>,
}

/// Where the data is. Paths in `sources` are relative to `root`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DataSettings {
    /// The folder that holds DESED and MAESTRO in the layout of recipe 1.1. Not part of a key.
    pub root: PathBuf,
    /// The splits in use and their files.
    pub sources: BTreeMap<Split, SplitFiles>,
    /// Exclude lists (TSV with a column `filename`) by the split that they apply to, relative to `root`.
    pub exclude: BTreeMap<Split, PathBuf>,
    /// Digest of the manifest of all files above: relative path, size and BLAKE3 of each.
    pub manifest: Option<Digest>,
}

/// The files of one split.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SplitFiles {
    /// Folder of audio files.
    pub audio: PathBuf,
    /// TSV of annotations; none for unlabeled clips.
    pub metadata: Option<PathBuf>,
    /// TSV of durations; needed where the split is scored.
    pub durations: Option<PathBuf>,
}

/// Transformer architectures of the recipe (section 4).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Architecture {
    /// ATST-Frame (recipe 4.4).
    AtstFrame,
}

impl Architecture {
    /// Every architecture, for messages and choices.
    pub const ALL: [Self; 1] = [Self::AtstFrame];

    /// The name in plans.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::AtstFrame => "atst_frame",
        }
    }
}

/// A member's network: a CRNN fused with a transformer's embeddings (recipe 4).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ModelSettings {
    /// Which transformer.
    pub architecture: Architecture,
    /// Its size.
    pub transformer: TransformerSettings,
    /// Outputs of the frozen AudioSet projection (`head_linear_layer`), 527 as published; `None` for no wrapper.
    pub audioset_head: Option<u32>,
    /// How embeddings become label frames.
    pub embedding_pooling: EmbeddingPooling,
    /// The CRNN's size.
    pub crnn: CrnnSettings,
    /// Whether ATST's 80 dB floor follows the whole micro-batch (`batch`, as published) or each clip (recipe T8).
    pub atst_floor: DecibelFloor,
    /// Added to the plan's seed when weights are drawn, so that members of one architecture differ.
    pub init_seed: u64,
}

/// Size of a vision-style transformer encoder.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TransformerSettings {
    /// Width, 768 as published; a multiple of `heads`.
    pub dim: u32,
    /// Blocks, 12 as published.
    pub depth: u32,
    /// Attention heads, 12 as published.
    pub heads: u32,
    /// Width of the MLP as a multiple of `dim`, 4 as published.
    pub mlp_ratio: u32,
}

/// How T transformer embeddings become 156 (recipe 4.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EmbeddingPooling {
    /// Adaptive average pooling.
    AdaptiveAverage,
    /// Nearest-exact interpolation.
    NearestExact,
}

/// What ATST's 80 dB floor is relative to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DecibelFloor {
    /// The loudest value of the micro-batch.
    Batch,
    /// The loudest value of the clip.
    Clip,
}

/// Size of the CRNN (recipe 4.1, 4.2).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CrnnSettings {
    /// Output channels of the seven blocks.
    pub channels: [u32; 7],
    /// Width of the fused input of the GRU (`cat_tf`), 256 as published.
    pub fusion_dim: u32,
    /// Hidden size of the GRU in each direction, 256 as published.
    pub rnn_hidden: u32,
    /// GRU layers, 2 as published.
    pub rnn_layers: u32,
}

/// What a `train` task minimises, and how (recipe 5 to 7).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TrainingSettings {
    /// Passes; an epoch is as long as the data set that runs out first (recipe 1.8).
    pub epochs: u32,
    /// Clips of each kind in a micro-batch.
    pub microbatch: MicrobatchSizes,
    /// Micro-batches per optimizer step.
    pub microbatches_per_step: u32,
    /// Weights of the loss terms.
    pub loss: LossWeights,
    /// The consistency loss between student and teacher.
    pub self_supervised: SelfSupervisedSettings,
    /// Optimizer and learning rates.
    pub optimizer: OptimizerSettings,
    /// Upper limit of the teacher's averaging factor, 0.999 as published (recipe 5.3).
    pub ema_factor: f64,
    /// Dropout in the CRNN, 0.3 in stage 1 and 0.5 in stage 2 as published.
    pub dropout: f64,
    /// Random changes of the input.
    pub augmentation: AugmentationSettings,
}

/// Clips per micro-batch, in batch order (recipe 1.8).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct MicrobatchSizes {
    /// MAESTRO training clips.
    pub maestro: u32,
    /// Real strong clips, external ones included.
    pub strong: u32,
    /// Synthetic clips.
    pub synth: u32,
    /// Weakly labeled clips.
    pub weak: u32,
    /// Unlabeled clips.
    pub unlabeled: u32,
}

impl MicrobatchSizes {
    /// Clips in a micro-batch.
    #[must_use]
    pub const fn total(&self) -> u32 {
        self.maestro + self.strong + self.synth + self.weak + self.unlabeled
    }
}

/// λ0 to λ5 of recipe 5.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct LossWeights {
    /// λ0, MAESTRO frames.
    pub maestro: f64,
    /// λ1, real strong frames.
    pub strong: f64,
    /// λ2, synthetic frames.
    pub synth: f64,
    /// λ3, weak labels.
    pub weak: f64,
    /// λ4, consistency with the teacher.
    pub self_supervised: f64,
    /// λ5, distillation from pseudo-labels.
    pub pseudo: f64,
}

/// The consistency loss (recipe 5.1, 5.2).
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct SelfSupervisedSettings {
    /// Steps until the weight has grown to λ4.
    pub warmup_steps: u64,
    /// The weight stops growing at this multiple of λ4.
    pub max_factor: f64,
    /// Compare predictions without the class mask.
    pub no_class_mask: bool,
    /// Leave MAESTRO clips out of the weak consistency term.
    pub exclude_maestro_weak: bool,
    /// Interpolation consistency where mixup was drawn (stage 2).
    pub interpolation_consistency: bool,
}

/// Optimizer and learning rates (recipe 7).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct OptimizerSettings {
    /// With decoupled weight decay or without.
    pub kind: OptimizerKind,
    /// Learning rate of the CNN.
    pub lr_cnn: f64,
    /// Learning rate of the rest of the CRNN.
    pub lr_rnn: f64,
    /// Learning rate of the transformer's top group (stage 2).
    pub lr_transformer: f64,
    /// Each transformer group's rate is this times that of the group above.
    pub layer_factor: f64,
    /// Decoupled weight decay, on every parameter.
    pub weight_decay: f64,
    /// Steps of linear warm-up before the half cosine to 0.
    pub warmup_steps: u64,
}

/// Which optimizer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OptimizerKind {
    /// Decoupled weight decay.
    Adamw,
    /// No weight decay.
    Adam,
}

/// Random changes of the input (recipe 6).
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct AugmentationSettings {
    /// Chance that a micro-batch is mixed (recipe 6.3).
    pub mixup_probability: f64,
    /// Both parameters of the Beta distribution of the mixing coefficient.
    pub mixup_alpha: f64,
    /// Mask a stretch of time in the DESED strong clips (recipe 6.5).
    pub time_mask: bool,
    /// Shortest masked share of a clip (0.05 as published),
    pub time_mask_min: f64,
    /// and the longest (0.3 as published).
    pub time_mask_max: f64,
}

/// What an `evaluate` task computes (recipe 9).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct EvaluationSettings {
    /// Split scored by PSDS; none if there is none.
    pub desed: Option<Split>,
    /// Split scored by mpAUC; none if there is none.
    pub maestro: Option<Split>,
    /// Classes of PSDS; the ten of DESED as published.
    pub desed_classes: BTreeSet<String>,
    /// Classes of mpAUC; the eleven of MAESTRO as published.
    pub maestro_classes: BTreeSet<String>,
    /// Class-wise median filter before scoring (recipe 9.1).
    pub median_filter: bool,
}

/// What can be changed without changing a result; no part of it is in a content key.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RuntimeSettings {
    /// Optimizer steps between checkpoints.
    pub checkpoint_every_steps: u64,
    /// Threads of libtorch in each rank; 0 lets it choose.
    pub threads: u32,
    /// Threads that decode audio ahead of the training thread.
    pub prefetch_threads: u32,
}
