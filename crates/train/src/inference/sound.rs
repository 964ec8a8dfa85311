//! Sounds as they come and as they look.

use std::collections::BTreeMap;
use std::path::Path;

use dataset::{CLASSES, CLIP_SAMPLES, SAMPLE_RATE};
use model::CrnnMel;
use tch::{Device, Kind, Tensor};
use types::{SoundEvent, Spectrogram, merge_touching};

use crate::Error;

/// Decodes a file of any length: mono, 16 kHz.
///
/// # Errors
/// As [`audio::read_mono`].
pub fn read(path: &Path) -> Result<Vec<f32>, audio::Error> {
    audio::read_mono(path, SAMPLE_RATE)
}

/// A log-mel spectrogram of samples at 16 kHz, as the CRNN sees them (recipe 3.1).
#[must_use]
pub fn spectrogram(samples: &[f32]) -> Spectrogram {
    const HOP: usize = 256;
    let mel = CrnnMel::new(Device::Cpu);
    let mut decibels = Vec::new();
    for part in samples.chunks(CLIP_SAMPLES) {
        // edges are mirrored, which takes more than half a transform's length
        let mut part = part.to_vec();
        let columns = part.len().div_ceil(HOP);
        part.resize(part.len().max(2048), 0.0);
        let waveform = Tensor::from_slice(&part).unsqueeze(0);
        let frames = CrnnMel::decibels(&mel.forward(&waveform))
            .view([Spectrogram::BANDS as i64, -1])
            .narrow(1, 0, columns as i64)
            .transpose(0, 1)
            .round()
            .clamp(f64::from(i8::MIN), f64::from(i8::MAX))
            .to_kind(Kind::Int8)
            .contiguous();
        let start = decibels.len();
        decibels.resize(start + columns * Spectrogram::BANDS, 0);
        frames.copy_data(&mut decibels[start..], columns * Spectrogram::BANDS);
    }
    Spectrogram { decibels }
}

/// Annotated events by file stem, from a table with the columns `filename`, `onset`, `offset`, `event_label` and possibly
/// `confidence`: what is at most 0.5 there does not count (recipe 9.4). Touching events of a class are joined.
///
/// # Errors
/// No such file, or a fault in it.
pub fn annotations(path: &Path) -> Result<BTreeMap<String, Vec<SoundEvent>>, Error> {
    let mut events: BTreeMap<String, Vec<SoundEvent>> = BTreeMap::new();
    for row in dataset::read_events(path)? {
        if row.confidence > 0.5 && row.onset < row.offset {
            let list = events
                .entry(dataset::stem(&row.filename).to_owned())
                .or_default();
            list.push(SoundEvent {
                onset: row.onset,
                offset: row.offset,
                class: CLASSES[row.class].to_owned(),
            });
        }
    }
    for list in events.values_mut() {
        *list = merge_touching(list);
    }
    Ok(events)
}
