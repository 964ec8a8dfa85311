//! Things that several tests need.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use types::{
    Architecture, CrnnSettings, DataSettings, DecibelFloor, EmbeddingPooling, Fence, MemberName,
    MetricPoint, ModelSettings, PredictSpec, PseudoLabelSpec, Rank, RuntimeSettings, Split, Step,
    TaskName, TaskSpec, TransformerSettings, WorkerId,
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
