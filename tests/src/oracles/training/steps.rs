//! Optimizer steps of a tiny system: losses, gradients, rates, and where student and teacher end (recipe 7).

use std::collections::BTreeMap;

use anyhow::{Context, Result, bail, ensure};
use collective::ProcessGroup;
use model::SedModel;
use serde_json::Value;
use tch::{Kind, Tensor};
use train::{Features, Inputs, Layout, Learner, Optimizer, Targets, averaging_factor};
use types::{
    Architecture, AugmentationSettings, ModelSettings, OptimizerKind, OptimizerSettings, Reduction,
    TeacherInit, TrainingSettings, TransformerSettings,
};

use super::super::case::{Case, items, number, numbers, size, sizes, switch, whole};
use super::super::network;
use super::super::rows::Tolerance;

/// Digits that a rate computed in float64 has.
const RATES: Tolerance = Tolerance {
    atol: 1e-15,
    rtol: 1e-9,
};

pub(super) fn run(case: &Case, stage: u32) -> Result<()> {
    let config = &case.json["config"];
    let model_settings = model_settings(config)?;
    let weights = case.state_dict()?;
    let model = || -> Result<SedModel> {
        let model = network::build(&model_settings)?;
        network::load(model.store(), &weights, |name| Some(name.to_owned()))?;
        Ok(model)
    };
    let settings = training_settings(stage, config)?;
    let (student, teacher) = (model()?, model()?);
    let total = whole(config, "num_training_steps")?;
    let optimizer = Optimizer::new(&student, &settings.optimizer, stage, total);
    rates(case, &student, &optimizer)?;
    let group = ProcessGroup::solo();
    let mut learner = Learner::new(&settings, stage, student, teacher, optimizer, &group)?;

    let order = sizes(config, "order_of_batches")?;
    let per_step = settings.microbatches_per_step;
    let steps = whole(config, "optimizer_steps")?;
    ensure!(
        order.len() as u64 == steps * u64::from(per_step),
        "order_of_batches has {} batches, expected {per_step} for each of {steps} steps",
        order.len()
    );
    let mut totals = Vec::new();
    let mut factors = Vec::new();
    for step in 0..steps {
        learner.begin_step(per_step)?;
        factors.push(averaging_factor(step, settings.ema_factor));
        let mut statistics = Vec::new();
        for microbatch in 0..per_step {
            let batch = order[totals.len()];
            let inputs = inputs(case, stage, batch, learner.layout())?;
            let last = microbatch + 1 == per_step;
            let learned = learner.learn(step, microbatch, &inputs, last)?;
            totals.push(learned.losses.total.detach());
            statistics.push(learned.statistics);
        }
        for name in case.expected() {
            if let Some(key) = name.strip_prefix(&format!("step{step}.d/")) {
                case.check(name, &network::gradient(learner.student().store(), key)?)?;
            }
        }
        for [student, teacher] in statistics {
            learner
                .student()
                .fold_statistics(&student.context("no statistics")?);
            learner
                .teacher()
                .fold_statistics(&teacher.context("no statistics")?);
        }
        learner.finish_step(step)?;
    }
    case.check("losses", &Tensor::stack(&totals, 0))?;
    let want = numbers(&case.json, "ema_alpha_at_each_step")?;
    case.rows
        .check_numbers("ema_alpha_at_each_step", &factors, &want, RATES);
    for (who, model) in [
        ("student", learner.student()),
        ("teacher", learner.teacher()),
    ] {
        ends(case, &weights, who, model)?;
    }
    Ok(())
}

fn ends(case: &Case, start: &BTreeMap<String, Tensor>, who: &str, model: &SedModel) -> Result<()> {
    for name in case.expected() {
        if let Some(key) = name.strip_prefix(&format!("{who}_end/")) {
            case.check(name, network::find(model.store(), key)?)?;
        }
    }
    for name in items(&case.json["unchanged"], who)? {
        let name = name
            .as_str()
            .context("unchanged has something without a name")?;
        let before = start
            .get(name)
            .with_context(|| format!("the state dict has no {name}"))?;
        let equal = network::find(model.store(), name)?.equal(before);
        case.rows
            .check_equal(&format!("{who}: {name} is unchanged"), &equal, &true);
    }
    Ok(())
}

/// Groups of parameters and their rates at each step.
fn rates(case: &Case, model: &SedModel, optimizer: &Optimizer) -> Result<()> {
    let groups = items(&case.json, "param_groups")?;
    let steps = items(&case.json, "global_step_at_each_optimizer_step")?;
    let expected = items(&case.json, "lr_per_group_at_each_step")?;
    let trained: Vec<&str> = optimizer.names().collect();
    let (mut got, mut want) = (Vec::new(), Vec::new());
    for (step, rates) in steps.iter().zip(expected) {
        let step = step.as_u64().context("a step without a number")?;
        let ours: BTreeMap<_, _> = optimizer.rates(step).into_iter().collect();
        for (group, names) in groups.iter().enumerate() {
            let rate = rates[group].as_f64().context("a group without a rate")?;
            for name in names
                .as_array()
                .into_iter()
                .flatten()
                .filter_map(Value::as_str)
            {
                // the reference lists frozen parameters too
                if !trained.contains(&name) {
                    let frozen = !network::find(model.store(), name)?.requires_grad();
                    ensure!(frozen, "{name} asks for a gradient and is in no group");
                    continue;
                }
                let part = model.part(name);
                got.push(
                    *ours
                        .get(&part)
                        .with_context(|| format!("no rate for {part:?}"))?,
                );
                want.push(rate);
            }
        }
    }
    case.rows
        .check_numbers("lr_per_group_at_each_step", &got, &want, RATES);
    // what is in a group and not trained here never changes
    let listed: Vec<&str> = (groups
        .iter()
        .flat_map(|names| names.as_array().into_iter().flatten()))
    .filter_map(Value::as_str)
    .collect();
    let idle: Vec<&str> = (items(&case.json["unchanged"], "student")?.iter())
        .filter_map(Value::as_str)
        .collect();
    let missing: Vec<&&str> = (listed.iter())
        .filter(|name| !trained.contains(name) && !idle.contains(name))
        .collect();
    let surplus: Vec<&&str> = trained
        .iter()
        .filter(|name| !listed.contains(name))
        .collect();
    case.rows
        .check_equal("parameters that are not trained", &missing, &Vec::new());
    case.rows.check_equal(
        "parameters that should not be trained",
        &surplus,
        &Vec::new(),
    );
    Ok(())
}

fn model_settings(config: &Value) -> Result<ModelSettings> {
    let transformer = &config["transformer"];
    let mut settings = network::wrapped(
        &config["wrapper"],
        network::published(Architecture::AtstFrame),
    )?;
    settings.transformer = TransformerSettings {
        dim: size(transformer, "embed_dim")?,
        depth: size(transformer, "depth")?,
        heads: size(transformer, "num_heads")?,
        mlp_ratio: match transformer.get("mlp_ratio") {
            Some(_) => size(transformer, "mlp_ratio")?,
            None => 4,
        },
    };
    Ok(settings)
}

fn training_settings(stage: u32, config: &Value) -> Result<TrainingSettings> {
    let overrides = &config["overrides"];
    for key in [
        "mix_augment.apply_mixup",
        "time_augment.apply_mask",
        "filter_augment.apply",
    ] {
        if overrides.get(key).is_some_and(switch) {
            bail!("{key} is on, and the case has no draws for it");
        }
    }
    let rate = |key: &str| number(overrides, &format!("optimizer.{key}"));
    let optimizer = OptimizerSettings {
        kind: match overrides.get("optimizer.adamw").is_none_or(switch) {
            true => OptimizerKind::Adamw,
            false => OptimizerKind::Adam,
        },
        lr_cnn: rate(if stage == 1 { "crnn_lr" } else { "cnn_lr" })?,
        lr_rnn: rate(if stage == 1 { "crnn_lr" } else { "rnn_lr" })?,
        lr_transformer: if stage == 1 { 0.0 } else { rate("pt_lr")? },
        layer_factor: if stage == 1 {
            1.0
        } else {
            rate("pt_lr_scale")?
        },
        weight_decay: number(config, "weight_decay")?,
        warmup_steps: whole(overrides, "optimizer.num_warmup_steps")?,
    };
    Ok(TrainingSettings {
        epochs: 1,
        microbatch: super::microbatch(config)?,
        microbatches_per_step: size(config, "accumulate_grad_batches")?,
        reduction: Reduction::Ordered,
        loss: super::weights(overrides)?,
        self_supervised: super::consistency(overrides, stage)?,
        optimizer,
        ema_factor: number(config, "ema_factor")?,
        dropout: number(&config["wrapper"], "dropout")?,
        transformer_train_mode: false,
        teacher_init: TeacherInit::Teacher,
        pseudo_no_class_mask: overrides
            .get("pseudo_strong_no_class_mask")
            .is_some_and(switch),
        augmentation: AugmentationSettings::OFF,
    })
}

fn inputs(case: &Case, stage: u32, batch: u32, layout: &Layout) -> Result<Inputs> {
    let tensor = |name: &str| case.tensor(&format!("batch{batch}.{name}"));
    let features = || -> Result<Features> {
        Ok(Features {
            mel: tensor("sed")?.unsqueeze(1),
            transformer: tensor("pt")?,
        })
    };
    let mask = tensor("valid_class_mask")?.to_kind(Kind::Bool);
    let invalid = mask.logical_not();
    let clear = |x: &Tensor| x.masked_fill(&invalid.unsqueeze(-1), 0.0);
    let labels = tensor("labels")?;
    let frames = [2];
    let weak = (layout.weak.of(&labels))
        .sum_dim_intlist(frames.as_slice(), false, Kind::Float)
        .greater(0.0)
        .to_kind(Kind::Float);
    let pseudo = tensor("pseudo")?.transpose(1, 2);
    Ok(Inputs {
        student: features()?,
        teacher: features()?,
        targets: Targets {
            strong: clear(&labels),
            weak: weak.masked_fill(&layout.weak.of(&invalid), 0.0),
            pseudo: Some(if stage == 1 { clear(&pseudo) } else { pseudo }),
        },
        mask,
        mixup: None,
        skipped_layers: None,
    })
}
