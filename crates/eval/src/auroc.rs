use rayon::prelude::*;

use crate::{Bootstrap, ClipScores, Error, GroundTruth, Intervals, Scores};

/// How the area between two points of a ROC is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Area {
    /// The left point's height all the way, as in the challenge's published figures (recipe T29).
    Staircase,
    /// A straight line from point to point.
    Linear,
}

/// A point of a ROC.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct RocPoint {
    /// False positive rate.
    pub fpr: f64,
    /// True positive rate.
    pub tpr: f64,
    /// Segments with at least this score are positive; infinity for the first point.
    pub score: f64,
}

/// One class's area.
#[derive(Debug, Clone, PartialEq)]
pub struct ClassAuroc {
    /// Area up to the largest false positive rate, divided by that rate; no further correction.
    pub value: f64,
    /// Positive segments.
    pub num_positive: u64,
    /// The curve.
    pub roc: Vec<RocPoint>,
}

/// Segment-based area under the ROC.
#[derive(Debug, Clone, PartialEq)]
pub struct SegmentAuroc {
    /// Mean over classes.
    pub mean: f64,
    /// In column order.
    pub by_class: Vec<ClassAuroc>,
}

/// Segment-based (partial) AUROC: a segment is positive where an event overlaps it, its score is the highest of the frames that
/// touch it (recipe 9.4, steps 4 and 5).
///
/// # Errors
/// Whatever [`Error`] says about scores and ground truth; a class without a positive or without a negative segment; a
/// `max_fpr` outside (0, 1].
pub fn segment_auroc(
    scores: &Scores,
    truth: &GroundTruth,
    segment_seconds: f64,
    max_fpr: f64,
    area: Area,
) -> Result<SegmentAuroc, Error> {
    let classes = segments(scores, truth, segment_seconds, max_fpr)?;
    let by_class: Vec<ClassAuroc> = classes
        .par_iter()
        .map(|class| class.auroc(|_| 1, max_fpr, area))
        .collect::<Result<_, _>>()?;
    let values: Vec<f64> = by_class.iter().map(|class| class.value).collect();
    Ok(SegmentAuroc {
        mean: mean(&values),
        by_class,
    })
}

/// How far [`segment_auroc`] would move with other clips. A replicate in which a class has no positive or no negative segment is
/// drawn anew.
///
/// # Errors
/// As [`segment_auroc`] and [`Bootstrap::intervals`].
pub fn segment_auroc_intervals(
    scores: &Scores,
    truth: &GroundTruth,
    segment_seconds: f64,
    max_fpr: f64,
    area: Area,
    bootstrap: &Bootstrap,
) -> Result<Intervals, Error> {
    let statistic = replicate(scores, truth, segment_seconds, max_fpr, area)?;
    let intervals = bootstrap.intervals(scores.clips().len(), statistic)?;
    Ok(Intervals::of(intervals))
}

/// The mean and each class's own area, each clip taken as often as the slice says; `None` if a class has no area.
pub(crate) fn replicate(
    scores: &Scores,
    truth: &GroundTruth,
    segment_seconds: f64,
    max_fpr: f64,
    area: Area,
) -> Result<impl Fn(&[u32]) -> Option<Vec<f64>> + Sync, Error> {
    let classes = segments(scores, truth, segment_seconds, max_fpr)?;
    for class in &classes {
        class.auroc(|_| 1, max_fpr, area)?;
    }
    Ok(move |times: &[u32]| {
        let mut values = vec![0.0];
        for class in &classes {
            values.push(class.auroc(|clip| times[clip], max_fpr, area).ok()?.value);
        }
        values[0] = mean(&values[1..]);
        Some(values)
    })
}

#[expect(clippy::cast_precision_loss, reason = "the number of classes is small")]
fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len() as f64
}

/// One class's segments, from the highest score down.
struct Segments {
    class: String,
    sorted: Vec<Segment>,
}

struct Segment {
    score: f64,
    clip: usize,
    positive: bool,
}

fn segments(
    scores: &Scores,
    truth: &GroundTruth,
    segment_seconds: f64,
    max_fpr: f64,
) -> Result<Vec<Segments>, Error> {
    if !(max_fpr > 0.0 && max_fpr <= 1.0) {
        return Err(Error::Settings(format!(
            "max_fpr is {max_fpr}, expected a number in (0, 1]"
        )));
    }
    check_length(segment_seconds)?;
    truth.check(scores)?;
    Ok(scores
        .classes()
        .par_iter()
        .enumerate()
        .map(|(class, name)| {
            let mut sorted = Vec::new();
            for (place, clip) in scores.clips().iter().enumerate() {
                let duration = truth.durations.get(&clip.clip).copied().unwrap_or(0.0);
                let events = truth.of(&clip.clip, name);
                segments_of_clip(
                    clip,
                    scores.classes().len(),
                    class,
                    duration,
                    &events,
                    segment_seconds,
                    |score, positive| {
                        sorted.push(Segment {
                            score,
                            clip: place,
                            positive,
                        });
                    },
                );
            }
            sorted.sort_by(|one, two| two.score.total_cmp(&one.score));
            Segments {
                class: name.clone(),
                sorted,
            }
        })
        .collect())
}

pub(crate) fn check_length(segment_seconds: f64) -> Result<(), Error> {
    if segment_seconds > 0.0 && segment_seconds.is_finite() {
        return Ok(());
    }
    Err(Error::Settings(format!(
        "segments last {segment_seconds} s, expected a positive number"
    )))
}

impl Segments {
    /// The area, each clip taken as often as `times` says.
    fn auroc(
        &self,
        times: impl Fn(usize) -> u32,
        max_fpr: f64,
        area: Area,
    ) -> Result<ClassAuroc, Error> {
        let (mut positives, mut negatives) = (0, 0);
        for segment in &self.sorted {
            let sum = if segment.positive {
                &mut positives
            } else {
                &mut negatives
            };
            *sum += u64::from(times(segment.clip));
        }
        if positives == 0 {
            return Err(Error::NoReference {
                class: self.class.clone(),
            });
        }
        if negatives == 0 {
            return Err(Error::Settings(format!(
                "class {:?} sounds in every segment, so that it has no false positive rate",
                self.class
            )));
        }
        let roc = self.roc(times, positives, negatives);
        Ok(ClassAuroc {
            value: partial_area(&roc, max_fpr, area) / max_fpr,
            num_positive: positives,
            roc,
        })
    }

    #[expect(
        clippy::cast_precision_loss,
        reason = "counts of segments are far below 2^53"
    )]
    fn roc(&self, times: impl Fn(usize) -> u32, positives: u64, negatives: u64) -> Vec<RocPoint> {
        let mut points = vec![RocPoint {
            fpr: 0.0,
            tpr: 0.0,
            score: f64::INFINITY,
        }];
        let (mut hits, mut false_alarms) = (0, 0);
        for of_score in self.sorted.chunk_by(|one, two| one.score == two.score) {
            let before = (hits, false_alarms);
            for segment in of_score {
                let sum = if segment.positive {
                    &mut hits
                } else {
                    &mut false_alarms
                };
                *sum += u64::from(times(segment.clip));
            }
            // None of the clips with this score may have been drawn.
            if (hits, false_alarms) != before {
                points.push(RocPoint {
                    fpr: false_alarms as f64 / negatives as f64,
                    tpr: hits as f64 / positives as f64,
                    score: of_score[0].score,
                });
            }
        }
        points
    }
}

/// Adds the score of each of a clip's segments, and whether an event overlaps it.
pub(crate) fn segments_of_clip(
    clip: &ClipScores,
    num_classes: usize,
    class: usize,
    duration: f64,
    events: &[(f64, f64)],
    segment_seconds: f64,
    mut segment: impl FnMut(f64, bool),
) {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a positive duration over a positive length"
    )]
    let count = (duration / segment_seconds).ceil() as usize;
    let mut first = 0;
    for index in 0..count {
        #[expect(clippy::cast_precision_loss, reason = "segments of a clip are few")]
        let (onset, offset) = (
            micro(index as f64 * segment_seconds),
            micro((index + 1) as f64 * segment_seconds).min(duration),
        );
        let positive = events
            .iter()
            .any(|event| micro(event.0) < offset && micro(event.1) > onset);
        while first < clip.num_frames() && micro(clip.boundaries[first + 1]) <= onset {
            first += 1;
        }
        let score = (first..clip.num_frames())
            .take_while(|frame| micro(clip.boundaries[*frame]) < offset)
            .map(|frame| clip.values[frame * num_classes + class])
            .max_by(f64::total_cmp)
            .unwrap_or(0.0);
        segment(score, positive);
    }
}

/// Rounded to a microsecond, so that a boundary that two clips or files compute differently is one boundary.
fn micro(seconds: f64) -> f64 {
    (seconds * 1e6).round_ties_even() / 1e6
}

/// Area under the curve from 0 to `max_fpr`. Points are ordered by (FPR, TPR), which falling scores give by themselves.
fn partial_area(roc: &[RocPoint], max_fpr: f64, area: Area) -> f64 {
    let mut sum = 0.0;
    for pair in roc.windows(2) {
        let (left, right) = (pair[0], pair[1]);
        if left.fpr >= max_fpr {
            break;
        }
        let end = right.fpr.min(max_fpr);
        let width = end - left.fpr;
        if width <= 0.0 {
            continue;
        }
        sum += width
            * match area {
                Area::Staircase => left.tpr,
                Area::Linear => {
                    let at_end = left.tpr + (right.tpr - left.tpr) * width / (right.fpr - left.fpr);
                    f64::midpoint(left.tpr, at_end)
                }
            };
    }
    sum
}
