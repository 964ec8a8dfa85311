//! Specs of tasks, complete and small.
//! What is in them matters to nobody who does not train.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use types::{
    Architecture, AugmentationSettings, BeatsSettings, CrnnSettings, DataSettings, DecibelFloor,
    EmbeddingPooling, LossWeights, MelEdges, MemberName, MicrobatchSizes, ModelSettings,
    OptimizerKind, OptimizerSettings, PseudoLabelSpec, Reduction, RuntimeSettings,
    SelfSupervisedSettings, TaskSpec, TeacherInit, TrainSpec, TrainingSettings,
    TransformerSettings,
};

/// A task that takes the host slot.
#[must_use]
pub fn host_spec() -> TaskSpec {
    TaskSpec::PseudoLabel(PseudoLabelSpec {
        iteration: 1,
        members: BTreeSet::new(),
        splits: BTreeMap::new(),
    })
}

/// A task that takes the device and makes checkpoints; its content does not matter to whoever supervises it.
#[must_use]
pub fn train_spec() -> TaskSpec {
    TaskSpec::Train(training())
}

/// The same, for whoever really trains: complete, as small as can be, on data that is not there.
#[must_use]
pub fn training() -> TrainSpec {
    TrainSpec {
        seed: 1,
        iteration: 1,
        stage: 1,
        member: MemberName::new("tiny").expect("a good name"),
        model: ModelSettings {
            architecture: Architecture::AtstFrame,
            transformer: TransformerSettings {
                dim: 8,
                depth: 1,
                heads: 1,
                mlp_ratio: 1,
            },
            audioset_head: None,
            embedding_pooling: EmbeddingPooling::AdaptiveAverage,
            crnn: CrnnSettings {
                channels: [1; 7],
                fusion_dim: 1,
                rnn_hidden: 1,
                rnn_layers: 1,
            },
            atst_floor: DecibelFloor::Clip,
            fpasst_mel: MelEdges::FIXED,
            beats: BeatsSettings::PUBLISHED,
            init_seed: 0,
        },
        data: DataSettings {
            root: PathBuf::from("/no/such/data"),
            sources: BTreeMap::new(),
            exclude: BTreeMap::new(),
            impulse_responses: None,
            manifest: None,
        },
        training: TrainingSettings {
            epochs: 1,
            microbatch: MicrobatchSizes {
                maestro: 1,
                strong: 1,
                synth: 1,
                weak: 1,
                unlabeled: 1,
            },
            microbatches_per_step: 1,
            reduction: Reduction::Ordered,
            loss: LossWeights {
                maestro: 1.0,
                strong: 1.0,
                synth: 1.0,
                weak: 1.0,
                self_supervised: 0.0,
                pseudo: 0.0,
            },
            self_supervised: SelfSupervisedSettings {
                warmup_steps: 0,
                max_factor: 1.0,
                no_class_mask: false,
                exclude_maestro_weak: false,
                include_maestro: true,
                interpolation_consistency: false,
            },
            optimizer: OptimizerSettings {
                kind: OptimizerKind::Adam,
                lr_cnn: 1e-3,
                lr_rnn: 1e-3,
                lr_transformer: 1e-3,
                layer_factor: 1.0,
                weight_decay: 0.0,
                warmup_steps: 0,
            },
            ema_factor: 0.9,
            dropout: 0.0,
            transformer_train_mode: false,
            teacher_init: TeacherInit::Teacher,
            pseudo_no_class_mask: false,
            augmentation: AugmentationSettings {
                mixup_probability: 0.0,
                time_mask: false,
                ..AugmentationSettings::OFF
            },
        },
        world_size: None,
        validation: None,
        runtime: RuntimeSettings {
            checkpoint_every_steps: 1,
            keep_checkpoints: 2,
            threads: 1,
            prefetch_threads: 0,
        },
    }
}
