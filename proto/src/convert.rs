use std::collections::BTreeMap;

use tonic::Status;
use types::{
    Digest, Failure, FailureClass, Fence, MetricPoint, Progress, ProgressUnit, Rank, SlotKind, Step,
};

use crate::v1;

/// A message that cannot be meant seriously.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}.{field}: {problem}")]
pub struct Invalid {
    message: &'static str,
    field: &'static str,
    problem: String,
}

impl Invalid {
    /// Names the field and what is wrong with it.
    #[must_use]
    pub fn new(message: &'static str, field: &'static str, problem: impl Into<String>) -> Self {
        Self {
            message,
            field,
            problem: problem.into(),
        }
    }
}

impl From<Invalid> for Status {
    fn from(invalid: Invalid) -> Self {
        Self::invalid_argument(invalid.to_string())
    }
}

/// A digest as it travels.
#[must_use]
pub fn digest_to_wire(digest: &Digest) -> Vec<u8> {
    digest.as_bytes().to_vec()
}

/// A digest that arrived.
///
/// # Errors
/// When it does not have 32 bytes.
pub fn digest_from_wire(
    message: &'static str,
    field: &'static str,
    bytes: &[u8],
) -> Result<Digest, Invalid> {
    let bytes: [u8; 32] = bytes.try_into().map_err(|_| {
        Invalid::new(
            message,
            field,
            format!("a digest of {} bytes, expected 32", bytes.len()),
        )
    })?;
    Ok(Digest::from_bytes(bytes))
}

/// Names and digests as they travel.
#[must_use]
pub fn digests_to_wire(digests: &BTreeMap<String, Digest>) -> BTreeMap<String, Vec<u8>> {
    digests
        .iter()
        .map(|(name, digest)| (name.clone(), digest_to_wire(digest)))
        .collect()
}

/// Names and digests that arrived.
///
/// # Errors
/// When one does not have 32 bytes.
pub fn digests_from_wire(
    message: &'static str,
    field: &'static str,
    digests: BTreeMap<String, Vec<u8>>,
) -> Result<BTreeMap<String, Digest>, Invalid> {
    digests
        .into_iter()
        .map(|(name, bytes)| Ok((name, digest_from_wire(message, field, &bytes)?)))
        .collect()
}

impl From<SlotKind> for v1::Slot {
    fn from(slot: SlotKind) -> Self {
        match slot {
            SlotKind::Device => Self::Device,
            SlotKind::Host => Self::Host,
        }
    }
}

impl TryFrom<v1::Slot> for SlotKind {
    type Error = Invalid;

    fn try_from(slot: v1::Slot) -> Result<Self, Invalid> {
        match slot {
            v1::Slot::Device => Ok(Self::Device),
            v1::Slot::Host => Ok(Self::Host),
            v1::Slot::Unspecified => Err(Invalid::new("HeldRank", "slot", "not given")),
        }
    }
}

const CLASSES: [(FailureClass, v1::FailureClass); 11] = [
    (FailureClass::Configuration, v1::FailureClass::Configuration),
    (FailureClass::Data, v1::FailureClass::Data),
    (FailureClass::Artifact, v1::FailureClass::Artifact),
    (FailureClass::NotANumber, v1::FailureClass::NotANumber),
    (FailureClass::OutOfMemory, v1::FailureClass::OutOfMemory),
    (FailureClass::TransientIo, v1::FailureClass::TransientIo),
    (FailureClass::PeerLost, v1::FailureClass::PeerLost),
    (FailureClass::WorkerLost, v1::FailureClass::WorkerLost),
    (FailureClass::Hang, v1::FailureClass::Hang),
    (FailureClass::Killed, v1::FailureClass::Killed),
    (FailureClass::Crash, v1::FailureClass::Crash),
];

impl From<Failure> for v1::Failure {
    fn from(failure: Failure) -> Self {
        let class = CLASSES
            .iter()
            .find(|(ours, _)| *ours == failure.class)
            .map_or(v1::FailureClass::Unspecified, |pair| pair.1);
        Self {
            class: class.into(),
            message: failure.message,
            rank: failure.rank.map(|rank| rank.0),
            signal: failure.signal,
            exit_code: failure.exit_code,
            last_step: failure.last_step.map(|step| step.0),
            log_tail: failure.log_tail,
            peak_memory: failure.peak_memory,
        }
    }
}

impl TryFrom<v1::Failure> for Failure {
    type Error = Invalid;

    fn try_from(failure: v1::Failure) -> Result<Self, Invalid> {
        let wire = failure.class();
        let class = CLASSES
            .iter()
            .find(|(_, theirs)| *theirs == wire)
            .map(|pair| pair.0)
            .ok_or_else(|| {
                Invalid::new(
                    "Failure",
                    "class",
                    format!("unknown value {}", failure.class),
                )
            })?;
        Ok(Self {
            class,
            message: failure.message,
            rank: failure.rank.map(Rank),
            signal: failure.signal,
            exit_code: failure.exit_code,
            peak_memory: failure.peak_memory,
            last_step: failure.last_step.map(Step),
            log_tail: failure.log_tail,
        })
    }
}

impl From<MetricPoint> for v1::Metrics {
    fn from(point: MetricPoint) -> Self {
        Self {
            step: point.step.0,
            values: point.values,
        }
    }
}

impl From<v1::Metrics> for MetricPoint {
    fn from(point: v1::Metrics) -> Self {
        Self {
            step: Step(point.step),
            values: point.values,
        }
    }
}

impl v1::ProgressNote {
    /// How far this rank is.
    #[must_use]
    pub fn new(fence: Fence, rank: Rank, progress: &Progress) -> Self {
        let unit = match progress.unit {
            ProgressUnit::Steps => v1::ProgressUnit::Steps,
            ProgressUnit::Clips => v1::ProgressUnit::Clips,
        };
        Self {
            fence: fence.0,
            rank: rank.0,
            unit: unit.into(),
            done: progress.done,
            total: progress.total,
            loss: progress.loss,
            clips_per_second: progress.clips_per_second,
        }
    }
}

impl TryFrom<&v1::ProgressNote> for Progress {
    type Error = Invalid;

    fn try_from(note: &v1::ProgressNote) -> Result<Self, Invalid> {
        let unit = match note.unit() {
            v1::ProgressUnit::Steps => ProgressUnit::Steps,
            v1::ProgressUnit::Clips => ProgressUnit::Clips,
            v1::ProgressUnit::Unspecified => {
                return Err(Invalid::new("ProgressNote", "unit", "not given"));
            }
        };
        Ok(Self {
            unit,
            done: note.done,
            total: note.total,
            loss: note.loss,
            clips_per_second: note.clips_per_second,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_failure_class_survives_the_journey() {
        for (class, _) in CLASSES {
            let failure = Failure {
                rank: Some(Rank(1)),
                signal: Some(9),
                peak_memory: Some(1 << 30),
                ..Failure::new(class, "why")
            };
            assert_eq!(
                Failure::try_from(v1::Failure::from(failure.clone())).unwrap(),
                failure
            );
        }
        assert!(Failure::try_from(v1::Failure::default()).is_err());
    }

    #[test]
    fn a_short_digest_is_refused_by_name() {
        let error = digest_from_wire("Checkpoint", "digest", &[1, 2, 3]).unwrap_err();
        assert_eq!(
            error.to_string(),
            "Checkpoint.digest: a digest of 3 bytes, expected 32"
        );
    }
}
