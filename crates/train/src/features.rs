//! Both front-ends' features of a micro-batch, kept between epochs where a set is small.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use dataset::Clip;
use model::FrontEnds;
use tch::{Device, Tensor};
use types::{ModelSettings, Split};

/// Features are kept if those of all clips fit into this many bytes.
const CACHE_BYTES: usize = 512 << 20;
/// Bytes of a clip's features: 128 bands × 626 frames and at most 128 × 1001.
const CLIP_BYTES: usize = 4 * (128 * 626 + 128 * 1001);

/// Both front-ends' features of a batch.
#[derive(Debug)]
pub struct Features {
    /// (batch, 1, 128, 626), linear.
    pub mel: Tensor,
    /// (batch, 1, bands, frames), normalised.
    pub transformer: Tensor,
}

impl Features {
    pub(crate) fn shallow_clone(&self) -> Self {
        self.map(Tensor::shallow_clone)
    }

    /// The same change to both.
    pub(crate) fn map(&self, change: impl Fn(&Tensor) -> Tensor) -> Self {
        Self {
            mel: change(&self.mel),
            transformer: change(&self.transformer),
        }
    }
}

/// What of the features belongs to one clip alone.
#[derive(Debug)]
pub(crate) struct ClipFeatures {
    /// (1, 1, 128, 626).
    mel: Tensor,
    /// (1, bands, frames), before anything that looks at the batch.
    transformer: Tensor,
}

impl ClipFeatures {
    fn shallow_clone(&self) -> Self {
        Self {
            mel: self.mel.shallow_clone(),
            transformer: self.transformer.shallow_clone(),
        }
    }
}

type Key = (Split, String);

/// A clip on its way into a batch.
#[derive(Debug)]
pub(crate) enum Sound {
    /// Decoded.
    Heard {
        /// (1, 160 000).
        waveform: Tensor,
        /// Under what name its features can be kept; none if the next epoch hears something else.
        key: Option<Key>,
    },
    /// Heard in an earlier epoch.
    Known(ClipFeatures),
}

/// Features of clips that have been heard. Using it changes no bit: on a CPU every clip's features are made alone.
#[derive(Debug)]
pub(crate) struct FeatureCache(Option<Mutex<BTreeMap<Key, ClipFeatures>>>);

impl FeatureCache {
    /// A cache that keeps nothing.
    pub(crate) const fn none() -> Self {
        Self(None)
    }

    /// A cache for so many clips; it keeps nothing if they are too many, or where features are made on a GPU, which makes
    /// them faster than it is given them.
    pub(crate) fn new(clips: usize, device: Device) -> Self {
        let fits = device == Device::Cpu && clips.saturating_mul(CLIP_BYTES) <= CACHE_BYTES;
        Self(fits.then(Mutex::default))
    }

    pub(crate) fn key(clip: &Clip) -> Key {
        (clip.split, clip.stem.clone())
    }

    pub(crate) fn get(&self, clip: &Clip) -> Option<ClipFeatures> {
        let map = self.0.as_ref()?;
        let map = map.lock().unwrap_or_else(PoisonError::into_inner);
        map.get(&Self::key(clip)).map(ClipFeatures::shallow_clone)
    }

    fn put(&self, key: Key, features: &ClipFeatures) {
        if let Some(map) = &self.0 {
            let mut map = map.lock().unwrap_or_else(PoisonError::into_inner);
            map.insert(key, features.shallow_clone());
        }
    }
}

/// The front-ends with what they remember.
#[derive(Debug)]
pub(crate) struct FeatureMaker {
    front_ends: FrontEnds,
    device: Device,
    cache: Arc<FeatureCache>,
}

impl FeatureMaker {
    pub(crate) fn new(settings: &ModelSettings, device: Device, cache: Arc<FeatureCache>) -> Self {
        Self {
            front_ends: FrontEnds::new(settings, device),
            device,
            cache,
        }
    }

    pub(crate) fn device(&self) -> Device {
        self.device
    }

    /// Features of a batch, in tensors of their own. `edges`: those of fPaSST's mel bank in Hz where they are drawn; the cache
    /// must keep nothing then.
    pub(crate) fn features(&self, sounds: Vec<Sound>, edges: Option<(f64, f64)>) -> Features {
        // A GPU takes the batch at once; on a CPU there is nothing to gain from that, and clips alone can be kept.
        let batches = if self.device == Device::Cpu {
            sounds.into_iter().map(|sound| vec![sound]).collect()
        } else {
            vec![sounds]
        };
        let parts: Vec<ClipFeatures> = batches
            .into_iter()
            .map(|batch| self.make(batch, edges))
            .collect();
        let cat = |part: fn(&ClipFeatures) -> &Tensor| {
            let parts: Vec<&Tensor> = parts.iter().map(part).collect();
            Tensor::cat(&parts, 0)
        };
        Features {
            mel: cat(|part| &part.mel),
            transformer: self
                .front_ends
                .finish_transformer(&cat(|part| &part.transformer)),
        }
    }

    /// Of clips that are made together.
    fn make(&self, sounds: Vec<Sound>, edges: Option<(f64, f64)>) -> ClipFeatures {
        let mut waveforms = Vec::with_capacity(sounds.len());
        let mut last_key = None;
        for sound in sounds {
            match sound {
                Sound::Known(features) => return features,
                Sound::Heard { waveform, key } => {
                    waveforms.push(waveform);
                    last_key = key;
                }
            }
        }
        let waveforms = Tensor::cat(&waveforms, 0).to_device(self.device);
        let features = ClipFeatures {
            mel: self.front_ends.crnn(&waveforms),
            transformer: match edges {
                None => self.front_ends.transformer_by_clip(&waveforms),
                // these features have nothing that looks at the batch
                Some(edges) => self
                    .front_ends
                    .transformer_between(&waveforms, edges)
                    .squeeze_dim(1),
            },
        };
        if let Some(key) = last_key {
            self.cache.put(key, &features);
        }
        features
    }
}
