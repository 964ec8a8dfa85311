//! From recordings to a sound event: what each class sounds like.

use anyhow::{Context as _, Result};

use super::bank::{Bank, Part};
use super::random::Random;
use super::sound;

/// How an event of a class is put together.
#[derive(Debug, Clone, Copy)]
pub(super) struct Recipe {
    /// The class.
    pub(super) class: &'static str,
    /// The recordings that it is made of.
    from: &'static str,
    style: Style,
    /// Length in seconds.
    length: (f64, f64),
    /// Transposition in semitones.
    pitch: (f64, f64),
    /// Length of the fades at both ends, in seconds.
    fade: f64,
}

#[derive(Debug, Clone, Copy)]
enum Style {
    /// One recording again and again: barks, steps, rings. Seconds of silence between them.
    Repeated { pause: (f64, f64) },
    /// Different recordings one after the other: clinks, sentences.
    Mixed { pause: (f64, f64) },
    /// One recording that goes on: water, engines.
    Lasting,
    /// Several voices at once.
    Babble,
}

const fn recipe(
    class: &'static str,
    from: &'static str,
    style: Style,
    length: (f64, f64),
    pitch: (f64, f64),
    fade: f64,
) -> Recipe {
    Recipe {
        class,
        from,
        style,
        length,
        pitch,
        fade,
    }
}

/// The DESED classes that are in the set: those with recordings enough. Events of the lengths that they have at home.
pub(super) const DESED: [Recipe; 5] = [
    recipe(
        "Alarm_bell_ringing",
        "Alarm_bell_ringing",
        Style::Repeated {
            pause: (0.02, 0.15),
        },
        (1.5, 4.0),
        (-3.0, 3.0),
        0.01,
    ),
    recipe(
        "Dishes",
        "Dishes",
        Style::Mixed { pause: (0.02, 0.2) },
        (1.2, 3.0),
        (-2.0, 5.0),
        0.005,
    ),
    recipe(
        "Dog",
        "Dog",
        Style::Repeated { pause: (0.08, 0.3) },
        (1.0, 3.0),
        (-3.0, 3.0),
        0.005,
    ),
    recipe(
        "Running_water",
        "Running_water",
        Style::Lasting,
        (3.0, 7.0),
        (-2.0, 2.0),
        0.05,
    ),
    recipe(
        "Speech",
        "Speech",
        Style::Mixed { pause: (0.1, 0.3) },
        (1.5, 4.5),
        (-4.0, 2.0),
        0.01,
    ),
];

/// The MAESTRO classes that are in the set.
pub(super) const MAESTRO: [Recipe; 13] = [
    recipe(
        "cutlery and dishes",
        "Dishes",
        Style::Mixed { pause: (0.02, 0.2) },
        (2.0, 4.0),
        (-2.0, 5.0),
        0.005,
    ),
    recipe(
        "people talking",
        "Speech",
        Style::Babble,
        (3.0, 7.0),
        (-5.0, 1.0),
        0.1,
    ),
    recipe(
        "children voices",
        "children voices",
        Style::Repeated { pause: (0.1, 0.4) },
        (2.0, 5.0),
        (-3.0, 3.0),
        0.02,
    ),
    recipe(
        "announcement",
        "Speech",
        Style::Mixed { pause: (0.2, 0.4) },
        (3.0, 6.0),
        (-1.0, 0.0),
        0.02,
    ),
    recipe(
        "footsteps",
        "footsteps",
        Style::Repeated { pause: (0.15, 0.4) },
        (3.0, 6.0),
        (-2.0, 2.0),
        0.005,
    ),
    recipe("car", "car", Style::Lasting, (3.0, 6.0), (-3.0, 3.0), 1.0),
    recipe(
        "large_vehicle",
        "large_vehicle",
        Style::Lasting,
        (3.0, 6.0),
        (-2.0, 2.0),
        0.8,
    ),
    recipe(
        "brakes_squeaking",
        "brakes_squeaking",
        Style::Lasting,
        (1.0, 2.5),
        (-2.0, 4.0),
        0.1,
    ),
    recipe(
        "wind_blowing",
        "wind_blowing",
        Style::Lasting,
        (4.0, 7.0),
        (-1.0, 1.0),
        0.8,
    ),
    recipe(
        "birds_singing",
        "birds_singing",
        Style::Mixed { pause: (0.1, 0.5) },
        (3.0, 6.0),
        (-2.0, 2.0),
        0.02,
    ),
    recipe(
        "cash register beeping",
        "cash register beeping",
        Style::Repeated { pause: (0.3, 0.6) },
        (1.0, 3.0),
        (-2.0, 2.0),
        0.005,
    ),
    recipe(
        "shopping cart",
        "shopping cart",
        Style::Lasting,
        (3.0, 5.0),
        (-2.0, 2.0),
        0.3,
    ),
    recipe(
        "door opens/closes",
        "door opens/closes",
        Style::Mixed { pause: (0.2, 0.6) },
        (1.0, 2.0),
        (-2.0, 2.0),
        0.01,
    ),
];

/// The recipe of a MAESTRO class.
///
/// # Errors
/// When the class is not in the set.
pub(super) fn maestro(class: &str) -> Result<&'static Recipe> {
    MAESTRO
        .iter()
        .find(|recipe| recipe.class == class)
        .with_context(|| format!("no recipe for '{class}'"))
}

impl Recipe {
    /// Index of the class in [`dataset::CLASSES`].
    ///
    /// # Errors
    /// When there is no such class.
    pub(super) fn class_index(&self) -> Result<usize> {
        dataset::class_index(self.class).with_context(|| format!("no class '{}'", self.class))
    }

    /// One event, level 1.
    ///
    /// # Errors
    /// When the bank has no recordings for it.
    pub(super) fn event(&self, bank: &Bank, part: Part, random: &mut Random) -> Result<Vec<f32>> {
        let recordings = bank.get(self.from, part)?;
        let len = sound::samples_of(random.between(self.length));
        let pitch = random.between(self.pitch);
        let mut event = match self.style {
            Style::Repeated { pause } => {
                let unit = sound::pitched(&recordings[random.below(recordings.len())], pitch)?;
                sequence(len, pause, random, |_| Ok(unit.clone()))?
            }
            Style::Mixed { pause } => sequence(len, pause, random, |random| {
                sound::pitched(&recordings[random.below(recordings.len())], pitch)
            })?,
            Style::Lasting => {
                let unit = sound::pitched(&recordings[random.below(recordings.len())], pitch)?;
                sound::looped(&unit, len, random)
            }
            Style::Babble => {
                let mut together = vec![0.0; len];
                for _ in 0..3 {
                    let pitch = random.between(self.pitch);
                    let voice = sequence(len, (0.05, 0.4), random, |random| {
                        sound::pitched(&recordings[random.below(recordings.len())], pitch)
                    })?;
                    let at = random.below(len / 8);
                    sound::add(&mut together, &voice, at, random.between((0.5, 1.0)) as f32);
                }
                together
            }
        };
        sound::fade(&mut event, self.fade);
        sound::level(&mut event);
        Ok(event)
    }
}

/// Sounds one after the other, as many as fit into `len` samples; at least one, cut if it is longer.
fn sequence(
    len: usize,
    pause: (f64, f64),
    random: &mut Random,
    mut next: impl FnMut(&mut Random) -> Result<Vec<f32>>,
) -> Result<Vec<f32>> {
    let mut event: Vec<f32> = Vec::new();
    loop {
        let unit = next(random)?;
        let silence = if event.is_empty() {
            0
        } else {
            sound::samples_of(random.between(pause))
        };
        if !event.is_empty() && event.len() + silence + unit.len() > len {
            // What is left of a sentence or of a siren is worth hearing only if it is long.
            if event.len() >= len * 3 / 5 {
                return Ok(event);
            }
        }
        event.resize(event.len() + silence, 0.0);
        let factor = random.between((0.7, 1.0)) as f32;
        event.extend(unit.iter().map(|x| x * factor));
        if event.len() >= len {
            event.truncate(len);
            return Ok(event);
        }
    }
}
