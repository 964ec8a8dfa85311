//! A `train` task's settings under the names of the authors' configuration, for comparing the two key by key.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use types::{
    Architecture, EmbeddingPooling, OptimizerKind, Split, TeacherInit, TrainSpec, WavmixTarget,
};

/// A key of the authors' configuration, beside ours.
#[derive(Debug, Clone, PartialEq)]
pub enum ReferenceValue {
    /// What our settings, or our code where nothing else is possible, have for it. `false` and 0 mean the same, as do `true`
    /// and 1, and a number is equal to itself with a fraction of 0.
    Is(Value),
    /// Not used in the authors' run of this command, or of no influence on what is learned: why.
    Unused(&'static str),
}

impl ReferenceValue {
    /// Whether the authors' value says the same; always for what is not used.
    #[must_use]
    pub fn agrees_with(&self, theirs: &Value) -> bool {
        match self {
            Self::Is(ours) => same(ours, theirs),
            Self::Unused(_) => true,
        }
    }
}

fn same(ours: &Value, theirs: &Value) -> bool {
    let number = |value: &Value| match value {
        Value::Bool(flag) => Some(f64::from(u8::from(*flag))),
        value => value.as_f64(),
    };
    match (ours, theirs) {
        (Value::Array(ours), Value::Array(theirs)) => {
            ours.len() == theirs.len() && ours.iter().zip(theirs).all(|(a, b)| same(a, b))
        }
        _ => match (number(ours), number(theirs)) {
            (Some(ours), Some(theirs)) => ours == theirs,
            _ => ours == theirs,
        },
    }
}

/// Every key of the authors' configuration that a task of this stage and architecture knows, in dots.
#[must_use]
pub fn reference_settings(spec: &TrainSpec) -> BTreeMap<String, ReferenceValue> {
    let mut table = Table::default();
    table.data(spec);
    table.features(spec);
    table.network(spec);
    table.optimizer(spec);
    table.losses(spec);
    table.augmentation(spec);
    table.scoring();
    table.0
}

#[derive(Default)]
struct Table(BTreeMap<String, ReferenceValue>);

const LOADER: &str = "how the data loader works";
const SCORES: &str = "validation and test of the authors' loop; scoring is a task of its own here";
const OTHER_ARCHITECTURE: &str = "of another architecture";
const FILE: &str = "the name of a file or of a class";

impl Table {
    fn is(&mut self, key: &str, value: impl Into<Value>) {
        self.0
            .insert(key.to_owned(), ReferenceValue::Is(value.into()));
    }

    fn fixed<const N: usize>(&mut self, section: &str, values: [(&str, Value); N]) {
        for (key, value) in values {
            self.is(&format!("{section}.{key}"), value);
        }
    }

    fn unused(&mut self, section: &str, keys: &[&str], why: &'static str) {
        for key in keys {
            let key = if section.is_empty() {
                (*key).to_owned()
            } else {
                format!("{section}.{key}")
            };
            self.0.insert(key, ReferenceValue::Unused(why));
        }
    }

    /// Recipe 1.
    fn data(&mut self, spec: &TrainSpec) {
        let training = &spec.training;
        let uses = |split| spec.data.sources.contains_key(&split);
        let sizes = &training.microbatch;
        self.fixed(
            "training",
            [
                ("audio_length", json!(10.0)),
                ("sample_rate", json!(16_000)),
                ("weak_split", json!(0.9)),
                ("maestro_split", json!(0.9)),
                // Of the splits into training and validation (recipe 1.6), which no seed of ours changes.
                ("seed", json!(42)),
                ("use_desed_maestro_alias", json!(true)),
                ("use_maestro_desed_alias", json!(true)),
                (
                    "include_external_strong",
                    json!(uses(Split::ExternalStrongTrain)),
                ),
                ("exclude_overlapping", json!(!spec.data.exclude.is_empty())),
                ("wavmix_p", json!(training.augmentation.wavmix_probability)),
                (
                    "wavmix_target",
                    json!(match training.augmentation.wavmix_target {
                        WavmixTarget::Strong => "strong",
                        WavmixTarget::Labeled => "labeled",
                        WavmixTarget::All => "all",
                    }),
                ),
                ("dir_p", json!(training.augmentation.impulse_probability)),
                ("dir_desed_strong", json!(true)),
                ("dir_weak", json!(true)),
                ("dir_unlabeled", json!(true)),
                ("dir_maestro", json!(true)),
                ("include_desed_test", json!(false)),
                ("include_maestro_test", json!(false)),
                (
                    "batch_sizes",
                    json!([
                        sizes.maestro,
                        sizes.strong,
                        sizes.synth,
                        sizes.weak,
                        sizes.unlabeled
                    ]),
                ),
            ],
        );
        if spec.stage == 1 {
            self.is("training.use_pseudo_labels", training.loss.pseudo > 0.0);
        } else {
            self.unused(
                "training",
                &["use_pseudo_labels"],
                "stage 2 loads the labels and gives their loss the weight 0 (recipe 8.1)",
            );
        }
        self.unused(
            "training",
            &["batch_size", "shuffle", "num_workers", "drop_last", "train"],
            LOADER,
        );
        self.fixed(
            "encoder",
            [
                ("net_pooling", json!(4)),
                ("fs", json!(16_000)),
                ("audio_len", json!(10)),
                ("frame_len", json!(2048)),
                ("frame_hop", json!(256)),
            ],
        );
        self.is("audio_len", 10);
        self.is("sample_rate", 16_000);
    }

    /// Recipe 3.
    fn features(&mut self, spec: &TrainSpec) {
        self.fixed(
            "mel",
            [
                ("sample_rate", json!(16_000)),
                ("n_fft", json!(2048)),
                ("win_length", json!(2048)),
                ("hop_length", json!(256)),
                ("f_min", json!(0)),
                ("f_max", json!(8000)),
                ("pad", json!(0)),
                ("n_mels", json!(128)),
                ("power", json!(1)),
                ("normalized", json!(false)),
                ("wkwargs.periodic", json!(false)),
                ("center", json!(true)),
                ("pad_mode", json!("reflect")),
                ("norm", Value::Null),
                ("mel_scale", json!("htk")),
                ("window_fn", json!("hamming")),
            ],
        );
        self.fixed(
            "scaler",
            [
                ("statistic", json!("instance")),
                ("normtype", json!("minmax")),
                ("dims", json!([2, 3])),
            ],
        );
        self.unused("", &["atst_mel"], "has no settings");
        let mel = [
            "n_mels",
            "sr",
            "win_length",
            "hopsize",
            "n_fft",
            "freqm",
            "timem",
            "htk",
            "fmin",
            "fmax",
            "norm",
            "fmin_aug_range",
            "fmax_aug_range",
            "fast_norm",
            "preamp",
            "padding",
            "periodic_window",
            "trainable",
        ];
        if spec.model.architecture != Architecture::Fpasst {
            return self.unused("passt_mel", &mel, OTHER_ARCHITECTURE);
        }
        self.fixed(
            "passt_mel",
            [
                ("n_mels", json!(128)),
                ("sr", json!(16_000)),
                ("win_length", json!(400)),
                ("hopsize", json!(160)),
                ("n_fft", json!(512)),
                ("freqm", json!(0)),
                ("timem", json!(0)),
                ("htk", json!(false)),
                ("fmin", json!(0.0)),
                ("fmax", Value::Null),
                ("norm", json!(1)),
                ("fmin_aug_range", json!(spec.model.fpasst_mel.low)),
                ("fmax_aug_range", json!(spec.model.fpasst_mel.high)),
                ("fast_norm", json!(true)),
                ("preamp", json!(true)),
                ("padding", json!("center")),
                ("periodic_window", json!(true)),
                ("trainable", json!(false)),
            ],
        );
    }

    /// Recipe 4.
    fn network(&mut self, spec: &TrainSpec) {
        let model = &spec.model;
        let wrapper = "t4_wrapper";
        self.fixed(
            wrapper,
            [
                ("no_wrapper", json!(model.audioset_head.is_none())),
                ("n_in_channel", json!(1)),
                ("nclass", json!(types::NUM_CLASSES)),
                ("activation", json!("cg")),
                ("dropout", json!(spec.training.dropout)),
                ("attention", json!(true)),
                ("n_RNN_cell", json!(model.crnn.rnn_hidden)),
                ("n_layers_RNN", json!(model.crnn.rnn_layers)),
                ("dropout_recurrent", json!(0)),
                ("dropstep_recurrent", json!(0.0)),
                ("embedding_size", json!(model.transformer.dim)),
                ("kernel_size", json!(vec![3; 7])),
                ("padding", json!(vec![1; 7])),
                ("stride", json!(vec![1; 7])),
                ("nb_filters", json!(model.crnn.channels)),
                (
                    "pooling",
                    json!([[2, 2], [2, 2], [1, 2], [1, 2], [1, 2], [1, 2], [1, 2]]),
                ),
                (
                    "embed_pool",
                    json!(match model.embedding_pooling {
                        EmbeddingPooling::AdaptiveAverage => "aap",
                        EmbeddingPooling::NearestExact | EmbeddingPooling::Nearest => "int",
                    }),
                ),
            ],
        );
        match model.audioset_head {
            Some(classes) => self.is("t4_wrapper.audioset_classes", classes),
            None => self.unused(wrapper, &["audioset_classes"], "there is no wrapper"),
        }
        match model.embedding_pooling {
            EmbeddingPooling::AdaptiveAverage => self.unused(
                wrapper,
                &["interpolation_mode"],
                "embeddings are averaged, not interpolated",
            ),
            EmbeddingPooling::NearestExact => {
                self.is("t4_wrapper.interpolation_mode", "nearest-exact");
            }
            EmbeddingPooling::Nearest => self.is("t4_wrapper.interpolation_mode", "nearest"),
        }
        if spec.stage == 2 {
            self.is(
                "t4_wrapper.model_init_mode",
                match spec.training.teacher_init {
                    TeacherInit::Teacher => "teacher",
                    TeacherInit::Student => "student",
                },
            );
            self.fixed(
                wrapper,
                [
                    ("rnn_type", json!("BGRU")),
                    ("use_embeddings", json!(true)),
                    ("embedding_type", json!("frame")),
                ],
            );
            self.unused(
                wrapper,
                &["aggregation_type"],
                "`embed_pool` says how embeddings become label frames (recipe 4.2)",
            );
        } else {
            self.unused(
                wrapper,
                &["model_init_mode"],
                "no network is loaded in stage 1",
            );
        }
        self.unused(
            wrapper,
            &["dropstep_recurrent_len"],
            "`dropstep_recurrent` is 0",
        );
        self.unused(wrapper, &["pretrained_name", "model_init_id", "name"], FILE);
        let fpasst = [
            "arch",
            "pretrained",
            "n_classes",
            "in_channels",
            "input_fdim",
            "input_tdim",
            "frame_patchout",
            "pos_embed_length",
            "embed_dim",
            "wandb_id",
            "sample_rate",
            "pretrained_name",
        ];
        self.unused("fpasst", &fpasst, OTHER_ARCHITECTURE);
        if model.architecture == Architecture::Fpasst {
            self.fixed(
                "fpasst",
                [
                    ("input_fdim", json!(128)),
                    ("input_tdim", json!(998)),
                    ("frame_patchout", json!(0)),
                    ("pos_embed_length", json!(250)),
                    ("embed_dim", json!(model.transformer.dim)),
                    ("sample_rate", json!(16_000)),
                ],
            );
            self.unused(
                "fpasst",
                &["arch", "pretrained", "wandb_id", "pretrained_name"],
                FILE,
            );
            self.unused(
                "fpasst",
                &["n_classes", "in_channels"],
                "of a head and of a first layer that are replaced (recipe 4.5)",
            );
        }
        self.unused("atst_frame", &["pretrained_name"], FILE);
        self.unused("beats", &["pretrained_name"], FILE);
        self.unused("", &["atst_checkpoint", "beats_checkpoint"], FILE);
    }

    /// Recipe 7.
    fn optimizer(&mut self, spec: &TrainSpec) {
        let training = &spec.training;
        let optimizer = &training.optimizer;
        self.fixed(
            "optimizer",
            [
                ("schedule_mode", json!("cos")),
                ("num_warmup_steps", json!(optimizer.warmup_steps)),
                ("adamw", json!(optimizer.kind == OptimizerKind::Adamw)),
                ("weight_decay", json!(optimizer.weight_decay)),
                ("betas", json!([0.9, 0.999])),
                ("pt_lr", json!(optimizer.lr_transformer)),
                ("pt_lr_scale", json!(optimizer.layer_factor)),
            ],
        );
        if spec.stage == 1 {
            // One group of parameters; two rates of ours must then be one.
            if optimizer.lr_cnn == optimizer.lr_rnn {
                self.is("optimizer.crnn_lr", optimizer.lr_cnn);
            } else {
                self.is(
                    "optimizer.crnn_lr",
                    json!([optimizer.lr_cnn, optimizer.lr_rnn]),
                );
            }
            self.is("optimizer.pt_trainable_layers", 0);
            self.unused("optimizer", &["lr"], "the groups have rates of their own");
        } else {
            self.is("optimizer.cnn_lr", optimizer.lr_cnn);
            self.is("optimizer.rnn_lr", optimizer.lr_rnn);
            self.is("optimizer.pt_trainable_layers", "all");
        }
        self.unused(
            "optimizer",
            &["gamma", "lr_end"],
            "of other schedules than the cosine",
        );
        self.fixed(
            "trainer",
            [
                ("max_epochs", json!(training.epochs)),
                (
                    "accumulate_grad_batches",
                    json!(training.microbatches_per_step),
                ),
                ("gradient_clip_val", Value::Null),
                (
                    "check_val_every_n_epoch",
                    json!(
                        spec.validation
                            .as_ref()
                            .map_or(0, |found| found.every_epochs)
                    ),
                ),
            ],
        );
        self.unused(
            "trainer",
            &["precision"],
            "a matter of the device: half precision with a gradient scaler there, single here",
        );
        self.unused(
            "trainer",
            &["num_sanity_val_steps"],
            "a check of the authors' code before they train",
        );
    }

    /// Recipe 5.
    fn losses(&mut self, spec: &TrainSpec) {
        let training = &spec.training;
        let loss = &training.loss;
        let consistency = &training.self_supervised;
        self.is(
            "loss_weights",
            json!([
                loss.maestro,
                loss.strong,
                loss.synth,
                loss.weak,
                loss.self_supervised,
                loss.pseudo
            ]),
        );
        self.is("ssl_scale_max", consistency.max_factor);
        self.is("ssl_loss_warmup_steps", consistency.warmup_steps);
        self.is("ssl_no_class_mask", consistency.no_class_mask);
        self.is("exclude_maestro_weak_ssl", consistency.exclude_maestro_weak);
        self.is("include_maestro_ssl", consistency.include_maestro);
        self.is("ema_factor", training.ema_factor);
        if spec.stage == 1 {
            self.is("pseudo_strong_no_class_mask", training.pseudo_no_class_mask);
        } else {
            self.is("use_ict_loss", consistency.interpolation_consistency);
        }
        self.fixed(
            "loss",
            [
                ("maestro_type", json!("BCELoss")),
                ("pseudo_type", json!("BCELoss")),
                ("selfsup_type", json!("MSELoss")),
                ("harden_labels_maestro_p", json!(0.0)),
                ("harden_pseudo_labels_p", json!(0.0)),
            ],
        );
    }

    /// Recipe 6. A probability of 0 is a switch that is off.
    fn augmentation(&mut self, spec: &TrainSpec) {
        let given = &spec.training.augmentation;
        self.is("gain_augment", given.gain_db);
        self.chance("filter_augment", "apply", "p", given.filter_probability);
        self.fixed(
            "filter_augment",
            [
                // Stage 1 draws for student and teacher, stage 2 for the student alone (recipe 6.5).
                ("n_transform", json!(if spec.stage == 1 { 2 } else { 1 })),
                (
                    "filter_db_range",
                    json!([-given.filter_db, given.filter_db]),
                ),
                // Theirs is exclusive.
                (
                    "filter_bands",
                    json!([given.filter_bands_min, given.filter_bands_max + 1]),
                ),
                ("filter_minimum_bandwidth", json!(given.filter_min_width)),
            ],
        );
        self.fixed(
            "time_augment",
            [
                ("apply_mask", json!(given.time_mask)),
                ("mask_target", json!("desed_strong")),
                ("min_mask_ratio", json!(given.time_mask_min)),
                ("max_mask_ratio", json!(given.time_mask_max)),
                ("apply_shift", json!(given.time_shift > 0.0)),
                ("shift_target", json!("desed")),
            ],
        );
        if given.time_shift > 0.0 {
            self.is("time_augment.shift_range", given.time_shift);
        } else {
            self.unused("time_augment", &["shift_range"], "nothing is shifted");
        }
        let mix = "mix_augment";
        self.chance(mix, "apply_mixup", "mixup_p", given.mixup_probability);
        self.chance(
            mix,
            "apply_mixstyle",
            "mixstyle_p",
            given.mixstyle_probability,
        );
        self.fixed(
            mix,
            [
                ("mixstyle_alpha", json!(given.mixstyle_alpha)),
                ("mixup_unlabeled", json!(true)),
                ("mixup_desed_strong", json!(true)),
                ("mixup_maestro", json!(true)),
                ("mixup_weak", json!(true)),
                ("mixup_max_coef", json!(true)),
                ("mixup_desed_maestro", json!(given.joint_maestro)),
                ("mixstyle_desed_strong", json!(true)),
                ("mixstyle_maestro", json!(true)),
                ("mixstyle_unlabeled", json!(true)),
                ("mixstyle_weak", json!(true)),
                ("mixstyle_desed_maestro", json!(given.joint_maestro)),
            ],
        );
        if spec.stage == 2 {
            self.chance("freq_warp", "apply", "p", given.warp_probability);
            self.is("freq_warp.include_maestro", given.warp_maestro);
        }
    }

    /// A switch and a chance there are one number here.
    fn chance(&mut self, section: &str, switch: &str, chance: &str, probability: f64) {
        self.is(&format!("{section}.{switch}"), probability > 0.0);
        if probability > 0.0 {
            self.is(&format!("{section}.{chance}"), probability);
        } else {
            self.unused(section, &[chance], "switched off");
        }
    }

    fn scoring(&mut self) {
        for section in ["validation", "test"] {
            let keys = [
                "audio_length",
                "sample_rate",
                "weak_split",
                "maestro_split",
                "seed",
                "use_maestro_desed_alias",
                "batch_size",
                "shuffle",
                "num_workers",
                "drop_last",
                "validate",
                "dataset",
                "test",
            ];
            self.unused(section, &keys, SCORES);
        }
        self.unused(
            "",
            &["val_thresholds", "test_n_thresholds", "median_window"],
            SCORES,
        );
    }
}
