//! Micro-batches from clips, decoded ahead of the training thread.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::JoinHandle;

use collective::rng::seed_from;
use dataset::{Clip, Epoch, Sampler, SetKind, TrainSet};
use tch::{Device, Kind, Tensor};

use crate::draws::Place;
use crate::features::{FeatureCache, Sound};
use crate::pseudo_labels::PseudoLabels;
use crate::schedule::Calendar;
use crate::{CLASSES, Error, FRAMES};

/// Micro-batches that each thread may be ahead.
const AHEAD: usize = 2;

/// One micro-batch in batch order (recipe 1.8).
#[derive(Debug)]
pub(crate) struct Batch {
    /// In batch order.
    pub(crate) sounds: Vec<Sound>,
    /// (batch, 27, 156).
    pub(crate) labels: Tensor,
    /// (batch, 27, 156), probabilities.
    pub(crate) pseudo: Option<Tensor>,
    /// (batch, 27), bool: annotated classes.
    pub(crate) mask: Tensor,
}

impl Batch {
    pub(crate) fn moved_to(self, device: Device) -> Self {
        Self {
            sounds: self.sounds,
            labels: self.labels.to_device(device),
            pseudo: self.pseudo.as_ref().map(|pseudo| pseudo.to_device(device)),
            mask: self.mask.to_device(device),
        }
    }
}

/// The training sets, and how clips of them become a micro-batch.
#[derive(Debug)]
pub(crate) struct BatchSource {
    pub(crate) sets: TrainSet,
    pub(crate) sampler: Sampler,
    pub(crate) pseudo: Option<PseudoLabels>,
    pub(crate) cache: Arc<FeatureCache>,
    pub(crate) seed: u64,
}

impl BatchSource {
    fn read(&self, epoch: &Epoch, place: Place, index: usize) -> Result<Batch, Error> {
        let chosen = epoch
            .microbatch(index)
            .ok_or_else(|| Error::Configuration(format!("an epoch has no micro-batch {index}")))?;
        let clips: Vec<&Clip> = SetKind::ALL
            .into_iter()
            .zip(&chosen)
            .flat_map(|(kind, indices)| indices.iter().map(move |&index| (kind, index)))
            .filter_map(|(kind, index)| self.sets.item(kind, index))
            .collect();
        let count = clips.len();
        let mut sounds = Vec::with_capacity(count);
        let mut labels = Vec::with_capacity(count * (CLASSES * FRAMES) as usize);
        let mut mask = Vec::with_capacity(count * CLASSES as usize);
        let mut pseudo = Vec::new();
        for clip in clips {
            let (sound, crop_onset) = self.sound(place, clip)?;
            sounds.push(sound);
            labels.extend_from_slice(clip.labels(crop_onset).values());
            mask.extend(clip.mask().map(|valid| valid > 0.0));
            if let Some(labels) = &self.pseudo {
                pseudo.push(
                    labels
                        .probabilities(clip.split, &clip.stem)?
                        .transpose(0, 1),
                );
            }
        }
        let count = count as i64;
        Ok(Batch {
            sounds,
            labels: Tensor::from_slice(&labels).view([count, CLASSES, FRAMES]),
            pseudo: (!pseudo.is_empty()).then(|| Tensor::stack(&pseudo, 0)),
            mask: Tensor::from_slice(&mask)
                .view([count, CLASSES])
                .to_kind(Kind::Bool),
        })
    }

    /// A clip's sound, and where in its file it begins.
    fn sound(&self, place: Place, clip: &Clip) -> Result<(Sound, f64), Error> {
        if let Some(features) = self.cache.get(clip) {
            return Ok((Sound::Known(features), 0.0));
        }
        let waveform = clip.read(self.crop_seed(place, clip))?;
        let sound = Sound::Heard {
            waveform: Tensor::from_slice(&waveform.samples).unsqueeze(0),
            key: (!waveform.cropped).then(|| FeatureCache::key(clip)),
        };
        Ok((sound, waveform.crop_onset))
    }

    fn crop_seed(&self, place: Place, clip: &Clip) -> u64 {
        seed_from(&[
            ("purpose", "crop".into()),
            ("seed", self.seed.into()),
            ("epoch", place.epoch.into()),
            ("split", clip.split.as_str().into()),
            ("clip", clip.stem.as_str().into()),
        ])
    }
}

/// The micro-batches that a rank works through, in order.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Itinerary {
    pub(crate) calendar: Calendar,
    pub(crate) first_step: u64,
    pub(crate) rank: u32,
    pub(crate) world_size: u32,
}

impl Itinerary {
    /// This rank's micro-batches of a step: its block, as far as the step's window reaches.
    pub(crate) fn of_step(&self, step: u64) -> std::ops::Range<u32> {
        let block = self.calendar.microbatches_per_step / self.world_size;
        let end = self.calendar.place(step).microbatches;
        let start = (self.rank * block).min(end);
        start..(start + block).min(end)
    }

    /// All of them, with their index in the epoch.
    fn places(self) -> impl Iterator<Item = (Place, usize)> {
        (self.first_step..self.calendar.total_steps()).flat_map(move |step| {
            let of_step = self.calendar.place(step);
            self.of_step(step).map(move |microbatch| {
                let place = Place {
                    epoch: of_step.epoch,
                    step,
                    microbatch,
                };
                (
                    place,
                    of_step.first_microbatch as usize + microbatch as usize,
                )
            })
        })
    }
}

/// Threads that decode; thread t of n makes micro-batches t, t + n, … so that their order needs no sorting.
#[derive(Debug)]
pub(crate) struct Prefetch {
    lanes: Vec<Receiver<Result<Batch, Error>>>,
    next: usize,
    threads: Vec<JoinHandle<()>>,
}

impl Prefetch {
    pub(crate) fn start(
        source: &Arc<BatchSource>,
        itinerary: Itinerary,
        threads: usize,
    ) -> Result<Self, Error> {
        let count = threads.max(1);
        let mut lanes = Vec::with_capacity(count);
        let mut handles = Vec::with_capacity(count);
        for lane in 0..count {
            let (sender, receiver) = sync_channel(AHEAD);
            let source = Arc::clone(source);
            let handle = std::thread::Builder::new()
                .name(format!("decode-{lane}"))
                .spawn(move || {
                    let places = itinerary.places().skip(lane).step_by(count);
                    decode(&source, places, &sender);
                })
                .map_err(|error| Error::Host(format!("cannot start a thread: {error}")))?;
            lanes.push(receiver);
            handles.push(handle);
        }
        Ok(Self {
            lanes,
            next: 0,
            threads: handles,
        })
    }

    /// The next micro-batch of the itinerary.
    pub(crate) fn next(&mut self) -> Result<Batch, Error> {
        let lane = self.next % self.lanes.len();
        self.next += 1;
        self.lanes[lane].recv().map_err(|_| {
            Error::Host("a decoding thread ended early; its message is in the log".to_owned())
        })?
    }
}

impl Drop for Prefetch {
    fn drop(&mut self) {
        // without receivers the threads stop at their next micro-batch
        self.lanes.clear();
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

fn decode(
    source: &BatchSource,
    places: impl Iterator<Item = (Place, usize)>,
    sender: &SyncSender<Result<Batch, Error>>,
) {
    let mut epoch: Option<(u32, Epoch)> = None;
    for (place, index) in places {
        let known = epoch.take().filter(|(number, _)| *number == place.epoch);
        let (_, order) =
            epoch
                .insert(known.unwrap_or_else(|| {
                    (place.epoch, source.sampler.epoch(u64::from(place.epoch)))
                }));
        let batch = source.read(order, place, index);
        let failed = batch.is_err();
        if sender.send(batch).is_err() || failed {
            return;
        }
    }
}
