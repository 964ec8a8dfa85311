//! DESED-like clips of ten seconds: a quiet background and a few events.

use anyhow::Result;
use dataset::StrongRow;

use super::bank::{Bank, Part};
use super::event::DESED;
use super::random::Random;
use super::sound;

/// Length of a clip in seconds.
pub(super) const SECONDS: f64 = 10.0;

/// How the clips of one split are made.
#[derive(Debug, Clone, Copy)]
pub(super) struct Manner {
    /// The part of the set.
    pub(super) part: Part,
    /// Events above the background, in dB.
    pub(super) snr: (f64, f64),
    /// Reflections as in a room.
    pub(super) room: bool,
    /// Largest error of an annotator's onsets and offsets, in seconds.
    pub(super) jitter: f64,
}

/// Samples of a clip and its events.
///
/// # Errors
/// When the bank lacks a class.
pub(super) fn clip(
    bank: &Bank,
    filename: &str,
    index: usize,
    manner: Manner,
    random: &mut Random,
) -> Result<(Vec<f32>, Vec<StrongRow>)> {
    let background = random.between((-44.0, -36.0));
    let mut mix = background_of(bank, manner.part, background, random)?;
    let wanted = 1 + usize::from(random.chance(0.65)) + usize::from(random.chance(0.3));
    let mut rows: Vec<StrongRow> = Vec::new();
    for number in 0..wanted {
        // The first event goes around the classes, so that few clips have all of them; no class comes twice.
        let offset = if number == 0 {
            0
        } else {
            random.below(DESED.len())
        };
        let recipe = &DESED[(index + offset) % DESED.len()];
        let class = recipe.class_index()?;
        let mut event = recipe.event(bank, manner.part, random)?;
        if manner.room {
            event = sound::in_room(&event, random);
        }
        let length = sound::seconds_of(event.len());
        let level = background + random.between(manner.snr);
        let Some(onset) = place(&rows, class, length, random) else {
            continue;
        };
        sound::add(
            &mut mix,
            &event,
            sound::samples_of(onset),
            sound::gain(level),
        );
        rows.push(StrongRow {
            filename: filename.to_owned(),
            onset,
            offset: milliseconds(onset + length),
            class,
            confidence: 1.0,
            line: 0,
        });
    }
    for row in &mut rows {
        let mut shift = || random.between((-manner.jitter, manner.jitter));
        row.onset = milliseconds((row.onset + shift()).max(0.0));
        row.offset = milliseconds((row.offset + shift()).min(SECONDS));
    }
    rows.sort_by(|a, b| a.onset.total_cmp(&b.onset));
    sound::tame(&mut mix);
    Ok((mix, rows))
}

/// A random onset where the event overlaps others by no more than a third, and none of its own class.
fn place(rows: &[StrongRow], class: usize, length: f64, random: &mut Random) -> Option<f64> {
    if rows.iter().any(|row| row.class == class) {
        return None;
    }
    (0..30).find_map(|_| {
        let onset = milliseconds(random.between((0.1, SECONDS - length - 0.1)));
        let fits = rows.iter().all(|row| {
            let common = row.offset.min(onset + length) - row.onset.max(onset);
            common <= (row.offset - row.onset).min(length) / 3.0
        });
        fits.then_some(onset)
    })
}

fn background_of(bank: &Bank, part: Part, decibels: f64, random: &mut Random) -> Result<Vec<f32>> {
    let len = sound::samples_of(SECONDS);
    let mut mix = sound::room_tone(len, random);
    let bed = ["bed:room", "bed:street"][random.below(2)];
    let share = random.between((0.0, 1.0)) as f32;
    let beds = bank.get(bed, part)?;
    let bed = sound::looped(&beds[random.below(beds.len())], len, random);
    sound::add(&mut mix, &bed, 0, share);
    sound::level(&mut mix);
    let factor = sound::gain(decibels);
    for x in &mut mix {
        *x *= factor;
    }
    Ok(mix)
}

pub(super) fn milliseconds(seconds: f64) -> f64 {
    (seconds * 1_000.0).round() / 1_000.0
}
