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

    /// What either partner has, in full: the other form of mixed targets.
    pub fn join_targets(&self, x: &Tensor) -> Tensor {
        (x + self.partner(x)).clamp(0.0, 1.0)
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

/// How the rows with frame labels are mixed.
#[derive(Debug)]
pub enum StrongMixing {
    /// MAESTRO, strong and synthetic rows together, as published.
    Joint(Mixing),
    /// MAESTRO by itself, strong and synthetic rows together.
    Separate {
        /// MAESTRO.
        maestro: Mixing,
        /// Strong and synthetic.
        desed: Mixing,
    },
}

/// One draw for a micro-batch: each group is mixed within itself.
#[derive(Debug)]
pub struct Mixup {
    /// Weak rows.
    pub weak: Mixing,
    /// MAESTRO, strong and synthetic rows.
    pub strong: StrongMixing,
    /// Unlabeled rows.
    pub unlabeled: Mixing,
}

impl Mixup {
    /// Draws coefficients and partners of every group; `joint`: MAESTRO together with the other rows that have frame labels.
    pub(crate) fn draw(
        rng: &mut impl rand::Rng,
        layout: &Layout,
        alpha: f64,
        joint: bool,
        device: Device,
    ) -> Result<Self, Error> {
        let beta = Beta::new(alpha, alpha).map_err(|error| {
            Error::Configuration(format!(
                "a Beta distribution of {alpha}, expected above 0: {error}"
            ))
        })?;
        let mut group = |rows: Rows| Mixing::draw(rng, rows.len, &beta, device);
        Ok(Self {
            weak: group(layout.weak),
            strong: if joint {
                StrongMixing::Joint(group(layout.joint_strong()))
            } else {
                StrongMixing::Separate {
                    desed: group(layout.desed_strong()),
                    maestro: group(layout.maestro),
                }
            },
            unlabeled: group(layout.unlabeled),
        })
    }

    /// The groups of rows with frame labels, in batch order.
    pub(crate) fn strong_groups(&self, layout: &Layout) -> Vec<(Rows, &Mixing)> {
        match &self.strong {
            StrongMixing::Joint(mixing) => vec![(layout.joint_strong(), mixing)],
            StrongMixing::Separate { maestro, desed } => {
                vec![(layout.maestro, maestro), (layout.desed_strong(), desed)]
            }
        }
    }

    /// All groups in batch order.
    fn groups(&self, layout: &Layout) -> Vec<(Rows, &Mixing)> {
        let mut groups = self.strong_groups(layout);
        groups.extend([
            (layout.weak, &self.weak),
            (layout.unlabeled, &self.unlabeled),
        ]);
        groups
    }

    /// Applies `change` to every row of (batch, …) with the draws of its group.
    pub(crate) fn by_group(
        &self,
        layout: &Layout,
        x: &Tensor,
        change: impl Fn(&Tensor, &Mixing) -> Tensor,
    ) -> Tensor {
        let parts: Vec<Tensor> = self
            .groups(layout)
            .into_iter()
            .filter(|(rows, _)| !rows.is_empty())
            .map(|(rows, mixing)| change(&rows.of(x), mixing))
            .collect();
        Tensor::cat(&parts, 0)
    }

    /// Mixes every row of (batch, …) in its group.
    pub(crate) fn mix(&self, layout: &Layout, x: &Tensor) -> Tensor {
        self.by_group(layout, x, |rows, mixing| mixing.mix(rows))
    }
}
