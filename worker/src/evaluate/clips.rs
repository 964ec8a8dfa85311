//! Weak labels: which classes sound in a clip at all.

use std::collections::BTreeSet;
use std::path::Path;

use anyhow::{Result, bail};
use eval::clip_changes;

use super::bootstrap;
use super::f1::F1;
use super::options::Evaluate;
use super::table::Report;

pub(super) fn evaluate(options: &Evaluate, path: &Path) -> Result<String> {
    let scores = scorefiles::read_scores(&options.inputs.scores)?;
    let mut labels = scorefiles::read_weak_labels(path)?;
    let labelled: BTreeSet<&String> = labels.values().flatten().collect();
    // a class without scores is told of below
    let classes: Vec<String> = match &options.inputs.classes {
        Some(names) => names.clone(),
        None => (scores.classes().iter())
            .filter(|class| labelled.contains(class))
            .cloned()
            .collect(),
    };
    if classes.is_empty() {
        bail!(
            "{} has no label of any class that has scores, so that nothing can be scored",
            path.display()
        );
    }
    if options.inputs.classes.is_some() {
        for of_clip in labels.values_mut() {
            of_clip.retain(|class| classes.contains(class));
        }
    }
    let scores = scores.select_classes(&classes)?;
    let changes = clip_changes(&scores, &labels)?;
    let mut report = Report::new(&classes, labels.len());
    let f1 = F1 {
        clips: scores.clips().len(),
        bootstrap: bootstrap(options),
        threshold: options.threshold,
    };
    f1.add(&mut report, "clip F1", &changes)?;
    report.show(options)
}
