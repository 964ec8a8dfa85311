//! What is done to mono samples at 16 kHz.

use anyhow::{Result, anyhow};

use super::random::Random;

/// The rate of every file of the set.
pub(super) const RATE: u32 = 16_000;

/// Frames for measuring levels: 10 ms.
const FRAME: usize = 160;

/// How many samples a time is.
pub(super) fn samples_of(seconds: f64) -> usize {
    (seconds.max(0.0) * f64::from(RATE)).round() as usize
}

/// How long samples are.
pub(super) fn seconds_of(samples: usize) -> f64 {
    samples as f64 / f64::from(RATE)
}

/// dB to amplitude.
pub(super) fn gain(decibels: f64) -> f32 {
    10_f64.powf(decibels / 20.0) as f32
}

/// A recording made ready: no DC, silence of the ends cut off, level 1.
pub(super) fn prepared(mut sound: Vec<f32>) -> Vec<f32> {
    let mean = sound.iter().map(|x| f64::from(*x)).sum::<f64>() / sound.len().max(1) as f64;
    for x in &mut sound {
        *x -= mean as f32;
    }
    let mut sound = trimmed(&sound, -30.0).to_vec();
    level(&mut sound);
    sound
}

/// Without the ends that are `below` dB under the loudest frame.
fn trimmed(sound: &[f32], below: f64) -> &[f32] {
    let levels: Vec<f64> = sound.chunks(FRAME).map(power).collect();
    let loudest = levels.iter().fold(0.0_f64, |a, b| a.max(*b));
    let floor = loudest * 10_f64.powf(below / 10.0);
    let first = levels.iter().position(|x| *x > floor).unwrap_or(0);
    let last = levels.iter().rposition(|x| *x > floor).unwrap_or(0);
    &sound[first * FRAME..((last + 1) * FRAME).min(sound.len())]
}

fn power(sound: &[f32]) -> f64 {
    sound.iter().map(|x| f64::from(*x).powi(2)).sum::<f64>() / sound.len().max(1) as f64
}

/// Scales to a root mean square of 1, pauses left out of the mean.
pub(super) fn level(sound: &mut [f32]) {
    let levels: Vec<f64> = sound.chunks(FRAME).map(power).collect();
    let loudest = levels.iter().fold(0.0_f64, |a, b| a.max(*b));
    let heard: Vec<f64> = levels
        .into_iter()
        .filter(|x| *x > loudest * 10_f64.powf(-2.5))
        .collect();
    let mean = heard.iter().sum::<f64>() / heard.len().max(1) as f64;
    if mean > 0.0 {
        let scale = (1.0 / mean.sqrt()) as f32;
        for x in sound {
            *x *= scale;
        }
    }
}

/// As from a tape that runs faster: higher and shorter by the same factor.
pub(super) fn pitched(sound: &[f32], semitones: f64) -> Result<Vec<f32>> {
    // Round numbers keep the resampler's filter short.
    let rate = (f64::from(RATE) * 2_f64.powf(semitones / 12.0) / 100.0).round() as u32 * 100;
    audio::resample(sound.to_vec(), rate, RATE).map_err(|problem| anyhow!("{problem}"))
}

/// Fades the ends, each over `seconds`.
pub(super) fn fade(sound: &mut [f32], seconds: f64) {
    let len = samples_of(seconds).min(sound.len() / 2);
    let end = sound.len();
    for n in 0..len {
        let factor = (n as f32 + 0.5) / len as f32;
        sound[n] *= factor;
        sound[end - 1 - n] *= factor;
    }
}

/// `len` samples of a sound that goes on: from a random place, and around again with a cross-fade of 50 ms.
pub(super) fn looped(sound: &[f32], len: usize, random: &mut Random) -> Vec<f32> {
    let cross = samples_of(0.05).min(sound.len() / 4);
    let period = (sound.len() - cross).max(1);
    let start = random.below(period);
    (0..len)
        .map(|n| {
            let at = (start + n) % period;
            if at < cross && start + n >= period {
                let weight = at as f32 / cross as f32;
                sound[at] * weight + sound[at + period] * (1.0 - weight)
            } else {
                sound[at]
            }
        })
        .collect()
}

/// A room: a few early reflections, none later than 40 ms.
pub(super) fn in_room(sound: &[f32], random: &mut Random) -> Vec<f32> {
    let mut out = sound.to_vec();
    for _ in 0..6 {
        let delay = samples_of(random.between((0.003, 0.04)));
        let sign = if random.chance(0.5) { 1.0 } else { -1.0 };
        let factor = sign * (0.35 * (1.0 - seconds_of(delay) / 0.06)) as f32;
        for n in delay..out.len() {
            out[n] += factor * sound[n - delay];
        }
    }
    out
}

/// The hiss and hum of a quiet room, level 1: noise through a low-pass filter of a random corner, and a little of it unfiltered.
pub(super) fn room_tone(len: usize, random: &mut Random) -> Vec<f32> {
    let pole = (-std::f64::consts::TAU * random.between((150.0, 1_500.0)) / f64::from(RATE)).exp();
    let white = random.between((0.02, 0.1));
    let mut low = 0.0;
    let mut tone: Vec<f32> = (0..len)
        .map(|_| {
            let noise = random.unit() + random.unit() - random.unit() - random.unit();
            low = pole * low + (1.0 - pole) * noise;
            (low + white * noise) as f32
        })
        .collect();
    level(&mut tone);
    tone
}

/// Adds `sound` times `factor` to `mix` from sample `at` on; what would stick out is left out.
pub(super) fn add(mix: &mut [f32], sound: &[f32], at: usize, factor: f32) {
    for (to, from) in mix.iter_mut().skip(at).zip(sound) {
        *to += factor * from;
    }
}

/// Turns the whole down if its loudest sample is above 0.95.
pub(super) fn tame(mix: &mut [f32]) {
    let peak = mix.iter().fold(0.0_f32, |peak, x| peak.max(x.abs()));
    if peak > 0.95 {
        for x in mix {
            *x *= 0.95 / peak;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sine(len: usize) -> Vec<f32> {
        (0..len).map(|n| (n as f32 * 0.3).sin()).collect()
    }

    #[test]
    fn silence_and_dc_are_taken_off() {
        let mut sound = vec![0.25; 8_000];
        for (to, from) in sound[3_200..4_800].iter_mut().zip(sine(1_600)) {
            *to += from;
        }
        let ready = prepared(sound);
        assert!((1_500..1_900).contains(&ready.len()), "{}", ready.len());
        assert!((power(&ready).sqrt() - 1.0).abs() < 0.1);
    }

    #[test]
    fn a_loop_has_no_jumps() {
        let sound = sine(3_000);
        let mut random = Random::new("test", 0);
        let long = looped(&sound, 20_000, &mut random);
        assert_eq!(long.len(), 20_000);
        let jump = long
            .windows(2)
            .map(|w| (w[1] - w[0]).abs())
            .fold(0.0_f32, f32::max);
        assert!(jump < 0.35, "{jump}");
    }

    #[test]
    fn faster_is_shorter() {
        let sound = sine(16_000);
        assert_eq!(pitched(&sound, 12.0).unwrap().len(), 8_000);
        assert_eq!(pitched(&sound, 0.0).unwrap(), sound);
    }
}
