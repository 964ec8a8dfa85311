//! Losses, schedules, averaging, optimizer groups and augmentations against the reference's values.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

#[path = "../../model/tests/oracle/mod.rs"]
mod oracle;

use std::collections::BTreeMap;

use collective::ProcessGroup;
use model::{HeadLogits, Predictions, SedModel};
use oracle::{Case, list};
use serde_json::Value;
use tch::{Device, Kind, Tensor};
use train::{
    Averager, Features, Filter, FrequencyWarp, Inputs, Layout, Learner, LossSettings, Mixing,
    Mixup, Optimizer, Outputs, StrongMixing, Targets, TimeMask, TimeShift, amplify,
    averaging_factor, base_rate, convolve, learning_rate_factor, losses, mix_labels,
    mix_recordings, mixstyle, self_supervised_weight,
};
use types::{
    Architecture, AugmentationSettings, BeatsSettings, CrnnSettings, DecibelFloor,
    EmbeddingPooling, LossWeights, MelEdges, MicrobatchSizes, ModelSettings, OptimizerKind,
    OptimizerSettings, SelfSupervisedSettings, TeacherInit, TrainingSettings, TransformerSettings,
};

fn truth(value: &Value) -> bool {
    value.as_bool().unwrap_or_else(|| value.as_u64() == Some(1))
}

fn loss_settings(stage: u32, settings: &Value) -> LossSettings {
    let weights: Vec<f64> = settings["loss_weights"]
        .as_array()
        .unwrap()
        .iter()
        .map(|x| x.as_f64().unwrap())
        .collect();
    LossSettings {
        stage,
        weights: LossWeights {
            maestro: weights[0],
            strong: weights[1],
            synth: weights[2],
            weak: weights[3],
            self_supervised: weights[4],
            pseudo: weights[5],
        },
        self_supervised: SelfSupervisedSettings {
            warmup_steps: settings["ssl_loss_warmup_steps"].as_u64().unwrap(),
            max_factor: settings["ssl_scale_max"].as_f64().unwrap(),
            no_class_mask: truth(&settings["ssl_no_class_mask"]),
            exclude_maestro_weak: truth(&settings["exclude_maestro_weak_ssl"]),
            include_maestro: true,
            interpolation_consistency: truth(&settings["use_ict_loss"]),
        },
        pseudo_no_class_mask: truth(&settings["pseudo_strong_no_class_mask"]),
    }
}

fn layout(case: &Case) -> Layout {
    let sizes = &case.json["config"]["batch_sizes"];
    let size = |key: &str| u32::try_from(sizes[key].as_u64().unwrap()).unwrap();
    Layout::new(&MicrobatchSizes {
        maestro: size("maestro"),
        strong: size("strong_real"),
        synth: size("synth"),
        weak: size("weak"),
        unlabeled: size("unlabeled"),
    })
}

fn mixing(case: &Case, group: &str) -> Mixing {
    Mixing::new(
        &case.tensor(&format!("ict.{group}.coef")),
        &case.tensor(&format!("ict.{group}.perm")),
    )
}

#[test]
fn stage_1_losses() {
    loss_terms(1, "stage1_losses");
}

#[test]
fn stage_2_losses() {
    loss_terms(2, "stage2_losses");
}

fn loss_terms(stage: u32, name: &str) {
    let case = Case::open("training", name);
    let layout = layout(&case);
    for (setting, expected) in case.json["expected_terms"].as_object().unwrap() {
        let settings = loss_settings(stage, &case.json["settings"][setting]);
        let mixup = setting.ends_with("_ict").then(|| Mixup {
            weak: mixing(&case, "weak"),
            strong: StrongMixing::Joint(mixing(&case, "all_strong")),
            unlabeled: mixing(&case, "unlabeled"),
        });

        let labels = case.tensor("labels");
        let frames = layout
            .weak
            .of(&labels)
            .sum_dim_intlist([2].as_slice(), false, Kind::Float);
        let weak = frames.greater(0.0).to_kind(Kind::Float);
        let valid = case.tensor("valid_class_mask").to_kind(Kind::Bool);
        let pseudo = case.tensor("pseudo").transpose(1, 2);
        let (labels, weak, mask) = if let Some(mixup) = &mixup {
            let joint = layout.joint_strong();
            let StrongMixing::Joint(strong) = &mixup.strong else {
                unreachable!("made above");
            };
            let targets = joint.of(&labels);
            let mask = valid.copy();
            joint
                .of(&mask)
                .copy_(&strong.enlarge_mask(&joint.of(&valid), &targets));
            let mixed = labels.copy();
            joint.of(&mixed).copy_(&strong.mix_targets(&targets));
            let weak = mixup.weak.mix_targets(&weak);
            case.check("ict.labels", &mixed);
            case.check("ict.weak_targets", &weak);
            case.check("ict.valid_class_mask", &mask);
            (mixed, weak, mask)
        } else {
            (labels, weak, valid)
        };
        let invalid = mask.logical_not();
        let clear = |x: &Tensor| x.masked_fill(&invalid.unsqueeze(-1), 0.0);
        let targets = Targets {
            strong: clear(&labels),
            weak: weak.masked_fill(&layout.weak.of(&invalid), 0.0),
            pseudo: Some(if stage == 1 { clear(&pseudo) } else { pseudo }),
        };

        let logits = |who: &str| HeadLogits {
            strong: case.tensor(&format!("{who}_strong_logits")),
            attention: case.tensor(&format!("{who}_attention_logits")),
        };
        let student = logits("student");
        let (strong_logits, attention_logits) = (
            student.strong.set_requires_grad(true),
            student.attention.set_requires_grad(true),
        );
        let teacher_mask = (!settings.self_supervised.no_class_mask).then_some(&mask);
        let outputs = Outputs {
            student: student.predictions(Some(&mask)),
            student_unmasked: student.predictions(None),
            teacher: logits("teacher").predictions(teacher_mask).detach(),
        };
        if mixup.is_none() {
            case.check("student.strong_masked", &outputs.student.strong);
            case.check("student.weak_masked", &outputs.student.weak);
            case.check("student.strong", &outputs.student_unmasked.strong);
            case.check("student.weak", &outputs.student_unmasked.weak);
        }
        let step = expected["global_step"].as_u64().unwrap();
        let losses = losses(&settings, &layout, step, &outputs, &targets, mixup.as_ref());
        let tolerance = &case.json["terms_tolerance"];
        let limit = |key: &str| tolerance[key].as_f64().unwrap();
        for (term, got) in [
            ("bce_maestro", &losses.maestro),
            ("bce_strong_real", &losses.strong),
            ("bce_synth", &losses.synth),
            ("bce_weak", &losses.weak),
            ("supervised", &losses.supervised),
            ("ssl", &losses.self_supervised),
            ("pseudo", &losses.pseudo),
            ("total", &losses.total),
        ] {
            let want = expected[term].as_f64().unwrap();
            let got = got.double_value(&[]);
            assert!(
                (got - want).abs() <= limit("atol") + limit("rtol") * want.abs(),
                "{setting}: {term} is {got}, expected {want}"
            );
        }
        losses.total.backward();
        case.check(&format!("{setting}.d_strong_logits"), &strong_logits.grad());
        case.check(
            &format!("{setting}.d_attention_logits"),
            &attention_logits.grad(),
        );
    }
    let schedule = &case.json["ssl_weight_schedule"];
    let settings = SelfSupervisedSettings {
        warmup_steps: schedule["warmup_steps"].as_u64().unwrap(),
        max_factor: schedule["scale_max"].as_f64().unwrap(),
        no_class_mask: false,
        exclude_maestro_weak: false,
        include_maestro: true,
        interpolation_consistency: false,
    };
    for pair in schedule["values"].as_array().unwrap() {
        let weight = schedule["loss_weight"].as_f64().unwrap();
        let got = self_supervised_weight(pair[0].as_u64().unwrap(), &settings, weight);
        assert!(
            (got - pair[1].as_f64().unwrap()).abs() < 1e-9,
            "{pair}: {got}"
        );
    }
}

#[test]
fn four_steps_of_stage_1() {
    four_steps(1);
}

#[test]
fn four_steps_of_stage_2() {
    four_steps(2);
}

/// Four optimizer steps of two micro-batches: losses, gradients, and where student and teacher end.
fn four_steps(stage: u32) {
    let case = Case::open("training", &format!("stage{stage}_run"));
    let config = &case.json["config"];
    let model = || {
        let settings = run_model(config);
        let model = SedModel::new(&settings, 1, Device::Cpu).unwrap();
        model.store().load(&case.weights(), "").unwrap();
        model
    };
    let settings = run_training(stage, config);
    let (student, teacher) = (model(), model());
    let total = config["num_training_steps"].as_u64().unwrap();
    let optimizer = Optimizer::new(&student, &settings.optimizer, stage, total);
    let group = ProcessGroup::solo();
    let mut learner = Learner::new(&settings, stage, student, teacher, optimizer, &group).unwrap();

    let order = list(&config["order_of_batches"]);
    let per_step = settings.microbatches_per_step;
    let mut totals = Vec::new();
    for step in 0..total {
        learner.begin_step();
        let mut statistics = Vec::new();
        for microbatch in 0..per_step {
            let batch = order[totals.len()];
            let inputs = run_inputs(&case, stage, batch, learner.layout());
            let last = microbatch + 1 == per_step;
            let scale = 1.0 / f64::from(per_step);
            let learned = learner
                .learn(step, microbatch, &inputs, scale, last)
                .unwrap();
            totals.push(learned.losses.total.detach());
            statistics.push(learned.statistics);
        }
        check_named(&case, &format!("step{step}.d/"), |name| {
            learner.student().store().get(name).unwrap().grad()
        });
        for [student, teacher] in statistics {
            learner.student().fold_statistics(&student.unwrap());
            learner.teacher().fold_statistics(&teacher.unwrap());
        }
        learner.finish_step(step).unwrap();
    }
    case.check("losses", &Tensor::stack(&totals, 0));
    for (who, model) in [
        ("student", learner.student()),
        ("teacher", learner.teacher()),
    ] {
        let count = check_named(&case, &format!("{who}_end/"), |name| {
            model.store().get(name).unwrap().shallow_clone()
        });
        assert!(count > 50);
    }
}

/// Checks every tensor of the case below `prefix`, but those that the case calls ill-conditioned.
fn check_named(case: &Case, prefix: &str, ours: impl Fn(&str) -> Tensor) -> usize {
    let ill = case.json["ill_conditioned"].as_array().unwrap();
    let names = case.json["tensors"].as_object().unwrap().keys();
    let mut count = 0;
    for name in names.filter(|name| !ill.iter().any(|other| other == *name)) {
        if let Some(key) = name.strip_prefix(prefix) {
            case.check(name, &ours(key));
            count += 1;
        }
    }
    count
}

fn run_model(config: &Value) -> ModelSettings {
    let wrapper = &config["wrapper"];
    let number = |of: &Value, key: &str| u32::try_from(of[key].as_u64().unwrap()).unwrap();
    ModelSettings {
        architecture: Architecture::AtstFrame,
        transformer: TransformerSettings {
            dim: number(&config["transformer"], "embed_dim"),
            depth: number(&config["transformer"], "depth"),
            heads: number(&config["transformer"], "num_heads"),
            mlp_ratio: 4,
        },
        audioset_head: Some(number(wrapper, "audioset_classes")),
        embedding_pooling: EmbeddingPooling::AdaptiveAverage,
        crnn: CrnnSettings {
            channels: list(&wrapper["nb_filters"]).try_into().unwrap(),
            fusion_dim: number(wrapper, "n_RNN_cell"),
            rnn_hidden: number(wrapper, "n_RNN_cell"),
            rnn_layers: number(wrapper, "n_layers_RNN"),
        },
        atst_floor: DecibelFloor::Batch,
        fpasst_mel: MelEdges::FIXED,
        beats: BeatsSettings::PUBLISHED,
        init_seed: 0,
    }
}

fn run_training(stage: u32, config: &Value) -> TrainingSettings {
    let overrides = &config["overrides"];
    let number = |key: &str| overrides[key].as_f64().unwrap();
    let weights: Vec<f64> = overrides["loss_weights"]
        .as_array()
        .unwrap()
        .iter()
        .map(|x| x.as_f64().unwrap())
        .collect();
    let sizes = list(&overrides["training.batch_sizes"]);
    let (lr_cnn, lr_rnn, lr_transformer, layer_factor) = if stage == 1 {
        let lr = number("optimizer.crnn_lr");
        (lr, lr, 0.0, 1.0)
    } else {
        (
            number("optimizer.cnn_lr"),
            number("optimizer.rnn_lr"),
            number("optimizer.pt_lr"),
            number("optimizer.pt_lr_scale"),
        )
    };
    let per_step = config["accumulate_grad_batches"].as_u64().unwrap();
    TrainingSettings {
        epochs: 1,
        microbatch: MicrobatchSizes {
            maestro: sizes[0],
            strong: sizes[1],
            synth: sizes[2],
            weak: sizes[3],
            unlabeled: sizes[4],
        },
        microbatches_per_step: u32::try_from(per_step).unwrap(),
        loss: LossWeights {
            maestro: weights[0],
            strong: weights[1],
            synth: weights[2],
            weak: weights[3],
            self_supervised: weights[4],
            pseudo: weights[5],
        },
        self_supervised: SelfSupervisedSettings {
            warmup_steps: number("ssl_loss_warmup_steps") as u64,
            max_factor: if stage == 1 { 2.0 } else { 1.0 },
            no_class_mask: overrides.get("ssl_no_class_mask").is_some_and(truth),
            exclude_maestro_weak: overrides.get("exclude_maestro_weak_ssl").is_some_and(truth),
            include_maestro: true,
            interpolation_consistency: true,
        },
        optimizer: OptimizerSettings {
            kind: OptimizerKind::Adamw,
            lr_cnn,
            lr_rnn,
            lr_transformer,
            layer_factor,
            weight_decay: config["weight_decay"].as_f64().unwrap(),
            warmup_steps: number("optimizer.num_warmup_steps") as u64,
        },
        ema_factor: config["ema_factor"].as_f64().unwrap(),
        dropout: 0.0,
        transformer_train_mode: false,
        teacher_init: TeacherInit::Teacher,
        pseudo_no_class_mask: false,
        augmentation: AugmentationSettings {
            mixup_probability: 0.0,
            time_mask: false,
            ..AugmentationSettings::OFF
        },
    }
}

fn run_inputs(case: &Case, stage: u32, batch: u32, layout: &Layout) -> Inputs {
    let tensor = |name: &str| case.tensor(&format!("batch{batch}.{name}"));
    let features = || Features {
        mel: tensor("sed").unsqueeze(1),
        transformer: tensor("pt"),
    };
    let mask = tensor("valid_class_mask").to_kind(Kind::Bool);
    let invalid = mask.logical_not();
    let clear = |x: &Tensor| x.masked_fill(&invalid.unsqueeze(-1), 0.0);
    let labels = tensor("labels");
    let frames = layout
        .weak
        .of(&labels)
        .sum_dim_intlist([2].as_slice(), false, Kind::Float);
    let weak = frames.greater(0.0).to_kind(Kind::Float);
    let pseudo = tensor("pseudo").transpose(1, 2);
    Inputs {
        student: features(),
        teacher: features(),
        targets: Targets {
            strong: clear(&labels),
            weak: weak.masked_fill(&layout.weak.of(&invalid), 0.0),
            pseudo: Some(if stage == 1 { clear(&pseudo) } else { pseudo }),
        },
        mask,
        mixup: None,
        skipped_layers: None,
    }
}

#[test]
fn schedules() {
    let case = Case::open("training", "schedules");
    for schedule in case.json["lr_schedules"]["list"].as_array().unwrap() {
        let number = |key: &str| schedule[key].as_u64().unwrap();
        for pair in schedule["multiplier"].as_array().unwrap() {
            let got = learning_rate_factor(
                pair[0].as_u64().unwrap(),
                number("num_warmup_steps"),
                number("num_training_steps"),
            );
            assert!(
                (got - pair[1].as_f64().unwrap()).abs() < 1e-9,
                "{pair}: {got}"
            );
        }
    }
    let ema = &case.json["ema"];
    let limit = ema["factor"].as_f64().unwrap();
    let names: Vec<String> = case.json["tensors"]
        .as_object()
        .unwrap()
        .keys()
        .filter_map(|name| name.strip_prefix("ema.student0/").map(str::to_owned))
        .collect();
    let pairs: Vec<(Tensor, Tensor)> = names
        .iter()
        .map(|name| {
            let start = case.tensor(&format!("ema.start/{name}"));
            (start.copy(), start.zeros_like())
        })
        .collect();
    let copies = |pair: &(Tensor, Tensor)| (pair.0.shallow_clone(), pair.1.shallow_clone());
    let mut averager = Averager::of_pairs(pairs.iter().map(copies).collect(), limit);
    let steps = list(&ema["global_steps"]);
    for (index, step) in steps.into_iter().enumerate() {
        let alpha = averaging_factor(u64::from(step), limit);
        assert!((alpha - ema["alpha"][index].as_f64().unwrap()).abs() < 1e-12);
        for (name, (_, student)) in names.iter().zip(&pairs) {
            let value = case.tensor(&format!("ema.student{index}/{name}"));
            student.shallow_clone().copy_(&value);
        }
        averager.update_once(u64::from(step));
        averager.update_once(u64::from(step));
        for (name, (teacher, _)) in names.iter().zip(&pairs) {
            case.check(&format!("ema.teacher{index}/{name}"), teacher);
        }
    }
}

#[test]
fn optimizer_groups() {
    let case = Case::open("training", "param_groups_atst_frame");
    let settings = ModelSettings {
        architecture: Architecture::AtstFrame,
        transformer: TransformerSettings {
            dim: 768,
            depth: 12,
            heads: 12,
            mlp_ratio: 4,
        },
        audioset_head: Some(527),
        embedding_pooling: EmbeddingPooling::AdaptiveAverage,
        crnn: CrnnSettings {
            channels: [16, 32, 64, 128, 128, 128, 128],
            fusion_dim: 256,
            rnn_hidden: 256,
            rnn_layers: 2,
        },
        atst_floor: DecibelFloor::Batch,
        fpasst_mel: MelEdges::FIXED,
        beats: BeatsSettings::PUBLISHED,
        init_seed: 0,
    };
    let model = SedModel::new(&settings, 1, Device::Cpu).unwrap();
    for (stage, lr_cnn, lr_rnn) in [(1, 5e-4, 5e-4), (2, 1e-5, 1e-4)] {
        let optimizer = OptimizerSettings {
            kind: OptimizerKind::Adamw,
            lr_cnn,
            lr_rnn,
            lr_transformer: 1e-4,
            layer_factor: 0.5,
            weight_decay: 1e-2,
            warmup_steps: 270,
        };
        let of_stage = &case.json[format!("stage{stage}")];
        let mut expected = BTreeMap::new();
        for entry in of_stage["parameters"].as_array().unwrap() {
            let name = entry[0].as_str().unwrap();
            let trained = truth(&entry[3]) && !entry[1].is_null();
            // it never gets a gradient, so the reference's optimizer passes it by
            let trained = trained && !name.ends_with(".mask_embed");
            expected.insert(name.to_owned(), trained.then(|| entry[2].as_f64().unwrap()));
        }
        for (name, _) in model.store().parameters() {
            let got = base_rate(&optimizer, stage, model.part(name));
            let want = expected.get(name).copied().flatten();
            match (got, want) {
                (Some(got), Some(want)) => {
                    assert!(
                        (got - want).abs() < 1e-9 * want,
                        "{name}: {got}, not {want}"
                    );
                }
                _ => assert_eq!(got, want, "stage {stage}: {name}"),
            }
        }
    }
}

#[test]
fn mixup() {
    let case = Case::open("augment", "mixup");
    let mask = case.tensor("in.valid_class_mask").to_kind(Kind::Bool);
    for variant in ["soft", "soft_max"] {
        let mixing = Mixing::new(
            &case.tensor(&format!("{variant}.coef")),
            &case.tensor(&format!("{variant}.perm")),
        );
        let targets = case.tensor("in.targets");
        let check = |name: &str, got: &Tensor| case.check(&format!("{variant}.{name}"), got);
        check("features", &mixing.mix(&case.tensor("in.features")));
        check("embeddings", &mixing.mix(&case.tensor("in.embeddings")));
        check("targets", &mixing.mix_targets(&targets));
        check("pseudo", &mixing.mix(&case.tensor("in.pseudo")));
        check("valid_class_mask", &mixing.enlarge_mask(&mask, &targets));
    }
    let weak = Mixing::new(&case.tensor("weak.coef"), &case.tensor("weak.perm"));
    case.check(
        "weak.targets",
        &weak.mix_targets(&case.tensor("in.weak_targets")),
    );
}

#[test]
fn time_mask() {
    let case = Case::open("augment", "time_mask_shift");
    let draw = |key: &str| case.json["time_mask_draw"][key].as_i64().unwrap();
    let mask = TimeMask {
        start: draw("low"),
        width: draw("width"),
    };
    let [features, embeddings, labels] =
        ["features", "embeddings", "labels"].map(|name| case.tensor(&format!("in.{name}")));
    mask.crnn_features(&features);
    mask.transformer_features(&embeddings, *labels.size().last().unwrap());
    mask.labels(&labels);
    case.check("mask.features", &features);
    case.check("mask.embeddings", &embeddings);
    case.check("mask.labels", &labels);
}

#[test]
fn time_shift() {
    let case = Case::open("augment", "time_mask_shift");
    let shift = TimeShift(integers(&case.json["shift_draw"]["feature_shift"]));
    let [features, embeddings, labels, pseudo] = ["features", "embeddings", "labels", "pseudo"]
        .map(|name| case.tensor(&format!("in.{name}")));
    let frames = *features.size().last().unwrap();
    case.check("shift.features", &shift.crnn_features(&features));
    case.check(
        "shift.embeddings",
        &shift.transformer_features(&embeddings, frames),
    );
    case.check("shift.labels", &shift.labels(&labels));
    case.check("shift.pseudo", &shift.labels(&pseudo));
}

#[test]
fn restyled_features() {
    let case = Case::open("augment", "mixstyle");
    let share = case.tensor("draw.beta").flatten(0, -1);
    let own = share.maximum(&(1.0 - &share));
    let mixing = Mixing::new(&own, &case.tensor("draw.perm"));
    case.check(
        "out.features",
        &mixstyle(&case.tensor("in.features"), &mixing),
    );
}

#[test]
fn filter() {
    let case = Case::open("augment", "filter");
    let range = integers(&case.json["config"]["db_range"]);
    let (low, high) = (range[0] as f64, range[1] as f64);
    for name in ["mel128", "mel64", "narrow"] {
        let decibels = case.tensor(&format!("{name}.draw.rand")) * (high - low) + low;
        let filter = Filter {
            edges: Vec::try_from(case.tensor(&format!("{name}.draw.edges"))).unwrap(),
            decibels: Vec::<Vec<f64>>::try_from(decibels.to_kind(Kind::Double)).unwrap(),
        };
        let features = case.tensor(&format!("{name}.in"));
        case.check(&format!("{name}.out"), &filter.apply(&features));
    }
}

#[test]
fn frequency_warp() {
    let case = Case::open("augment", "frequency_warp");
    let draws = case.json["draws"].as_object().unwrap();
    assert_eq!(draws.len(), 4);
    for (name, draw) in draws {
        let warp = FrequencyWarp {
            first: draw["first_mel"].as_i64().unwrap(),
            bins: draw["n_mel"].as_i64().unwrap(),
        };
        let features = case.tensor(&format!("{name}.in")).unsqueeze(1);
        case.check(
            &format!("{name}.out"),
            &warp.apply(&features).squeeze_dim(1),
        );
    }
}

#[test]
fn recordings() {
    let case = Case::open("augment", "waveform");
    let draw = &case.json["mix_draw"];
    let partner = draw["partner"].as_i64().unwrap();
    let weight = draw["weight"].as_f64().unwrap();
    let both = |name: &str| {
        let all = case.tensor(&format!("mix.in.{name}"));
        (all.get(0), all.get(partner))
    };
    let (own, other) = both("waves");
    case.check("mix.out.wave", &mix_recordings(&own, &other, weight));
    for name in ["labels", "pseudo"] {
        let (own, other) = both(name);
        case.check(
            &format!("mix.out.{name}"),
            &mix_labels(&own, &other, weight),
        );
    }
    for length in ["odd", "even"] {
        let response = case.tensor(&format!("dir.{length}.response"));
        case.check(&format!("dir.{length}.out"), &convolve(&own, &response));
    }
    let waves = case.tensor("mix.in.waves");
    let louder: Vec<Tensor> = (0..)
        .zip(integers(&case.json["gain_draw"]["db"]))
        .map(|(row, decibels)| amplify(&waves.get(row), decibels as f64))
        .collect();
    case.check("gain.out", &Tensor::stack(&louder, 0));
}

fn integers(value: &Value) -> Vec<i64> {
    let values = value.as_array().unwrap();
    values.iter().map(|x| x.as_i64().unwrap()).collect()
}

#[test]
fn predictions_have_no_graph_after_detach() {
    let logits = Tensor::zeros([1, 4, 27], (Kind::Float, Device::Cpu)).set_requires_grad(true);
    let heads = HeadLogits {
        attention: logits.shallow_clone(),
        strong: logits,
    };
    let Predictions { strong, weak } = heads.predictions(None).detach();
    assert!(!strong.requires_grad() && !weak.requires_grad());
}
