//! Every term of the loss, the total and its gradients, for given logits (recipe 5).

use anyhow::{Context, Result, bail};
use model::{HeadLogits, Predictions};
use serde_json::Value;
use tch::{Kind, Tensor};
use train::{
    Layout, LossSettings, Losses, Mixing, Mixup, Outputs, Rows, StrongMixing, Targets, losses,
    self_supervised_weight,
};
use types::{LossWeights, SelfSupervisedSettings};

use super::super::case::{Case, entries, items, number, switch, whole};
use super::super::rows::Tolerance;

pub(super) fn run(case: &Case, stage: u32) -> Result<()> {
    for (setting, terms) in entries(&case.json, "expected_terms")? {
        Setting::read(case, stage, setting)?.check(case, setting, terms)?;
    }
    let schedule = &case.json["ssl_weight_schedule"];
    let settings = SelfSupervisedSettings {
        warmup_steps: whole(schedule, "warmup_steps")?,
        max_factor: number(schedule, "scale_max")?,
        no_class_mask: false,
        exclude_maestro_weak: false,
        include_maestro: true,
        interpolation_consistency: false,
    };
    let weight = number(schedule, "loss_weight")?;
    let (mut got, mut want) = (Vec::new(), Vec::new());
    for pair in items(schedule, "values")? {
        let step = pair[0].as_u64().context("a step of ssl_weight_schedule")?;
        got.push(self_supervised_weight(step, &settings, weight));
        want.push(pair[1].as_f64().context("a value of ssl_weight_schedule")?);
    }
    case.rows
        .check_numbers("ssl_weight_schedule", &got, &want, terms_tolerance(case)?);
    Ok(())
}

fn terms_tolerance(case: &Case) -> Result<Tolerance> {
    Tolerance::read(&case.json["terms_tolerance"]).context("terms_tolerance")
}

/// One setting with its inputs.
struct Setting {
    settings: LossSettings,
    layout: Layout,
    outputs: Outputs,
    targets: Targets,
    mixup: Option<Mixup>,
    logits: HeadLogits,
}

impl Setting {
    fn read(case: &Case, stage: u32, name: &str) -> Result<Self> {
        let described = &case.json["settings"][name];
        let settings = LossSettings {
            stage,
            weights: super::weights(described)?,
            self_supervised: super::consistency(described, stage)?,
            pseudo_no_class_mask: switch(&described["pseudo_strong_no_class_mask"]),
        };
        let layout = Layout::new(&super::microbatch(&case.json["config"])?);
        let mixup = match case.json["expected_terms"][name].get("ict") {
            Some(_) => Some(mixup(case)?),
            None => None,
        };
        let labels = case.tensor("labels")?;
        let frames = [2];
        let weak = (layout.weak.of(&labels))
            .sum_dim_intlist(frames.as_slice(), false, Kind::Float)
            .greater(0.0)
            .to_kind(Kind::Float);
        let mask = case.tensor("valid_class_mask")?.to_kind(Kind::Bool);
        let pseudo = case.tensor("pseudo")?.transpose(1, 2);
        let (labels, weak, mask, pseudo) = match &mixup {
            Some(mixup) => {
                let (labels, weak, mask) = mixed(case, &layout, mixup, &labels, &weak, &mask)?;
                (labels, weak, mask, mixed_pseudo(&layout, mixup, &pseudo)?)
            }
            None => (labels, weak, mask, pseudo),
        };
        let invalid = mask.logical_not();
        let clear = |x: &Tensor| x.masked_fill(&invalid.unsqueeze(-1), 0.0);
        let targets = Targets {
            strong: clear(&labels),
            weak: weak.masked_fill(&layout.weak.of(&invalid), 0.0),
            pseudo: Some(match stage == 1 && !settings.pseudo_no_class_mask {
                true => clear(&pseudo),
                false => pseudo,
            }),
        };
        let logits = |who: &str| -> Result<HeadLogits> {
            Ok(HeadLogits {
                strong: case.tensor(&format!("{who}_strong_logits"))?,
                attention: case.tensor(&format!("{who}_attention_logits"))?,
            })
        };
        let student = logits("student")?;
        let student = HeadLogits {
            strong: student.strong.set_requires_grad(true),
            attention: student.attention.set_requires_grad(true),
        };
        let teacher_mask = (!settings.self_supervised.no_class_mask).then_some(&mask);
        let outputs = Outputs {
            student: student.predictions(Some(&mask)),
            student_unmasked: student.predictions(None),
            teacher: logits("teacher")?.predictions(teacher_mask).detach(),
        };
        Ok(Self {
            settings,
            layout,
            outputs,
            targets,
            mixup,
            logits: student,
        })
    }

    fn losses(&self, step: u64, settings: &LossSettings, outputs: &Outputs) -> Losses {
        losses(
            settings,
            &self.layout,
            step,
            outputs,
            &self.targets,
            self.mixup.as_ref(),
        )
    }

    fn check(&self, case: &Case, setting: &str, terms: &Value) -> Result<()> {
        if self.mixup.is_none() {
            let (masked, open) = (&self.outputs.student, &self.outputs.student_unmasked);
            for (name, value) in [
                ("student.strong_masked", &masked.strong),
                ("student.weak_masked", &masked.weak),
                ("student.strong", &open.strong),
                ("student.weak", &open.weak),
            ] {
                if case.has(name) {
                    case.check(name, value)?;
                }
            }
        }
        let step = whole(terms, "global_step")?;
        let losses = self.losses(step, &self.settings, &self.outputs);
        let tolerance = terms_tolerance(case)?;
        for (term, want) in terms.as_object().into_iter().flatten() {
            if term == "global_step" {
                continue;
            }
            let got = self.term(term, step, &losses)?;
            let want = want.as_f64().with_context(|| format!("{term} is {want}"))?;
            case.rows
                .check_number(&format!("{setting}: {term}"), got, want, tolerance);
        }
        losses.total.backward();
        case.check(
            &format!("{setting}.d_strong_logits"),
            &self.logits.strong.grad(),
        )?;
        case.check(
            &format!("{setting}.d_attention_logits"),
            &self.logits.attention.grad(),
        )
    }

    /// One term by the reference's name. Terms that are only a part of what the code gives are found by the code itself, with
    /// all other parts brought to zero.
    fn term(&self, term: &str, step: u64, losses: &Losses) -> Result<f64> {
        let consistency = &self.settings.self_supervised;
        let of = |weights: LossWeights| {
            let settings = LossSettings {
                weights,
                ..self.settings
            };
            self.losses(step, &settings, &self.outputs)
        };
        let none = LossWeights {
            maestro: 0.0,
            strong: 0.0,
            synth: 0.0,
            weak: 0.0,
            self_supervised: 0.0,
            pseudo: 0.0,
        };
        let weights = self.settings.weights;
        // clips are compared with this share in stage 2
        let clips = if self.settings.stage == 1 { 1.0 } else { 2.0 };
        let all = self.layout.all();
        let value = match term {
            "bce_maestro" => losses.maestro.double_value(&[]),
            "bce_strong_real" => losses.strong.double_value(&[]),
            "bce_synth" => losses.synth.double_value(&[]),
            "bce_weak" => losses.weak.double_value(&[]),
            "supervised" => losses.supervised.double_value(&[]),
            "ssl" => losses.self_supervised.double_value(&[]),
            "pseudo" => losses.pseudo.double_value(&[]),
            "total" => losses.total.double_value(&[]),
            "strong_weighted" => {
                let weights = LossWeights {
                    weak: 0.0,
                    ..weights
                };
                of(weights).supervised.double_value(&[])
            }
            "weak_weighted" => {
                let weights = LossWeights {
                    weak: weights.weak,
                    ..none
                };
                of(weights).supervised.double_value(&[])
            }
            "ssl_weight" => self_supervised_weight(step, consistency, weights.self_supervised),
            "mse_strong" => self.consistency(all, Part::Frames),
            "mse_weak" => self.consistency(all, Part::Clips) * clips,
            "ict" => self.consistency(all, Part::Both) * 4.0,
            "mse_ict_weakset_strong" => self.consistency(self.layout.weak, Part::Frames) * 32.0,
            "mse_ict_weakset_weak" => self.consistency(self.layout.weak, Part::Clips) * 64.0,
            "mse_ict_unlabeled_strong" => {
                self.consistency(self.layout.unlabeled, Part::Frames) * 32.0
            }
            "mse_ict_unlabeled_weak" => self.consistency(self.layout.unlabeled, Part::Clips) * 64.0,
            "mse_ict_allstrong_strong" => {
                self.consistency(self.layout.joint_strong(), Part::Frames) * 16.0
            }
            "mse_ict_allstrong_weak" => {
                self.consistency(self.layout.joint_strong(), Part::Clips) * 32.0
            }
            "bce_pseudo_desed" => {
                let weights = LossWeights {
                    strong: 1.0,
                    pseudo: 1.0,
                    ..none
                };
                of(weights).pseudo.double_value(&[])
            }
            "bce_pseudo_maestro" => {
                let weights = LossWeights {
                    maestro: 1.0,
                    pseudo: 1.0,
                    ..none
                };
                of(weights).pseudo.double_value(&[])
            }
            _ => bail!("{term} is no term of the loss that is known here"),
        };
        Ok(value)
    }

    /// The consistency loss with weight 1, in which student and teacher are 0 outside these rows and this part.
    fn consistency(&self, rows: Rows, part: Part) -> f64 {
        let only = |predictions: &Predictions| {
            let keep = |x: &Tensor, kept: bool| {
                let y = x.detach().zeros_like();
                if kept {
                    rows.of(&y).copy_(&rows.of(&x.detach()));
                }
                y
            };
            Predictions {
                strong: keep(&predictions.strong, part != Part::Clips),
                weak: keep(&predictions.weak, part != Part::Frames),
            }
        };
        let outputs = Outputs {
            student: only(&self.outputs.student),
            student_unmasked: only(&self.outputs.student_unmasked),
            teacher: only(&self.outputs.teacher),
        };
        let mut settings = self.settings;
        settings.weights.self_supervised = 1.0;
        settings.self_supervised.max_factor = 1.0;
        let step = settings.self_supervised.warmup_steps.max(1);
        self.losses(step, &settings, &outputs)
            .self_supervised
            .double_value(&[])
    }
}

#[derive(Clone, Copy, PartialEq)]
enum Part {
    Frames,
    Clips,
    Both,
}

fn mixing(case: &Case, group: &str) -> Result<Mixing> {
    Ok(Mixing::new(
        &case.tensor(&format!("ict.{group}.coef"))?,
        &case.tensor(&format!("ict.{group}.perm"))?,
    ))
}

fn mixup(case: &Case) -> Result<Mixup> {
    Ok(Mixup {
        weak: mixing(case, "weak")?,
        strong: StrongMixing::Joint(mixing(case, "all_strong")?),
        unlabeled: mixing(case, "unlabeled")?,
    })
}

/// How all strong clips are mixed, MAESTRO's among them.
fn joint(mixup: &Mixup) -> Result<&Mixing> {
    match &mixup.strong {
        StrongMixing::Joint(mixing) => Ok(mixing),
        StrongMixing::Separate { .. } => bail!("the case mixes all strong clips together"),
    }
}

/// Pseudo-labels after mixing.
fn mixed_pseudo(layout: &Layout, mixup: &Mixup, pseudo: &Tensor) -> Result<Tensor> {
    let group = |rows: Rows, mixing: &Mixing| mixing.mix(&rows.of(pseudo));
    let groups = [
        group(layout.joint_strong(), joint(mixup)?),
        group(layout.weak, &mixup.weak),
        group(layout.unlabeled, &mixup.unlabeled),
    ];
    Ok(Tensor::cat(&groups, 0))
}

/// Labels, weak labels and masks after mixing.
fn mixed(
    case: &Case,
    layout: &Layout,
    mixup: &Mixup,
    labels: &Tensor,
    weak: &Tensor,
    mask: &Tensor,
) -> Result<(Tensor, Tensor, Tensor)> {
    let strong = joint(mixup)?;
    let rows = layout.joint_strong();
    let targets = rows.of(labels);
    let grown = mask.copy();
    rows.of(&grown)
        .copy_(&strong.enlarge_mask(&rows.of(mask), &targets));
    let mixed = labels.copy();
    rows.of(&mixed).copy_(&strong.mix_targets(&targets));
    let weak = mixup.weak.mix_targets(weak);
    case.check("ict.labels", &mixed)?;
    case.check("ict.weak_targets", &weak)?;
    case.check("ict.valid_class_mask", &grown)?;
    Ok((mixed, weak, grown))
}
