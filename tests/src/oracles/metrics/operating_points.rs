//! The same metrics from a list of thresholds, as psds_eval and sed_eval compute them.

use anyhow::{Context, Result};
use eval::{
    Collars, CountsByThreshold, FScore, GroundTruth, Intersection, Macro, PsdsSettings, Scores,
    collar_counts, intersection_counts, psds_at_thresholds, segment_counts,
};

use super::expected::Node;
use super::{Folder, VALUES};

pub(super) fn compare(folder: &Folder<'_>, expected: Node<'_>) -> Result<()> {
    let (scores, truth) = folder.scored()?;
    for name in ["psds1", "psds2"] {
        let (params, wanted) = (
            expected.get(name).get("params"),
            expected.get(name).get("value"),
        );
        let number = |key: &str| params.get(key).number();
        let alpha_ct = number("alpha_ct")?;
        let cttc = number("cttc")?;
        let settings = PsdsSettings {
            intersection: Intersection {
                dtc: number("dtc")?,
                gtc: number("gtc")?,
                // without a weight, cross triggers are not counted
                cttc: (alpha_ct > 0.0).then_some(cttc),
            },
            alpha_ct,
            alpha_st: number("alpha_st")?,
            unit_seconds: 3600.0,
            max_efpr: number("max_efpr")?,
            best_points_only: true,
        };
        let thresholds = params.get("thresholds").numbers()?;
        let got = psds_at_thresholds(&scores, &truth, &thresholds, &settings)?;
        let name = format!("{name} at {} thresholds", thresholds.len());
        folder
            .rows
            .check_number(&name, got.value, wanted.number()?, VALUES);
    }
    averages(folder, &scores, &truth, expected)
}

/// F1 at 0.5, averaged over the classes that each tool thinks of.
fn averages(
    folder: &Folder<'_>,
    scores: &Scores,
    truth: &GroundTruth,
    expected: Node<'_>,
) -> Result<()> {
    let at_half = |counts: Vec<CountsByThreshold>| FScore::at(&counts, &[0.5]);
    let by_intersection = at_half(intersection_counts(scores, truth, Intersection::F1)?)?;
    let by_collars = at_half(collar_counts(scores, truth, Collars::DCASE)?)?;
    let by_segments = at_half(segment_counts(scores, truth, 1.0)?)?;
    let sed_eval = expected.get("sed_eval_at_0.5");
    for (name, found, wanted) in [
        (
            "psds_eval, macro F1",
            by_intersection.macro_f1(Macro::Found),
            expected.get("intersection_f1_macro_at_0.5"),
        ),
        (
            "sed_eval, macro F1 of events",
            by_collars.macro_f1(Macro::AllClasses),
            sed_eval.get("event_macro_f1"),
        ),
        (
            "sed_eval, micro F1 of events",
            Some(by_collars.micro_average().f1),
            sed_eval.get("event_micro_f1"),
        ),
        (
            "sed_eval, macro F1 of segments",
            by_segments.macro_f1(Macro::Detected),
            sed_eval.get("segment_macro_f1"),
        ),
        (
            "sed_eval, micro F1 of segments",
            Some(by_segments.micro_average().f1),
            sed_eval.get("segment_micro_f1"),
        ),
    ] {
        let found = found.with_context(|| format!("{name}: no class has one"))?;
        folder
            .rows
            .check_number(name, found, wanted.number()?, VALUES);
    }
    Ok(())
}
