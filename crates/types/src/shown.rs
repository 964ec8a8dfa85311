//! Sounds with what was found in them, as people look at them. Nothing is computed from these.

use serde::{Deserialize, Serialize};

use crate::{SoundEvent, Split};

/// An event found in frame scores, and how sure its frames are.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Detection {
    /// When, and of which class.
    #[serde(flatten)]
    pub event: SoundEvent,
    /// Mean score of its frames.
    pub confidence: f64,
}

/// What was found in one sound.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Found {
    /// Seconds.
    pub duration: f64,
    /// Names of the classes that were looked for, in output order.
    pub classes: Vec<String>,
    /// The threshold of each.
    pub thresholds: Vec<f64>,
    /// Of the frames, in seconds; one more than there are frames.
    pub boundaries: Vec<f64>,
    /// (frame, class), after smoothing.
    pub scores: Vec<f64>,
    /// None reaches beyond the sound's end, though the padding of a short one has scores.
    pub events: Vec<Detection>,
}

/// A log-mel spectrogram as the CRNN sees it (recipe 3.1), in whole decibels.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Spectrogram {
    /// (column, band), column by column.
    pub decibels: Vec<i8>,
}

impl Spectrogram {
    /// Bands, equally spaced on the mel scale up to [`Self::HIGHEST`].
    pub const BANDS: usize = 128;
    /// The upper end of the highest band in hertz.
    pub const HIGHEST: f64 = 8000.0;
    /// A column's length: 256 samples at 16 kHz.
    pub const SECONDS_PER_COLUMN: f64 = 0.016;

    /// How many columns there are.
    #[must_use]
    pub fn columns(&self) -> usize {
        self.decibels.len() / Self::BANDS
    }

    /// Where a frequency in hertz lies between the lowest (0) and the highest edge (1).
    #[must_use]
    pub fn position(hertz: f64) -> f64 {
        let mel = |hertz: f64| (1.0 + hertz / 700.0).ln();
        mel(hertz) / mel(Self::HIGHEST)
    }
}

/// One sound with everything that a picture of it shows.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ShownClip {
    /// Its name.
    pub name: String,
    /// What was found.
    pub found: Found,
    /// What sounds; none if nobody knows.
    pub truth: Option<Vec<SoundEvent>>,
    /// How it looks.
    pub spectrogram: Spectrogram,
}

/// The output `clips` of an `evaluate` task of the ensemble, as JSON: chosen clips of the split that is scored by PSDS, from the
/// one whose events were found best to the one whose were found worst.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ShownClips {
    /// Where they are from.
    pub split: Split,
    /// Best first, each with its agreement: the share of the time of found and true events in which both are there (their
    /// overlap, twice, over their lengths), over all classes; in [0, 1].
    pub clips: Vec<(f64, ShownClip)>,
}
