//! Segment-based receiver operating characteristic (recipe 9.4).

use std::collections::BTreeMap;

use rayon::prelude::*;

use crate::area::Area;
use crate::error::Error;
use crate::reference::{Reference, Span};
use crate::scores::Scores;

/// How segments are scored.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct AurocParameters {
    /// Seconds.
    pub segment_seconds: f64,
    /// The area is taken up to this false positive rate and divided by it; 1 for the whole curve.
    pub max_fpr: f64,
    /// How the curve runs between its points: [`Area::Staircase`] in the published figures (recipe 9.4, T29).
    pub area: Area,
}

impl AurocParameters {
    /// As in the published figures: 1 s, up to 0.1, staircase.
    #[must_use]
    pub const fn published() -> Self {
        Self {
            segment_seconds: 1.0,
            max_fpr: 0.1,
            area: Area::Staircase,
        }
    }
}

/// Areas of all classes.
#[derive(Debug, Clone, PartialEq)]
pub struct Auroc {
    /// Mean over classes.
    pub mean: f64,
    /// Each class's share.
    pub classes: BTreeMap<String, ClassAuroc>,
}

/// One class's area.
#[derive(Debug, Clone, PartialEq)]
pub struct ClassAuroc {
    /// The normalised area.
    pub value: f64,
    /// Segments in which the class is active.
    pub num_reference: u64,
    /// Its curve over all distinct scores.
    pub roc: Roc,
}

/// Points with growing rates; the first is (0, 0) at +∞.
#[derive(Debug, Clone, PartialEq)]
pub struct Roc {
    /// True positive rate.
    pub tpr: Vec<f64>,
    /// False positive rate.
    pub fpr: Vec<f64>,
    /// The score that the threshold must fall below.
    pub score: Vec<f64>,
}

/// Cuts clips into segments and measures, for each class, how well the highest score of a segment tells the segments in
/// which the class is active. The last segment of a clip ends with the clip.
///
/// # Errors
/// As [`crate::psds()`]; a class that is active in all segments.
pub fn segment_auroc(
    scores: &Scores,
    reference: &Reference,
    parameters: &AurocParameters,
) -> Result<Auroc, Error> {
    let parameter = |name, found: f64, expected| Error::Parameter {
        name,
        found: found.to_string(),
        expected,
    };
    if !(parameters.segment_seconds.is_finite() && parameters.segment_seconds > 0.0) {
        let found = parameters.segment_seconds;
        return Err(parameter("segment_seconds", found, "a number above 0"));
    }
    if !(parameters.max_fpr > 0.0 && parameters.max_fpr <= 1.0) {
        let expected = "a number above 0 and at most 1";
        return Err(parameter("max_fpr", parameters.max_fpr, expected));
    }
    let spans = reference.checked(scores)?;
    let clips: Vec<_> = scores.clips().iter().zip(spans.values()).collect();
    let classes = scores
        .classes()
        .par_iter()
        .enumerate()
        .map(|(class, name)| {
            let mut segments = Vec::new();
            for ((clip, frames), spans) in &clips {
                let times = segment_times(reference.durations[*clip], parameters.segment_seconds);
                segments.extend(segments_of(
                    &frames.class(class),
                    frames.boundaries(),
                    &spans[class],
                    &times,
                ));
            }
            let positive = segments.iter().filter(|segment| segment.active).count() as u64;
            let total = segments.len() as u64;
            if positive == 0 || positive == total {
                return Err(Error::OneSided {
                    class: name.clone(),
                    positive,
                    total,
                });
            }
            let roc = curve(segments, positive);
            let area = parameters.area.up_to(&roc.fpr, &roc.tpr, parameters.max_fpr);
            let class = ClassAuroc {
                value: area / parameters.max_fpr,
                num_reference: positive,
                roc,
            };
            Ok((name.clone(), class))
        })
        .collect::<Result<BTreeMap<_, _>, Error>>()?;
    Ok(Auroc {
        mean: classes.values().map(|class| class.value).sum::<f64>() / classes.len() as f64,
        classes,
    })
}

#[derive(Debug, Clone, Copy)]
struct Segment {
    score: f64,
    active: bool,
}

/// Segment boundaries: multiples of the length, the last one cut to the duration.
pub(crate) fn segment_times(duration: f64, length: f64) -> Vec<f64> {
    let count = micro(duration / length).ceil() as usize;
    (0..=count)
        .map(|k| micro((k as f64 * length).min(duration)))
        .collect()
}

fn segments_of(scores: &[f64], boundaries: &[f64], spans: &[Span], times: &[f64]) -> Vec<Segment> {
    let boundaries: Vec<f64> = boundaries.iter().copied().map(micro).collect();
    times
        .windows(2)
        .map(|time| {
            let (begin, end) = (time[0], time[1]);
            let frames = touching_frames(&boundaries, begin, end);
            Segment {
                score: scores[frames].iter().copied().fold(None, highest).unwrap_or(0.0),
                active: spans
                    .iter()
                    .any(|span| micro(span.0) < end && micro(span.1) > begin),
            }
        })
        .collect()
}

fn highest(best: Option<f64>, score: f64) -> Option<f64> {
    Some(best.map_or(score, |best| best.max(score)))
}

/// The frames that overlap a stretch of time.
pub(crate) fn touching_frames(boundaries: &[f64], begin: f64, end: f64) -> std::ops::Range<usize> {
    let frames = boundaries.len() - 1;
    let first = boundaries[1..].partition_point(|&offset| offset <= begin);
    let last = boundaries[..frames].partition_point(|&onset| onset < end);
    first..last.max(first)
}

fn curve(mut segments: Vec<Segment>, positive: u64) -> Roc {
    segments.sort_by(|a, b| b.score.total_cmp(&a.score));
    let negative = segments.len() as u64 - positive;
    let mut roc = Roc {
        tpr: vec![0.0],
        fpr: vec![0.0],
        score: vec![f64::INFINITY],
    };
    let (mut tp, mut fp) = (0_u64, 0_u64);
    for ties in segments.chunk_by(|a, b| a.score == b.score) {
        for segment in ties {
            if segment.active {
                tp += 1;
            } else {
                fp += 1;
            }
        }
        roc.tpr.push(tp as f64 / positive as f64);
        roc.fpr.push(fp as f64 / negative as f64);
        roc.score.push(ties[0].score);
    }
    roc
}

/// Rounds to microseconds, as the reference implementation does with times.
fn micro(seconds: f64) -> f64 {
    (seconds * 1e6).round_ties_even() / 1e6
}
