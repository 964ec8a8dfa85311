//! Which clips make up which micro-batch: a pure function of (seed, iteration, stage, member, epoch, micro-batch).

use rand::RngExt as _;
use types::{MicrobatchSizes, TrainSpec};

use crate::error::Error;
use crate::seed::generator;

/// The five training sets, in batch order (recipe 1.7).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum SetKind {
    /// MAESTRO Real, soft labels.
    Maestro,
    /// Real strong clips, then the external ones.
    Strong,
    /// Synthetic soundscapes.
    Synth,
    /// Weak labels.
    Weak,
    /// No labels.
    Unlabeled,
}

impl SetKind {
    /// All, in batch order.
    pub const ALL: [Self; 5] = [
        Self::Maestro,
        Self::Strong,
        Self::Synth,
        Self::Weak,
        Self::Unlabeled,
    ];

    /// The name in messages.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Maestro => "maestro",
            Self::Strong => "strong",
            Self::Synth => "synth",
            Self::Weak => "weak",
            Self::Unlabeled => "unlabeled",
        }
    }
}

/// Micro-batch sizes in batch order.
#[must_use]
pub const fn in_batch_order(sizes: MicrobatchSizes) -> [usize; 5] {
    [
        sizes.maestro as usize,
        sizes.strong as usize,
        sizes.synth as usize,
        sizes.weak as usize,
        sizes.unlabeled as usize,
    ]
}

/// What a sampler's draws belong to; samplers with equal scopes draw the same.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Scope {
    /// The plan's seed.
    pub seed: u64,
    /// Iteration.
    pub iteration: u32,
    /// Stage.
    pub stage: u32,
    /// Member name.
    pub member: String,
}

impl From<&TrainSpec> for Scope {
    fn from(spec: &TrainSpec) -> Self {
        Self {
            seed: spec.seed,
            iteration: spec.iteration,
            stage: spec.stage,
            member: spec.member.as_str().to_owned(),
        }
    }
}

/// Draws micro-batches without replacement; each set has one permutation per epoch (recipe 1.8).
#[derive(Debug, Clone)]
pub struct Sampler {
    scope: Scope,
    sizes: [usize; 5],
    microbatch: [usize; 5],
    microbatches_per_step: usize,
}

impl Sampler {
    /// Sets of `sizes` clips, of which a micro-batch takes `microbatch`, both in batch order.
    ///
    /// # Errors
    /// When a micro-batch is empty or takes more clips of a set than the set has.
    pub fn new(
        sizes: [usize; 5],
        microbatch: MicrobatchSizes,
        microbatches_per_step: u32,
        scope: Scope,
    ) -> Result<Self, Error> {
        let microbatch = in_batch_order(microbatch);
        if microbatch.iter().sum::<usize>() == 0 || microbatches_per_step == 0 {
            return Err(Error::Sampler(
                "a step takes no clips: micro-batch sizes and micro-batches per step must be above 0"
                    .to_owned(),
            ));
        }
        for (kind, (size, take)) in SetKind::ALL
            .into_iter()
            .zip(sizes.into_iter().zip(microbatch))
        {
            if take > size {
                let name = kind.as_str();
                return Err(Error::Sampler(format!(
                    "a micro-batch takes {take} {name} clips but the {name} set has {size} (lower microbatch.{name} or add clips)"
                )));
            }
        }
        Ok(Self {
            scope,
            sizes,
            microbatch,
            microbatches_per_step: microbatches_per_step as usize,
        })
    }

    /// Micro-batches in an epoch: as many as the set that runs out first allows; incomplete ones are left out.
    #[must_use]
    pub fn microbatches_per_epoch(&self) -> usize {
        self.sizes
            .iter()
            .zip(self.microbatch)
            .filter(|(_, take)| *take > 0)
            .map(|(size, take)| size / take)
            .min()
            .unwrap_or(0)
    }

    /// Optimizer steps in an epoch; the last window may hold fewer micro-batches (recipe T22).
    #[must_use]
    pub fn steps_per_epoch(&self) -> usize {
        self.microbatches_per_epoch()
            .div_ceil(self.microbatches_per_step)
    }

    /// Micro-batches of step `step` (from 0) of an epoch, as indices for [`Sampler::microbatch`].
    #[must_use]
    pub fn window(&self, step: usize) -> std::ops::Range<usize> {
        let end = self.microbatches_per_epoch();
        let start = (step * self.microbatches_per_step).min(end);
        start..(start + self.microbatches_per_step).min(end)
    }

    /// The order in which epoch `epoch` goes through a set.
    #[must_use]
    pub fn permutation(&self, epoch: u64, kind: SetKind) -> Vec<usize> {
        let Scope {
            seed,
            iteration,
            stage,
            member,
        } = &self.scope;
        let mut random = generator(&[
            b"sampler",
            &seed.to_le_bytes(),
            &iteration.to_le_bytes(),
            &stage.to_le_bytes(),
            member.as_bytes(),
            &epoch.to_le_bytes(),
            kind.as_str().as_bytes(),
        ]);
        let mut order: Vec<usize> = (0..self.sizes[kind as usize]).collect();
        for i in (1..order.len()).rev() {
            order.swap(i, random.random_range(0..=i));
        }
        order
    }

    /// All micro-batches of an epoch share their permutations, so this is the cheap way to walk through one.
    #[must_use]
    pub fn epoch(&self, epoch: u64) -> Epoch {
        Epoch {
            orders: SetKind::ALL.map(|kind| self.permutation(epoch, kind)),
            microbatch: self.microbatch,
            len: self.microbatches_per_epoch(),
        }
    }

    /// The clips of micro-batch `index` (from 0) of epoch `epoch`, per set in batch order; `None` past the epoch's end.
    #[must_use]
    pub fn microbatch(&self, epoch: u64, index: usize) -> Option<[Vec<usize>; 5]> {
        self.epoch(epoch).microbatch(index)
    }
}

/// One epoch's permutations.
#[derive(Debug, Clone)]
pub struct Epoch {
    orders: [Vec<usize>; 5],
    microbatch: [usize; 5],
    len: usize,
}

impl Epoch {
    /// As [`Sampler::microbatch`].
    #[must_use]
    pub fn microbatch(&self, index: usize) -> Option<[Vec<usize>; 5]> {
        (index < self.len).then(|| {
            std::array::from_fn(|set| {
                let take = self.microbatch[set];
                self.orders[set][index * take..][..take].to_vec()
            })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const TAKE: MicrobatchSizes = MicrobatchSizes {
        maestro: 12,
        strong: 10,
        synth: 10,
        weak: 20,
        unlabeled: 20,
    };

    fn scope(seed: u64) -> Scope {
        Scope {
            seed,
            iteration: 1,
            stage: 1,
            member: "atst".to_owned(),
        }
    }

    #[test]
    fn published_epoch_lengths() {
        let sizes = [6_400, 10_000, 10_000, 1_420, 14_412];
        let stage1 = Sampler::new(sizes, TAKE, 1, scope(42)).unwrap();
        assert_eq!(stage1.steps_per_epoch(), 71);
        let take = MicrobatchSizes {
            maestro: 7,
            strong: 5,
            synth: 5,
            weak: 9,
            unlabeled: 9,
        };
        let stage2 = Sampler::new(sizes, take, 8, scope(42)).unwrap();
        assert_eq!(stage2.microbatches_per_epoch(), 157);
        assert_eq!(stage2.steps_per_epoch(), 20);
        assert_eq!(stage2.window(19), 152..157);
    }

    #[test]
    fn a_set_that_is_too_small_is_named() {
        let error = Sampler::new([12, 10, 10, 19, 20], TAKE, 1, scope(1)).unwrap_err();
        assert!(error.to_string().contains("20 weak clips"), "{error}");
    }

    #[test]
    fn draws_belong_to_their_scope_and_epoch() {
        let sampler = |seed| Sampler::new([50; 5], TAKE, 1, scope(seed)).unwrap();
        let first = sampler(1).microbatch(0, 0).unwrap();
        assert_eq!(first, sampler(1).microbatch(0, 0).unwrap());
        assert_ne!(first, sampler(2).microbatch(0, 0).unwrap());
        assert_ne!(first, sampler(1).microbatch(1, 0).unwrap());
        assert_ne!(first[3], first[4], "sets are drawn independently");
    }

    proptest! {
        #[test]
        fn an_epoch_takes_no_clip_twice(
            sizes in prop::array::uniform5(20_usize..60),
            epoch in 0_u64..5,
            per_step in 1_u32..5,
        ) {
            let sampler = Sampler::new(sizes, TAKE, per_step, scope(9)).unwrap();
            let mut seen: [Vec<usize>; 5] = Default::default();
            let mut count = 0;
            for step in 0..sampler.steps_per_epoch() {
                for index in sampler.window(step) {
                    let batch = sampler.microbatch(epoch, index).unwrap();
                    for (set, clips) in batch.into_iter().enumerate() {
                        seen[set].extend(clips);
                    }
                    count += 1;
                }
            }
            prop_assert_eq!(count, sampler.microbatches_per_epoch());
            prop_assert!(sampler.microbatch(epoch, count).is_none());
            for (set, clips) in seen.iter_mut().enumerate() {
                clips.sort_unstable();
                let len = clips.len();
                clips.dedup();
                prop_assert_eq!(clips.len(), len);
                prop_assert!(clips.iter().all(|clip| *clip < sizes[set]));
            }
        }
    }
}
