use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{MemberName, Split};

/// Who is scored.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Subject {
    /// One member.
    Member(MemberName),
    /// The mean of all members' logits.
    Ensemble,
}

/// A measured value.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Estimate {
    /// The value itself.
    pub value: f64,
    /// The ends of its 95 % interval by bootstrap over clips (MAESTRO: over recordings), where one was made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub interval: Option<[f64; 2]>,
}

impl Estimate {
    /// A value without an interval.
    #[must_use]
    pub const fn exact(value: f64) -> Self {
        Self {
            value,
            interval: None,
        }
    }
}

/// One class's share of a metric.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ClassScore {
    /// Area under the single-class PSD-ROC, or the class's partial AUROC; in [0, 1].
    #[serde(flatten)]
    pub score: Estimate,
    /// Reference events (PSDS) or positive segments (partial AUROC).
    pub num_reference: u64,
}

/// What is done with frame scores before they are scored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PostProcessing {
    /// Nothing.
    Raw,
    /// Class-wise median filter (recipe 9.1).
    Median,
    /// Change-detection boxes, tuned by class on the validation split (recipe 9.5).
    Csebbs,
}

impl PostProcessing {
    /// All, in the order of tables.
    pub const ALL: [Self; 3] = [Self::Raw, Self::Median, Self::Csebbs];

    /// The name in tables and files.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Raw => "raw",
            Self::Median => "median",
            Self::Csebbs => "csebbs",
        }
    }
}

/// A staircase: rates at which something new is found, growing.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct RocCurve {
    /// Effective false positives per hour.
    pub efpr: Vec<f64>,
    /// True positive rate (of one class), or effective true positive rate (of all).
    pub tpr: Vec<f64>,
}

/// Sound events of one split after one kind of post-processing.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct EventScores {
    /// Which.
    pub post_processing: PostProcessing,
    /// Clips scored.
    pub clips: u64,
    /// PSDS scenario 1 (recipe 9.3): the mean over classes minus their standard deviation, integrated.
    pub psds1: Estimate,
    /// PSDS scenario 2.
    pub psds2: Estimate,
    /// The mean over classes of the single-class PSDS1, from which nothing is subtracted.
    pub psds1_class_mean: Estimate,
    /// Single-class PSDS1 by class name.
    pub psds1_by_class: BTreeMap<String, ClassScore>,
    /// The curve under which PSDS1 is the area.
    pub roc: RocCurve,
    /// Single-class curves by class name.
    pub roc_by_class: BTreeMap<String, RocCurve>,
}

/// Segments of one second of MAESTRO's recordings (recipe 9.4).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SegmentScores {
    /// The split scored.
    pub split: Split,
    /// Clips scored.
    pub clips: u64,
    /// Mean partial AUROC.
    pub mpauc: Estimate,
    /// Partial AUROC by class name.
    pub pauc_by_class: BTreeMap<String, ClassScore>,
}

/// The tuned settings of one class's change detection (recipe 9.5).
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct BoxSettings {
    /// Length of the step filter in seconds.
    pub step_seconds: f64,
    /// Gaps are closed whose neighbours are less than this many times higher; none for no such limit.
    pub merge_relative: Option<f64>,
    /// Gaps are closed whose neighbours are higher by less than this; none for no such limit.
    pub merge_absolute: Option<f64>,
}

/// The output `scores` of an `evaluate` task, as JSON. What has no data is not there, never 0.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ScoreReport {
    /// Iteration, from 1; 0 for untrained models.
    pub iteration: u32,
    /// Stage 1 or 2; 0 for untrained models.
    pub stage: u32,
    /// Who.
    pub subject: Subject,
    /// Sound events, by split of DESED: every post-processing, in the order of [`PostProcessing::ALL`].
    pub events: BTreeMap<Split, Vec<EventScores>>,
    /// The split that the boxes were tuned on, and their settings by class.
    pub tuned_on: Option<Split>,
    /// By class name.
    pub csebbs: BTreeMap<String, BoxSettings>,
    /// Segments of MAESTRO.
    pub segments: Option<SegmentScores>,
}

impl ScoreReport {
    /// A split's sound events after one kind of post-processing.
    #[must_use]
    pub fn events(&self, split: Split, after: PostProcessing) -> Option<&EventScores> {
        let all = self.events.get(&split)?;
        all.iter().find(|scores| scores.post_processing == after)
    }
}
