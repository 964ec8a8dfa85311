//! Frequency warping: a crop along the mel axis, stretched back to all bins (recipe 6.5).

use rand::RngExt;
use tch::{Kind, Tensor};
use types::AugmentationSettings;

/// One crop for a group of rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FrequencyWarp {
    /// The lowest bin of the crop,
    pub first: i64,
    /// and how many bins it has.
    pub bins: i64,
}

impl FrequencyWarp {
    /// A crop of `bins` mel bins.
    pub(crate) fn draw(
        rng: &mut impl rand::Rng,
        settings: &AugmentationSettings,
        bins: i64,
    ) -> Self {
        let (least, most) = (settings.warp_min, settings.warp_max.max(settings.warp_min));
        let share = least + (most - least) * rng.random::<f64>();
        let height = ((share * bins as f64) as i64).clamp(1, bins);
        Self {
            first: rng.random_range(0..=bins - height),
            bins: height,
        }
    }

    /// Warps (rows, 1, bins, frames): bicubic, the corners stay where they are.
    pub fn apply(&self, features: &Tensor) -> Tensor {
        let size = features.size();
        features
            .narrow(2, self.first, self.bins)
            .to_kind(Kind::Float)
            .upsample_bicubic2d([size[2], size[3]], true, None, None)
    }
}
