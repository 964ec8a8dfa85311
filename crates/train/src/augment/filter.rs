//! Filter augmentation: a random, piecewise linear gain over the mel bands (recipe 6.5).

use rand::RngExt;
use tch::{Device, Tensor};
use types::AugmentationSettings;

/// One draw for a group of rows: the bands are shared, the gains are each row's own.
#[derive(Debug, Clone, PartialEq)]
pub struct Filter {
    /// Band edges in mel bins, from 0 to the number of bins.
    pub edges: Vec<i64>,
    /// Decibels at each edge, row by row.
    pub decibels: Vec<Vec<f64>>,
}

impl Filter {
    /// A filter for `rows` rows of `bins` mel bins. Where the bins do not hold that many bands of the least width, the width
    /// shrinks.
    pub(crate) fn draw(
        rng: &mut impl rand::Rng,
        settings: &AugmentationSettings,
        rows: i64,
        bins: i64,
    ) -> Self {
        let most = settings.filter_bands_max.max(settings.filter_bands_min);
        let bands = i64::from(rng.random_range(settings.filter_bands_min..=most)).clamp(1, bins);
        let width = narrowed(bins, bands, i64::from(settings.filter_min_width));
        let room = bins - bands * width;
        let inner: Vec<i64> = (1..bands).map(|_| rng.random_range(0..=room)).collect();
        let edges = edges(inner, bins, width);
        let reach = settings.filter_db;
        let decibels = (0..rows)
            .map(|_| {
                edges
                    .iter()
                    .map(|_| reach * (2.0 * rng.random::<f64>() - 1.0))
                    .collect()
            })
            .collect();
        Self { edges, decibels }
    }

    /// Multiplies (rows, 1, bins, frames), whatever they are (recipe T15).
    pub fn apply(&self, features: &Tensor) -> Tensor {
        features * self.gains(features.device())
    }

    /// (rows, 1, bins, 1). Within a band the decibels run from its lower to its upper edge's, both included.
    fn gains(&self, device: Device) -> Tensor {
        let mut gains = Vec::new();
        for decibels in &self.decibels {
            for (band, edge) in self.edges.windows(2).enumerate() {
                let (from, to) = (decibels[band], decibels[band + 1]);
                let bins = edge[1] - edge[0];
                for bin in 0..bins {
                    let share = bin as f64 / (bins - 1).max(1) as f64;
                    gains.push(10.0_f64.powf((from + (to - from) * share) / 20.0) as f32);
                }
            }
        }
        let rows = self.decibels.len() as i64;
        Tensor::from_slice(&gains)
            .view([rows, 1, -1, 1])
            .to_device(device)
    }
}

/// The least width of a band, shrunk until so many fit.
fn narrowed(bins: i64, bands: i64, width: i64) -> i64 {
    width.min(bins / bands).max(0)
}

/// Sorted inner edges, each moved up by its bands' least width, between 0 and `bins`.
fn edges(mut inner: Vec<i64>, bins: i64, width: i64) -> Vec<i64> {
    inner.sort_unstable();
    let inner = (1..).zip(inner).map(|(band, edge)| edge + band * width);
    std::iter::once(0)
        .chain(inner)
        .chain(std::iter::once(bins))
        .collect()
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;
    use rand_chacha::ChaCha8Rng;

    use super::*;

    #[test]
    fn bands_cover_all_bins_and_keep_their_width() {
        let settings = AugmentationSettings::OFF;
        for seed in 0..500 {
            let mut rng = ChaCha8Rng::seed_from_u64(seed);
            for bins in [128, 64, 20] {
                let filter = Filter::draw(&mut rng, &settings, 2, bins);
                assert_eq!((filter.edges[0], *filter.edges.last().unwrap()), (0, bins));
                let bands = filter.edges.len() as i64 - 1;
                assert!((3..=5).contains(&bands));
                let least = narrowed(bins, bands, 6);
                assert!(
                    filter
                        .edges
                        .windows(2)
                        .all(|edge| edge[1] - edge[0] >= least)
                );
                assert!(filter.decibels.iter().flatten().all(|db| db.abs() <= 6.0));
            }
        }
    }
}
