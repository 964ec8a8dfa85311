//! The polyphonic sound detection score over all thresholds (recipe 9.3).

mod clip;
mod parameters;
mod roc;

use std::collections::BTreeMap;

use rayon::prelude::*;

pub use parameters::{CrossTriggers, PsdsParameters, TimeUnit};
pub use roc::PsdRoc;

use crate::area::Area;
use crate::error::Error;
use crate::reference::{Reference, SpansByClass};
use crate::scores::Scores;
use clip::Change;
use roc::ClassTotals;

/// A PSDS and what it is made of.
#[derive(Debug, Clone, PartialEq)]
pub struct Psds {
    /// The score, in [0, 1].
    pub value: f64,
    /// The class-combined curve; its last point is at the maximum rate.
    pub roc: PsdRoc,
    /// Each class's share.
    pub classes: BTreeMap<String, ClassPsds>,
}

/// One class's share of a PSDS.
#[derive(Debug, Clone, PartialEq)]
pub struct ClassPsds {
    /// Area under its curve up to the maximum rate, divided by the maximum rate.
    pub value: f64,
    /// Reference events.
    pub num_reference: u64,
    /// Its curve.
    pub roc: PsdRoc,
}

impl Psds {
    /// The mean over classes of their single-class values.
    #[must_use]
    pub fn class_mean(&self) -> f64 {
        self.classes.values().map(|class| class.value).sum::<f64>() / self.classes.len() as f64
    }
}

/// Computes PSDS exactly: every distinct score of a class is an operating point.
///
/// `scores` and `reference` must cover the same clips, and every scored class needs at least one reference event.
///
/// # Errors
/// Parameters that contradict each other, sets of clips that differ, unknown labels, classes without reference, events of
/// one class that touch.
pub fn psds(
    scores: &Scores,
    reference: &Reference,
    parameters: &PsdsParameters,
) -> Result<Psds, Error> {
    parameters.check()?;
    let spans = reference.checked(scores)?;
    let hours = reference.durations.values().sum::<f64>() / parameters.unit.seconds();
    let totals = class_totals(&spans, scores.classes().len());
    let curves: Vec<PsdRoc> = (0..scores.classes().len())
        .into_par_iter()
        .map(|class| {
            let changes = class_changes(scores, &spans, class, parameters);
            let rates = roc::Rates {
                class,
                totals: &totals,
                units: hours,
                unit_seconds: parameters.unit.seconds(),
                parameters,
            };
            rates.curve(changes)
        })
        .collect();
    let roc = roc::combine(&curves, parameters);
    let normalised = |roc: &PsdRoc| {
        Area::Staircase.up_to(&roc.effective_fpr, &roc.tpr, parameters.max_efpr)
            / parameters.max_efpr
    };
    let classes = scores.classes().iter().zip(curves).zip(&totals);
    Ok(Psds {
        value: normalised(&roc),
        classes: classes
            .map(|((name, roc), total)| {
                let class = ClassPsds {
                    value: normalised(&roc),
                    num_reference: total.events,
                    roc,
                };
                (name.clone(), class)
            })
            .collect(),
        roc,
    })
}

fn class_totals(spans: &SpansByClass<'_>, classes: usize) -> Vec<ClassTotals> {
    let mut totals = vec![ClassTotals::default(); classes];
    for by_class in spans.values() {
        for (total, spans) in totals.iter_mut().zip(by_class) {
            total.events += spans.len() as u64;
            total.seconds += spans.iter().map(|(onset, offset)| offset - onset).sum::<f64>();
        }
    }
    totals
}

/// All clips' changes of counts, from the highest score to the lowest.
fn class_changes(
    scores: &Scores,
    spans: &SpansByClass<'_>,
    class: usize,
    parameters: &PsdsParameters,
) -> Vec<Change> {
    let clips: Vec<_> = scores.clips().iter().zip(spans.values()).collect();
    let mut changes: Vec<Change> = clips
        .into_par_iter()
        .flat_map_iter(|((_, clip), spans)| {
            clip::changes(
                &clip.class(class),
                clip.boundaries(),
                spans,
                class,
                parameters,
            )
        })
        .collect();
    changes.sort_by(|a, b| b.score.total_cmp(&a.score));
    changes
}
