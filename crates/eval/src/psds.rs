use crate::{ClassStatistics, Error, GroundTruth, Intersection, Scores, intersection_statistics};

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

    fn check(&self) -> Result<(), Error> {
        let problem = match self.intersection.cttc {
            Some(_) if self.alpha_ct == 0.0 => {
                "a cross-trigger tolerance without alpha_ct has no effect: set alpha_ct above 0 or leave cttc out"
            }
            None if self.alpha_ct != 0.0 => "alpha_ct needs a cross-trigger tolerance (cttc)",
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
    settings.check()?;
    let statistics = intersection_statistics(scores, truth, settings.intersection)?;
    if let Some(class) = statistics.iter().position(|class| class.num_reference == 0) {
        return Err(Error::NoReference {
            class: scores.classes()[class].clone(),
        });
    }
    let hours = truth.durations.values().sum::<f64>() / settings.unit_seconds;
    let curves: Vec<Vec<OperatingPoint>> = (0..statistics.len())
        .map(|class| curve(&statistics, class, hours, settings))
        .collect();
    let by_class = curves
        .iter()
        .map(|points| area(points, settings.max_efpr))
        .collect();
    let combined = combine(&curves, settings);
    let value = staircase(&combined.efpr, &combined.etpr) / settings.max_efpr;
    Ok(Psds {
        value,
        by_class,
        num_reference: statistics.iter().map(|class| class.num_reference).collect(),
        curves,
        combined,
    })
}

#[expect(
    clippy::cast_precision_loss,
    reason = "counts of events are far below 2^53"
)]
fn curve(
    statistics: &[ClassStatistics],
    class: usize,
    units: f64,
    settings: &PsdsSettings,
) -> Vec<OperatingPoint> {
    let own = &statistics[class];
    // From the highest score down; the sort below keeps that order among equal points.
    let mut points: Vec<OperatingPoint> = own
        .points
        .iter()
        .map(|point| {
            let mut efpr = point.false_positives as f64 / units;
            if settings.intersection.cttc.is_some() && statistics.len() > 1 {
                let rates: f64 = point
                    .cross_triggers
                    .iter()
                    .zip(statistics)
                    .enumerate()
                    .filter(|(other, _)| *other != class)
                    // By the time that the other class sounds, not by the time that this one does not.
                    .map(|(_, (crossed, other))| {
                        *crossed as f64 / (other.reference_time / settings.unit_seconds)
                    })
                    .sum();
                efpr += settings.alpha_ct * rates / (statistics.len() - 1) as f64;
            }
            OperatingPoint {
                tpr: point.true_positives as f64 / own.num_reference as f64,
                efpr,
                score: point.score,
            }
        })
        .filter(|point| point.efpr <= settings.max_efpr)
        .collect();
    points.sort_by(|one, two| {
        one.efpr
            .total_cmp(&two.efpr)
            .then(one.tpr.total_cmp(&two.tpr))
    });

    // Above the highest score nothing is detected at all.
    let mut kept = vec![OperatingPoint {
        tpr: 0.0,
        efpr: 0.0,
        score: f64::INFINITY,
    }];
    for point in points {
        let last = kept.last_mut().expect("begins with a point");
        if point.efpr == last.efpr {
            // Of equal points the highest score stands for all; where every point is kept, the lowest.
            if point.tpr > last.tpr || (!settings.best_points_only && point.tpr == last.tpr) {
                *last = point;
            }
        } else if !settings.best_points_only || point.tpr > last.tpr {
            kept.push(point);
        }
    }
    kept
}

/// Area under one class's curve up to `max_efpr`, divided by it: 0 before the first point, flat after the last.
fn area(points: &[OperatingPoint], max_efpr: f64) -> f64 {
    let mut efpr: Vec<f64> = points.iter().map(|point| point.efpr).collect();
    efpr.push(max_efpr);
    let tpr: Vec<f64> = points.iter().map(|point| point.tpr).collect();
    staircase(&efpr, &tpr) / max_efpr
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
