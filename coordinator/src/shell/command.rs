use std::time::Duration;

use proto::v1::{self, to_worker::Body};
use types::{Digest, TaskSpec};

use crate::words::Told;

/// What a worker is told, as it travels.
pub(super) fn to_wire(told: Told) -> v1::ToWorker {
    let body = match told {
        Told::Welcome(greeting) => Body::Welcome(v1::Welcome {
            heartbeat_ms: millis(greeting.heartbeat),
            lost_after_ms: millis(greeting.lost_after),
            journal: greeting.journal.0,
        }),
        Told::Heard { sent_at } => Body::HeartbeatAck(v1::HeartbeatAck { sent_at }),
        Told::ReportsTaken { up_to } => Body::ReportAck(v1::ReportAck { up_to }),
        Told::LogsTaken { fence, rank, lines } => Body::LogAck(v1::LogAck {
            fence: fence.0,
            rank: rank.0,
            lines,
        }),
        Told::Start(start) => Body::StartRank(start_rank(&start)),
        Told::Stop {
            fence,
            mode,
            reason,
        } => {
            let mode = match mode {
                control::StopMode::Checkpoint => v1::StopMode::Checkpoint,
                control::StopMode::Now => v1::StopMode::Now,
            };
            Body::StopRank(v1::StopRank {
                fence: fence.0,
                mode: mode.into(),
                reason,
            })
        }
        Told::Leave => Body::Leave(v1::Leave {}),
    };
    v1::ToWorker { body: Some(body) }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// The command that starts a rank, as it travels.
fn start_rank(start: &control::StartRank) -> v1::StartRank {
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
pub(crate) fn manifest(spec: &str) -> Option<Digest> {
    let data = match serde_json::from_str(spec).ok()? {
        TaskSpec::Train(spec) => spec.data,
        TaskSpec::Predict(spec) => spec.data,
        TaskSpec::Evaluate(spec) => spec.data,
        TaskSpec::PseudoLabel(_) => return None,
    };
    data.manifest
}
