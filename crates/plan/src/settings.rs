//! Keys of the plan itself, of a member and of an iteration.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use types::{
    Architecture, EvaluationSettings, Keep, MAESTRO_EVALUATED, RuntimeSettings, Split,
    ValidationSettings, desed_classes, maestro_classes,
};

use crate::plan::PredictionChanges;
use crate::setting::{FileOverrides, IterationRef, Limits, Setting, Slot, setting};
use crate::stage::Preset;

/// What stands at the top of a plan and in its single tables.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct PlanSettings {
    pub(crate) name: String,
    pub(crate) seed: u64,
    pub(crate) notice: String,
    pub(crate) root: PathBuf,
    pub(crate) splits: BTreeSet<Split>,
    pub(crate) files: BTreeMap<Split, FileOverrides>,
    pub(crate) exclude: BTreeMap<Split, PathBuf>,
    pub(crate) evaluation: EvaluationSettings,
    pub(crate) validation: Validation,
    pub(crate) untrained: bool,
    pub(crate) impulse_responses: PathBuf,
    pub(crate) batch_size: u32,
    pub(crate) prediction: PredictionChanges,
    pub(crate) shards: BTreeMap<Split, u32>,
    pub(crate) runtime: RuntimeSettings,
}

impl Default for PlanSettings {
    fn default() -> Self {
        let names = |list: &[&str]| list.iter().map(|name| (*name).to_owned()).collect();
        Self {
            name: String::new(),
            seed: 42,
            notice: String::new(),
            root: PathBuf::new(),
            splits: Split::ALL
                .into_iter()
                .filter(|split| split.is_train())
                .collect(),
            files: BTreeMap::new(),
            exclude: BTreeMap::new(),
            evaluation: EvaluationSettings {
                desed: Some(Split::DesedValidation),
                test: None,
                maestro: Some(Split::MaestroValidation),
                desed_classes: names(desed_classes()),
                maestro_classes: names(&MAESTRO_EVALUATED),
                replicates: 1000,
                clips: 6,
            },
            validation: Validation::default(),
            untrained: false,
            impulse_responses: PathBuf::from("resources/dirs"),
            batch_size: 20,
            prediction: PredictionChanges::default(),
            shards: BTreeMap::new(),
            runtime: RuntimeSettings {
                checkpoint_every_steps: 200,
                keep_checkpoints: types::default_keep_checkpoints(),
                threads: 1,
                prefetch_threads: 4,
            },
        }
    }
}

/// What is looked at while a model trains (recipe 7.3).
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Validation {
    /// 0 for never.
    pub(crate) every_epochs: u32,
    pub(crate) desed: BTreeSet<Split>,
    pub(crate) maestro: bool,
}

impl Default for Validation {
    fn default() -> Self {
        Self {
            every_epochs: 10,
            desed: [Split::SynthValidation, Split::ExternalStrongValidation].into(),
            maestro: true,
        }
    }
}

impl PlanSettings {
    /// Whether MAESTRO's held-back recordings are there to be scored.
    fn validates_maestro(&self) -> bool {
        self.validation.maestro && self.splits.contains(&Split::MaestroTrain)
    }

    /// Splits that are scored while a model trains.
    pub(crate) fn validated_splits(&self) -> impl Iterator<Item = Split> {
        let used = self.validation.every_epochs > 0;
        self.validation.desed.iter().copied().filter(move |_| used)
    }

    /// What a training task is told of it; none if there is nothing to score, or never.
    pub(crate) fn validation(&self) -> Option<ValidationSettings> {
        let maestro = self.validates_maestro();
        let Validation {
            every_epochs,
            desed,
            ..
        } = &self.validation;
        (*every_epochs > 0 && (maestro || !desed.is_empty())).then(|| ValidationSettings {
            every_epochs: *every_epochs,
            desed: desed.clone(),
            maestro,
            desed_classes: self.evaluation.desed_classes.clone(),
            maestro_classes: self.evaluation.maestro_classes.clone(),
            batch_size: self.batch_size,
            keep: Keep::Best,
        })
    }
}

/// What names a member, beside its model and stages.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct MemberHead {
    pub(crate) name: String,
    pub(crate) architecture: Architecture,
    pub(crate) seed: u64,
    pub(crate) init: Option<PathBuf>,
}

impl Default for MemberHead {
    fn default() -> Self {
        Self {
            name: String::new(),
            architecture: Architecture::AtstFrame,
            seed: 0,
            init: None,
        }
    }
}

/// What an iteration says, beside its stages.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct IterationHead {
    pub(crate) name: String,
    pub(crate) preset: Preset,
    pub(crate) pseudo_labels: IterationRef,
}

/// TOML's whole numbers end here.
const SEED: Limits = Limits::Whole(0, i64::MAX as u64);

/// Keys at the top of a plan, and of its tables `data`, `evaluation`, `validation`, `predict` and `runtime`.
#[rustfmt::skip]
pub(crate) static PLAN: &[Setting<PlanSettings>] = &[
    setting("name", Limits::Any, |p| Slot::Text(&mut p.name), "the plan's name, also of its default run directory; required", ""),
    setting("seed", SEED, |p| Slot::U64(&mut p.seed), "every random draw is a function of it and of its place in the run", ""),
    setting("notice", Limits::Any, |p| Slot::Text(&mut p.notice), "a line printed with the scores; not part of the content key", ""),
    setting("data.root", Limits::Any, |p| Slot::Path(&mut p.root), "folder that holds the data, relative to the plan file; required; not part of the content key", "1.1"),
    setting("data.splits", Limits::Any, |p| Slot::TrainSplits(&mut p.splits), "training splits in use; those of `evaluation` and `validation` come on their own", "1.7"),
    setting("data.files", Limits::Any, |p| Slot::SplitFiles(&mut p.files), "a split's files where they are not at their standard place, relative to `root`", "1.1"),
    setting("data.exclude", Limits::Any, |p| Slot::SplitPaths(&mut p.exclude), "TSV of clips to leave out of a split (column `filename`), relative to `root`", "1.7"),
    setting("data.impulse_responses", Limits::Any, |p| Slot::Path(&mut p.impulse_responses), "folder of impulse responses (WAV), relative to `root`; needed where `augmentation.impulse_probability` is not 0", "6.2"),
    setting("evaluation.desed", Limits::Any, |p| Slot::OptionalSplit(&mut p.evaluation.desed), "split scored by PSDS, on which cSEBBs are tuned", "9.3"),
    setting("evaluation.test", Limits::Any, |p| Slot::OptionalSplit(&mut p.evaluation.test), "a second split scored by PSDS, with the cSEBBs tuned on the first", "9.5"),
    setting("evaluation.maestro", Limits::Any, |p| Slot::OptionalSplit(&mut p.evaluation.maestro), "split scored by mpAUC", "9.4"),
    setting("evaluation.desed_classes", Limits::OneOf(desed_classes()), |p| Slot::Names(&mut p.evaluation.desed_classes), "classes of PSDS", "2.1"),
    setting("evaluation.maestro_classes", Limits::OneOf(maestro_classes()), |p| Slot::Names(&mut p.evaluation.maestro_classes), "classes of mpAUC", "2.1"),
    setting("evaluation.replicates", Limits::Whole(0, 100_000), |p| Slot::U32(&mut p.evaluation.replicates), "draws of the bootstrap over clips behind each 95 % interval; 0 for none", ""),
    setting("evaluation.clips", Limits::Whole(0, 100), |p| Slot::U32(&mut p.evaluation.clips), "clips of the split scored by PSDS that the report shows, from the one found best to the one found worst", ""),
    setting("evaluation.untrained", Limits::Any, |p| Slot::Bool(&mut p.untrained), "score the untrained models too, for comparison", ""),
    setting("validation.every_epochs", Limits::Whole(0, 1_000_000), |p| Slot::U32(&mut p.validation.every_epochs), "epochs from one validation of the student to the next, and one after the last epoch; 0 for none", "7"),
    setting("validation.desed", Limits::Any, |p| Slot::ValidationSplits(&mut p.validation.desed), "splits whose PSDS1 counts in the objective", "7.3"),
    setting("validation.maestro", Limits::Any, |p| Slot::Bool(&mut p.validation.maestro), "whether mpAUC on the recordings held back from `maestro_train` counts in the objective", "7.3"),
    setting("predict.batch_size", Limits::Whole(1, 4096), |p| Slot::U32(&mut p.batch_size), "clips per forward pass of a `predict` task, and of a validation", "1.8"),
    setting("predict.shards", Limits::Whole(1, 10_000), |p| Slot::SplitNumbers(&mut p.shards), "tasks that share the prediction of a split; 1 where not given", ""),
    setting("predict.embedding_pooling", Limits::Any, |p| Slot::Choice(&mut p.prediction.embedding_pooling), "predict with another pooling of embeddings than in training", "10.3, T30"),
    setting("predict.fpasst_mel.low", Limits::Whole(1, 4000), |p| Slot::OptionalU32(&mut p.prediction.mel_low), "predict with other mel edges of fPaSST than in training; `false` for the same", "10.3, T30"),
    setting("predict.fpasst_mel.high", Limits::Whole(1, 4000), |p| Slot::OptionalU32(&mut p.prediction.mel_high), "predict with other mel edges of fPaSST than in training; `false` for the same", "10.3, T30"),
    setting("runtime.checkpoint_every_steps", Limits::Whole(1, 1_000_000_000), |p| Slot::U64(&mut p.runtime.checkpoint_every_steps), "optimizer steps between checkpoints; not part of the content key", ""),
    setting("runtime.keep_checkpoints", Limits::Whole(1, 1000), |p| Slot::U32(&mut p.runtime.keep_checkpoints), "checkpoints of a training that stay in the run directory until it is done, for the case that the newest is damaged; not part of the content key", ""),
    setting("runtime.threads", Limits::Whole(1, 1024), |p| Slot::U32(&mut p.runtime.threads), "libtorch's threads in each rank, one as torchrun has it; on CPUs another number sums in another order, so it is part of the content key", ""),
    setting("runtime.prefetch_threads", Limits::Whole(0, 1024), |p| Slot::U32(&mut p.runtime.prefetch_threads), "threads that decode audio ahead of the training; not part of the content key", ""),
];

/// Keys of a `[[member]]`.
#[rustfmt::skip]
pub(crate) static MEMBER: &[Setting<MemberHead>] = &[
    setting("name", Limits::Any, |m| Slot::Text(&mut m.name), "the member's name, part of its tasks' names; required", ""),
    setting("arch", Limits::Any, |m| Slot::Choice(&mut m.architecture), "transformer architecture; required", "4"),
    setting("seed", SEED, |m| Slot::U64(&mut m.seed), "added to the plan's seed when weights are drawn, so that members of one architecture differ", ""),
    setting("init", Limits::Any, |m| Slot::OptionalPath(&mut m.init), "checkpoint whose transformer weights stage 1 starts from, relative to the plan file; random weights without one", "4.4 to 4.7"),
];

/// Keys of an `[[iteration]]`.
#[rustfmt::skip]
pub(crate) static ITERATION: &[Setting<IterationHead>] = &[
    setting("name", Limits::Any, |i| Slot::Text(&mut i.name), "a name to refer to it by", ""),
    setting("preset", Limits::Any, |i| Slot::Choice(&mut i.preset), "values underneath all keys of a stage: the authors' commands for iteration 2, or the defaults of their scripts", "10.2"),
    setting("pseudo_labels", Limits::Whole(1, 1_000_000), |i| Slot::IterationRef(&mut i.pseudo_labels), "the iteration whose ensemble labels the data for this one, or files of stored predictions, relative to the plan file", "8"),
];
