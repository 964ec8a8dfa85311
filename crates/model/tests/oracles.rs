//! The networks against the reference's values.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod oracle;

use model::{
    AtstMel, CrnnMel, HeadLogits, Mode, Predictions, SedModel, Transformer, pool_embeddings,
};
use oracle::{Case, list};
use tch::{Device, Kind, Tensor};
use types::{
    Architecture, BeatsSettings, CrnnSettings, DecibelFloor, EmbeddingPooling, MelEdges,
    ModelSettings, TransformerSettings,
};

fn settings() -> ModelSettings {
    ModelSettings {
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
    }
}

#[test]
fn crnn_mel() {
    let case = Case::open("frontend", "crnn_mel");
    let waveforms = Case::open("frontend", "waveforms");
    let front_end = CrnnMel::new(Device::Cpu);
    case.check("mel_filterbank", front_end.filters());
    for input in ["mix10s", "odd"] {
        let mel = front_end.forward(&waveforms.tensor(input));
        case.check(&format!("{input}.mel_mag"), &mel);
        case.check(&format!("{input}.db"), &CrnnMel::decibels(&mel));
        case.check(&format!("{input}.scaled"), &CrnnMel::scale(&mel));
    }
}

#[test]
fn atst_mel() {
    let case = Case::open("frontend", "atst_mel");
    let waveforms = Case::open("frontend", "waveforms");
    let front_end = AtstMel::new(DecibelFloor::Batch, Device::Cpu);
    case.check("mel_filterbank", front_end.filters());
    for input in ["mix10s", "odd"] {
        let steps = front_end.steps(&waveforms.tensor(input));
        case.check(&format!("{input}.mel_power"), &steps.power);
        case.check(&format!("{input}.db"), &steps.decibels);
        case.check(&format!("{input}.normalised"), &steps.normalised);
    }
    let quiet = waveforms.tensor("mix10s").narrow(0, 1, 1);
    case.check("mix10s_clip1_alone.normalised", &front_end.forward(&quiet));
    // the switch makes a clip's features its own
    let by_clip =
        AtstMel::new(DecibelFloor::Clip, Device::Cpu).forward(&waveforms.tensor("mix10s"));
    case.check("mix10s_clip1_alone.normalised", &by_clip.narrow(0, 1, 1));
}

#[test]
fn atst_frame() {
    let case = Case::open("transformer", "atst_small");
    let config = &case.json["config"];
    let number = |key: &str| u32::try_from(config[key].as_u64().unwrap()).unwrap();
    let mut settings = settings();
    settings.transformer = TransformerSettings {
        dim: number("embed_dim"),
        depth: number("depth"),
        heads: number("num_heads"),
        mlp_ratio: number("mlp_ratio"),
    };
    let model = SedModel::new(&settings, 1, Device::Cpu).unwrap();
    let weights = case.weights();
    let name = |key: &str| format!("as_model.model.{key}");
    tch::no_grad(|| {
        for key in weights.names() {
            let tensor = model.store().get(&name(key)).expect(key);
            tensor.shallow_clone().copy_(&weights.tensor(key).unwrap());
        }
    });
    let ours = model
        .store()
        .iter()
        .filter(|(name, ..)| name.starts_with("as_model.model."));
    assert_eq!(ours.count(), weights.names().count());

    let Transformer::AtstFrame(transformer) = model.embedding().transformer() else {
        panic!("another transformer");
    };
    case.check(
        "full.output",
        &transformer.forward(&case.tensor("full.input")),
    );
    let input = case.tensor("short.input");
    let output = transformer.forward_with(&input, |step, x| {
        case.check(&format!("short.{step}"), x);
    });
    case.check("short.output", &output);

    model.store().set_trainable(|_| true);
    let scalar = (transformer.forward(&input) * case.tensor("short.grad.probe")).sum(Kind::Float);
    scalar.backward();
    case.check("short.grad.scalar", &scalar);
    check_gradients(&case, "short.grad.d/", |key| {
        model.store().get(&name(key)).unwrap().grad()
    });
}

fn check_gradients(case: &Case, prefix: &str, gradient: impl Fn(&str) -> Tensor) {
    let names = case.json["tensors"].as_object().unwrap().keys();
    let mut count = 0;
    for name in names {
        if let Some(key) = name.strip_prefix(prefix) {
            case.check(name, &gradient(key));
            count += 1;
        }
    }
    assert!(count > 0, "no gradients below {prefix}");
}

/// The CRNN of the case; its transformer is never run, so one block is enough.
fn crnn(case: &Case) -> SedModel {
    let config = &case.json["config"];
    let number = |key: &str| u32::try_from(config[key].as_u64().unwrap()).unwrap();
    let mut settings = settings();
    settings.transformer = TransformerSettings {
        dim: number("embedding_size"),
        depth: 1,
        heads: 1,
        mlp_ratio: 1,
    };
    settings.audioset_head = Some(number("audioset_classes"));
    settings.crnn = CrnnSettings {
        channels: list(&config["nb_filters"]).try_into().unwrap(),
        fusion_dim: number("n_RNN_cell"),
        rnn_hidden: number("n_RNN_cell"),
        rnn_layers: number("n_layers_RNN"),
    };
    let model = SedModel::new(&settings, 1, Device::Cpu).unwrap();
    let weights = case.weights();
    tch::no_grad(|| {
        for (name, _, tensor) in model.store().iter() {
            if !name.starts_with("as_model.model.") {
                tensor.shallow_clone().copy_(&weights.tensor(name).unwrap());
            }
        }
    });
    model
}

fn check_predictions(case: &Case, suffix: &str, mode: &str, predictions: &Predictions) {
    case.check(&format!("{mode}.strong{suffix}"), &predictions.strong);
    case.check(&format!("{mode}.weak{suffix}"), &predictions.weak);
}

#[test]
fn crnn_in_eval_mode() {
    let case = Case::open("crnn", "crnn_small_atst");
    let model = crnn(&case);
    let input = case.tensor("sed");
    let embeddings = model.embedding().project(&case.tensor("emb"));
    case.check("eval.embedding", &embeddings);
    let pooled = pool_embeddings(&embeddings, EmbeddingPooling::AdaptiveAverage, 156);
    case.check("eval.embedding_pooled", &pooled);
    let out = model.forward(&input, &embeddings, Mode::Eval);
    case.check("eval.cnn", &out.cnn.features);
    let corner = out.cnn.first_gate.narrow(2, 0, 8).narrow(3, 0, 8);
    case.check("eval.cg0_corner", &corner);
    case.check("eval.fused", &out.fused);
    case.check("eval.rnn", &out.rnn);
    case.check("eval.strong_logits", &out.logits.strong);
    let mask = case.tensor("class_mask");
    check_predictions(
        &case,
        "_masked",
        "eval",
        &out.logits.predictions(Some(&mask)),
    );
    check_predictions(&case, "", "eval", &out.logits.predictions(None));

    for other in ["eval_t156", "eval_t496"] {
        let embeddings = model
            .embedding()
            .project(&case.tensor(&format!("{other}.emb")));
        let out = model.forward(&input.narrow(0, 0, 1), &embeddings, Mode::Eval);
        check_predictions(&case, "", other, &out.logits.predictions(None));
    }
}

#[test]
fn crnn_in_training_mode() {
    let case = Case::open("crnn", "crnn_small_atst");
    let model = crnn(&case);
    model
        .store()
        .set_trainable(|name| !name.starts_with("as_model."));
    let embeddings = model.embedding().project(&case.tensor("emb"));
    let out = model.forward(
        &case.tensor("sed"),
        &embeddings,
        Mode::Train { dropout: 0.0 },
    );
    let predictions = out.logits.predictions(Some(&case.tensor("class_mask")));
    check_predictions(&case, "_masked", "train", &predictions);

    let scalar = (&predictions.strong * case.tensor("train.probe_strong")).sum(Kind::Float)
        + (&predictions.weak * case.tensor("train.probe_weak")).sum(Kind::Float);
    scalar.backward();
    case.check("train.scalar", &scalar);
    check_gradients(&case, "train.d/", |key| {
        model.store().get(key).unwrap().grad()
    });

    model.fold_statistics(&out.cnn.statistics.unwrap());
    check_gradients(&case, "train.after/", |key| {
        model.store().get(key).unwrap().shallow_clone()
    });
    let counter = model
        .store()
        .get("cnn.cnn.batchnorm0.num_batches_tracked")
        .unwrap();
    assert_eq!(
        counter.int64_value(&[]),
        case.weights()
            .tensor("cnn.cnn.batchnorm0.num_batches_tracked")
            .unwrap()
            .int64_value(&[])
            + 1
    );
}

#[test]
fn nearest_exact_takes_the_reference_s_tokens() {
    let first = [0, 2, 4, 5, 7, 8, 10, 12, 13, 15, 16, 18];
    let tokens = Tensor::arange(250, (Kind::Float, Device::Cpu)).view([1, 250, 1]);
    let pooled = pool_embeddings(&tokens, EmbeddingPooling::NearestExact, 156).view([156]);
    for (frame, want) in (0..).zip(first) {
        assert_eq!(
            pooled.double_value(&[frame]),
            f64::from(want),
            "frame {frame}"
        );
    }
    assert_eq!(pooled.double_value(&[155]), 249.0);
}

#[test]
fn a_masked_class_says_nothing() {
    let logits = HeadLogits {
        strong: Tensor::randn([2, 156, 27], (Kind::Float, Device::Cpu)),
        attention: Tensor::randn([2, 156, 27], (Kind::Float, Device::Cpu)),
    };
    let mask = Tensor::ones([2, 27], (Kind::Bool, Device::Cpu));
    let _ = mask.narrow(1, 3, 1).fill_(0.0);
    let predictions = logits.predictions(Some(&mask));
    assert_eq!(
        predictions
            .strong
            .narrow(1, 3, 1)
            .abs()
            .max()
            .double_value(&[]),
        0.0
    );
    assert_eq!(
        predictions
            .weak
            .narrow(1, 3, 1)
            .abs()
            .max()
            .double_value(&[]),
        0.0
    );
}

/// Names, shapes and types of a full-size state dict, against ours below `prefix`.
fn check_keys(name: &str, model: &SedModel, ours: impl Fn(&str) -> Option<String>) {
    let case = Case::open("keys", name);
    let mut want: Vec<String> = case.json["keys"]
        .as_array()
        .unwrap()
        .iter()
        .map(|entry| {
            format!(
                "{} {} {}",
                entry["key"].as_str().unwrap(),
                entry["shape"],
                entry["dtype"]
            )
        })
        .collect();
    let mut got: Vec<String> = model
        .store()
        .iter()
        .filter_map(|(name, _, tensor)| {
            let kind = match tensor.kind() {
                Kind::Float => "float32",
                Kind::Int64 => "int64",
                _ => "other",
            };
            let shape = serde_json::json!(tensor.size());
            Some(format!("{} {shape} \"{kind}\"", ours(name)?))
        })
        .collect();
    want.sort();
    got.sort();
    assert_eq!(got, want);
}

#[test]
fn full_size_names_and_shapes() {
    let model = SedModel::new(&settings(), 1, Device::Cpu).unwrap();
    check_keys("system_atst_frame_full", &model, |name| {
        Some(name.to_owned())
    });
    check_keys("atst_frame_full", &model, |name| {
        name.strip_prefix("as_model.model.").map(str::to_owned)
    });
    let parameters: usize = model
        .store()
        .parameters()
        .map(|(_, tensor)| tensor.numel())
        .sum();
    assert_eq!(parameters, 88_605_077);
}

#[test]
fn weights_are_a_function_of_the_seed() {
    let mut small = settings();
    small.transformer.dim = 24;
    small.transformer.depth = 1;
    let model = |seed| SedModel::new(&small, seed, Device::Cpu).unwrap();
    let weight = |model: &SedModel| model.store().get("cat_tf.weight").unwrap().copy();
    assert_eq!(weight(&model(5)), weight(&model(5)));
    assert_ne!(weight(&model(5)), weight(&model(6)));
    let heads = SedModel::new(
        &{
            let mut broken = small.clone();
            broken.transformer.heads = 7;
            broken
        },
        1,
        Device::Cpu,
    );
    assert!(
        heads
            .unwrap_err()
            .to_string()
            .contains("a multiple of transformer.heads = 7")
    );
}

fn small(case: &Case) -> SedModel {
    let config = &case.json["config"];
    let number = |key: &str| u32::try_from(config[key].as_u64().unwrap()).unwrap();
    let mut settings = settings();
    if config.get("encoder_layers").is_some() {
        settings.architecture = Architecture::Beats;
        settings.audioset_head = None;
        settings.transformer = TransformerSettings {
            dim: number("encoder_embed_dim"),
            depth: number("encoder_layers"),
            heads: number("encoder_attention_heads"),
            mlp_ratio: number("encoder_ffn_embed_dim") / number("encoder_embed_dim"),
        };
        settings.beats = BeatsSettings {
            patch_dim: number("embed_dim"),
            position_kernel: number("conv_pos"),
            position_groups: number("conv_pos_groups"),
            buckets: number("num_buckets"),
            max_distance: number("max_distance"),
            ..settings.beats
        };
    } else {
        settings.architecture = Architecture::Fpasst;
        settings.transformer = TransformerSettings {
            dim: number("embed_dim"),
            depth: number("depth"),
            heads: number("num_heads"),
            mlp_ratio: number("mlp_ratio"),
        };
    }
    let model = SedModel::new(&settings, 1, Device::Cpu).unwrap();
    let weights = case.weights();
    let prefix = if settings.audioset_head.is_some() {
        "as_model.model."
    } else {
        "as_model."
    };
    for key in weights.names() {
        let name = format!("{prefix}{key}");
        let tensor = model.store().get(&name).unwrap_or_else(|| panic!("{name}"));
        tch::no_grad(|| tensor.shallow_clone().copy_(&weights.tensor(key).unwrap()));
    }
    model
}

#[test]
fn fpasst() {
    let case = Case::open("transformer", "fpasst_small");
    let model = small(&case);
    let Transformer::Fpasst(transformer) = model.embedding().transformer() else {
        panic!()
    };
    let out = transformer.forward_with(&case.tensor("full.input"), |step, x| {
        if step == "tokens" {
            case.check("full.tokens", x)
        }
    });
    case.check("full.output", &out);
    let out = transformer.forward_with(&case.tensor("short.input"), |step, x| {
        let x = if step == "conv_in_3" {
            x.narrow(0, 0, 1).narrow(1, 0, 8)
        } else {
            x.shallow_clone()
        };
        case.check(&format!("short.{step}"), &x);
    });
    case.check("short.output", &out);
    model.store().set_trainable(|_| true);
    let scalar = (transformer.forward(&case.tensor("short.input"))
        * case.tensor("short.grad.probe"))
    .sum(Kind::Float);
    scalar.backward();
    check_gradients(&case, "short.grad.d/", |key| {
        model
            .store()
            .get(&format!("as_model.model.{key}"))
            .unwrap()
            .grad()
    });
}

#[test]
fn beats() {
    let case = Case::open("transformer", "beats_small");
    let model = small(&case);
    let Transformer::Beats(transformer) = model.embedding().transformer() else {
        panic!()
    };
    let mode = model::TransformerMode::Eval;
    for input in ["full", "short"] {
        let out =
            transformer.forward_with(&case.tensor(&format!("{input}.input")), mode, |step, x| {
                let name = format!("{input}.{step}");
                if case.has(&name) {
                    case.check(&name, x);
                }
            });
        case.check(&format!("{input}.output"), &out);
    }
    case.check("full.relative_bucket", &transformer.relative_buckets(496));
    model.store().set_trainable(|_| true);
    let scalar = (transformer.forward(&case.tensor("short.input"), mode)
        * case.tensor("short.grad.probe"))
    .sum(Kind::Float);
    scalar.backward();
    check_gradients(&case, "short.grad.d/", |key| {
        model
            .store()
            .get(&format!("as_model.{key}"))
            .unwrap()
            .grad()
    });
}

#[test]
fn other_front_ends() {
    let waveforms = Case::open("frontend", "waveforms");
    let case = Case::open("frontend", "fpasst_mel");
    let mel = model::FpasstMel::new(MelEdges::FIXED, Device::Cpu);
    case.check("mel_banks_fmax8000", &mel.filters().narrow(0, 0, 256).tr());
    let s = mel.steps(&waveforms.tensor("mix10s").narrow(0, 0, 1));
    case.check("mix10s.mel_power", &s.power);
    case.check("mix10s.normalised", &s.normalised);
    let odd = waveforms.tensor("odd");
    let s = mel.steps(&odd);
    case.check("odd.log", &s.log);
    let wide = MelEdges {
        low: 10,
        high: 2000,
    };
    case.check(
        "odd.normalised_augrange2000_eval",
        &model::FpasstMel::new(wide, Device::Cpu).forward(&odd),
    );
    case.check(
        "odd.normalised_augrange_train",
        &mel.forward_between(&odd, model::training_edges(wide, 6, 1010)),
    );
    let case = Case::open("frontend", "beats_fbank");
    let mel = model::BeatsFbank::new(Device::Cpu);
    case.check("mel_banks", &mel.filters().narrow(0, 0, 256).tr());
    for (n, w) in [
        ("mix10s", waveforms.tensor("mix10s").narrow(0, 0, 1)),
        ("odd", odd),
    ] {
        let s = mel.steps(&w);
        case.check(&format!("{n}.fbank"), &s.fbank);
        case.check(&format!("{n}.normalised"), &s.normalised);
    }
}

#[test]
fn other_names() {
    let mut s = settings();
    s.architecture = Architecture::Fpasst;
    let model = SedModel::new(&s, 1, Device::Cpu).unwrap();
    check_keys("system_fpasst_full", &model, |name| Some(name.to_owned()));
    check_keys("fpasst_full", &model, |name| {
        name.strip_prefix("as_model.model.").map(str::to_owned)
    });
    s.architecture = Architecture::Beats;
    s.audioset_head = None;
    let model = SedModel::new(&s, 1, Device::Cpu).unwrap();
    check_keys("system_beats_full", &model, |name| Some(name.to_owned()));
    check_keys("beats_full", &model, |name| {
        name.strip_prefix("as_model.").map(str::to_owned)
    });
}
