//! MAESTRO: clips that overlap, put together to recordings, and its per-clip variant for validation.

use std::collections::BTreeMap;

use anyhow::{Context, Result, ensure};
use eval::{
    Area, ClipScores, GroundTruth, Scores, SoundEvent, maestro_auroc, median_filter,
    recording_scores, segment_counts,
};
use scorefiles::{Maestro, read_durations, read_maestro};

use super::super::rows::Tolerance;
use super::expected::Node;
use super::{Folder, VALUES, by_class};
use super::{auroc, fscore};

pub(super) fn compare(folder: &Folder<'_>, expected: Node<'_>) -> Result<()> {
    let scores = folder.scores()?;
    let all = expected.get("all_classes").texts()?;
    folder
        .rows
        .check_equal("all_classes", &scores.classes().to_vec(), &all);
    let classes = expected.get("eval_classes").texts()?;
    let labels = read_maestro(&folder.path.join("maestro.tsv"), &classes)?;
    let active = |clip: &str| {
        labels
            .clips
            .get(clip)
            .is_some_and(|events| !events.is_empty())
    };
    let count = |key: &str, found: usize| -> Result<()> {
        let wanted = expected.get(key).number()?;
        folder
            .rows
            .check_number(key, found as f64, wanted, Tolerance::EXACT);
        Ok(())
    };
    count("n_clips_total", scores.clips().len())?;
    let num_active = scores
        .clips()
        .iter()
        .filter(|clip| active(&clip.clip))
        .count();
    count("n_clips_with_active_label", num_active)?;
    merged(folder, &labels, expected.get("merged_ground_truth"))?;

    let truth = GroundTruth {
        events: labels.recordings.clone(),
        durations: read_durations(&folder.path.join("durations.tsv"))?,
    };
    let evaluated = scores.select_classes(&classes)?;
    for (variant, wanted) in expected.get("variants").entries()? {
        let clips = match variant {
            "all_clips" => evaluated.clone(),
            "only_clips_with_active_label" => evaluated.clone().retain_clips(active),
            // it stays unread
            _ => continue,
        };
        recordings(folder, variant, &clips, &truth, wanted).with_context(|| variant.to_owned())?;
    }
    validation(
        folder,
        &scores,
        &classes,
        &labels,
        expected.get("validation_variant"),
    )
    .context("validation_variant")
}

/// Labels in the time of recordings.
fn merged(folder: &Folder<'_>, labels: &Maestro, expected: Node<'_>) -> Result<()> {
    let mut wanted = BTreeMap::new();
    for (recording, events) in expected.entries()? {
        let mut list = Vec::new();
        for event in events.items()? {
            let parts = event.items()?;
            let [onset, offset, class] = parts[..] else {
                anyhow::bail!(
                    "an event of {} parts, expected onset, offset and class",
                    parts.len()
                );
            };
            list.push(SoundEvent {
                onset: onset.number()?,
                offset: offset.number()?,
                class: class.text()?.to_owned(),
            });
        }
        // in the order of the house's own, by class and onset
        list.sort_by(|a, b| a.class.cmp(&b.class).then(a.onset.total_cmp(&b.onset)));
        wanted.insert(recording.to_owned(), list);
    }
    folder
        .rows
        .check_equal("merged_ground_truth", &labels.recordings, &wanted);
    Ok(())
}

fn recordings(
    folder: &Folder<'_>,
    variant: &str,
    clips: &Scores,
    truth: &GroundTruth,
    wanted: Node<'_>,
) -> Result<()> {
    let (mut times, mut values) = (Vec::new(), Vec::new());
    let found = recording_scores(clips, &truth.durations)?;
    for recording in found.clips() {
        let wanted = wanted.get("segment_scores").get(&recording.clip);
        let name = recording.clip.as_str();
        times.push((
            name,
            recording.boundaries.clone(),
            wanted.get("timestamps").numbers()?,
        ));
        let rows: Vec<Vec<f64>> = (wanted.get("scores").items()?.into_iter())
            .map(Node::numbers)
            .collect::<Result<_>>()?;
        values.push((name, recording.values.clone(), rows.concat()));
    }
    folder
        .rows
        .check_parts(&format!("{variant}, seconds"), &times, VALUES);
    folder
        .rows
        .check_parts(&format!("{variant}, scores of seconds"), &values, VALUES);
    for (set, wanted) in wanted.get("auroc").entries()? {
        let (length, max_fpr) = auroc::params(wanted.get("params"))?;
        ensure!(length == 1.0, "segments of {length} s, expected 1 s");
        let got = maestro_auroc(clips, truth, max_fpr, Area::Linear)?;
        auroc::one(
            folder,
            &format!("{variant}, {set}"),
            clips.classes(),
            &got,
            wanted,
        )?;
    }
    let counts = segment_counts(&found, truth, 1.0)?;
    let name = format!("F1 of {variant}");
    fscore::best(
        folder,
        &name,
        clips.classes(),
        &counts,
        wanted.get("best_fscore"),
    )
}

/// Median-filtered scores of each clip on its own; it ends with its last event, and without one it does not count.
fn validation(
    folder: &Folder<'_>,
    scores: &Scores,
    classes: &[String],
    labels: &Maestro,
    expected: Node<'_>,
) -> Result<()> {
    let rule = expected.get("durations").text()?;
    ensure!(
        rule == "last event offset of the clip",
        "the end of a clip is its {rule}, which is not known here"
    );
    let windows = by_class(scores.classes(), expected.get("median_windows"), |window| {
        Ok(window.number()? as usize)
    })?;
    let mut truth = GroundTruth::default();
    for (clip, events) in &labels.clips {
        let end = events.iter().map(|event| event.offset).fold(0.0, f64::max);
        if end > 0.0 {
            truth.durations.insert(clip.clone(), end);
            truth.events.insert(clip.clone(), events.clone());
        }
    }
    let filtered = (scores.clips().iter())
        .filter(|clip| truth.events.contains_key(&clip.clip))
        .map(|clip| ClipScores {
            values: median_filter(&clip.values, &windows),
            ..clip.clone()
        });
    let filtered = Scores::new(scores.classes().to_vec(), filtered.collect())?;
    let filtered = filtered.select_classes(classes)?;
    auroc::compare(
        folder,
        "validation",
        &filtered,
        &truth,
        expected.get("auroc"),
    )?;
    let counts = segment_counts(&filtered, &truth, 1.0)?;
    fscore::best(
        folder,
        "F1 of validation",
        classes,
        &counts,
        expected.get("best_fscore"),
    )
}
