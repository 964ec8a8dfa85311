//! Sounds as they come and as they look.

use std::collections::BTreeMap;
use std::path::Path;

use dataset::{CLASSES, CLIP_SAMPLES, SAMPLE_RATE};
use model::CrnnMel;
use tch::{Device, Tensor};
use types::{SoundEvent, merge_touching};

use crate::Error;

/// Decodes a file of any length: mono, 16 kHz.
///
/// # Errors
/// As [`audio::read_mono`].
pub fn read(path: &Path) -> Result<Vec<f32>, audio::Error> {
    audio::read_mono(path, SAMPLE_RATE)
}

/// A log-mel spectrogram as the CRNN sees it (recipe 3.1).
#[derive(Debug, Clone, PartialEq)]
pub struct Spectrogram {
    /// Decibels, (column, band), column by column.
    pub decibels: Vec<f32>,
    /// Columns, each 16 ms.
    pub columns: usize,
}

impl Spectrogram {
    /// Bands, equally spaced on the mel scale of [`Self::HIGHEST`].
    pub const BANDS: usize = 128;
    /// The upper end of the highest band in hertz.
    pub const HIGHEST: f64 = 8000.0;
    /// Samples per column.
    const HOP: usize = 256;

    /// Of samples at 16 kHz.
    #[must_use]
    pub fn new(samples: &[f32]) -> Self {
        let mel = CrnnMel::new(Device::Cpu);
        let mut decibels = Vec::new();
        for part in samples.chunks(CLIP_SAMPLES) {
            // edges are mirrored, which takes more than half a transform's length
            let mut part = part.to_vec();
            let columns = part.len().div_ceil(Self::HOP);
            part.resize(part.len().max(2048), 0.0);
            let waveform = Tensor::from_slice(&part).unsqueeze(0);
            let frames = CrnnMel::decibels(&mel.forward(&waveform))
                .view([Self::BANDS as i64, -1])
                .narrow(1, 0, columns as i64)
                .transpose(0, 1)
                .contiguous();
            let start = decibels.len();
            decibels.resize(start + columns * Self::BANDS, 0.0);
            frames.copy_data(&mut decibels[start..], columns * Self::BANDS);
        }
        Self {
            columns: decibels.len() / Self::BANDS,
            decibels,
        }
    }

    /// Where a frequency in hertz lies between the lowest (0) and the highest edge (1).
    #[must_use]
    pub fn position(hertz: f64) -> f64 {
        let mel = |hertz: f64| (1.0 + hertz / 700.0).ln();
        mel(hertz) / mel(Self::HIGHEST)
    }
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
