//! How fast PSDS is, beside what the sorting and the reading of its input cost alone:
//! `cargo run --release -p eval --example psds_speed`.

#![expect(clippy::print_stdout, reason = "for a person")]

use std::collections::BTreeMap;
use std::error::Error;
use std::hint::black_box;
use std::time::{Duration, Instant};

use eval::{
    Bootstrap, ClipScores, GroundTruth, PsdsSettings, Scores, SoundEvent, psds, psds_intervals,
};

const CLIPS: usize = 1168;
const FRAMES: usize = 156;
const CLASSES: usize = 10;
const RUNS: usize = 15;

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
}

fn main() -> Result<(), Box<dyn Error>> {
    let (scores, truth) = evaluation(1)?;
    println!(
        "{CLIPS} clips × {FRAMES} frames × {CLASSES} classes, {} threads",
        std::thread::available_parallelism()?
    );
    for (name, settings) in [
        ("PSDS1", PsdsSettings::PSDS1),
        ("PSDS2", PsdsSettings::PSDS2),
    ] {
        let value = psds(&scores, &truth, &settings)?.value;
        report(&format!("{name} ({value:.4})"), RUNS, || {
            psds(&scores, &truth, &settings).map(|found| found.value)
        });
        let bootstrap = Bootstrap {
            replicates: 100,
            ..Bootstrap::default()
        };
        report(&format!("{name}, 100 bootstrap replicates"), 3, || {
            psds_intervals(&scores, &truth, &settings, &bootstrap)
        });
    }
    // The floor, on one thread.
    let columns: Vec<Vec<f64>> = (0..CLASSES)
        .map(|class| {
            let values = scores.clips().iter().flat_map(|clip| &clip.values[class..]);
            values.step_by(CLASSES).copied().collect()
        })
        .collect();
    report("sorting every class's scores, one thread", RUNS, || {
        let mut columns = columns.clone();
        for column in &mut columns {
            column.sort_unstable_by(f64::total_cmp);
        }
        columns
    });
    report("reading every score once, one thread", RUNS, || {
        let values = scores.clips().iter().flat_map(|clip| &clip.values);
        values.copied().fold(f64::NEG_INFINITY, f64::max)
    });
    Ok(())
}

/// Scores that wander and answer to the events, with noise, so that no two are equal.
fn evaluation(seed: u64) -> Result<(Scores, GroundTruth), eval::Error> {
    let mut random = Random(seed);
    let classes: Vec<String> = (0..CLASSES).map(|class| format!("class{class}")).collect();
    let mut events = BTreeMap::new();
    let mut clips = Vec::new();
    for clip in 0..CLIPS {
        let name = format!("clip{clip:04}");
        let mut of_clip = Vec::new();
        let mut values = vec![0.0; FRAMES * CLASSES];
        for (class, label) in classes.iter().enumerate() {
            let mut end = 0.0;
            while random.unit() < 0.25 {
                let onset = end + 0.1 + 3.0 * random.unit();
                end = (onset + 0.2 + 3.0 * random.unit()).min(10.0);
                if onset >= end {
                    break;
                }
                of_clip.push(SoundEvent {
                    onset,
                    offset: end,
                    class: label.clone(),
                });
            }
            let mut drift = random.unit();
            for frame in 0..FRAMES {
                let time = (frame as f64 + 0.5) * 0.064;
                let sounds = of_clip.iter().any(|event| {
                    event.class == *label && (event.onset..event.offset).contains(&time)
                });
                drift = 0.9 * drift + 0.1 * random.unit();
                let logit = 6.0 * drift - 5.0 + 3.0 * f64::from(u8::from(sounds)) + random.unit();
                values[frame * CLASSES + class] = 1.0 / (1.0 + (-logit).exp());
            }
        }
        clips.push(ClipScores {
            clip: name.clone(),
            boundaries: (0..=FRAMES).map(|frame| frame as f64 * 0.064).collect(),
            values,
        });
        events.insert(name, of_clip);
    }
    let durations = events.keys().map(|clip| (clip.clone(), 10.0)).collect();
    Ok((
        Scores::new(classes, clips)?,
        GroundTruth { events, durations },
    ))
}

fn report<T>(what: &str, runs: usize, run: impl Fn() -> T) {
    let mut times: Vec<Duration> = (0..runs)
        .map(|_| {
            let begin = Instant::now();
            black_box(run());
            begin.elapsed()
        })
        .collect();
    times.sort();
    println!(
        "{what}: median {:.1} ms, fastest {:.1} ms",
        times[runs / 2].as_secs_f64() * 1e3,
        times[0].as_secs_f64() * 1e3
    );
}
