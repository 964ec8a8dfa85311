//! MAESTRO-like recordings: a scene, its sounds, and what five annotators made of it in every second.

use anyhow::Result;
use dataset::StrongRow;

use super::bank::{Bank, Part};
use super::clip::milliseconds;
use super::event;
use super::random::Random;
use super::sound;

/// A kind of place and what is heard there.
#[derive(Debug, Clone, Copy)]
pub(super) struct Scene {
    pub(super) name: &'static str,
    bed: &'static str,
    classes: &'static [&'static str],
}

/// The scenes that the recordings are good enough for. There are no trains in the bank, so no metro station.
pub(super) const SCENES: [Scene; 4] = [
    Scene {
        name: "cafe_restaurant",
        bed: "bed:crowd",
        classes: &[
            "cutlery and dishes",
            "people talking",
            "announcement",
            "door opens/closes",
            "footsteps",
        ],
    },
    Scene {
        name: "city_center",
        bed: "bed:street",
        classes: &[
            "car",
            "large_vehicle",
            "brakes_squeaking",
            "footsteps",
            "people talking",
        ],
    },
    Scene {
        name: "grocery_store",
        bed: "bed:crowd",
        classes: &[
            "cash register beeping",
            "shopping cart",
            "announcement",
            "children voices",
            "cutlery and dishes",
        ],
    },
    Scene {
        name: "residential_area",
        bed: "bed:room",
        classes: &[
            "birds_singing",
            "wind_blowing",
            "children voices",
            "car",
            "door opens/closes",
        ],
    },
];

/// The annotators' weights; they sum to 1.
const COMPETENCE: [f64; 5] = [0.26, 0.22, 0.2, 0.18, 0.14];

/// An annotator misses an event this often,
const MISS: f64 = 0.12;

/// hears something in a second where nothing is this often,
const FALSE_ALARM: f64 = 0.01;

/// and errs in time by this much (standard deviation, seconds).
const JITTER: f64 = 0.3;

/// A second counts as active for an annotator if that much of it is.
const ACTIVE_SHARE: f64 = 0.3;

/// Samples of a recording of `seconds` and one row for each class and second that somebody heard it in.
///
/// # Errors
/// When the bank lacks a class.
pub(super) fn recording(
    bank: &Bank,
    scene: &Scene,
    part: Part,
    seconds: usize,
    random: &mut Random,
) -> Result<(Vec<f32>, Vec<StrongRow>)> {
    let len = sound::samples_of(seconds as f64);
    let beds = bank.get(scene.bed, part)?;
    let mut mix = sound::room_tone(len, random);
    let bed = sound::looped(&beds[random.below(beds.len())], len, random);
    sound::add(&mut mix, &bed, 0, 1.0);
    sound::level(&mut mix);
    let level = random.between((-40.0, -36.0));
    let factor = sound::gain(level);
    for x in &mut mix {
        *x *= factor;
    }

    let mut rows = Vec::new();
    for class in scene.classes {
        let recipe = event::maestro(class)?;
        let mut heard: Vec<(f64, f64)> = Vec::new();
        // One event of each class in every ten seconds, more or less.
        for turn in 0..seconds.div_ceil(10) {
            let event = recipe.event(bank, part, random)?;
            let length = sound::seconds_of(event.len());
            let from = turn as f64 * 10.0;
            let until = (from + 10.0).min(seconds as f64) - length;
            let onset = milliseconds(random.between((from, until.max(from))));
            let level = level + random.between((6.0, 16.0));
            let skipped = turn > 0 && random.chance(0.2);
            if skipped || onset + length > seconds as f64 {
                continue;
            }
            sound::add(
                &mut mix,
                &sound::in_room(&event, random),
                sound::samples_of(onset),
                sound::gain(level),
            );
            heard.push((onset, onset + length));
        }
        let class = recipe.class_index()?;
        for (second, confidence) in soft_labels(&heard, seconds, random).into_iter().enumerate() {
            if confidence > 0.0 {
                rows.push(StrongRow {
                    filename: String::new(),
                    onset: second as f64,
                    offset: second as f64 + 1.0,
                    class,
                    confidence,
                    line: 0,
                });
            }
        }
    }
    sound::tame(&mut mix);
    Ok((mix, rows))
}

/// The weighted share of annotators who heard the class, for every second.
fn soft_labels(heard: &[(f64, f64)], seconds: usize, random: &mut Random) -> Vec<f64> {
    let mut labels = vec![0.0; seconds];
    for weight in COMPETENCE {
        let mut marked = vec![false; seconds];
        for &(onset, offset) in heard {
            let missed = random.chance(MISS);
            let onset = onset + random.normal(JITTER);
            let offset = offset + random.normal(JITTER);
            for (second, mark) in marked.iter_mut().enumerate() {
                let active = offset.min(second as f64 + 1.0) - onset.max(second as f64);
                *mark |= !missed && active >= ACTIVE_SHARE;
            }
        }
        for (label, mark) in labels.iter_mut().zip(marked) {
            if mark != random.chance(FALSE_ALARM) {
                *label += weight;
            }
        }
    }
    // The table has four decimals; sums of weights have rounding errors.
    labels
        .into_iter()
        .map(|label| (label * 1e4).round() / 1e4)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn annotators_agree_in_the_middle_of_an_event_and_not_far_from_it() {
        let mut inside = 0.0;
        for index in 0..50 {
            let mut random = Random::new("soft", index);
            let labels = soft_labels(&[(5.0, 10.0)], 20, &mut random);
            assert!(labels.iter().all(|x| (0.0..=1.0).contains(x)));
            assert!(labels[14..].iter().sum::<f64>() < 0.6);
            inside += labels[7] / 50.0;
        }
        assert!((0.8..0.95).contains(&inside), "{inside}");
    }
}
