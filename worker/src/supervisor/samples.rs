//! Things that several tests need.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;

use types::{
    Architecture, CrnnSettings, DataSettings, DecibelFloor, EmbeddingPooling, Fence, MemberName,
    MetricPoint, ModelSettings, PredictSpec, PseudoLabelSpec, Rank, RuntimeSettings, Split, Step,
    TaskName, TaskSpec, TransformerSettings,
};

use super::assignment::Assignment;

/// A task that takes the host slot.
pub(crate) fn host_spec() -> TaskSpec {
    TaskSpec::PseudoLabel(PseudoLabelSpec {
        iteration: 1,
        members: BTreeSet::new(),
        splits: BTreeMap::new(),
    })
}

/// A task that takes the device; its content does not matter to a supervisor.
pub(crate) fn device_spec() -> TaskSpec {
    TaskSpec::Predict(PredictSpec {
        seed: 1,
        iteration: 0,
        stage: 0,
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
            init_seed: 0,
        },
        data: DataSettings {
            root: PathBuf::from("/no/such/data"),
            sources: BTreeMap::new(),
            exclude: BTreeMap::new(),
            manifest: None,
        },
        split: Split::WeakTrain,
        shard: 0,
        num_shards: 1,
        batch_size: 1,
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

pub(crate) fn point(step: u64) -> MetricPoint {
    MetricPoint {
        step: Step(step),
        values: BTreeMap::from([("loss".to_owned(), 0.5)]),
    }
}
