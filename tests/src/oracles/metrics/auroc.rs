//! Areas under the ROC of segments.

use anyhow::{Context, Result, ensure};
use eval::{Area, GroundTruth, RocPoint, Scores, SegmentAuroc, segment_auroc};

use super::super::rows::Tolerance;
use super::expected::Node;
use super::{Folder, SCORES, VALUES, by_class};

/// A column of a curve: name, value, what is accepted.
type Column = (&'static str, fn(&RocPoint) -> f64, Tolerance);

/// Full and partial areas of clips.
pub(super) fn compare(
    folder: &Folder<'_>,
    name: &str,
    scores: &Scores,
    truth: &GroundTruth,
    expected: Node<'_>,
) -> Result<()> {
    for (set, wanted) in expected.entries()? {
        let (length, max_fpr) = params(wanted.get("params"))?;
        let got = segment_auroc(scores, truth, length, max_fpr, Area::Linear)?;
        one(
            folder,
            &format!("{name}, {set}"),
            scores.classes(),
            &got,
            wanted,
        )?;
    }
    Ok(())
}

/// Length of segments, and up to which rate the area goes.
pub(super) fn params(params: Node<'_>) -> Result<(f64, f64)> {
    ensure!(
        !params.get("mcclish_correction").is_true(),
        "areas are not corrected here"
    );
    let length = params.get("segment_length").number()?;
    let max_fpr = params.get("max_fpr").number_or_none()?;
    Ok((length, max_fpr.unwrap_or(1.0)))
}

pub(super) fn one(
    folder: &Folder<'_>,
    name: &str,
    classes: &[String],
    got: &SegmentAuroc,
    wanted: Node<'_>,
) -> Result<()> {
    let areas = wanted.get("auroc");
    let mean = areas.get("mean").number()?;
    folder
        .rows
        .check_number(&format!("{name}, mean"), got.mean, mean, VALUES);
    let found: Vec<f64> = got.by_class.iter().map(|class| class.value).collect();
    let areas = by_class(classes, areas, Node::number)?;
    folder
        .rows
        .check_numbers(&format!("{name}, classes"), &found, &areas, VALUES);
    if !wanted.get("roc").exists() {
        return Ok(());
    }
    let columns: [Column; 3] = [
        ("tpr", |point| point.tpr, VALUES),
        ("fpr", |point| point.fpr, VALUES),
        ("score", |point| point.score, SCORES),
    ];
    for (column, value, tolerance) in columns {
        let mut parts = Vec::new();
        // some classes may be left out
        for (class, curve) in wanted.get("roc").entries()? {
            let place = (classes.iter().position(|known| known == class))
                .with_context(|| format!("{class} has no area"))?;
            let found: Vec<f64> = got.by_class[place].roc.iter().map(value).collect();
            parts.push((class, found, curve.get(column).numbers()?));
        }
        folder
            .rows
            .check_parts(&format!("{name}, curves' {column}"), &parts, tolerance);
    }
    Ok(())
}
