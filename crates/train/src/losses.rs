//! The losses of both stages, to the recipe's last factor (section 5).

use model::Predictions;
use tch::{Kind, Reduction, Tensor};
use types::{LossWeights, SelfSupervisedSettings};

use crate::augment::mixup::{Mixing, Mixup, StrongMixing};
use crate::schedule::self_supervised_weight;
use crate::{Layout, Rows};

/// Classes annotated in DESED data, aliases included: the ten of DESED, "cutlery and dishes", "people talking".
const DESED_SIDE_CLASSES: [i64; 12] = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 12];
/// Stage 1 multiplies its sum by the number of weights but one (recipe T17).
const STAGE1_FACTOR: f64 = 5.0;

/// What student and teacher said about a micro-batch.
#[derive(Debug)]
pub struct Outputs {
    /// The student under the class mask.
    pub student: Predictions,
    /// The student without a mask.
    pub student_unmasked: Predictions,
    /// The teacher, under the mask or without as `no_class_mask` has it; outside the graph.
    pub teacher: Predictions,
}

/// What they should have said; targets of masked classes are 0 already.
#[derive(Debug)]
pub struct Targets {
    /// (batch, classes, frames).
    pub strong: Tensor,
    /// (weak rows, classes).
    pub weak: Tensor,
    /// (batch, classes, frames) probabilities.
    pub pseudo: Option<Tensor>,
}

/// The settings that losses depend on.
#[derive(Debug, Clone, Copy)]
pub struct LossSettings {
    /// 1 or 2.
    pub stage: u32,
    /// λ0 to λ5.
    pub weights: LossWeights,
    /// The consistency term.
    pub self_supervised: SelfSupervisedSettings,
    /// Compare pseudo-labels with the student without the class mask (stage 1).
    pub pseudo_no_class_mask: bool,
}

/// Every term of one micro-batch, as scalars of one element.
#[derive(Debug)]
pub struct Losses {
    /// What is minimised.
    pub total: Tensor,
    /// BCE on MAESTRO frames, unweighted.
    pub maestro: Tensor,
    /// BCE on real strong frames, unweighted.
    pub strong: Tensor,
    /// BCE on synthetic frames, unweighted.
    pub synth: Tensor,
    /// BCE on weak clips, unweighted.
    pub weak: Tensor,
    /// All supervised terms with their weights.
    pub supervised: Tensor,
    /// The consistency term with its weight.
    pub self_supervised: Tensor,
    /// The distillation term with its weight.
    pub pseudo: Tensor,
}

impl Losses {
    /// Names of [`Self::values`].
    pub const NAMES: [&'static str; 7] = [
        "loss",
        "loss/maestro",
        "loss/strong",
        "loss/synth",
        "loss/weak",
        "loss/self_supervised",
        "loss/pseudo",
    ];

    /// One value per name, (7), outside the graph.
    pub fn values(&self) -> Tensor {
        let terms = [
            &self.total,
            &self.maestro,
            &self.strong,
            &self.synth,
            &self.weak,
            &self.self_supervised,
            &self.pseudo,
        ]
        .map(|term| term.detach().view([1]));
        Tensor::cat(&terms, 0)
    }
}

/// Losses of a micro-batch at `step`. `mixup`: how the micro-batch was mixed, if it was.
#[must_use]
pub fn losses(
    settings: &LossSettings,
    layout: &Layout,
    step: u64,
    outputs: &Outputs,
    targets: &Targets,
    mixup: Option<&Mixup>,
) -> Losses {
    let frames = |rows: Rows| bce(&rows.of(&outputs.student.strong), &rows.of(&targets.strong));
    let maestro = frames(layout.maestro);
    let strong = frames(layout.strong);
    let synth = frames(layout.synth);
    let weak = bce(&layout.weak.of(&outputs.student.weak), &targets.weak);

    let weights = &settings.weights;
    let weighted_strong =
        &maestro * weights.maestro + &strong * weights.strong + &synth * weights.synth;
    let weighted_weak = &weak * weights.weak;
    let supervised = match settings.stage {
        1 => weighted_strong + weighted_weak,
        _ => weighted_strong / 3.0 + weighted_weak / 2.0,
    };
    let self_supervised = consistency(settings, layout, step, outputs, mixup);
    let pseudo = match &targets.pseudo {
        Some(targets) if weights.pseudo > 0.0 => distillation(settings, layout, outputs, targets),
        _ => supervised.zeros_like(),
    };
    let sum = &supervised + &self_supervised + &pseudo;
    let total = match settings.stage {
        1 => sum * STAGE1_FACTOR,
        _ => sum,
    };
    Losses {
        total,
        maestro,
        strong,
        synth,
        weak,
        supervised,
        self_supervised,
        pseudo,
    }
}

/// The student predictions that are compared with the teacher's.
fn compared<'a>(settings: &LossSettings, outputs: &'a Outputs) -> &'a Predictions {
    if settings.self_supervised.no_class_mask {
        &outputs.student_unmasked
    } else {
        &outputs.student
    }
}

fn consistency(
    settings: &LossSettings,
    layout: &Layout,
    step: u64,
    outputs: &Outputs,
    mixup: Option<&Mixup>,
) -> Tensor {
    let weight = self_supervised_weight(
        step,
        &settings.self_supervised,
        settings.weights.self_supervised,
    );
    let student = compared(settings, outputs);
    let interpolates = settings.stage != 1 && settings.self_supervised.interpolation_consistency;
    match mixup {
        Some(mixup) if interpolates => {
            interpolation_consistency(settings, layout, student, &outputs.teacher, mixup)
                * (weight / 4.0)
        }
        _ => mean_teacher(settings, layout, student, &outputs.teacher) * weight,
    }
}

/// MSE of frames over all rows, and of clips over all rows or all but MAESTRO's.
fn mean_teacher(
    settings: &LossSettings,
    layout: &Layout,
    student: &Predictions,
    teacher: &Predictions,
) -> Tensor {
    let rows = if settings.self_supervised.include_maestro {
        layout.all()
    } else {
        layout.desed()
    };
    let weak_rows = if settings.self_supervised.exclude_maestro_weak {
        layout.desed()
    } else {
        rows
    };
    let strong = mse(&rows.of(&student.strong), &rows.of(&teacher.strong));
    let weak = mse(&weak_rows.of(&student.weak), &weak_rows.of(&teacher.weak));
    match settings.stage {
        1 => strong + weak,
        _ => strong + weak / 2.0,
    }
}

/// The student on mixed clips against the teacher's predictions of the unmixed ones, mixed in the same way. Where MAESTRO is
/// mixed with the other strong rows, that group counts twice (recipe T18).
fn interpolation_consistency(
    settings: &LossSettings,
    layout: &Layout,
    student: &Predictions,
    teacher: &Predictions,
    mixup: &Mixup,
) -> Tensor {
    let options = &settings.self_supervised;
    // the rows `counted` of a group are compared: frames, and clips with the weight of clips
    let group = |rows: Rows, mixing: &Mixing, counted: Rows, classes: Option<&Tensor>| {
        let counted = Rows {
            start: counted.start - rows.start,
            len: counted.len,
        };
        let mixed = |x: &Tensor| counted.of(&mixing.mix_targets(&rows.of(x)));
        let said = |x: &Tensor| counted.of(&rows.of(x));
        let pick = |weak: Tensor| match classes {
            Some(classes) => weak.index_select(1, classes),
            None => weak,
        };
        let strong = mse(&said(&student.strong), &mixed(&teacher.strong));
        let weak = mse(&pick(said(&student.weak)), &pick(mixed(&teacher.weak)));
        (strong, weak / 2.0)
    };
    let whole = |rows: Rows, mixing: &Mixing| {
        let (strong, weak) = group(rows, mixing, rows, None);
        strong + weak
    };
    let labeled = match &mixup.strong {
        StrongMixing::Joint(mixing) => {
            let classes = options
                .exclude_maestro_weak
                .then(|| Tensor::from_slice(&DESED_SIDE_CLASSES).to_device(student.weak.device()));
            let counted = if options.include_maestro {
                layout.joint_strong()
            } else {
                layout.desed_strong()
            };
            let (strong, weak) = group(layout.joint_strong(), mixing, counted, classes.as_ref());
            (strong + weak) * 2.0
        }
        StrongMixing::Separate { maestro, desed } => {
            let desed = whole(layout.desed_strong(), desed);
            let (strong, weak) = group(layout.maestro, maestro, layout.maestro, None);
            match (options.include_maestro, options.exclude_maestro_weak) {
                (false, _) => desed,
                (true, true) => desed + strong,
                (true, false) => desed + strong + weak,
            }
        }
    };
    let weak = whole(layout.weak, &mixup.weak);
    let unlabeled = whole(layout.unlabeled, &mixup.unlabeled);
    (labeled + weak + unlabeled) / 8.0
}

fn distillation(
    settings: &LossSettings,
    layout: &Layout,
    outputs: &Outputs,
    targets: &Tensor,
) -> Tensor {
    let student = match settings.stage {
        1 if settings.pseudo_no_class_mask => &outputs.student_unmasked,
        1 => &outputs.student,
        _ => compared(settings, outputs),
    };
    let weights = &settings.weights;
    let part = |rows: Rows| bce(&rows.of(&student.strong), &rows.of(targets));
    (part(layout.desed()) * (weights.strong + weights.synth + weights.weak)
        + part(layout.maestro) * weights.maestro)
        * weights.pseudo
}

/// Mean binary cross entropy over all elements; 0 where there are none, not a number where a probability is none.
fn bce(probabilities: &Tensor, targets: &Tensor) -> Tensor {
    if probabilities.numel() == 0 {
        return nothing(probabilities);
    }
    // libtorch ends the call (on a GPU, the process) where a probability is not a number; the loop has better words for that
    let unknown = probabilities.detach().sum(Kind::Float) * 0.0;
    let known = probabilities.nan_to_num(0.0, None, None);
    known.binary_cross_entropy::<Tensor>(targets, None, Reduction::Mean) + unknown
}

/// Mean squared error over all elements; 0 where there are none.
fn mse(a: &Tensor, b: &Tensor) -> Tensor {
    if a.numel() == 0 {
        return nothing(a);
    }
    a.mse_loss(b, Reduction::Mean)
}

fn nothing(like: &Tensor) -> Tensor {
    Tensor::zeros([], (Kind::Float, like.device()))
}
