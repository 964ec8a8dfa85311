//! F1 by intersection, collars and segments, at thresholds and at the best ones.

use anyhow::{Context, Result};
use eval::{
    Collars, Counts, CountsByThreshold, FScore, GroundTruth, Rates, Scores, collar_counts,
    intersection_counts, segment_counts,
};

use super::super::rows::{Part, Tolerance};
use super::expected::Node;
use super::psds::intersection;
use super::{Folder, SCORES, VALUES, by_class};

/// Which counts there are.
#[derive(Debug, Clone, Copy)]
pub(super) enum Kind {
    Intersection,
    Collar,
    Segment,
}

/// `at_<threshold>` and `best`; other names stay unread.
pub(super) fn compare(
    folder: &Folder<'_>,
    kind: Kind,
    scores: &Scores,
    truth: &GroundTruth,
    expected: Node<'_>,
) -> Result<()> {
    let params = expected.get("params");
    let (name, counts) = match kind {
        Kind::Intersection => (
            "F1 by intersection",
            intersection_counts(scores, truth, intersection(params)?)?,
        ),
        Kind::Collar => {
            let collars = Collars {
                onset: params.get("onset_collar").number()?,
                offset: params.get("offset_collar").number()?,
                offset_rate: params.get("offset_collar_rate").number()?,
            };
            ("F1 by collars", collar_counts(scores, truth, collars)?)
        }
        Kind::Segment => {
            let length = params.get("segment_length").number()?;
            ("F1 by segments", segment_counts(scores, truth, length)?)
        }
    };
    for (set, wanted) in expected.entries()? {
        if let Some(threshold) = set.strip_prefix("at_") {
            let threshold: f64 = threshold.parse().context("a threshold")?;
            let got = FScore::at(&counts, &[threshold])?;
            one(
                folder,
                &format!("{name} at {threshold}"),
                scores.classes(),
                &got,
                wanted,
            )?;
        } else if set == "best" {
            best(folder, name, scores.classes(), &counts, wanted)?;
        }
    }
    Ok(())
}

/// Each class at its best threshold, which must be where these counts are.
pub(super) fn best(
    folder: &Folder<'_>,
    name: &str,
    classes: &[String],
    counts: &[CountsByThreshold],
    wanted: Node<'_>,
) -> Result<()> {
    let got = FScore::best(counts);
    let thresholds: Vec<f64> = got.by_class.iter().map(|class| class.threshold).collect();
    let name = format!("best {name}");
    let again = FScore::at(counts, &thresholds)?;
    folder
        .rows
        .check_equal(&format!("{name}, at its thresholds"), &again, &got);
    let listed = by_class(classes, wanted.get("threshold"), Node::number)?;
    folder
        .rows
        .check_numbers(&format!("{name}, thresholds"), &thresholds, &listed, SCORES);
    one(folder, &name, classes, &got, wanted)
}

fn one(
    folder: &Folder<'_>,
    name: &str,
    classes: &[String],
    got: &FScore,
    wanted: Node<'_>,
) -> Result<()> {
    let mut counts: Vec<Part<'_>> = Vec::new();
    let mut rates: Vec<Part<'_>> = Vec::new();
    let mut add = |class, found: Rates| -> Result<()> {
        let listed = ["f", "precision", "recall"]
            .map(|rate| wanted.get(rate).get(class).number())
            .into_iter()
            .collect::<Result<_>>()?;
        rates.push((class, vec![found.f1, found.precision, found.recall], listed));
        Ok(())
    };
    for (class, got) in classes.iter().zip(&got.by_class) {
        let Counts {
            true_positives,
            false_positives,
            num_reference,
        } = got.counts;
        let found = [true_positives, false_positives, num_reference];
        let listed = ["tps", "fps", "n_ref"]
            .map(|count| wanted.get("counts").get(class).get(count).number())
            .into_iter()
            .collect::<Result<_>>()?;
        counts.push((class, found.map(|count| count as f64).to_vec(), listed));
        let rates = Rates {
            precision: got.counts.precision(),
            recall: got.counts.recall(),
            f1: got.counts.f1(),
        };
        add(class, rates)?;
    }
    add("macro_average", got.macro_average())?;
    add("micro_average", got.micro_average())?;
    folder
        .rows
        .check_parts(&format!("{name}, counts"), &counts, Tolerance::EXACT);
    folder
        .rows
        .check_parts(&format!("{name}, F1, precision, recall"), &rates, VALUES);
    Ok(())
}
