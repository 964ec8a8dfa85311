use std::path::Path;

use dataset::synthetic::{self, Sizes};

/// Writes the data that the plan names, into `folder/data`.
pub(crate) fn write_data(folder: &Path) {
    let sizes = Sizes {
        maestro_train_scenes: 1,
        maestro_validation: 1,
        recording_seconds: 10,
        strong: 2,
        external_strong: 0,
        synth: 2,
        weak: 5,
        unlabeled: 2,
        synth_validation: 2,
        desed_validation: 5,
        public_eval: 0,
        clip_seconds: 2.0,
    };
    synthetic::write(&folder.join("data"), &sizes, 1).unwrap();
}

/// One member, one iteration: train and predict for two stages, scores for member and ensemble. With more lines for stage 2.
pub(crate) fn text(stage2: &str) -> String {
    PLAN.replace("# more of stage 2", stage2)
}

const PLAN: &str = r#"
name = "wire"
seed = 1

[data]
root = "data"
splits = ["maestro_train", "strong_train", "synth_train", "weak_train", "unlabeled_train"]

[validation]
desed = ["synth_validation"]

[defaults.model]
transformer = { dim = 16, depth = 1, heads = 2, mlp_ratio = 2 }
audioset_head = 8
crnn = { channels = [2, 2, 4, 4, 4, 4, 4], fusion_dim = 8, rnn_hidden = 8, rnn_layers = 1 }

[defaults.stage1]
epochs = 1
microbatch = { maestro = 1, strong = 1, synth = 1, weak = 1, unlabeled = 1 }
microbatches_per_step = 2
gpus = { min = 1, max = 2 }
optimizer.warmup_steps = 1
self_supervised.warmup_steps = 10

[defaults.stage2]
epochs = 1
microbatch = { maestro = 1, strong = 1, synth = 1, weak = 1, unlabeled = 1 }
microbatches_per_step = 2
gpus = { min = 1, max = 2 }
optimizer.warmup_steps = 1
self_supervised.warmup_steps = 10
augmentation.impulse_probability = 0
# more of stage 2

[[member]]
name = "a"
arch = "atst_frame"

[[iteration]]
"#;
