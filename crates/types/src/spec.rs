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
#[expect(
    clippy::large_enum_variant,
    reason = "a process holds one or a few of these, never an array"
)]
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
    /// The size of the gang where the result depends on it ([`Reduction::Fast`]); any other gang refuses the task.
    pub world_size: Option<u32>,
    /// How it is watched; none for not at all, and then the last state is the result.
    pub validation: Option<ValidationSettings>,
    /// How it is run.
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
    /// How it is run.
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

/// Settings of an `evaluate` task. Inputs by role: `logits/<member>/<split>/<shard>`. Outputs: `scores`
/// (a [`crate::ScoreReport`]) and, where clips are asked for, `clips` (a [`crate::ShownClips`]).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct EvaluateSpec {
    /// The plan's seed, from which the bootstrap draws.
    pub seed: u64,
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
    /// Folder of impulse responses (WAV files at any depth), relative to `root`; needed where
    /// [`AugmentationSettings::impulse_probability`] is not 0.
    pub impulse_responses: Option<PathBuf>,
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
    /// Frame-wise PaSST (recipe 4.5).
    Fpasst,
    /// BEATs (recipe 4.6).
    Beats,
}

impl Architecture {
    /// Every architecture, for messages and choices.
    pub const ALL: [Self; 3] = [Self::AtstFrame, Self::Fpasst, Self::Beats];

    /// The name in plans.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::AtstFrame => "atst_frame",
            Self::Fpasst => "fpasst",
            Self::Beats => "beats",
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
    /// What BEATs alone has; unused by the others.
    pub beats: BeatsSettings,
    /// Outputs of the frozen AudioSet projection (`head_linear_layer`), 527 as published; `None` for no wrapper.
    pub audioset_head: Option<u32>,
    /// How embeddings become label frames.
    pub embedding_pooling: EmbeddingPooling,
    /// The CRNN's size.
    pub crnn: CrnnSettings,
    /// Whether ATST's 80 dB floor follows the whole micro-batch (`batch`, as published) or each clip (recipe T8).
    pub atst_floor: DecibelFloor,
    /// Random edges of fPaSST's mel bank; they also shape evaluation (recipe 3.3). Unused by the others.
    pub fpasst_mel: MelEdges,
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

impl TransformerSettings {
    /// The size of all three published transformers.
    pub const PUBLISHED: Self = Self {
        dim: 768,
        depth: 12,
        heads: 12,
        mlp_ratio: 4,
    };
}

/// What BEATs has beyond the common sizes (recipe 4.6).
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct BeatsSettings {
    /// Channels of the patch embedding, 512 as published.
    pub patch_dim: u32,
    /// Width of the positional convolution, 128 as published,
    pub position_kernel: u32,
    /// and its groups, 16 as published.
    pub position_groups: u32,
    /// Buckets of the relative position bias, 320 as published,
    pub buckets: u32,
    /// and the distance from which all share one, 800 as published.
    pub max_distance: u32,
    /// Gradients are multiplied by this at the input of every layer, in evaluation too; 1 for none.
    pub gradient_decay: f64,
    /// Dropout after each branch (train mode only, see [`TrainingSettings::transformer_train_mode`]),
    pub dropout: f64,
    /// of attention weights,
    pub attention_dropout: f64,
    /// inside the MLP,
    pub activation_dropout: f64,
    /// and of the embedded patches.
    pub input_dropout: f64,
    /// Chance that a layer is left out (train mode only).
    pub layerdrop: f64,
}

impl BeatsSettings {
    /// The published configuration as far as it is known (recipe 4.6).
    pub const PUBLISHED: Self = Self {
        patch_dim: 512,
        position_kernel: 128,
        position_groups: 16,
        buckets: 320,
        max_distance: 800,
        gradient_decay: 1.0,
        dropout: 0.1,
        attention_dropout: 0.1,
        activation_dropout: 0.0,
        input_dropout: 0.1,
        layerdrop: 0.05,
    };
}

/// Random edges of a mel bank (recipe 3.3). The upper edge is 8000 − `high`/2 Hz in evaluation; training draws the lower edge
/// from 0 to `low` − 1 Hz and the upper one from 8000 − `high` + 1 to 8000 Hz, once per micro-batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct MelEdges {
    /// Range of the lower edge in Hz; 1 for none.
    pub low: u32,
    /// Range of the upper edge in Hz; 1 for none.
    pub high: u32,
}

impl MelEdges {
    /// 0 to 8000 Hz always.
    pub const FIXED: Self = Self { low: 1, high: 1 };
}

/// How T transformer embeddings become 156 (recipe 4.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EmbeddingPooling {
    /// Adaptive average pooling.
    AdaptiveAverage,
    /// Interpolation by the nearest token, measured from the frames' centres.
    NearestExact,
    /// Interpolation by the nearest token, measured from the frames' starts.
    Nearest,
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

impl CrnnSettings {
    /// The published size.
    pub const PUBLISHED: Self = Self {
        channels: [16, 32, 64, 128, 128, 128, 128],
        fusion_dim: 256,
        rnn_hidden: 256,
        rnn_layers: 2,
    };
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
    /// In what order gradients are summed.
    pub reduction: Reduction,
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
    /// Whether the transformers' own dropout acts in stage 2; which of the two the authors had is not known (recipe T25).
    pub transformer_train_mode: bool,
    /// Which of stage 1's networks the teacher of stage 2 starts from (recipe 7.2); only its BatchNorm statistics outlive step 0.
    pub teacher_init: TeacherInit,
    /// Compare pseudo-labels with the student's predictions without the class mask (recipe 2.5, 5.1).
    pub pseudo_no_class_mask: bool,
    /// Random changes of the input.
    pub augmentation: AugmentationSettings,
}

/// In what order the gradients of a step's micro-batches are summed (ARCHITECTURE.md, "Sameness").
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reduction {
    /// In one tree over the micro-batches, the same for every size of the gang.
    Ordered,
    /// As c10d's `Reducer` does: in an order that depends on the size of the gang.
    Fast,
}

/// Scores of the student on data that training never sees, and what they decide (recipe 7.3).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ValidationSettings {
    /// Epochs from one validation to the next, 10 as published; the last epoch is followed by one in any case.
    pub every_epochs: u32,
    /// Splits scored by PSDS1.
    pub desed: BTreeSet<Split>,
    /// Whether the recordings that are held back from MAESTRO's training (recipe 1.6) are scored by mpAUC.
    pub maestro: bool,
    /// Classes of PSDS1.
    pub desed_classes: BTreeSet<String>,
    /// Classes of mpAUC.
    pub maestro_classes: BTreeSet<String>,
    /// Clips per forward pass.
    pub batch_size: u32,
    /// Which state of the networks is the result.
    pub keep: Keep,
}

/// Which state of the networks a `train` task hands in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Keep {
    /// The first one with the highest objective: the sum of all validation scores.
    Best,
    /// The last one.
    Last,
}

/// Where the teacher of stage 2 comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TeacherInit {
    /// From the teacher of stage 1.
    Teacher,
    /// From the student of stage 1.
    Student,
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
    /// Compare on MAESTRO clips at all.
    pub include_maestro: bool,
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

/// Random changes of the input (recipe 6). A probability of 0 switches one off.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct AugmentationSettings {
    /// Chance that a recording is mixed with another of its set (recipe 6.1),
    pub wavmix_probability: f64,
    /// both parameters of the Beta distribution of its weight,
    pub wavmix_alpha: f64,
    /// and the sets in which this is done.
    pub wavmix_target: WavmixTarget,
    /// Chance that a recording is convolved with a device's impulse response (recipe 6.2).
    pub impulse_probability: f64,
    /// Random gain per clip: whole decibels from −`gain_db` to `gain_db` − 1; 0 for none (recipe 6.5).
    pub gain_db: u32,
    /// Chance that a micro-batch is mixed (recipe 6.3).
    pub mixup_probability: f64,
    /// Both parameters of the Beta distribution of the mixing coefficient.
    pub mixup_alpha: f64,
    /// Mix (and mixstyle) MAESTRO with the DESED strong clips, as published, or each by itself.
    pub joint_maestro: bool,
    /// Chance of frequency-wise mixstyle (recipe 6.4),
    pub mixstyle_probability: f64,
    /// and both parameters of the Beta distribution of its weight.
    pub mixstyle_alpha: f64,
    /// Chance of filter augmentation (recipe 6.5),
    pub filter_probability: f64,
    /// its largest gain in decibels, up and down,
    pub filter_db: f64,
    /// the fewest bands,
    pub filter_bands_min: u32,
    /// the most,
    pub filter_bands_max: u32,
    /// and the narrowest band in mel bins.
    pub filter_min_width: u32,
    /// Mask a stretch of time in the DESED strong clips (recipe 6.5).
    pub time_mask: bool,
    /// Shortest masked share of a clip (0.05 as published),
    pub time_mask_min: f64,
    /// and the longest (0.3 as published).
    pub time_mask_max: f64,
    /// Standard deviation of a cyclic shift in time as a share of a clip; 0 for none (recipe 6.5).
    pub time_shift: f64,
    /// Chance of frequency warping of the transformer's features (recipe 6.5, stage 2),
    pub warp_probability: f64,
    /// the smallest share of bands that is stretched,
    pub warp_min: f64,
    /// the largest,
    pub warp_max: f64,
    /// and whether MAESTRO clips take part.
    pub warp_maestro: bool,
}

impl AugmentationSettings {
    /// Nothing is changed; every strength has its published value.
    pub const OFF: Self = Self {
        wavmix_probability: 0.0,
        wavmix_alpha: 0.2,
        wavmix_target: WavmixTarget::Strong,
        impulse_probability: 0.0,
        gain_db: 0,
        mixup_probability: 0.0,
        mixup_alpha: 0.2,
        joint_maestro: true,
        mixstyle_probability: 0.0,
        mixstyle_alpha: 0.3,
        filter_probability: 0.0,
        filter_db: 6.0,
        filter_bands_min: 3,
        filter_bands_max: 5,
        filter_min_width: 6,
        time_mask: false,
        time_mask_min: 0.05,
        time_mask_max: 0.3,
        time_shift: 0.0,
        warp_probability: 0.0,
        warp_min: 0.6,
        warp_max: 1.0,
        warp_maestro: false,
    };
}

/// The sets whose recordings are mixed (recipe 6.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WavmixTarget {
    /// MAESTRO, real strong, synthetic.
    Strong,
    /// These and the weakly labeled.
    Labeled,
    /// All five.
    All,
}

/// What an `evaluate` task computes (recipe 9).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct EvaluationSettings {
    /// Split scored by PSDS, on which post-processing is tuned; none if there is none.
    pub desed: Option<Split>,
    /// A second split scored by PSDS, with what was tuned on the first.
    pub test: Option<Split>,
    /// Split scored by mpAUC; none if there is none.
    pub maestro: Option<Split>,
    /// Classes of PSDS; the ten of DESED as published.
    pub desed_classes: BTreeSet<String>,
    /// Classes of mpAUC; the eleven of MAESTRO as published.
    pub maestro_classes: BTreeSet<String>,
    /// Draws of the bootstrap that gives each value its interval; 0 for no intervals.
    pub replicates: u32,
    /// Clips of the split scored by PSDS that are chosen to be looked at; 0 for none.
    pub clips: u32,
}

impl EvaluationSettings {
    /// The splits that are scored.
    pub fn splits(&self) -> impl Iterator<Item = Split> {
        [self.desed, self.test, self.maestro].into_iter().flatten()
    }
}

/// How a task is run. Nothing here but `threads` can change a result and is part of a content key.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RuntimeSettings {
    /// Optimizer steps between checkpoints.
    pub checkpoint_every_steps: u64,
    /// Checkpoints that stay until the task is done.
    #[serde(default = "crate::default_keep_checkpoints")]
    pub keep_checkpoints: u32,
    /// Threads of libtorch in each rank. On CPUs another number sums in another order.
    pub threads: u32,
    /// Threads that decode audio ahead of the training thread.
    pub prefetch_threads: u32,
}
