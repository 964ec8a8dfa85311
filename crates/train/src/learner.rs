//! One optimizer step, apart from where clips come from and who else takes part (recipe 5.3 to 5.4, 7).

use collective::{ProcessGroup, broadcast_tensors};
use model::{CrnnMel, Fused, Mode, SedModel, TransformerMode};
use tch::Tensor;
use types::TrainingSettings;

use crate::augment::Inputs;
use crate::gradients::Gradients;
use crate::losses::{LossSettings, Losses, Outputs, losses};
use crate::{Averager, Error, Layout, Optimizer};

/// Student, teacher, and what moves them.
pub struct Learner {
    student: SedModel,
    teacher: SedModel,
    optimizer: Optimizer,
    // Declared before anything that waits when it is dropped: it keeps the group's connections open.
    gradients: Gradients,
    averager: Averager,
    layout: Layout,
    losses: LossSettings,
    mode: Mode,
}

/// What one micro-batch gave.
#[derive(Debug)]
pub struct Learned {
    /// Every term.
    pub losses: Losses,
    /// Batch-norm statistics of the student's and the teacher's forward.
    pub statistics: [Option<Tensor>; 2],
}

impl Learner {
    /// Takes over networks whose weights are in place and an optimizer of the student. All ranks start from rank 0's tensors.
    ///
    /// # Errors
    /// When a rank is lost.
    pub fn new(
        settings: &TrainingSettings,
        stage: u32,
        student: SedModel,
        teacher: SedModel,
        optimizer: Optimizer,
        group: &ProcessGroup,
    ) -> Result<Self, Error> {
        teacher.store().set_trainable(|_| false);
        // Weights are drawn alike everywhere, but another kind of CPU may round a draw differently.
        for model in [&student, &teacher] {
            let tensors = model.store().iter().map(|(_, _, tensor)| tensor);
            tch::no_grad(|| broadcast_tensors(tensors, group))?;
        }
        Ok(Self {
            gradients: Gradients::new(settings, &optimizer, group)?,
            averager: Averager::new(&teacher, &student, settings.ema_factor),
            layout: Layout::new(&settings.microbatch),
            losses: LossSettings {
                stage,
                weights: settings.loss,
                self_supervised: settings.self_supervised,
                pseudo_no_class_mask: settings.pseudo_no_class_mask,
            },
            mode: Mode::Train {
                dropout: settings.dropout,
            },
            student,
            teacher,
            optimizer,
        })
    }

    /// The trained network.
    #[must_use]
    pub fn student(&self) -> &SedModel {
        &self.student
    }

    /// Its moving average.
    #[must_use]
    pub fn teacher(&self) -> &SedModel {
        &self.teacher
    }

    /// The student's optimizer.
    #[must_use]
    pub fn optimizer(&self) -> &Optimizer {
        &self.optimizer
    }

    /// Which rows of a micro-batch are what.
    #[must_use]
    pub fn layout(&self) -> &Layout {
        &self.layout
    }

    /// Begins a step of so many micro-batches on all ranks together.
    ///
    /// # Errors
    /// When a full step has fewer.
    pub fn begin_step(&mut self, microbatches: u32) -> Result<(), Error> {
        self.gradients.begin_step(&self.optimizer, microbatches)
    }

    /// Learns from one micro-batch: `microbatch` counts within the step over all ranks. After this rank's `last` one the gradients are
    /// sums over the step, divided by the micro-batches of a full one.
    ///
    /// # Errors
    /// When a rank is lost.
    pub fn learn(
        &mut self,
        step: u64,
        microbatch: u32,
        inputs: &Inputs,
        last: bool,
    ) -> Result<Learned, Error> {
        let scaled = tch::no_grad(|| CrnnMel::scale(&inputs.student.mel));
        let embeddings = self.embeddings(inputs);
        let student = self.student.forward(&scaled, &embeddings, self.mode);

        // The teacher moves once per step, between the first micro-batch's forward and its backward (recipe T7): only the
        // step's micro-batch 0 sees the teacher of the step before, whichever rank computes it.
        if microbatch > 0 {
            self.averager.update_once(step);
        }
        let teacher = tch::no_grad(|| self.ask_teacher(inputs, &scaled, &embeddings));
        self.averager.update_once(step);

        let teacher_mask = (!self.losses.self_supervised.no_class_mask).then_some(&inputs.mask);
        let outputs = Outputs {
            student: student.logits.predictions(Some(&inputs.mask)),
            student_unmasked: student.logits.predictions(None),
            teacher: tch::no_grad(|| teacher.logits.predictions(teacher_mask)),
        };
        let losses = losses(
            &self.losses,
            &self.layout,
            step,
            &outputs,
            &inputs.targets,
            inputs.mixup.as_ref(),
        );
        let partial = inputs.skipped_layers.is_some();
        self.gradients
            .add(&losses.total, &self.optimizer, partial, last)?;
        Ok(Learned {
            losses,
            statistics: [student.cnn.statistics, teacher.cnn.statistics],
        })
    }

    fn is_frozen(&self) -> bool {
        self.losses.stage == 1
    }

    /// What the student's CRNN is given; in the graph only where the transformer is trained.
    fn embeddings(&self, inputs: &Inputs) -> Tensor {
        let embed = || {
            self.student
                .embedding()
                .forward(&inputs.student.transformer, transformer_mode(inputs, 0))
        };
        if self.is_frozen() {
            tch::no_grad(embed)
        } else {
            embed()
        }
    }

    fn ask_teacher(&self, inputs: &Inputs, scaled: &Tensor, embeddings: &Tensor) -> Fused {
        if self.is_frozen() {
            // both transformers are the same frozen one, and both see the same input; the filters of the CRNN's may differ
            if inputs.teacher.mel.data_ptr() == inputs.student.mel.data_ptr() {
                return self.teacher.forward(scaled, embeddings, self.mode);
            }
            let scaled = CrnnMel::scale(&inputs.teacher.mel);
            return self.teacher.forward(&scaled, embeddings, self.mode);
        }
        let scaled = CrnnMel::scale(&inputs.teacher.mel);
        let embeddings = self
            .teacher
            .embedding()
            .forward(&inputs.teacher.transformer, transformer_mode(inputs, 1));
        self.teacher.forward(&scaled, &embeddings, self.mode)
    }

    /// What a rank does that a short window leaves without a micro-batch.
    ///
    /// # Errors
    /// When a rank is lost.
    pub fn sit_out(&mut self, step: u64) -> Result<(), Error> {
        self.gradients.sit_out(&self.optimizer)?;
        self.averager.update_once(step);
        Ok(())
    }

    /// Moves the student; `step`: updates made before this one.
    ///
    /// # Errors
    /// When libtorch refuses.
    pub fn finish_step(&self, step: u64) -> Result<(), Error> {
        self.optimizer.step(step)
    }
}

/// The mode of the student's (0) or the teacher's (1) transformer.
fn transformer_mode(inputs: &Inputs, network: usize) -> TransformerMode<'_> {
    match &inputs.skipped_layers {
        Some(skipped) => TransformerMode::Train {
            skip: &skipped[network],
        },
        None => TransformerMode::Eval,
    }
}
