//! Things that several tests need.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use types::{
    Architecture, AugmentationSettings, BeatsSettings, CrnnSettings, DataSettings, DecibelFloor,
    EmbeddingPooling, Fence, LossWeights, MelEdges, MemberName, MetricPoint, MicrobatchSizes,
    ModelSettings, OptimizerKind, OptimizerSettings, PseudoLabelSpec, Rank, RuntimeSettings,
    SelfSupervisedSettings, Step, TaskName, TaskSpec, TeacherInit, TrainSpec, TrainingSettings,
    TransformerSettings, WorkerId,
};

use super::assignment::Assignment;
use super::attempt::Limits;
use super::process::ProcessStarter;
use super::settings::Settings;
use crate::protocol::Device;

/// A task that takes the host slot.
pub(crate) fn host_spec() -> TaskSpec {
    TaskSpec::PseudoLabel(PseudoLabelSpec {
        iteration: 1,
        members: BTreeSet::new(),
        splits: BTreeMap::new(),
    })
}

/// A task that takes the device and makes checkpoints; its content does not matter to a supervisor.
pub(crate) fn train_spec() -> TaskSpec {
    TaskSpec::Train(TrainSpec {
        seed: 1,
        iteration: 1,
        stage: 1,
        member: MemberName::new("tiny").unwrap(),
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
        validation: None,
        runtime: RuntimeSettings {
            checkpoint_every_steps: 1,
            threads: 1,
            prefetch_threads: 0,
        },
    })
}

pub(crate) fn assignment(fence: u64, rank: u32) -> Arc<Assignment> {
    Arc::new(Assignment {
        fence: Fence(fence),
        task: TaskName::new("i1.pseudo_label").unwrap(),
        rank: Rank(rank),
        world_size: 2,
        spec: host_spec(),
        inputs: BTreeMap::new(),
        outputs: vec!["pseudo_labels".to_owned()],
        resume: None,
        manifest: None,
    })
}

pub(crate) fn training(fence: u64, rank: u32) -> Arc<Assignment> {
    Arc::new(Assignment {
        task: TaskName::new("i1.s1.tiny.train").unwrap(),
        spec: train_spec(),
        outputs: vec!["checkpoint".to_owned()],
        ..Assignment::clone(&assignment(fence, rank))
    })
}

pub(crate) fn point(step: u64) -> MetricPoint {
    MetricPoint {
        step: Step(step),
        values: BTreeMap::from([("loss".to_owned(), 0.5)]),
    }
}

/// A worker whose files are in `folder` and whose coordinator is nowhere.
pub(crate) fn settings(folder: &Path) -> Settings {
    Settings {
        name: WorkerId::new("w").unwrap(),
        device: Device::Cpu,
        device_name: "cpu".to_owned(),
        host: "here".to_owned(),
        coordinator: "http://127.0.0.1:1".to_owned(),
        token: None,
        work_dir: folder.join("work"),
        address: None,
        limits: Limits::default(),
        lost_after: Duration::from_secs(120),
        collective_timeout: Duration::from_secs(5),
    }
}

/// A rank that is a shell script. It begins with its start command in `$start`, and the folders named there in `$handover`
/// and `$scratch`.
pub(crate) fn script(text: &str) -> ProcessStarter {
    let script = format!(
        r#"read -r start
        handover=${{start#*\"handover\":\"}} handover=${{handover%%\"*}}
        scratch=${{start#*\"scratch\":\"}} scratch=${{scratch%%\"*}}
        {text}"#
    );
    ProcessStarter::new("/bin/sh".into(), vec!["-c".into(), script])
}
