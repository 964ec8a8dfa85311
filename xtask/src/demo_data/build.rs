//! The whole set: splits, files and tables at the places of recipe 1.1.

use std::path::Path;

use anyhow::{Context, Result};
use dataset::{StrongRow, WeakRow};
use types::Split;

use super::bank::{Bank, Part};
use super::clip::{self, Manner};
use super::random::Random;
use super::recording::{self, SCENES};
use super::sound;
use crate::shell;

/// How much is made.
#[derive(Debug, Clone, Copy)]
pub(super) struct Sizes {
    pub(super) synth: usize,
    pub(super) strong: usize,
    /// Nine in ten are learned from (recipe 1.6).
    pub(super) weak: usize,
    pub(super) unlabeled: usize,
    /// For validation while a model trains.
    pub(super) synth_validation: usize,
    pub(super) validation: usize,
    /// Seconds of each of two training recordings per scene; one of the two is held back (recipe 1.6).
    pub(super) maestro_train_seconds: usize,
    /// Seconds of the one validation recording per scene.
    pub(super) maestro_validation_seconds: usize,
}

impl Sizes {
    /// About 145 MB.
    pub(super) const DEMO: Self = Self {
        synth: 130,
        strong: 50,
        weak: 60,
        unlabeled: 50,
        synth_validation: 8,
        validation: 60,
        maestro_train_seconds: 20,
        maestro_validation_seconds: 30,
    };
}

/// As in recipe 1.2, the numbers of real recordings of these scenes.
const TRAIN_RECORDINGS: [[&str; 2]; 4] = [["00", "06"], ["02", "04"], ["00", "02"], ["00", "01"]];
const VALIDATION_RECORDINGS: [[&str; 1]; 4] = [["04"], ["05"], ["01"], ["03"]];

/// Writes everything below `root`.
///
/// # Errors
/// Whatever the operating system says; a bank that lacks something.
pub(super) fn build(bank: &Bank, root: &Path, sizes: &Sizes) -> Result<()> {
    let synth = Manner {
        part: Part::Train,
        snr: (12.0, 25.0),
        room: false,
        jitter: 0.0,
    };
    let real = Manner {
        snr: (10.0, 25.0),
        room: true,
        ..synth
    };
    let strong = Manner {
        jitter: 0.05,
        ..real
    };
    let validation = Manner {
        part: Part::Validation,
        ..real
    };
    let desed = [
        (Split::SynthTrain, sizes.synth, synth),
        (Split::StrongTrain, sizes.strong, strong),
        (Split::WeakTrain, sizes.weak, real),
        (Split::UnlabeledTrain, sizes.unlabeled, real),
        (Split::SynthValidation, sizes.synth_validation, synth),
        (Split::DesedValidation, sizes.validation, validation),
    ];
    for (split, count, manner) in desed {
        shell::say(format!("{split}: {count} clips"));
        clips(bank, root, split, count, manner)?;
        if let Some(list) = split.standard_exclude() {
            dataset::write_exclude(&root.join(list), &[])?;
        }
    }
    let mut durations = Vec::new();
    for (index, scene) in SCENES.iter().enumerate() {
        durations.extend(named(
            scene.name,
            &TRAIN_RECORDINGS[index],
            sizes.maestro_train_seconds,
        ));
        durations.extend(named(
            scene.name,
            &VALIDATION_RECORDINGS[index],
            sizes.maestro_validation_seconds,
        ));
    }
    recordings(bank, root, Split::MaestroTrain, &durations)?;
    recordings(bank, root, Split::MaestroValidation, &durations)?;
    let files = Split::MaestroValidation.standard_files();
    let table = files
        .durations
        .context("MAESTRO has a table of durations")?;
    let rows: Vec<(String, f64)> = durations
        .iter()
        .map(|(name, seconds)| (format!("{name}.wav"), *seconds as f64))
        .collect();
    dataset::write_durations(&root.join(table), &rows)?;
    Ok(())
}

fn named(scene: &str, numbers: &[&str], seconds: usize) -> Vec<(String, usize)> {
    numbers
        .iter()
        .map(|number| (format!("{scene}_{number}"), seconds))
        .collect()
}

/// The clips of one DESED split and their tables.
fn clips(bank: &Bank, root: &Path, split: Split, count: usize, manner: Manner) -> Result<()> {
    let files = split.standard_files();
    let folder = root.join(&files.audio);
    make(&folder)?;
    let mut rows = Vec::new();
    let mut durations = Vec::new();
    for index in 0..count {
        let filename = match split {
            Split::SynthTrain | Split::SynthValidation => format!("{index}.wav"),
            // As in the published sets: Y<video>_<from>_<to>.
            _ => format!(
                "Y{}{index:05}_30.000_40.000.wav",
                split.as_str().replace('_', "")
            ),
        };
        let mut random = Random::new(split.as_str(), index);
        let (samples, events) = clip::clip(bank, &filename, index, manner, &mut random)?;
        audio::write_wav_i16(&folder.join(&filename), &samples, sound::RATE)?;
        durations.push((filename, clip::SECONDS));
        rows.push(events);
    }
    if let Some(table) = files.metadata.map(|table| root.join(table)) {
        match split {
            Split::WeakTrain => dataset::write_weak(&table, &tags(&rows))?,
            _ => dataset::write_strong(&table, &rows.concat(), false)?,
        }
    }
    if let Some(table) = files.durations {
        dataset::write_durations(&root.join(table), &durations)?;
    }
    Ok(())
}

/// The classes of each clip.
fn tags(clips: &[Vec<StrongRow>]) -> Vec<WeakRow> {
    clips
        .iter()
        .filter_map(|rows| {
            let filename = rows.first()?.filename.clone();
            let mut classes: Vec<usize> = rows.iter().map(|row| row.class).collect();
            classes.sort_unstable();
            classes.dedup();
            Some(WeakRow {
                filename,
                classes,
                line: 0,
            })
        })
        .collect()
}

/// The windows of one MAESTRO split and its table. `durations`: seconds of every recording of both splits.
fn recordings(bank: &Bank, root: &Path, split: Split, durations: &[(String, usize)]) -> Result<()> {
    let (part, hop) = match split {
        Split::MaestroTrain => (Part::Train, dataset::TRAIN_HOP),
        _ => (Part::Validation, dataset::VALIDATION_HOP),
    };
    let files = split.standard_files();
    let folder = root.join(&files.audio);
    make(&folder)?;
    let mut table = Vec::new();
    for (index, scene) in SCENES.iter().enumerate() {
        let numbers: &[&str] = match part {
            Part::Train => &TRAIN_RECORDINGS[index],
            Part::Validation => &VALIDATION_RECORDINGS[index],
        };
        for number in numbers {
            let name = format!("{}_{number}", scene.name);
            let seconds = durations
                .iter()
                .find_map(|(known, seconds)| (*known == name).then_some(*seconds))
                .with_context(|| format!("no duration for {name}"))?;
            shell::say(format!("{split}: {name}, {seconds} s"));
            let mut random = Random::new(&name, 0);
            let (samples, rows) = recording::recording(bank, scene, part, seconds, &mut random)?;
            for window in dataset::maestro_windows(seconds as f64, hop) {
                let (from, to) = (sound::samples_of(window.0), sound::samples_of(window.1));
                let path = folder.join(dataset::window_name(&name, window));
                audio::write_wav_i16(&path, &samples[from..to], sound::RATE)?;
                table.extend(dataset::window_rows(&name, &rows, window));
            }
        }
    }
    let metadata = files.metadata.context("MAESTRO has a table of labels")?;
    dataset::write_strong(&root.join(metadata), &table, true)?;
    Ok(())
}

fn make(folder: &Path) -> Result<()> {
    std::fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))
}
