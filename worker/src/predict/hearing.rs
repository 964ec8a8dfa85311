//! Sounds on their way through the networks: windows of several files share a batch.

use std::collections::VecDeque;

use train::Error;
use train::inference::{Blend, FrameLogits, System, Windows};

/// A sound that has been heard to its end.
#[derive(Debug)]
pub(crate) struct Heard<T> {
    /// What it was handed in with.
    pub(crate) tag: T,
    /// Its samples at 16 kHz.
    pub(crate) sound: Vec<f32>,
    /// What the networks say.
    pub(crate) logits: FrameLogits,
}

#[derive(Debug)]
struct Sound<T> {
    tag: T,
    samples: Vec<f32>,
    blend: Blend,
    /// The next window to be computed.
    next: usize,
}

/// Sounds that wait, in order.
#[derive(Debug)]
pub(crate) struct Hearing<'a, T> {
    system: &'a System,
    batch: usize,
    hop: usize,
    sounds: VecDeque<Sound<T>>,
}

impl<'a, T> Hearing<'a, T> {
    /// Takes so many windows in one pass, and one window every `hop` frames.
    pub(crate) fn new(system: &'a System, batch: usize, hop: usize) -> Self {
        Self {
            system,
            batch,
            hop,
            sounds: VecDeque::new(),
        }
    }

    pub(crate) fn push(&mut self, tag: T, samples: Vec<f32>) {
        self.sounds.push_back(Sound {
            tag,
            blend: Blend::new(Windows::new(samples.len(), self.hop)),
            samples,
            next: 0,
        });
    }

    /// Windows that wait.
    pub(crate) fn waiting(&self) -> usize {
        self.sounds
            .iter()
            .map(|sound| sound.blend.windows().len() - sound.next)
            .sum()
    }

    /// Whether a whole batch waits.
    pub(crate) fn is_ready(&self) -> bool {
        self.waiting() >= self.batch
    }

    /// How much of the first sound has been heard, 0 to 1.
    pub(crate) fn fraction(&self) -> f64 {
        self.sounds.front().map_or(0.0, |sound| {
            sound.next as f64 / sound.blend.windows().len() as f64
        })
    }

    /// One pass over at most a batch of windows; gives the sounds that are complete by that, in order.
    pub(crate) fn step(&mut self) -> Result<Vec<Heard<T>>, Error> {
        let mut places = Vec::with_capacity(self.batch);
        for (index, sound) in self.sounds.iter().enumerate() {
            let rest = sound.next..sound.blend.windows().len();
            let room = self.batch - places.len();
            places.extend(rest.take(room).map(|window| (index, window)));
            if places.len() == self.batch {
                break;
            }
        }
        let windows: Vec<&[f32]> = places
            .iter()
            .map(|&(index, window)| {
                let sound = &self.sounds[index];
                sound.blend.windows().samples(window, &sound.samples)
            })
            .collect();
        let logits = self.system.logits(&windows)?;
        let size = logits.len() / places.len().max(1);
        for (&(index, window), logits) in places.iter().zip(logits.chunks_exact(size.max(1))) {
            let sound = &mut self.sounds[index];
            sound.blend.add(window, logits);
            sound.next = window + 1;
        }
        let mut heard = Vec::new();
        while let Some(sound) = self.sounds.pop_front_if(|sound| sound.blend.is_complete()) {
            heard.push(Heard {
                tag: sound.tag,
                sound: sound.samples,
                logits: sound.blend.finish(),
            });
        }
        Ok(heard)
    }
}
