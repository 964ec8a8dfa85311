//! The teacher's weights (recipe 5.3).

use model::SedModel;
use tch::Tensor;

use crate::schedule::averaging_factor;

/// Moves the teacher towards the student, once per optimizer step.
#[derive(Debug)]
pub struct Averager {
    /// (teacher, student) of every parameter that training changes; a frozen one is equal in both already.
    pairs: Vec<(Tensor, Tensor)>,
    limit: f64,
    updated: Option<u64>,
}

impl Averager {
    /// Averages the parameters that the student trains. Buffers are never averaged (recipe T5).
    #[must_use]
    pub fn new(teacher: &SedModel, student: &SedModel, limit: f64) -> Self {
        let pairs = teacher
            .store()
            .parameters()
            .zip(student.store().parameters())
            .filter(|(_, (_, student))| student.requires_grad())
            .map(|((_, teacher), (_, student))| (teacher.shallow_clone(), student.shallow_clone()))
            .collect();
        Self::of_pairs(pairs, limit)
    }

    /// Averages given (teacher, student) pairs.
    #[must_use]
    pub fn of_pairs(pairs: Vec<(Tensor, Tensor)>, limit: f64) -> Self {
        Self {
            pairs,
            limit,
            updated: None,
        }
    }

    /// teacher := α·teacher + (1 − α)·student with the α of `step`; a second call for the same step does nothing.
    pub fn update_once(&mut self, step: u64) {
        if self.updated == Some(step) {
            return;
        }
        self.updated = Some(step);
        let share = 1.0 - averaging_factor(step, self.limit);
        tch::no_grad(|| {
            for (teacher, student) in &self.pairs {
                let mut teacher = teacher.shallow_clone();
                let _ = teacher.lerp_(student, share);
            }
        });
    }
}
