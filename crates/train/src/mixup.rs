//! Mixup of features, targets, pseudo-labels and class masks (recipe 6.3).

use rand::RngExt;
use rand_distr::{Beta, Distribution};
use tch::{Device, Kind, Tensor};

use crate::{Error, Layout, Rows};

/// How the rows of one group are mixed: row i becomes `c[i]·row i + (1 − c[i])·row π(i)`.
#[derive(Debug)]
pub struct Mixing {
    /// (rows), float32, own share.
    coefficients: Tensor,
    /// (rows), int64, partner.
    partners: Tensor,
}

impl Mixing {
    /// A mixing with given draws: `coefficients` (rows), float64; `partners` (rows), int64.
    #[must_use]
    pub fn new(coefficients: &Tensor, partners: &Tensor) -> Self {
        Self {
            coefficients: coefficients.to_kind(Kind::Float),
            partners: partners.shallow_clone(),
        }
    }

    /// Coefficients max(c, 1 − c) with c ~ Beta(α, α), and a random permutation, which may map a row to itself.
    fn draw(rng: &mut impl rand::Rng, rows: i64, beta: &Beta<f64>, device: Device) -> Self {
        let coefficients: Vec<f32> = (0..rows)
            .map(|_| {
                let share = beta.sample(rng);
                share.max(1.0 - share) as f32
            })
            .collect();
        let mut partners: Vec<i64> = (0..rows).collect();
        for last in (1..partners.len()).rev() {
            partners.swap(last, rng.random_range(0..=last));
        }
        Self {
            coefficients: Tensor::from_slice(&coefficients).to_device(device),
            partners: Tensor::from_slice(&partners).to_device(device),
        }
    }

    /// Mixes (rows, …).
    pub fn mix(&self, x: &Tensor) -> Tensor {
        let mut shape = vec![1; x.dim()];
        shape[0] = -1;
        let own = self.coefficients.view(shape.as_slice());
        x * &own + self.partner(x) * (1.0 - own)
    }

    /// Mixes targets (rows, …), which stay in [0, 1].
    pub fn mix_targets(&self, x: &Tensor) -> Tensor {
        self.mix(x).clamp(0.0, 1.0)
    }

    /// A row's mask (rows, classes) or what its partner has targets (rows, classes, frames) in, before mixing.
    pub fn enlarge_mask(&self, mask: &Tensor, targets: &Tensor) -> Tensor {
        let sums = targets.sum_dim_intlist([2].as_slice(), false, Kind::Float);
        mask.logical_or(&self.partner(&sums).not_equal(0.0))
    }

    fn partner(&self, x: &Tensor) -> Tensor {
        x.index_select(0, &self.partners)
    }
}

/// One draw for a micro-batch: each group is mixed within itself.
#[derive(Debug)]
pub struct Mixup {
    /// Weak rows.
    pub weak: Mixing,
    /// MAESTRO, strong and synthetic rows together.
    pub joint_strong: Mixing,
    /// Unlabeled rows.
    pub unlabeled: Mixing,
}

impl Mixup {
    /// Decides whether the micro-batch is mixed, and how.
    pub(crate) fn draw(
        rng: &mut impl rand::Rng,
        layout: &Layout,
        probability: f64,
        alpha: f64,
        device: Device,
    ) -> Result<Option<Self>, Error> {
        if rng.random::<f64>() >= probability {
            return Ok(None);
        }
        let beta = Beta::new(alpha, alpha).map_err(|error| {
            Error::Configuration(format!("mixup_alpha is {alpha}, expected above 0: {error}"))
        })?;
        let mut group = |rows: Rows| Mixing::draw(rng, rows.len, &beta, device);
        Ok(Some(Self {
            weak: group(layout.weak),
            joint_strong: group(layout.joint_strong()),
            unlabeled: group(layout.unlabeled),
        }))
    }

    /// The groups in batch order.
    fn groups(&self, layout: &Layout) -> [(Rows, &Mixing); 3] {
        [
            (layout.joint_strong(), &self.joint_strong),
            (layout.weak, &self.weak),
            (layout.unlabeled, &self.unlabeled),
        ]
    }

    /// Mixes every row of (batch, …) in its group.
    pub(crate) fn mix(&self, layout: &Layout, x: &Tensor) -> Tensor {
        let parts = self
            .groups(layout)
            .map(|(rows, mixing)| mixing.mix(&rows.of(x)));
        Tensor::cat(&parts, 0)
    }
}
