//! Micro-batches from clips, decoded ahead of the training thread.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::JoinHandle;

use collective::rng::seed_from;
use dataset::{Clip, Epoch, Sampler, SetKind, TrainSet};
use rand::RngExt;
use rand_distr::{Beta, Distribution};
use tch::{Device, Kind, Tensor};
use types::{AugmentationSettings, WavmixTarget};

use crate::augment::recording::{amplify, convolve, mix_labels, mix_recordings};
use crate::draws::{Draws, Place, Purpose};
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
    pub(crate) draws: Draws,
    pub(crate) augmentation: AugmentationSettings,
    /// Impulse responses at 16 kHz, in the files' order.
    pub(crate) responses: Vec<Vec<f32>>,
}

/// One row of a micro-batch.
struct Row {
    sound: Sound,
    /// (27, 156).
    labels: Tensor,
    /// (27, 156).
    pseudo: Option<Tensor>,
}

/// What happens to one row's recording.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
struct Change {
    /// Partner in the same set, and the clip's own weight.
    mix: Option<(usize, f64)>,
    /// Which impulse response.
    response: Option<usize>,
    decibels: Option<f64>,
}

impl BatchSource {
    fn read(&self, epoch: &Epoch, place: Place, index: usize) -> Result<Batch, Error> {
        let chosen = epoch
            .microbatch(index)
            .ok_or_else(|| Error::Configuration(format!("an epoch has no micro-batch {index}")))?;
        let clips = SetKind::ALL
            .into_iter()
            .zip(&chosen)
            .flat_map(|(kind, indices)| indices.iter().map(move |&index| (kind, index)))
            .filter_map(|(kind, index)| Some((kind, self.sets.item(kind, index)?)));
        let mut mask = Vec::new();
        let mut rows = Vec::new();
        for (row, (kind, clip)) in clips.enumerate() {
            mask.extend(clip.mask().map(|valid| valid > 0.0));
            let change = self.change(place, row, kind)?;
            rows.push(self.row(place, kind, clip, change)?);
        }
        let labels: Vec<&Tensor> = rows.iter().map(|row| &row.labels).collect();
        let pseudo: Vec<&Tensor> = rows.iter().filter_map(|row| row.pseudo.as_ref()).collect();
        Ok(Batch {
            labels: Tensor::stack(&labels, 0),
            pseudo: (!pseudo.is_empty()).then(|| Tensor::stack(&pseudo, 0)),
            mask: Tensor::from_slice(&mask)
                .view([-1, CLASSES])
                .to_kind(Kind::Bool),
            sounds: rows.into_iter().map(|row| row.sound).collect(),
        })
    }

    /// Draws what happens to a row, a function of its place (recipe 6.1, 6.2, 6.5).
    fn change(&self, place: Place, row: usize, kind: SetKind) -> Result<Change, Error> {
        let settings = &self.augmentation;
        let mut rng = self.draws.row_generator(Purpose::Recording, place, row);
        let mut change = Change::default();
        let taken = match settings.wavmix_target {
            WavmixTarget::Strong => {
                matches!(kind, SetKind::Maestro | SetKind::Strong | SetKind::Synth)
            }
            WavmixTarget::Labeled => kind != SetKind::Unlabeled,
            WavmixTarget::All => true,
        };
        let mixed = rng.random::<f64>() < settings.wavmix_probability;
        if mixed && taken {
            let alpha = settings.wavmix_alpha;
            let beta = Beta::new(alpha, alpha).map_err(|error| {
                Error::Configuration(format!(
                    "wavmix_alpha is {alpha}, expected above 0: {error}"
                ))
            })?;
            let share = beta.sample(&mut rng);
            let partner = rng.random_range(0..self.sets.set(kind).len().max(1));
            change.mix = Some((partner, share.max(1.0 - share)));
        }
        if rng.random::<f64>() < settings.impulse_probability && !self.responses.is_empty() {
            change.response = Some(rng.random_range(0..self.responses.len()));
        }
        if settings.gain_db > 0 {
            let reach = i64::from(settings.gain_db);
            change.decibels = Some(rng.random_range(-reach..reach) as f64);
        }
        Ok(change)
    }

    fn row(&self, place: Place, kind: SetKind, clip: &Clip, change: Change) -> Result<Row, Error> {
        if change == Change::default() {
            let (sound, crop_onset) = self.sound(place, clip)?;
            return Ok(Row {
                sound,
                labels: label_grid(clip, crop_onset),
                pseudo: self.pseudo_labels(clip)?,
            });
        }
        let (mut waveform, mut labels, mut pseudo) = self.decoded(place, clip)?;
        if let Some((partner, weight)) = change.mix
            && let Some(partner) = self.sets.item(kind, partner)
        {
            let (other, other_labels, other_pseudo) = self.decoded(place, partner)?;
            waveform = mix_recordings(&waveform, &other, weight);
            labels = mix_labels(&labels, &other_labels, weight);
            pseudo = pseudo
                .zip(other_pseudo)
                .map(|(own, other)| mix_labels(&own, &other, weight));
        }
        if let Some(response) = change.response {
            waveform = convolve(&waveform, &Tensor::from_slice(&self.responses[response]));
        }
        if let Some(decibels) = change.decibels {
            waveform = amplify(&waveform, decibels);
        }
        let sound = Sound::Heard {
            waveform,
            key: None,
        };
        Ok(Row {
            sound,
            labels,
            pseudo,
        })
    }

    /// A clip's waveform (1, 160 000), labels (27, 156) and pseudo-labels (27, 156).
    fn decoded(
        &self,
        place: Place,
        clip: &Clip,
    ) -> Result<(Tensor, Tensor, Option<Tensor>), Error> {
        let waveform = clip.read(self.crop_seed(place, clip))?;
        Ok((
            Tensor::from_slice(&waveform.samples).unsqueeze(0),
            label_grid(clip, waveform.crop_onset),
            self.pseudo_labels(clip)?,
        ))
    }

    fn pseudo_labels(&self, clip: &Clip) -> Result<Option<Tensor>, Error> {
        let Some(labels) = &self.pseudo else {
            return Ok(None);
        };
        let probabilities = labels.probabilities(clip.split, &clip.stem)?;
        Ok(Some(probabilities.transpose(0, 1)))
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

/// (27, 156).
fn label_grid(clip: &Clip, crop_onset: f64) -> Tensor {
    Tensor::from_slice(clip.labels(crop_onset).values()).view([CLASSES, FRAMES])
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
