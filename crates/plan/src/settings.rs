//! Keys of the plan itself, of a member and of an iteration.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use types::{
    Architecture, EvaluationSettings, MAESTRO_EVALUATED, RuntimeSettings, Split, desed_classes,
    maestro_classes,
};

use crate::setting::{FileOverrides, IterationRef, Limits, Setting, Slot, setting};

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
    pub(crate) untrained: bool,
    pub(crate) batch_size: u32,
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
                maestro: Some(Split::MaestroValidation),
                desed_classes: names(desed_classes()),
                maestro_classes: names(&MAESTRO_EVALUATED),
                median_filter: true,
            },
            untrained: false,
            batch_size: 20,
            shards: BTreeMap::new(),
            runtime: RuntimeSettings {
                checkpoint_every_steps: 200,
                threads: 0,
                prefetch_threads: 4,
            },
        }
    }
}

/// What names a member, beside its model and stages.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct MemberHead {
    pub(crate) name: String,
    pub(crate) architecture: Architecture,
    pub(crate) seed: u64,
}

impl Default for MemberHead {
    fn default() -> Self {
        Self {
            name: String::new(),
            architecture: Architecture::AtstFrame,
            seed: 0,
        }
    }
}

/// What an iteration says, beside its stages.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct IterationHead {
    pub(crate) name: String,
    pub(crate) pseudo_labels: IterationRef,
}

const THREADS: Limits = Limits::Whole(0, 1024);
/// TOML's whole numbers end here.
const SEED: Limits = Limits::Whole(0, i64::MAX as u64);

/// Keys at the top of a plan, and of its tables `data`, `evaluation`, `predict` and `runtime`.
#[rustfmt::skip]
pub(crate) static PLAN: &[Setting<PlanSettings>] = &[
    setting("name", Limits::Any, |p| Slot::Text(&mut p.name), "the plan's name, also of its default run directory; required", ""),
    setting("seed", SEED, |p| Slot::U64(&mut p.seed), "every random draw is a function of it and of its place in the run", ""),
    setting("notice", Limits::Any, |p| Slot::Text(&mut p.notice), "a line printed with the scores; not part of the content key", ""),
    setting("data.root", Limits::Any, |p| Slot::Path(&mut p.root), "folder that holds the data, relative to the plan file; required; not part of the content key", "1.1"),
    setting("data.splits", Limits::Any, |p| Slot::TrainSplits(&mut p.splits), "training splits in use; those of `evaluation` come on their own", "1.7"),
    setting("data.files", Limits::Any, |p| Slot::SplitFiles(&mut p.files), "a split's files where they are not at their standard place, relative to `root`", "1.1"),
    setting("data.exclude", Limits::Any, |p| Slot::SplitPaths(&mut p.exclude), "TSV of clips to leave out of a split (column `filename`), relative to `root`", "1.7"),
    setting("evaluation.desed", Limits::Any, |p| Slot::OptionalSplit(&mut p.evaluation.desed), "split scored by PSDS", "9.3"),
    setting("evaluation.maestro", Limits::Any, |p| Slot::OptionalSplit(&mut p.evaluation.maestro), "split scored by mpAUC", "9.4"),
    setting("evaluation.desed_classes", Limits::OneOf(desed_classes()), |p| Slot::Names(&mut p.evaluation.desed_classes), "classes of PSDS", "2.1"),
    setting("evaluation.maestro_classes", Limits::OneOf(maestro_classes()), |p| Slot::Names(&mut p.evaluation.maestro_classes), "classes of mpAUC", "2.1"),
    setting("evaluation.median_filter", Limits::Any, |p| Slot::Bool(&mut p.evaluation.median_filter), "class-wise median filter before scoring", "9.1"),
    setting("evaluation.untrained", Limits::Any, |p| Slot::Bool(&mut p.untrained), "score the untrained models too, for comparison", ""),
    setting("predict.batch_size", Limits::Whole(1, 4096), |p| Slot::U32(&mut p.batch_size), "clips per forward pass of a `predict` task", "1.8"),
    setting("predict.shards", Limits::Whole(1, 10_000), |p| Slot::SplitNumbers(&mut p.shards), "tasks that share the prediction of a split; 1 where not given", ""),
    setting("runtime.checkpoint_every_steps", Limits::Whole(1, 1_000_000_000), |p| Slot::U64(&mut p.runtime.checkpoint_every_steps), "optimizer steps between checkpoints; not part of the content key", ""),
    setting("runtime.threads", THREADS, |p| Slot::U32(&mut p.runtime.threads), "libtorch's threads in each rank, 0 for its own choice; not part of the content key", ""),
    setting("runtime.prefetch_threads", THREADS, |p| Slot::U32(&mut p.runtime.prefetch_threads), "threads that decode audio ahead of the training; not part of the content key", ""),
];

/// Keys of a `[[member]]`.
#[rustfmt::skip]
pub(crate) static MEMBER: &[Setting<MemberHead>] = &[
    setting("name", Limits::Any, |m| Slot::Text(&mut m.name), "the member's name, part of its tasks' names; required", ""),
    setting("arch", Limits::Any, |m| Slot::Choice(&mut m.architecture), "transformer architecture; required", "4"),
    setting("seed", SEED, |m| Slot::U64(&mut m.seed), "added to the plan's seed when weights are drawn, so that members of one architecture differ", ""),
];

/// Keys of an `[[iteration]]`.
#[rustfmt::skip]
pub(crate) static ITERATION: &[Setting<IterationHead>] = &[
    setting("name", Limits::Any, |i| Slot::Text(&mut i.name), "a name to refer to it by", ""),
    setting("pseudo_labels", Limits::Whole(1, 1_000_000), |i| Slot::IterationRef(&mut i.pseudo_labels), "the iteration whose ensemble labels the data for this one", "8.1"),
];
