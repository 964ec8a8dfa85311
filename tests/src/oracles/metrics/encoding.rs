//! Frames and times, tables of scores as text, events from scores, and frame labels from events.

use std::collections::BTreeMap;

use anyhow::{Context, Result, ensure};
use dataset::{
    CLASSES, LabelGrid, LabeledEvent, NUM_CLASSES, NUM_FRAMES, StrongRow, frame_boundaries,
    offset_frame, onset_frame, read_events, stem,
};
use eval::{ClipScores, DCASE_2024_WINDOWS, Scores, detections, median_filter};

use super::super::rows::{Outcome, Row, Tolerance};
use super::expected::Node;
use super::tensors::Tensors;
use super::{Folder, SCORES};

/// Why the frames of another spectrogram have no labels here.
const OTHER_GRID: &str = "labels of this house are on 156 frames of 64 ms";

pub(super) fn compare(folder: &Folder<'_>, expected: Node<'_>) -> Result<()> {
    let tensors = Tensors::open(&folder.path.join("data.safetensors"))?;
    let (mut raw, mut filtered) = (Vec::new(), Vec::new());
    for (grid, wanted) in expected.entries()? {
        if !wanted.get("frame_to_time").exists() {
            continue;
        }
        let clips = clips(&tensors, grid, wanted).with_context(|| grid.to_owned())?;
        let classes = wanted.get("labels").texts()?;
        folder.rows.check_equal(
            &format!("{grid}, classes"),
            &classes,
            &CLASSES.map(str::to_owned).to_vec(),
        );
        events(folder, grid, &clips, wanted).with_context(|| grid.to_owned())?;
        for clip in clips {
            filtered.push(ClipScores {
                values: median_filter(&clip.values, &DCASE_2024_WINDOWS),
                ..clip.clone()
            });
            raw.push(clip);
        }
        times(folder, grid, wanted)?;
        labels(folder, &tensors, grid)?;
    }
    ensure!(
        !raw.is_empty(),
        "nothing in it is understood: no case of metrics that is known here"
    );
    let classes = || CLASSES.map(str::to_owned).to_vec();
    tables(folder, "tsv_raw", &Scores::new(classes(), raw)?)?;
    tables(folder, "tsv_median", &Scores::new(classes(), filtered)?)?;
    tensors.report_unread(folder.rows);
    Ok(())
}

/// The clips of a grid: probabilities (clip, class, frame) and their boundaries.
fn clips(tensors: &Tensors, grid: &str, wanted: Node<'_>) -> Result<Vec<ClipScores>> {
    let boundaries = wanted.get("frame_to_time").numbers()?;
    let frames = wanted.get("n_frames").number()? as usize;
    let names = wanted.get("file_names").texts()?;
    let ids = wanted.get("clip_ids").texts()?;
    let (shape, values) = tensors.get(&format!("probabilities/{grid}"))?;
    ensure!(
        boundaries.len() == frames + 1 && shape == [ids.len(), NUM_CLASSES, frames],
        "probabilities have the shape {shape:?}, expected {} clips, {NUM_CLASSES} classes and {frames} frames",
        ids.len()
    );
    let mut clips = Vec::new();
    for ((name, id), values) in names
        .iter()
        .zip(ids)
        .zip(values.chunks_exact(NUM_CLASSES * frames))
    {
        let file = name
            .rsplit_once('/')
            .map_or(name.as_str(), |(_, file)| file);
        ensure!(
            stem(file) == id,
            "{name} is the clip {}, expected {id}",
            stem(file)
        );
        let by_frame = (0..frames)
            .flat_map(|frame| (0..NUM_CLASSES).map(move |class| values[class * frames + frame]));
        clips.push(ClipScores {
            clip: id,
            boundaries: boundaries.clone(),
            values: by_frame.collect(),
        });
    }
    Ok(clips)
}

/// Reads the tables that there are, and writes them again.
fn tables(folder: &Folder<'_>, name: &str, scores: &Scores) -> Result<()> {
    let path = folder.path.join(name);
    let read = scorefiles::read_tsv_scores(&path)?;
    let (mut values, mut written) = (Vec::new(), Ok(()));
    for read in read.clips() {
        let clip = (scores.clips().iter())
            .find(|clip| clip.clip == read.clip)
            .with_context(|| format!("nothing is known of the clip {} of {name}", read.clip))?;
        values.push((read.clip.as_str(), read.values.clone(), clip.values.clone()));
        let file = path.join(format!("{}.tsv", clip.clip));
        let wanted = std::fs::read_to_string(&file)
            .with_context(|| format!("cannot read {}", file.display()))?;
        let text = scorefiles::tsv_text(scores.classes(), clip);
        let cells = text.split(['\t', '\n']).zip(wanted.split(['\t', '\n']));
        if let Some((got, wanted)) = cells.into_iter().find(|(got, wanted)| got != wanted) {
            written = Err(format!("{}: {got:?}, expected {wanted:?}", clip.clip));
        } else if text != wanted {
            written = Err(format!(
                "{}: {} bytes, expected {}",
                clip.clip,
                text.len(),
                wanted.len()
            ));
        }
    }
    let what = |what: &str| format!("{name}, {} tables {what}", read.clips().len());
    folder
        .rows
        .check_parts(&what("read"), &values, Tolerance::EXACT);
    folder
        .rows
        .check_text(&what("written byte for byte"), written);
    Ok(())
}

/// By clip: (class, onset, offset), sorted.
type Events = BTreeMap<String, Vec<(String, f64, f64)>>;

fn events(folder: &Folder<'_>, grid: &str, clips: &[ClipScores], wanted: Node<'_>) -> Result<()> {
    let decoded = |filter: bool, threshold: f64| -> Events {
        (clips.iter())
            .map(|clip| {
                let values = match filter {
                    true => median_filter(&clip.values, &DCASE_2024_WINDOWS),
                    false => clip.values.clone(),
                };
                let found = detections(
                    &clip.boundaries,
                    &values,
                    &CLASSES,
                    &[threshold; NUM_CLASSES],
                );
                let events = found.into_iter().map(|found| found.event);
                let events = events
                    .map(|event| (event.class, event.onset, event.offset))
                    .collect();
                (clip.clip.clone(), events)
            })
            .collect()
    };
    for (threshold, list) in wanted.get("events_after_median").entries()? {
        let mut wanted = Events::new();
        for event in list.items()? {
            let parts = event.items()?;
            let [file, onset, offset, class] = parts[..] else {
                anyhow::bail!("an event of {} parts, expected four", parts.len());
            };
            let event = (class.text()?.to_owned(), onset.number()?, offset.number()?);
            wanted
                .entry(stem(file.text()?).to_owned())
                .or_default()
                .push(event);
        }
        let got = decoded(true, threshold.parse().context("a threshold")?);
        same_events(
            folder,
            &format!("{grid}, events above {threshold}, filtered"),
            got,
            wanted,
        );
    }
    for (threshold, by_clip) in wanted.get("event_list_raw_gt_threshold").entries()? {
        let mut wanted = Events::new();
        for (clip, list) in by_clip.entries()? {
            let events = wanted.entry(clip.to_owned()).or_default();
            for event in list.items()? {
                let parts = event.items()?;
                let [onset, offset, class] = parts[..] else {
                    anyhow::bail!("an event of {} parts, expected three", parts.len());
                };
                events.push((class.text()?.to_owned(), onset.number()?, offset.number()?));
            }
        }
        let got = decoded(false, threshold.parse().context("a threshold")?);
        same_events(
            folder,
            &format!("{grid}, events above {threshold}"),
            got,
            wanted,
        );
    }
    Ok(())
}

fn same_events(folder: &Folder<'_>, name: &str, mut got: Events, mut wanted: Events) {
    for events in got.values_mut().chain(wanted.values_mut()) {
        events.sort_by(|a, b| a.0.cmp(&b.0).then(a.1.total_cmp(&b.1)));
    }
    got.retain(|_, events| !events.is_empty());
    wanted.retain(|_, events| !events.is_empty());
    folder.rows.check_equal(name, &got, &wanted);
}

/// Whether this is the house's own grid of frames.
fn is_ours(wanted: Node<'_>) -> Result<bool> {
    let boundaries = wanted.get("frame_to_time").numbers()?;
    Ok(boundaries.len() == NUM_FRAMES + 1)
}

fn times(folder: &Folder<'_>, grid: &str, wanted: Node<'_>) -> Result<()> {
    let rows = folder.rows;
    let beyond = wanted.get("frame_to_time_beyond_end").numbers()?;
    let table = wanted.get("time_to_frame");
    let (times, frames) = (
        table.get("times").numbers()?,
        table.get("frames").numbers()?,
    );
    if !is_ours(wanted)? {
        outside(folder, &format!("{grid}, times and frames"));
        return Ok(());
    }
    let ours = frame_boundaries();
    rows.check_numbers(
        &format!("{grid}, frame_to_time"),
        &ours,
        &wanted.get("frame_to_time").numbers()?,
        SCORES,
    );
    let head = &beyond[..ours.len().min(beyond.len())];
    rows.check_numbers(
        &format!("{grid}, frame_to_time_beyond_end to the end"),
        &ours,
        head,
        SCORES,
    );
    let got: Vec<f64> = (times.iter())
        .flat_map(|time| [onset_frame(*time) as f64, offset_frame(*time) as f64])
        .collect();
    let frames: Vec<f64> = frames
        .iter()
        .flat_map(|frame| [frame.floor(), frame.ceil()])
        .collect();
    rows.check_numbers(
        &format!("{grid}, time_to_frame, down and up"),
        &got,
        &frames,
        Tolerance::EXACT,
    );
    Ok(())
}

/// Frame labels of the table `labels_<grid>.tsv`: 1 where an event is, or its confidence.
fn labels(folder: &Folder<'_>, tensors: &Tensors, grid: &str) -> Result<()> {
    let table = read_events(&folder.path.join(format!("labels_{grid}.tsv")))?;
    for kind in ["strong_hard", "strong_soft"] {
        let prefix = format!("{kind}/{grid}/");
        let mut parts = Vec::new();
        for name in tensors.names() {
            let Some(file) = name.strip_prefix(&prefix) else {
                continue;
            };
            let (shape, wanted) = tensors.get(name)?;
            if shape != [NUM_FRAMES, NUM_CLASSES] {
                continue;
            }
            let event = |row: &StrongRow| LabeledEvent {
                onset: row.onset,
                offset: row.offset,
                class: row.class,
                confidence: if kind == "strong_soft" {
                    row.confidence
                } else {
                    1.0
                },
            };
            let events: Vec<LabeledEvent> = table
                .iter()
                .filter(|row| row.filename == file)
                .map(event)
                .collect();
            let grid = LabelGrid::strong(&events, 0.0);
            let by_frame = (0..NUM_FRAMES).flat_map(|frame| {
                let grid = &grid;
                (0..NUM_CLASSES).map(move |class| f64::from(grid.class(class)[frame]))
            });
            parts.push((file, by_frame.collect(), wanted));
        }
        match parts.is_empty() {
            true => outside(folder, &format!("{grid}, {kind}")),
            false => folder
                .rows
                .check_parts(&format!("{grid}, {kind}"), &parts, Tolerance::EXACT),
        }
    }
    Ok(())
}

fn outside(folder: &Folder<'_>, name: &str) {
    folder.rows.push(Row {
        outcome: Outcome::Outside(OTHER_GRID),
        ..Row::new(name, Tolerance::EXACT)
    });
}
