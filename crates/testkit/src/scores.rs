//! Scores of an `evaluate` task.

use std::collections::BTreeMap;

use types::{
    Estimate, EventScores, PostProcessing, RocCurve, ScoreReport, SegmentScores, Split, Subject,
};

/// Scores on the validation splits. PSDS1 is `psds1` after the median filter and 0.1 more with boxes; the mean over classes is the
/// same after both.
#[must_use]
pub fn score_report(
    (iteration, stage): (u32, u32),
    subject: Subject,
    psds1: f64,
    class_mean: f64,
    mpauc: Option<f64>,
) -> ScoreReport {
    let after = |post_processing, psds1: f64| EventScores {
        post_processing,
        clips: 1,
        psds1: Estimate::exact(psds1),
        psds2: Estimate::exact(0.0),
        psds1_class_mean: Estimate::exact(class_mean),
        psds1_by_class: BTreeMap::new(),
        roc: RocCurve::default(),
        roc_by_class: BTreeMap::new(),
    };
    let events = vec![
        after(PostProcessing::Median, psds1),
        after(PostProcessing::Csebbs, psds1 + 0.1),
    ];
    ScoreReport {
        iteration,
        stage,
        subject,
        events: BTreeMap::from([(Split::DesedValidation, events)]),
        tuned_on: None,
        csebbs: BTreeMap::new(),
        segments: mpauc.map(|mpauc| SegmentScores {
            split: Split::MaestroValidation,
            clips: 1,
            mpauc: Estimate::exact(mpauc),
            pauc_by_class: BTreeMap::new(),
        }),
    }
}
