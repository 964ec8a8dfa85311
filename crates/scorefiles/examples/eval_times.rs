//! Our side of `cargo xtask bench eval`: `eval_times make FOLDER` makes the data of both sides, `eval_times TASK ROUNDS FOLDER`
//! times a task on it and prints one JSON object. Reading files is not timed.

#![expect(clippy::print_stdout, reason = "the caller reads it")]

use std::collections::BTreeMap;
use std::error::Error;
use std::hint::black_box;
use std::path::Path;
use std::time::Instant;

use eval::{
    Area, ClipScores, GroundTruth, PsdsSettings, Scores, SoundEvent, TuningGrid, TuningMetric,
    maestro_auroc, psds, recording_scores, tune,
};
use rayon::prelude::*;
use scorefiles::{
    read_durations, read_ground_truth, read_scores, write_durations, write_ground_truth,
    write_safetensors_scores,
};
use serde_json::json;

type Outcome<T> = Result<T, Box<dyn Error>>;

const CLIPS: usize = 1168;
const FRAMES: usize = 156;
const CLASSES: usize = 10;
const RECORDINGS: usize = 20;
const RECORDING_SECONDS: usize = 190;
const MAESTRO_CLASSES: usize = 11;

fn main() -> Outcome<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["make", folder] => make(Path::new(folder)),
        [task, rounds, folder] => time(task, rounds.parse()?, Path::new(folder)),
        _ => Err("expected: make FOLDER, or TASK ROUNDS FOLDER".into()),
    }
}

/// `SplitMix64`.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// In [0, 1).
    fn unit(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1_u64 << 53) as f64
    }

    fn between(&mut self, low: f64, high: f64) -> f64 {
        low + self.unit() * (high - low)
    }
}

/// Milliseconds, as annotations have them.
fn to_millis(seconds: f64) -> f64 {
    (seconds * 1e3).round() / 1e3
}

fn boundaries() -> Vec<f64> {
    (0..=FRAMES)
        .map(|frame| to_millis(frame as f64 * 0.064))
        .collect()
}

/// A detector that mostly hears what is there: high inside events, with blurred ends and noise, and bumps elsewhere.
fn heard(random: &mut Random, events: &[(f64, f64)], offset: f64) -> Vec<f64> {
    let missed = random.unit() < 0.15;
    let bump = (
        random.between(0.0, 10.0),
        random.between(0.1, 1.5),
        random.between(0.0, 0.6),
    );
    (0..FRAMES)
        .map(|frame| {
            let at = (frame as f64 + 0.5) * 0.064;
            let near = events
                .iter()
                .map(|(onset, end)| {
                    let beyond = (onset - offset - at).max(at + offset - end).max(0.0);
                    (-beyond * 6.0).exp()
                })
                .fold(0.0, f64::max);
            let far = bump.2 * (-((at - bump.0) / bump.1).powi(2)).exp();
            let level = match missed {
                true => far,
                false => (0.85 * near).max(far),
            };
            // float32, as systems write them
            f64::from((level + random.between(0.0, 0.12)).min(1.0) as f32)
        })
        .collect()
}

fn rows(columns: &[Vec<f64>]) -> Vec<f64> {
    (0..FRAMES)
        .flat_map(|frame| columns.iter().map(move |column| column[frame]))
        .collect()
}

fn make(folder: &Path) -> Outcome<()> {
    if folder.join("complete").exists() {
        return Ok(());
    }
    std::fs::create_dir_all(folder)?;
    let mut random = Random(7);
    let classes: Vec<String> = (0..CLASSES).map(|class| format!("class_{class}")).collect();
    let (mut clips, mut truth) = (Vec::new(), GroundTruth::default());
    for clip in 0..CLIPS {
        let name = format!("clip_{clip:04}");
        let mut events = Vec::new();
        let columns: Vec<Vec<f64>> = classes
            .iter()
            .map(|class| {
                let mut own = Vec::new();
                if random.unit() < 0.22 {
                    let onset = to_millis(random.between(0.0, 7.0));
                    let end = to_millis((onset + random.between(0.3, 5.0)).min(10.0));
                    own.push((onset, end));
                }
                for (onset, offset) in &own {
                    events.push(SoundEvent {
                        onset: *onset,
                        offset: *offset,
                        class: class.clone(),
                    });
                }
                heard(&mut random, &own, 0.0)
            })
            .collect();
        truth.events.insert(name.clone(), events);
        truth.durations.insert(name.clone(), 10.0);
        clips.push(ClipScores {
            clip: name,
            boundaries: boundaries(),
            values: rows(&columns),
        });
    }
    let scores = Scores::new(classes, clips)?;
    write_safetensors_scores(&folder.join("scores.safetensors"), &scores)?;
    write_ground_truth(&folder.join("ground_truth.tsv"), &truth.events)?;
    write_durations(&folder.join("durations.tsv"), &truth.durations)?;

    let classes: Vec<String> = (0..MAESTRO_CLASSES)
        .map(|class| format!("sound_{class}"))
        .collect();
    let (mut clips, mut truth) = (Vec::new(), GroundTruth::default());
    for recording in 0..RECORDINGS {
        let name = format!("place_{recording:02}");
        let length = RECORDING_SECONDS as f64;
        let of_classes: Vec<Vec<(f64, f64)>> = classes
            .iter()
            .map(|_| {
                let mut at = random.between(0.0, 40.0).floor();
                let mut own = Vec::new();
                while at + 3.0 < length {
                    let end = (at + random.between(2.0, 20.0).floor()).min(length);
                    own.push((at, end));
                    at = end + random.between(10.0, 60.0).floor();
                }
                own
            })
            .collect();
        for onset in 0..=RECORDING_SECONDS - 10 {
            let columns: Vec<Vec<f64>> = of_classes
                .iter()
                .map(|own| heard(&mut random, own, -(onset as f64)))
                .collect();
            clips.push(ClipScores {
                clip: format!("{name}-{}-{}", onset * 100, (onset + 10) * 100),
                boundaries: boundaries(),
                values: rows(&columns),
            });
        }
        let events = (classes.iter().zip(of_classes)).flat_map(|(class, own)| {
            own.into_iter().map(|(onset, offset)| SoundEvent {
                onset,
                offset,
                class: class.clone(),
            })
        });
        truth.events.insert(name.clone(), events.collect());
        truth.durations.insert(name, length);
    }
    let scores = Scores::new(classes, clips)?;
    write_safetensors_scores(&folder.join("maestro_scores.safetensors"), &scores)?;
    write_ground_truth(&folder.join("maestro_ground_truth.tsv"), &truth.events)?;
    write_durations(&folder.join("maestro_durations.tsv"), &truth.durations)?;
    std::fs::write(folder.join("complete"), "")?;
    Ok(())
}

fn read(folder: &Path, prefix: &str) -> Outcome<(Scores, GroundTruth)> {
    let path = |name: &str| folder.join(format!("{prefix}{name}"));
    let truth = GroundTruth {
        events: read_ground_truth(&path("ground_truth.tsv"))?,
        durations: read_durations(&path("durations.tsv"))?,
    };
    Ok((read_scores(&path("scores.safetensors"))?, truth))
}

/// The first clips in the order of their names; 0 for all.
fn first(scores: Scores, truth: GroundTruth, clips: usize) -> (Scores, GroundTruth) {
    if clips == 0 {
        return (scores, truth);
    }
    let names: Vec<String> = (scores.clips().iter().take(clips))
        .map(|clip| clip.clip.clone())
        .collect();
    let kept = |clip: &str| {
        names
            .binary_search_by(|name| name.as_str().cmp(clip))
            .is_ok()
    };
    let durations = truth.durations.into_iter();
    let events = truth.events.into_iter();
    let truth = GroundTruth {
        events: events
            .filter(|(clip, _)| kept(clip))
            .collect::<BTreeMap<_, _>>(),
        durations: durations.filter(|(clip, _)| kept(clip)).collect(),
    };
    (scores.retain_clips(kept), truth)
}

fn time(task: &str, rounds: usize, folder: &Path) -> Outcome<()> {
    let with_clips = task
        .strip_prefix("csebbs")
        .map(|clips| clips.parse().unwrap_or(0));
    let prefix = if task == "mpauc" { "maestro_" } else { "" };
    let (scores, truth) = read(folder, prefix)?;
    let (scores, truth) = first(scores, truth, with_clips.unwrap_or(0));
    let compute = || -> Outcome<Vec<f64>> {
        Ok(match task {
            "psds1" | "psds2" => {
                let settings = match task {
                    "psds1" => PsdsSettings::PSDS1,
                    _ => PsdsSettings::PSDS2,
                };
                let found = psds(&scores, &truth, &settings)?;
                [&[found.value], found.by_class.as_slice()].concat()
            }
            "mpauc" => {
                let found = maestro_auroc(&scores, &truth, 0.1, Area::Linear)?;
                let by_class = found.by_class.iter().map(|class| class.value);
                std::iter::once(found.mean).chain(by_class).collect()
            }
            _ if with_clips.is_some() => {
                let grid = TuningGrid::dcase_2024();
                let metric = TuningMetric::Psds(PsdsSettings::PSDS1);
                let tuned = tune(&scores, &truth, &grid, metric, false)?;
                // JSON has no infinity
                let limit = |limit: f64| if limit.is_finite() { limit } else { -1.0 };
                let chosen = tuned.settings.iter().flat_map(|settings| {
                    let merge = settings.merge;
                    [
                        settings.step_seconds,
                        limit(merge.absolute),
                        limit(merge.relative),
                    ]
                });
                tuned.values.iter().copied().chain(chosen).collect()
            }
            other => return Err(format!("no task {other:?}").into()),
        })
    };
    let values = compute()?;
    let mut seconds = Vec::new();
    for _ in 0..rounds {
        let start = Instant::now();
        black_box(compute()?);
        seconds.push(start.elapsed().as_secs_f64());
    }
    let memory = memory()?;
    let read = time_to_read(&scores);
    let sort = match task {
        "mpauc" => Some(time_to_sort(&recording_scores(&scores, &truth.durations)?)),
        _ if with_clips.is_some() => None,
        _ => Some(time_to_sort(&scores)),
    };
    println!(
        "{}",
        json!({"seconds": seconds, "values": values, "mebibytes": memory, "read": read, "sort": sort})
    );
    Ok(())
}

/// Median of five.
fn timed(work: impl Fn()) -> f64 {
    let mut times: Vec<f64> = (0..5)
        .map(|_| {
            let start = Instant::now();
            work();
            start.elapsed().as_secs_f64()
        })
        .collect();
    times.sort_by(f64::total_cmp);
    times[2]
}

/// Seconds for reading every score once, on all cores.
fn time_to_read(scores: &Scores) -> f64 {
    timed(|| {
        let clips = scores.clips().par_iter();
        let sums = clips.map(|clip| clip.values.iter().sum::<f64>());
        black_box(sums.sum::<f64>());
    })
}

/// Seconds for sorting each class's scores, on all cores.
fn time_to_sort(scores: &Scores) -> f64 {
    let classes = scores.classes().len();
    let columns: Vec<Vec<f64>> = (0..classes)
        .map(|class| {
            let clips = scores.clips().iter();
            clips
                .flat_map(|clip| clip.values.iter().skip(class).step_by(classes).copied())
                .collect()
        })
        .collect();
    let copy = timed(|| drop(black_box(columns.clone())));
    let sort = timed(|| {
        let mut columns = columns.clone();
        columns
            .par_iter_mut()
            .for_each(|column| column.sort_unstable_by(f64::total_cmp));
        black_box(columns);
    });
    (sort - copy).max(0.0)
}

/// The largest memory of this process so far in MiB.
fn memory() -> Outcome<f64> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kibibytes = line.and_then(|line| line.split_whitespace().next());
    Ok(kibibytes.ok_or("no VmHWM")?.parse::<f64>()? / 1024.0)
}
