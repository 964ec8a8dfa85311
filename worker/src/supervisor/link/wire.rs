//! Between the supervisor's own words and those of the wire.

use std::sync::Arc;
use std::time::Duration;

use duty::protocol::{StoreAnswer, StoreAsk};
use duty::{Assignment, Held, Numbered, Report, StopMode};
use proto::v1::{self, from_worker, report, store_reply, store_request, to_worker};
use proto::{Invalid, digest_from_wire, digest_to_wire, digests_from_wire, digests_to_wire};
use types::{Failure, FailureClass, Fence, Rank, TaskName, Timestamp};

use super::super::coordinator::{Downlink, Uplink};

pub(super) fn message(body: from_worker::Body) -> v1::FromWorker {
    v1::FromWorker { body: Some(body) }
}

pub(super) fn held_to_wire(held: &Held) -> v1::HeldRank {
    v1::HeldRank {
        fence: held.fence.0,
        rank: held.rank.0,
        slot: v1::Slot::from(held.slot).into(),
    }
}

pub(super) fn uplink_to_wire(uplink: Uplink) -> v1::FromWorker {
    message(match uplink {
        Uplink::Report(numbered) => from_worker::Body::Report(report_to_wire(numbered)),
        Uplink::Progress(note) => from_worker::Body::Progress(v1::ProgressNote::new(
            note.fence,
            note.rank,
            &note.progress,
        )),
        Uplink::Logs { fence, rank, batch } => from_worker::Body::Logs(v1::LogBatch {
            fence: fence.0,
            rank: rank.0,
            first_line: batch.first,
            lines: batch.lines,
        }),
        Uplink::Waits {
            fence,
            rank,
            reason,
        } => from_worker::Body::Paused(v1::Paused {
            fence: fence.0,
            rank: rank.0,
            reason,
        }),
        Uplink::Quarantined { reason } => {
            from_worker::Body::Quarantined(v1::Quarantined { reason })
        }
        Uplink::Draining => from_worker::Body::Draining(v1::Draining {}),
        Uplink::Goodbye => from_worker::Body::Goodbye(v1::Goodbye {}),
    })
}

fn report_to_wire(numbered: Numbered) -> v1::Report {
    let what = match numbered.report {
        Report::Started => report::What::Started(v1::Started {}),
        Report::Metrics(point) => report::What::Metrics(point.into()),
        Report::Checkpoint { step, digest } => report::What::Checkpoint(v1::Checkpoint {
            step: step.0,
            digest: digest_to_wire(&digest),
        }),
        Report::Finished { outputs } => report::What::Finished(v1::Finished {
            outputs: digests_to_wire(&outputs),
        }),
        Report::Failed(failure) => report::What::Failed(failure.into()),
        Report::Stopped => report::What::Stopped(v1::Stopped {}),
    };
    v1::Report {
        sequence: numbered.sequence,
        fence: numbered.fence.0,
        rank: numbered.rank.0,
        what: Some(what),
    }
}

/// What the coordinator said. A welcome comes only once and first; its heartbeat is the caller's.
pub(super) fn downlink_from_wire(said: v1::ToWorker) -> Result<Downlink, Invalid> {
    Ok(match said.body {
        Some(to_worker::Body::Welcome(welcome)) => Downlink::Welcome {
            lost_after: Duration::from_millis(welcome.lost_after_ms),
            journal: welcome.journal,
        },
        Some(to_worker::Body::HeartbeatAck(ack)) => Downlink::Heard {
            sent_at: Timestamp(ack.sent_at),
        },
        Some(to_worker::Body::ReportAck(ack)) => Downlink::Acknowledged { up_to: ack.up_to },
        Some(to_worker::Body::LogAck(ack)) => Downlink::LogsAcknowledged {
            fence: Fence(ack.fence),
            lines: ack.lines,
        },
        Some(to_worker::Body::StartRank(start)) => start_from_wire(start),
        Some(to_worker::Body::StopRank(stop)) => Downlink::Stop {
            fence: Fence(stop.fence),
            mode: match stop.mode() {
                v1::StopMode::Checkpoint => StopMode::Checkpoint,
                v1::StopMode::Now => StopMode::Now,
                v1::StopMode::Unspecified => {
                    return Err(Invalid::new("StopRank", "mode", "not given"));
                }
            },
            reason: stop.reason,
        },
        Some(to_worker::Body::Leave(_)) => Downlink::Leave,
        None => {
            return Err(Invalid::new(
                "ToWorker",
                "body",
                "none that this worker knows",
            ));
        }
    })
}

/// An order that makes no sense is answered with a failure, so that somebody learns of it.
fn start_from_wire(start: v1::StartRank) -> Downlink {
    let (fence, rank) = (Fence(start.fence), Rank(start.rank));
    match assignment_from_wire(start) {
        Ok(assignment) => Downlink::Start(Arc::new(assignment)),
        Err(invalid) => Downlink::Unstartable {
            fence,
            rank,
            failure: Failure::new(
                FailureClass::Configuration,
                format!(
                    "the worker does not understand its order ({invalid}); are coordinator and worker of the same build?"
                ),
            ),
        },
    }
}

fn assignment_from_wire(start: v1::StartRank) -> Result<Assignment, Invalid> {
    const NAME: &str = "StartRank";
    let invalid =
        |field, problem: &dyn std::fmt::Display| Invalid::new(NAME, field, problem.to_string());
    if start.rank >= start.world_size {
        let problem = format!("{} of {} ranks", start.rank, start.world_size);
        return Err(Invalid::new(NAME, "rank", problem));
    }
    let optional = |field, bytes: Option<Vec<u8>>| {
        bytes
            .map(|bytes| digest_from_wire(NAME, field, &bytes))
            .transpose()
    };
    Ok(Assignment {
        fence: Fence(start.fence),
        task: TaskName::new(start.task).map_err(|error| invalid("task", &error))?,
        rank: Rank(start.rank),
        world_size: start.world_size,
        spec: serde_json::from_str(&start.spec).map_err(|error| invalid("spec", &error))?,
        inputs: digests_from_wire(NAME, "inputs", start.inputs)?,
        outputs: start.outputs,
        resume: optional("resume", start.resume)?,
        manifest: optional("manifest", start.manifest)?,
    })
}

pub(super) fn ask_to_wire(ask: StoreAsk) -> store_request::Ask {
    match ask {
        StoreAsk::Set { key, value } => store_request::Ask::Set(v1::StoreSet { key, value }),
        StoreAsk::Get { key, timeout_ms } => {
            store_request::Ask::Get(v1::StoreGet { key, timeout_ms })
        }
        StoreAsk::Add { key, amount } => store_request::Ask::Add(v1::StoreAdd { key, amount }),
        StoreAsk::Check { keys } => store_request::Ask::Check(v1::StoreCheck { keys }),
        StoreAsk::Wait { keys, timeout_ms } => {
            store_request::Ask::Wait(v1::StoreWait { keys, timeout_ms })
        }
    }
}

pub(super) fn answer_from_wire(reply: v1::StoreReply) -> StoreAnswer {
    match reply.answer {
        Some(store_reply::Answer::Done(_)) => StoreAnswer::Done,
        Some(store_reply::Answer::Value(value)) => StoreAnswer::Value { value },
        Some(store_reply::Answer::Counter(value)) => StoreAnswer::Counter { value },
        Some(store_reply::Answer::Truth(value)) => StoreAnswer::Truth { value },
        Some(store_reply::Answer::Failed(reason)) => StoreAnswer::Failed { reason },
        None => StoreAnswer::Failed {
            reason: "the coordinator's answer is of no kind that this worker knows".to_owned(),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_order_that_makes_no_sense_names_what_is_wrong() {
        let start = v1::StartRank {
            fence: 3,
            task: "i1.pseudo_label".to_owned(),
            rank: 0,
            world_size: 1,
            spec: "{\"kind\":\"dance\"}".to_owned(),
            ..v1::StartRank::default()
        };
        let Downlink::Unstartable { fence, failure, .. } = start_from_wire(start.clone()) else {
            panic!();
        };
        assert_eq!(fence, Fence(3));
        assert!(failure.message.contains("StartRank.spec"), "{failure}");
        assert!(failure.message.contains("dance"), "{failure}");
        let start = v1::StartRank { rank: 1, ..start };
        let Downlink::Unstartable { failure, .. } = start_from_wire(start) else {
            panic!();
        };
        assert!(failure.message.contains("1 of 1 ranks"), "{failure}");
    }
}
