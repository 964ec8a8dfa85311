//! One sound per class: five ways of sounding at 27 pitches.

use std::f64::consts::TAU;

use rand::RngExt as _;
use rand_chacha::ChaCha8Rng;

use crate::classes::NUM_CLASSES;
use crate::clip::SAMPLE_RATE;
use crate::metadata::StrongRow;

/// Peak of a sound of confidence 1; several may overlap.
const LOUDNESS: f64 = 0.18;

/// Peak of the noise behind everything.
const BACKGROUND: f64 = 0.01;

/// Seconds over which a sound comes and goes.
const FADE: f64 = 0.01;

/// All events, as loud as their confidence says, over faint noise.
pub(super) fn render(events: &[StrongRow], seconds: f64, random: &mut ChaCha8Rng) -> Vec<f32> {
    let rate = f64::from(SAMPLE_RATE);
    let len = (seconds * rate) as usize;
    let mut mix: Vec<f64> = (0..len)
        .map(|_| BACKGROUND * random.random_range(-1.0..1.0))
        .collect();
    for event in events {
        let from = ((event.onset * rate) as usize).min(len);
        let to = ((event.offset * rate) as usize).clamp(from, len);
        let duration = (to - from) as f64 / rate;
        let mut noise = 0.0;
        for (index, sample) in mix[from..to].iter_mut().enumerate() {
            let time = index as f64 / rate;
            // One pole low-pass: noise that stays near the pitch it is moved to.
            noise += 0.1 * (random.random_range(-1.0..1.0) - noise);
            let fade = (time / FADE).min((duration - time) / FADE).min(1.0);
            *sample += LOUDNESS * event.confidence * fade * voice(event.class, time, noise);
        }
    }
    mix.into_iter()
        .map(|sample| sample.clamp(-1.0, 1.0) as f32)
        .collect()
}

/// A class's sound `time` seconds after its start; `noise` is slow noise in about [-0.4, 0.4].
fn voice(class: usize, time: f64, noise: f64) -> f64 {
    let pitch = 180.0 * (5.0 * class as f64 / NUM_CLASSES as f64).exp2();
    let phase = TAU * pitch * time;
    match class % 5 {
        // A steady tone with overtones.
        0 => 0.6 * phase.sin() + 0.3 * (2.0 * phase).sin() + 0.1 * (3.0 * phase).sin(),
        // A sweep up, four times a second.
        1 => {
            let sweep = time % 0.25;
            (TAU * pitch * (sweep + sweep * sweep)).sin()
        }
        // A tone that swells six times a second.
        2 => phase.sin() * (0.5 - 0.5 * (TAU * 6.0 * time).cos()),
        // A hiss around the pitch.
        3 => (2.5 * noise * phase.sin()).clamp(-1.0, 1.0),
        // Twelve strokes a second that ring off.
        _ => phase.sin() * (-40.0 * (time % (1.0 / 12.0))).exp(),
    }
}
