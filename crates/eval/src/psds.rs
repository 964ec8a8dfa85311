use crate::intersection::{
    CROSS_TRIGGERS, Changes, FALSE_POSITIVES, Swept, TRUE_POSITIVES, Totals,
};
use crate::{Bootstrap, Error, GroundTruth, Intersection, Intervals, Scores};

/// Parameters of a polyphonic sound detection score.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct PsdsSettings {
    /// Tolerances.
    pub intersection: Intersection,
    /// Weight of cross-triggers in the effective false positive rate.
    pub alpha_ct: f64,
    /// Weight of the spread over classes.
    pub alpha_st: f64,
    /// False positives are counted per this many seconds.
    pub unit_seconds: f64,
    /// Area up to this effective false positive rate, and divided by it.
    pub max_efpr: f64,
    /// Keep only operating points that no point with fewer false positives beats (the usual choice).
    pub best_points_only: bool,
}

impl PsdsSettings {
    /// Scenario 1 of DCASE: reacts to bad timing (recipe 9.3).
    pub const PSDS1: Self = Self {
        intersection: Intersection {
            dtc: 0.7,
            gtc: 0.7,
            cttc: None,
        },
        alpha_ct: 0.0,
        alpha_st: 1.0,
        unit_seconds: 3600.0,
        max_efpr: 100.0,
        best_points_only: true,
    };

    /// Scenario 2 of DCASE: reacts to confused classes.
    pub const PSDS2: Self = Self {
        intersection: Intersection {
            dtc: 0.1,
            gtc: 0.1,
            cttc: Some(0.3),
        },
        alpha_ct: 0.5,
        ..Self::PSDS1
    };

    pub(crate) fn check(&self) -> Result<(), Error> {
        let problem = match self.intersection.cttc {
            Some(_) if self.alpha_ct == 0.0 => {
                "a cross-trigger tolerance without alpha_ct has no effect: set alpha_ct above 0 or leave cttc out"
            }
            None if self.alpha_ct != 0.0 => "alpha_ct needs a cross-trigger tolerance (cttc)",
            _ if self.alpha_ct < 0.0 => "alpha_ct is a weight and cannot be negative",
            _ if !(self.unit_seconds > 0.0 && self.max_efpr > 0.0) => {
                "the unit of time and the largest effective false positive rate must be positive"
            }
            _ => return Ok(()),
        };
        Err(Error::Settings(problem.to_owned()))
    }
}

/// A point of a single-class curve.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct OperatingPoint {
    /// True positive rate.
    pub tpr: f64,
    /// Effective false positive rate, per unit of time.
    pub efpr: f64,
    /// The threshold must fall below this score.
    pub score: f64,
}

/// The curve of all classes together.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Combined {
    /// Effective true positive rate: mean over classes minus `alpha_st` times their standard deviation, not below 0.
    pub etpr: Vec<f64>,
    /// Effective false positive rate of each point; the last one is the largest allowed.
    pub efpr: Vec<f64>,
}

/// The score and what it is made of. Vectors by class are in column order.
#[derive(Debug, Clone, PartialEq)]
pub struct Psds {
    /// The score, in [0, 1].
    pub value: f64,
    /// Area under each class's own curve, in [0, 1].
    pub by_class: Vec<f64>,
    /// Events of each class in the ground truth.
    pub num_reference: Vec<u64>,
    /// Each class's curve.
    pub curves: Vec<Vec<OperatingPoint>>,
    /// The curve of all classes together.
    pub combined: Combined,
}

/// PSDS over all thresholds, exact: every distinct score is an operating point (recipe 9.3).
///
/// # Errors
/// Whatever [`Error`] says about scores, ground truth and settings; a class without any event.
pub fn psds(scores: &Scores, truth: &GroundTruth, settings: &PsdsSettings) -> Result<Psds, Error> {
    let (swept, totals) = swept(scores, truth, settings)?;
    let curves = swept.by_class(most_false_positives(&totals, settings), |class, changes| {
        let mut points = Vec::new();
        Rates::new(class, &totals, settings).curve(changes, |_| 1, &mut points);
        points
    });
    Ok(of_curves(curves, totals.num_reference, settings))
}

/// PSDS from these thresholds only, as tools compute it that are given a list of operating points: the same curves, but without
/// the points between. A frame is active where its score is above the threshold.
///
/// # Errors
/// As [`psds`]; no threshold, or one that is not a number.
pub fn psds_at_thresholds(
    scores: &Scores,
    truth: &GroundTruth,
    thresholds: &[f64],
    settings: &PsdsSettings,
) -> Result<Psds, Error> {
    if thresholds.is_empty() || thresholds.iter().any(|threshold| threshold.is_nan()) {
        return Err(Error::Settings(format!(
            "thresholds are {thresholds:?}, expected one number or more"
        )));
    }
    let mut falling = thresholds.to_vec();
    falling.sort_by(|one, two| two.total_cmp(one));
    let (swept, totals) = swept(scores, truth, settings)?;
    let curves = swept.by_class(i64::MAX, |class, changes| {
        let rates = Rates::new(class, &totals, settings);
        let mut points = vec![NOTHING];
        let mut left = falling.iter().peekable();
        // The counts at a threshold are those of the last change point above it.
        let mut above = Some(NOTHING);
        changes.visit(
            |_| 1,
            |score, counts| {
                while left.next_if(|threshold| **threshold >= score).is_some() {
                    points.extend(above);
                }
                above = rates.point(score, counts);
            },
        );
        if left.next().is_some() {
            points.extend(above);
        }
        keep_curve(&mut points, settings.best_points_only);
        points
    });
    Ok(of_curves(curves, totals.num_reference, settings))
}

/// How far [`psds`] would move with other clips. A replicate in which a class has no event is drawn anew.
///
/// # Errors
/// As [`psds`] and [`Bootstrap::intervals`].
pub fn psds_intervals(
    scores: &Scores,
    truth: &GroundTruth,
    settings: &PsdsSettings,
    bootstrap: &Bootstrap,
) -> Result<Intervals, Error> {
    let statistic = replicate(scores, truth, settings)?;
    let intervals = bootstrap.intervals(scores.clips().len(), statistic)?;
    Ok(Intervals::of(intervals))
}

/// The score and each class's own, each clip taken as often as the slice says; `None` if a class has no event.
pub(crate) fn replicate(
    scores: &Scores,
    truth: &GroundTruth,
    settings: &PsdsSettings,
) -> Result<impl Fn(&[u32]) -> Option<Vec<f64>> + Sync, Error> {
    let (swept, _) = swept(scores, truth, settings)?;
    let changes = swept.by_class(i64::MAX, |_, changes| changes.take());
    let (reference, settings) = (swept.reference, *settings);
    Ok(move |times: &[u32]| {
        let totals = reference.totals(|clip| times[clip]);
        if totals.num_reference.contains(&0) {
            return None;
        }
        let curves = changes
            .iter()
            .enumerate()
            .map(|(class, changes)| {
                let mut points = Vec::new();
                Rates::new(class, &totals, &settings).curve(
                    changes,
                    |clip| times[clip],
                    &mut points,
                );
                points
            })
            .collect();
        let score = of_curves(curves, totals.num_reference, &settings);
        Some([&[score.value], score.by_class.as_slice()].concat())
    })
}

/// Everything that curves are made from.
fn swept(
    scores: &Scores,
    truth: &GroundTruth,
    settings: &PsdsSettings,
) -> Result<(Swept, Totals), Error> {
    settings.check()?;
    let swept = Swept::new(scores, truth, settings.intersection)?;
    let totals = swept.reference.totals(|_| 1);
    if let Some(class) = totals.num_reference.iter().position(|events| *events == 0) {
        return Err(Error::NoReference {
            class: scores.classes()[class].clone(),
        });
    }
    Ok((swept, totals))
}

/// No fewer than the largest effective false positive rate allows.
fn most_false_positives(totals: &Totals, settings: &PsdsSettings) -> i64 {
    let most = settings.max_efpr * totals.duration / settings.unit_seconds;
    // One more, whatever the rounding.
    (most.ceil() as i64).saturating_add(1)
}

fn of_curves(
    curves: Vec<Vec<OperatingPoint>>,
    num_reference: Vec<u64>,
    settings: &PsdsSettings,
) -> Psds {
    let combined = combine(&curves, settings);
    Psds {
        value: staircase(&combined.efpr, &combined.etpr) / settings.max_efpr,
        by_class: curves
            .iter()
            .map(|points| area(points, settings.max_efpr))
            .collect(),
        num_reference,
        curves,
        combined,
    }
}

/// From counts to rates and the curve that they draw.
pub(crate) struct Rates<'a> {
    class: usize,
    totals: &'a Totals,
    settings: &'a PsdsSettings,
    /// Length of all clips in units of time.
    units: f64,
    most_false_positives: i64,
}

impl<'a> Rates<'a> {
    pub(crate) fn new(class: usize, totals: &'a Totals, settings: &'a PsdsSettings) -> Self {
        Self {
            class,
            totals,
            settings,
            units: totals.duration / settings.unit_seconds,
            most_false_positives: most_false_positives(totals, settings),
        }
    }

    /// Replaces `points` by the class's curve, each clip taken as often as `times` says.
    pub(crate) fn curve(
        &self,
        changes: &Changes,
        times: impl Fn(usize) -> u32,
        points: &mut Vec<OperatingPoint>,
    ) {
        points.clear();
        points.push(NOTHING);
        changes.visit(times, |score, counts| {
            if let Some(point) = self.point(score, counts) {
                // Where only the best points count, one that the last one beats need not be sorted with the others.
                let last = points.last().filter(|_| self.settings.best_points_only);
                if last.is_none_or(|last| last.tpr < point.tpr || last.efpr > point.efpr) {
                    points.push(point);
                }
            }
        });
        keep_curve(points, self.settings.best_points_only);
    }

    /// The point with these counts, if it is within the largest effective false positive rate.
    fn point(&self, score: f64, counts: &[i64]) -> Option<OperatingPoint> {
        // Most points of a bad threshold end here, before any division.
        if counts[FALSE_POSITIVES] > self.most_false_positives {
            return None;
        }
        let within = |efpr: &f64| *efpr <= self.settings.max_efpr;
        // Cross-triggers only add to it.
        let mut efpr = Some(counts[FALSE_POSITIVES] as f64 / self.units).filter(within)?;
        let crossed = &counts[CROSS_TRIGGERS..];
        if crossed.len() > 1 {
            let rates: f64 = crossed
                .iter()
                .zip(&self.totals.reference_time)
                .enumerate()
                .filter(|(other, _)| *other != self.class)
                // By the time that the other class sounds, not by the time that this one does not.
                .map(|(_, (crossed, time))| *crossed as f64 / (time / self.settings.unit_seconds))
                .sum();
            efpr += self.settings.alpha_ct * rates / (crossed.len() - 1) as f64;
        }
        Some(OperatingPoint {
            tpr: counts[TRUE_POSITIVES] as f64 / self.totals.num_reference[self.class] as f64,
            efpr: Some(efpr).filter(within)?,
            score,
        })
    }
}

/// Above the highest score nothing is detected at all.
const NOTHING: OperatingPoint = OperatingPoint {
    tpr: 0.0,
    efpr: 0.0,
    score: f64::INFINITY,
};

/// Of points that come from the highest score down, keeps those of the curve, by effective false positive rate.
fn keep_curve(points: &mut Vec<OperatingPoint>, best_points_only: bool) {
    // A stable sort: equal points stay in that order.
    points.sort_by(|one, two| {
        one.efpr
            .total_cmp(&two.efpr)
            .then(one.tpr.total_cmp(&two.tpr))
    });
    let mut kept = 0;
    for place in 1..points.len() {
        let (last, point) = (points[kept], points[place]);
        if point.efpr == last.efpr {
            // Of equal points the highest score stands for all; where every point is kept, the lowest.
            if point.tpr > last.tpr || (!best_points_only && point.tpr == last.tpr) {
                points[kept] = point;
            }
        } else if !best_points_only || point.tpr > last.tpr {
            kept += 1;
            points[kept] = point;
        }
    }
    points.truncate(kept + 1);
}

/// Area under one class's curve up to `max_efpr`, divided by it: 0 before the first point, flat after the last.
pub(crate) fn area(points: &[OperatingPoint], max_efpr: f64) -> f64 {
    let ends = points.iter().skip(1).map(|point| point.efpr);
    let sum: f64 = points
        .iter()
        .zip(ends.chain([max_efpr]))
        .map(|(point, end)| point.tpr * (end - point.efpr))
        .sum();
    sum / max_efpr
}

/// Σ yᵢ·(xᵢ₊₁ − xᵢ).
fn staircase(x: &[f64], y: &[f64]) -> f64 {
    x.windows(2)
        .zip(y)
        .map(|(pair, height)| height * (pair[1] - pair[0]))
        .sum()
}

#[expect(clippy::cast_precision_loss, reason = "the number of classes is small")]
fn combine(curves: &[Vec<OperatingPoint>], settings: &PsdsSettings) -> Combined {
    let mut efpr: Vec<f64> = curves.iter().flatten().map(|point| point.efpr).collect();
    efpr.sort_by(f64::total_cmp);
    efpr.dedup();
    let mut places = vec![0_usize; curves.len()];
    let mut etpr = Vec::with_capacity(efpr.len() + 1);
    for x in &efpr {
        let heights: Vec<f64> = curves
            .iter()
            .zip(&mut places)
            .map(|(points, place)| {
                while points.get(*place).is_some_and(|point| point.efpr <= *x) {
                    *place += 1;
                }
                place.checked_sub(1).map_or(0.0, |last| points[last].tpr)
            })
            .collect();
        let count = heights.len() as f64;
        let mean = heights.iter().sum::<f64>() / count;
        // The spread over these very classes, so the population's, not the sample's.
        let spread = (heights
            .iter()
            .map(|height| (height - mean).powi(2))
            .sum::<f64>()
            / count)
            .sqrt();
        etpr.push((mean - settings.alpha_st * spread).max(0.0));
    }
    if efpr.last().is_none_or(|last| *last < settings.max_efpr) {
        etpr.push(etpr.last().copied().unwrap_or(0.0));
        efpr.push(settings.max_efpr);
    }
    Combined { etpr, efpr }
}
