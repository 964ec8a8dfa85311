//! A made-up look-alike of DESED and MAESTRO Real in exactly their layout, for tests and for demonstrations without downloads.
//!
//! Each class has a sound of its own (`sound.rs`), so that a model can learn something; everything is a function of the
//! seed and the sizes.

mod sound;

use std::path::Path;

use rand::RngExt as _;
use rand_chacha::ChaCha8Rng;
use rayon::prelude::*;
use types::{DataSettings, Split};

use crate::classes::{NUM_CLASSES, NUM_DESED_CLASSES};
use crate::clip::SAMPLE_RATE;
use crate::error::Error;
use crate::layout;
use crate::metadata::{StrongRow, WeakRow};
use crate::partition::SCENES;
use crate::seed::generator;
use crate::windows::{TRAIN_HOP, VALIDATION_HOP, maestro_windows, window_name, window_rows};
use crate::write::{make_folder, write_durations, write_exclude, write_strong, write_weak};

/// How much is made. A split of size 0 is left out, of the settings too.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Sizes {
    /// Scenes of MAESTRO training recordings, 1 to 5; each has two recordings, one of which the split of recipe 1.6 holds back.
    pub maestro_train_scenes: usize,
    /// MAESTRO validation recordings.
    pub maestro_validation: usize,
    /// Length of a MAESTRO recording in seconds, 10 or more.
    pub recording_seconds: usize,
    /// Real strong clips.
    pub strong: usize,
    /// External strong clips, training part.
    pub external_strong: usize,
    /// Synthetic clips.
    pub synth: usize,
    /// Weak clips, of which nine in ten are learned from.
    pub weak: usize,
    /// Unlabeled clips.
    pub unlabeled: usize,
    /// Synthetic validation clips.
    pub synth_validation: usize,
    /// Real validation clips ("devtest"); with 5 or more every class occurs.
    pub desed_validation: usize,
    /// Public evaluation clips.
    pub public_eval: usize,
    /// Length of a DESED clip in seconds.
    pub clip_seconds: f64,
}

impl Default for Sizes {
    /// The smallest set in which every split of a smoke test has what it needs; about 20 MB.
    fn default() -> Self {
        Self {
            maestro_train_scenes: 2,
            maestro_validation: 2,
            recording_seconds: 12,
            strong: 4,
            external_strong: 2,
            synth: 6,
            weak: 5,
            unlabeled: 4,
            synth_validation: 2,
            desed_validation: 6,
            public_eval: 0,
            clip_seconds: 10.0,
        }
    }
}

impl Sizes {
    /// Enough for a small model to learn the ten DESED classes; about 180 MB.
    #[must_use]
    pub const fn demo() -> Self {
        Self {
            maestro_train_scenes: 5,
            maestro_validation: 5,
            recording_seconds: 20,
            strong: 80,
            external_strong: 0,
            synth: 120,
            weak: 90,
            unlabeled: 60,
            synth_validation: 20,
            desed_validation: 60,
            public_eval: 0,
            clip_seconds: 10.0,
        }
    }
}

/// Writes the data set below `root` and returns settings for it: every split of a size above 0 at its standard place, and the
/// (empty) exclude lists. What is there already is written over.
///
/// # Errors
/// Whatever the operating system says.
pub fn write(root: &Path, sizes: &Sizes, seed: u64) -> Result<DataSettings, Error> {
    let writer = Writer { root, sizes, seed };
    let mut splits = Vec::new();
    for split in Split::ALL {
        let count = count_of(sizes, split);
        if count == 0 {
            continue;
        }
        if split.is_maestro() {
            writer.maestro(split, count)?;
        } else {
            writer.desed(split, count)?;
        }
        if let Some(list) = split.standard_exclude() {
            write_exclude(&root.join(list), &[])?;
        }
        splits.push(split);
    }
    Ok(layout::standard(root, &splits))
}

const fn count_of(sizes: &Sizes, split: Split) -> usize {
    match split {
        Split::MaestroTrain => sizes.maestro_train_scenes,
        Split::StrongTrain => sizes.strong,
        Split::ExternalStrongTrain => sizes.external_strong,
        Split::SynthTrain => sizes.synth,
        Split::WeakTrain => sizes.weak,
        Split::UnlabeledTrain => sizes.unlabeled,
        Split::SynthValidation => sizes.synth_validation,
        Split::ExternalStrongValidation => 0,
        Split::DesedValidation => sizes.desed_validation,
        Split::MaestroValidation => sizes.maestro_validation,
        Split::PublicEval => sizes.public_eval,
    }
}

struct Writer<'a> {
    root: &'a Path,
    sizes: &'a Sizes,
    seed: u64,
}

impl Writer<'_> {
    fn random(&self, name: &str) -> ChaCha8Rng {
        generator(&[b"synthetic", &self.seed.to_le_bytes(), name.as_bytes()])
    }

    /// `count` clips with two or three events each, and the split's tables.
    fn desed(&self, split: Split, count: usize) -> Result<(), Error> {
        let files = split.standard_files();
        let folder = self.root.join(&files.audio);
        make_folder(&folder)?;
        let events: Vec<Vec<StrongRow>> = (0..count)
            .into_par_iter()
            .map(|index| {
                let filename = format!("{split}_{index:04}.wav");
                let mut random = self.random(&filename);
                let rows = desed_rows(&filename, index, self.sizes.clip_seconds, &mut random);
                let samples = sound::render(&rows, self.sizes.clip_seconds, &mut random);
                audio::write_wav_i16(&folder.join(&filename), &samples, SAMPLE_RATE)?;
                Ok(rows)
            })
            .collect::<Result<_, Error>>()?;
        if let Some(table) = &files.metadata {
            let table = self.root.join(table);
            if split == Split::WeakTrain {
                write_weak(&table, &weak_rows(&events))?;
            } else {
                write_strong(&table, &events.concat(), false)?;
            }
        }
        if let Some(table) = &files.durations {
            let durations: Vec<(String, f64)> = events
                .iter()
                .filter_map(|rows| Some((rows.first()?.filename.clone(), self.sizes.clip_seconds)))
                .collect();
            write_durations(&self.root.join(table), &durations)?;
        }
        Ok(())
    }

    /// Recordings with soft labels in every second, cut into windows as the published ones are.
    fn maestro(&self, split: Split, count: usize) -> Result<(), Error> {
        let train = split == Split::MaestroTrain;
        let recordings: Vec<String> = if train {
            let scenes = SCENES.iter().take(count);
            scenes
                .flat_map(|scene| (0..2).map(move |number| format!("{scene}_{number:02}")))
                .collect()
        } else {
            (0..count)
                .map(|index| format!("{}_{:02}", SCENES[index % 5], 50 + index / 5))
                .collect()
        };
        let files = split.standard_files();
        let folder = self.root.join(&files.audio);
        make_folder(&folder)?;
        let hop = if train { TRAIN_HOP } else { VALIDATION_HOP };
        let seconds = self.sizes.recording_seconds as f64;
        let rows: Vec<Vec<StrongRow>> = recordings
            .par_iter()
            .enumerate()
            .map(|(index, recording)| {
                let mut random = self.random(recording);
                let rows = maestro_rows(index, self.sizes.recording_seconds, &mut random);
                let samples = sound::render(&rows, seconds, &mut random);
                let mut of_windows = Vec::new();
                for window in maestro_windows(seconds, hop) {
                    let at = |time: f64| (time * f64::from(SAMPLE_RATE)) as usize;
                    let path = folder.join(window_name(recording, window));
                    let samples = &samples[at(window.0)..at(window.1)];
                    audio::write_wav_i16(&path, samples, SAMPLE_RATE)?;
                    of_windows.extend(window_rows(recording, &rows, window));
                }
                Ok(of_windows)
            })
            .collect::<Result<_, Error>>()?;
        if let Some(table) = &files.metadata {
            write_strong(&self.root.join(table), &rows.concat(), true)?;
        }
        if let Some(table) = &files.durations {
            let durations: Vec<(String, f64)> = recordings
                .iter()
                .map(|recording| (format!("{recording}.wav"), seconds))
                .collect();
            write_durations(&self.root.join(table), &durations)?;
        }
        Ok(())
    }
}

/// Two or three events of different classes. Clip after clip goes around the classes, so that few clips have all of them.
fn desed_rows(
    filename: &str,
    index: usize,
    seconds: f64,
    random: &mut ChaCha8Rng,
) -> Vec<StrongRow> {
    let count = random.random_range(2..=3);
    let mut rows: Vec<StrongRow> = (0..count)
        .map(|event| {
            // Steps of 2 and 1 modulo 10: the first two events of five clips name ten classes.
            let class = (2 * index + event + 3 * (event / 2)) % NUM_DESED_CLASSES;
            let length = seconds * random.random_range(0.1..0.35);
            let onset = random.random_range(0.0..seconds - length);
            StrongRow {
                filename: filename.to_owned(),
                onset: milliseconds(onset),
                offset: milliseconds(onset + length),
                class,
                confidence: 1.0,
                line: 0,
            }
        })
        .collect();
    rows.sort_by(|a, b| a.onset.total_cmp(&b.onset));
    rows
}

/// Every class sounds for two seconds out of seventeen, each class and recording at its own time; some of the other seconds
/// carry a low confidence, as people disagree.
fn maestro_rows(recording: usize, seconds: usize, random: &mut ChaCha8Rng) -> Vec<StrongRow> {
    let mut rows = Vec::new();
    for second in 0..seconds {
        for class in NUM_DESED_CLASSES..NUM_CLASSES {
            let active = (second + 3 * class + 8 * recording) % 17 < 2;
            let confidence = if active {
                random.random_range(0.6..1.0)
            } else if random.random_range(0.0..1.0) < 0.2 {
                random.random_range(0.05..0.4)
            } else {
                continue;
            };
            rows.push(StrongRow {
                filename: String::new(),
                onset: second as f64,
                offset: (second + 1) as f64,
                class,
                confidence: milliseconds(confidence),
                line: 0,
            });
        }
    }
    rows
}

fn weak_rows(events: &[Vec<StrongRow>]) -> Vec<WeakRow> {
    events
        .iter()
        .filter_map(|rows| {
            let mut classes: Vec<usize> = rows.iter().map(|row| row.class).collect();
            classes.sort_unstable();
            classes.dedup();
            Some(WeakRow {
                filename: rows.first()?.filename.clone(),
                classes,
                line: 0,
            })
        })
        .collect()
}

/// Three decimals, as in the published tables.
fn milliseconds(x: f64) -> f64 {
    (x * 1000.0).round() / 1000.0
}
