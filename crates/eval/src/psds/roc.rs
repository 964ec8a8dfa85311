//! From counts at all thresholds to curves, and from the classes' curves to one.

use std::collections::BTreeMap;

use super::clip::Change;
use super::parameters::PsdsParameters;

/// A curve of operating points with growing effective false positive rate.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct PsdRoc {
    /// True positive rate, or for the combined curve the effective one (mean less deviation).
    pub tpr: Vec<f64>,
    /// Effective false positives per unit of time.
    pub effective_fpr: Vec<f64>,
    /// For a class's curve: the score that the threshold must fall below; +∞ before the first detection. Empty for the
    /// combined curve.
    pub score: Vec<f64>,
}

/// All reference events of a class.
#[derive(Debug, Clone, Default)]
pub(super) struct ClassTotals {
    pub(super) events: u64,
    pub(super) seconds: f64,
}

/// What turns counts into rates.
pub(super) struct Rates<'a> {
    pub(super) class: usize,
    pub(super) totals: &'a [ClassTotals],
    /// Total duration in units.
    pub(super) units: f64,
    pub(super) unit_seconds: f64,
    pub(super) parameters: &'a PsdsParameters,
}

#[derive(Debug, Clone, Copy)]
struct Point {
    fpr: f64,
    tpr: f64,
    score: f64,
}

impl Rates<'_> {
    /// The curve up to the maximum rate; `changes` go from the highest score to the lowest.
    pub(super) fn curve(&self, changes: Vec<Change>) -> PsdRoc {
        let mut points = vec![Point {
            fpr: 0.0,
            tpr: 0.0,
            score: f64::INFINITY,
        }];
        let (mut tp, mut fp) = (0, 0);
        let mut cross = BTreeMap::new();
        for changes in changes.chunk_by(|a, b| a.score == b.score) {
            for change in changes {
                tp += change.tp;
                fp += change.fp;
                for (&class, count) in &change.cross {
                    *cross.entry(class).or_insert(0) += count;
                }
            }
            points.push(Point {
                fpr: self.effective_fpr(fp, &cross),
                tpr: tp as f64 / self.totals[self.class].events as f64,
                score: changes[0].score,
            });
        }
        // Where two operating points have equal rates, the one reached first counts for the best points so far, the one
        // reached last where all points stay.
        let keep_last = self.parameters.non_oracle;
        points.sort_by(|a, b| {
            let by_score = b.score.total_cmp(&a.score);
            let by_score = if keep_last { by_score } else { by_score.reverse() };
            (a.fpr.total_cmp(&b.fpr))
                .then(a.tpr.total_cmp(&b.tpr))
                .then(by_score)
        });
        let mut roc = PsdRoc::default();
        let mut best = f64::NEG_INFINITY;
        for same_fpr in points.chunk_by(|a, b| a.fpr == b.fpr) {
            let Some(point) = same_fpr.last() else {
                continue;
            };
            if point.fpr > self.parameters.max_efpr {
                break;
            }
            if keep_last || point.tpr > best {
                best = point.tpr;
                roc.tpr.push(point.tpr);
                roc.effective_fpr.push(point.fpr);
                roc.score.push(point.score);
            }
        }
        roc
    }

    fn effective_fpr(&self, fp: i64, cross: &BTreeMap<usize, i64>) -> f64 {
        let fpr = fp as f64 / self.units;
        let others = self.totals.len() - 1;
        match self.parameters.cross_triggers {
            Some(term) if others > 0 => {
                let sum: f64 = cross
                    .iter()
                    .map(|(&class, &count)| {
                        count as f64 / (self.totals[class].seconds / self.unit_seconds)
                    })
                    .sum();
                fpr + term.alpha_ct * (sum / others as f64)
            }
            _ => fpr,
        }
    }
}

/// Mean over classes less `alpha_st` population standard deviations, at least 0, at every rate at which some class's curve
/// changes; flat up to the maximum rate.
pub(super) fn combine(curves: &[PsdRoc], parameters: &PsdsParameters) -> PsdRoc {
    let mut rates: Vec<f64> = curves
        .iter()
        .flat_map(|curve| curve.effective_fpr.iter().copied())
        .collect();
    rates.sort_by(f64::total_cmp);
    rates.dedup();
    let count = curves.len() as f64;
    let effective_tpr = |rate: f64| {
        let tprs: Vec<f64> = curves
            .iter()
            .map(|curve| {
                let after = curve.effective_fpr.partition_point(|&x| x <= rate);
                after.checked_sub(1).map_or(0.0, |last| curve.tpr[last])
            })
            .collect();
        let mean = tprs.iter().sum::<f64>() / count;
        let variance = tprs.iter().map(|tpr| (tpr - mean).powi(2)).sum::<f64>() / count;
        (mean - parameters.alpha_st * variance.sqrt()).max(0.0)
    };
    let mut tpr: Vec<f64> = rates.iter().map(|&rate| effective_tpr(rate)).collect();
    if rates.last().is_none_or(|&last| last < parameters.max_efpr) {
        tpr.push(tpr.last().copied().unwrap_or(0.0));
        rates.push(parameters.max_efpr);
    }
    PsdRoc {
        tpr,
        effective_fpr: rates,
        score: Vec::new(),
    }
}
