//! F1 of any kind, at a threshold and at the best ones.

use anyhow::Result;
use eval::{Bootstrap, ClassChanges, CountsByThreshold, Error, FScore, Interval};

use super::table::{Report, Value};

/// How F1 is measured.
pub(super) struct F1 {
    pub(super) clips: usize,
    /// None for no intervals.
    pub(super) bootstrap: Option<Bootstrap>,
    pub(super) threshold: f64,
}

impl F1 {
    /// Adds two rows: at the threshold, and at each class's best one.
    pub(super) fn add(
        &self,
        report: &mut Report,
        name: &str,
        changes: &[ClassChanges],
    ) -> Result<()> {
        let counts: Vec<CountsByThreshold> = changes.iter().map(ClassChanges::counts).collect();
        for (name, at) in [
            (
                format!("{name} at {}", self.threshold),
                Some(self.threshold),
            ),
            (format!("{name}, best thresholds"), None),
        ] {
            let found = score(&counts, at)?;
            let around = self.intervals(changes, at);
            let interval = |place: usize| around.as_ref().map(|all| all[place]);
            report.add(&name, Value::new(found.macro_average().f1, interval(0)));
            let by_class = found.by_class.iter().enumerate();
            report.add_classes(
                &name,
                by_class
                    .map(|(class, score)| Value::new(score.counts.f1(), interval(class + 1)))
                    .collect(),
            );
            if at.is_none() {
                let thresholds = found.by_class.iter().map(|class| class.threshold);
                report.add_thresholds(&name, thresholds.collect());
            }
        }
        Ok(())
    }

    /// Of the macro F1 and of each class's; the best thresholds are those of each draw.
    fn intervals(&self, changes: &[ClassChanges], at: Option<f64>) -> Option<Vec<Interval>> {
        let statistic = |times: &[u32]| {
            let counts: Result<Vec<_>, _> = changes
                .iter()
                .map(|class| class.weighted_counts(times))
                .collect();
            let found = score(&counts.ok()?, at).ok()?;
            let by_class = found.by_class.iter().map(|class| class.counts.f1());
            Some(
                std::iter::once(found.macro_average().f1)
                    .chain(by_class)
                    .collect(),
            )
        };
        self.bootstrap?.intervals(self.clips, statistic).ok()
    }
}

/// At one threshold for all classes, or at the best of each.
fn score(counts: &[CountsByThreshold], at: Option<f64>) -> Result<FScore, Error> {
    match at {
        Some(threshold) => FScore::at(counts, &[threshold]),
        None => Ok(FScore::best(counts)),
    }
}
