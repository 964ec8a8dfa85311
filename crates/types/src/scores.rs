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

/// One class's share of a metric.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ClassScore {
    /// Area under the single-class PSD-ROC, or the class's partial AUROC; in [0, 1].
    pub value: f64,
    /// Reference events (PSDS) or positive segments (partial AUROC).
    pub num_reference: u64,
}

/// The output `scores` of an `evaluate` task, as JSON. A metric that has no data is `None`, never 0.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ScoreReport {
    /// Iteration, from 1; 0 for untrained models.
    pub iteration: u32,
    /// Stage 1 or 2; 0 for untrained models.
    pub stage: u32,
    /// Who.
    pub subject: Subject,
    /// Split and number of clips scored, by metric family (`psds`, `mpauc`).
    pub clips: BTreeMap<Split, u64>,
    /// PSDS scenario 1 (recipe 9.3): the mean over classes minus their standard deviation, integrated.
    pub psds1: Option<f64>,
    /// The mean over classes of the single-class PSDS with dtc = gtc = 0.7.
    pub psds1_class_mean: Option<f64>,
    /// Mean partial AUROC on MAESTRO (recipe 9.4).
    pub mpauc: Option<f64>,
    /// Single-class PSDS by class name.
    pub psds1_by_class: BTreeMap<String, ClassScore>,
    /// Partial AUROC by class name.
    pub pauc_by_class: BTreeMap<String, ClassScore>,
}
