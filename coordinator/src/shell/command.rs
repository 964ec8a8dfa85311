use proto::v1;
use types::{Digest, TaskSpec};

/// The command that starts a rank, as it travels.
pub(super) fn start_rank(start: &control::StartRank) -> v1::StartRank {
    v1::StartRank {
        fence: start.fence.0,
        task: start.task.name.to_string(),
        rank: start.rank.0,
        world_size: u32::try_from(start.gang.len()).unwrap_or(u32::MAX),
        spec: start.spec.to_string(),
        inputs: proto::digests_to_wire(&start.inputs),
        outputs: start.outputs.clone(),
        resume: start
            .resume
            .map(|checkpoint| proto::digest_to_wire(&checkpoint.digest)),
        manifest: manifest(&start.spec).as_ref().map(proto::digest_to_wire),
    }
}

/// The manifest that a task's data must match.
fn manifest(spec: &str) -> Option<Digest> {
    let data = match serde_json::from_str(spec).ok()? {
        TaskSpec::Train(spec) => spec.data,
        TaskSpec::Predict(spec) => spec.data,
        TaskSpec::Evaluate(spec) => spec.data,
        TaskSpec::PseudoLabel(_) => return None,
    };
    data.manifest
}
