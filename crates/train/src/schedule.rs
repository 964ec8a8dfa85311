//! What depends on the step alone: learning rate, self-supervised weight, averaging factor (recipe 5, 7).

use types::SelfSupervisedSettings;

/// The learning rates' common factor at a step: linear from 0 over `warmup`, then half a cosine to 0 at `total`.
#[must_use]
pub fn learning_rate_factor(step: u64, warmup: u64, total: u64) -> f64 {
    if step < warmup {
        return step as f64 / warmup as f64;
    }
    let done = (step - warmup) as f64 / total.saturating_sub(warmup).max(1) as f64;
    (0.5 * (1.0 + (std::f64::consts::PI * done).cos())).max(0.0)
}

/// The weight of the consistency loss at a step: min(step/warm-up·λ4, λ4·cap).
#[must_use]
pub fn self_supervised_weight(step: u64, settings: &SelfSupervisedSettings, weight: f64) -> f64 {
    let grown = step as f64 / settings.warmup_steps.max(1) as f64 * weight;
    grown.min(weight * settings.max_factor)
}

/// The teacher's share of itself when it is updated at a step: min(1 − 1/(step + 1), limit).
#[must_use]
pub fn averaging_factor(step: u64, limit: f64) -> f64 {
    (1.0 - 1.0 / (step as f64 + 1.0)).min(limit)
}

/// How a task's optimizer steps lie over its epochs (recipe 1.8): the last step of an epoch may have fewer micro-batches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Calendar {
    /// Micro-batches of an epoch.
    pub microbatches_per_epoch: u64,
    /// Micro-batches of a step.
    pub microbatches_per_step: u32,
    /// Passes.
    pub epochs: u32,
}

/// Where a step is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StepPlace {
    /// From 0.
    pub epoch: u32,
    /// The step's first micro-batch in its epoch,
    pub first_microbatch: u64,
    /// and how many it has.
    pub microbatches: u32,
}

impl Calendar {
    /// ceil(micro-batches / per step), incomplete last window included (recipe T22).
    #[must_use]
    pub fn steps_per_epoch(&self) -> u64 {
        self.microbatches_per_epoch
            .div_ceil(u64::from(self.microbatches_per_step))
    }

    /// Steps of the whole task.
    #[must_use]
    pub fn total_steps(&self) -> u64 {
        self.steps_per_epoch() * u64::from(self.epochs)
    }

    /// Whether so many steps end an epoch after which there is validation: each of a multiple of `every`, and the last.
    #[must_use]
    pub fn validates_after(&self, steps: u64, every: u32) -> bool {
        let per_epoch = self.steps_per_epoch().max(1);
        let epochs = steps / per_epoch;
        steps.is_multiple_of(per_epoch)
            && steps > 0
            && (epochs.is_multiple_of(u64::from(every.max(1))) || steps == self.total_steps())
    }

    /// The place of a step.
    #[must_use]
    pub fn place(&self, step: u64) -> StepPlace {
        let per_epoch = self.steps_per_epoch().max(1);
        let per_step = u64::from(self.microbatches_per_step);
        let first = step % per_epoch * per_step;
        let count = per_step.min(self.microbatches_per_epoch.saturating_sub(first));
        StepPlace {
            epoch: u32::try_from(step / per_epoch).unwrap_or(u32::MAX),
            first_microbatch: first,
            microbatches: u32::try_from(count).unwrap_or(u32::MAX),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cosine_of_the_recipe() {
        let expected = [
            0.0, 0.25, 0.5, 0.75, 1.0, 0.96194, 0.85355, 0.69134, 0.5, 0.30866, 0.14645, 0.03806,
            0.0,
        ];
        for (step, want) in expected.into_iter().enumerate() {
            let got = learning_rate_factor(step as u64, 4, 12);
            assert!((got - want).abs() < 1e-5, "step {step}: {got}, not {want}");
        }
    }

    #[test]
    fn the_last_window_of_an_epoch_may_be_short() {
        let calendar = Calendar {
            microbatches_per_epoch: 157,
            microbatches_per_step: 8,
            epochs: 2,
        };
        assert_eq!(calendar.total_steps(), 40);
        let last = calendar.place(19);
        assert_eq!((last.first_microbatch, last.microbatches), (152, 5));
        let next = calendar.place(20);
        assert_eq!(
            (next.epoch, next.first_microbatch, next.microbatches),
            (1, 0, 8)
        );
    }
}
