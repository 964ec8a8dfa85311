//! Randomness as a function of where in the run it is needed (ARCHITECTURE.md, "Sameness").

use collective::rng;
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use types::{MemberName, TrainSpec};

use crate::Error;

/// What a draw is for. Each purpose has a generator of its own, so that switching one augmentation off leaves the others'
/// draws as they are.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Purpose {
    /// libtorch's own generator: dropout.
    Torch,
    /// Mixing of recordings, impulse responses, gain.
    Recording,
    Mixup,
    Mixstyle,
    TimeMask,
    TimeShift,
    FrequencyWarp,
    Filter,
    /// Edges of fPaSST's mel bank.
    MelEdges,
    /// Layers that BEATs leaves out.
    LayerDrop,
}

impl Purpose {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Torch => "torch",
            Self::Recording => "recording",
            Self::Mixup => "mixup",
            Self::Mixstyle => "mixstyle",
            Self::TimeMask => "time mask",
            Self::TimeShift => "time shift",
            Self::FrequencyWarp => "frequency warp",
            Self::Filter => "filter",
            Self::MelEdges => "mel edges",
            Self::LayerDrop => "layer drop",
        }
    }
}

/// One task's source of generators.
#[derive(Debug, Clone)]
pub(crate) struct Draws {
    seed: u64,
    iteration: u32,
    stage: u32,
    member: MemberName,
}

/// A micro-batch's place in its task.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Place {
    /// From 0.
    pub(crate) epoch: u32,
    /// Optimizer steps completed before it.
    pub(crate) step: u64,
    /// In the step.
    pub(crate) microbatch: u32,
}

impl Draws {
    pub(crate) fn new(spec: &TrainSpec) -> Self {
        Self {
            seed: spec.seed,
            iteration: spec.iteration,
            stage: spec.stage,
            member: spec.member.clone(),
        }
    }

    /// A fresh generator; the same one for the same arguments.
    pub(crate) fn generator(&self, purpose: Purpose, place: Place) -> ChaCha8Rng {
        ChaCha8Rng::seed_from_u64(self.seed(purpose, place))
    }

    /// A fresh generator for one row of a micro-batch.
    pub(crate) fn row_generator(&self, purpose: Purpose, place: Place, row: usize) -> ChaCha8Rng {
        ChaCha8Rng::seed_from_u64(rng::seed_from(&[
            ("microbatch", self.seed(purpose, place).into()),
            ("row", (row as u64).into()),
        ]))
    }

    /// Seeds libtorch's generators for a micro-batch.
    pub(crate) fn seed_torch(&self, place: Place) -> Result<(), Error> {
        Ok(rng::seed(self.seed(Purpose::Torch, place))?)
    }

    fn seed(&self, purpose: Purpose, place: Place) -> u64 {
        rng::seed_from(&[
            ("seed", self.seed.into()),
            ("iteration", self.iteration.into()),
            ("stage", self.stage.into()),
            ("member", self.member.as_str().into()),
            ("purpose", purpose.as_str().into()),
            ("epoch", place.epoch.into()),
            ("step", place.step.into()),
            ("microbatch", place.microbatch.into()),
        ])
    }
}
