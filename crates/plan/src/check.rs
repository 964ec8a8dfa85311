//! What single values cannot show: settings that contradict one another.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::path::PathBuf;

use toml::de::{DeTable, DeValue};
use types::{Architecture, MemberName, ModelSettings, Reduction, Split, world_sizes};

use crate::problem::Problem;
use crate::read::{IterationDraft, MemberDraft};
use crate::settings::PlanSettings;
use crate::stage::StageSettings;
use crate::walk::{Origins, get};

/// Which stage of which member in which iteration a check is about.
pub(crate) struct Place<'a> {
    pub(crate) number: u32,
    pub(crate) stage: u32,
    pub(crate) member: &'a MemberName,
    /// The member's header, where a default is at fault.
    pub(crate) header: &'a Range<usize>,
}

impl Place<'_> {
    fn words(&self) -> String {
        format!(
            "iteration {}, stage {}, member `{}`",
            self.number, self.stage, self.member
        )
    }

    fn span(&self, origins: &Origins, keys: &[&str]) -> Range<usize> {
        keys.iter()
            .find_map(|key| origins.get(*key).cloned())
            .unwrap_or_else(|| self.header.clone())
    }
}

pub(crate) fn plan_settings(
    settings: &PlanSettings,
    origins: &Origins,
    table: &DeTable<'_>,
    problems: &mut Vec<Problem>,
) {
    if get(table, "name").is_none() {
        problems.push(missing(0..0, "name", "name = \"my-run\""));
    }
    match get(table, "data").map(|(_, value)| (value.span(), value.get_ref())) {
        None => problems.push(missing(
            0..0,
            "data.root",
            "[data]\nroot = \"/data/dcase24_task4\"",
        )),
        Some((span, DeValue::Table(data))) if get(data, "root").is_none() => {
            problems.push(missing(span, "data.root", "root = \"/data/dcase24_task4\""));
        }
        Some(_) => {}
    }
    if let Some(span) = origins
        .get("name")
        .filter(|_| MemberName::new(settings.name.as_str()).is_err())
    {
        problems.push(
            Problem::new(span.clone(), "the plan's name cannot be the name of a folder")
                .label("expected 1 to 200 characters out of a-z, A-Z, 0-9, '.', '_' and '-', not beginning with '.'"),
        );
    }
    let evaluation = &settings.evaluation;
    for (key, split, maestro) in [
        ("evaluation.desed", evaluation.desed, false),
        ("evaluation.test", evaluation.test, false),
        ("evaluation.maestro", evaluation.maestro, true),
    ] {
        let (Some(split), Some(span)) = (split, origins.get(key)) else {
            continue;
        };
        if split.is_maestro() != maestro {
            let (is, metric) = if maestro {
                ("no split of MAESTRO", "mpAUC")
            } else {
                ("a split of MAESTRO", "PSDS")
            };
            problems.push(
                Problem::new(
                    span.clone(),
                    format!("`{split}` is {is}, and `{key}` is scored by {metric}"),
                )
                .label(format!("cannot be scored by {metric}")),
            );
        } else if matches!(split, Split::WeakTrain | Split::UnlabeledTrain) {
            problems.push(
                Problem::new(
                    span.clone(),
                    format!("`{split}` has no strong labels to score against"),
                )
                .label("cannot be scored"),
            );
        }
    }
    for (key, split, metric) in [
        ("evaluation.desed_classes", evaluation.desed, "PSDS"),
        ("evaluation.maestro_classes", evaluation.maestro, "mpAUC"),
    ] {
        if let (Some(span), None) = (origins.get(key), split) {
            problems.push(
                Problem::new(
                    span.clone(),
                    format!("classes are given for {metric}, and no split is scored by it"),
                )
                .label("classes of nothing")
                .hint(format!("remove `{key}`, or name a split to score")),
            );
        }
    }
    if let (Some(span), Some(test), desed) = (
        origins.get("evaluation.test"),
        evaluation.test,
        evaluation.desed,
    ) && (desed.is_none() || desed == Some(test))
    {
        problems.push(match desed {
            None => Problem::new(
                span.clone(),
                "a test split is given, and no split to tune post-processing on",
            )
            .label("nothing is tuned for it")
            .hint("name another split as `evaluation.desed`, or score this one as `evaluation.desed` alone"),
            Some(_) => Problem::new(
                span.clone(),
                format!("`{test}` is tuned on and tested on"),
            )
            .label("must be another split than `evaluation.desed`"),
        });
    }
    if let (Some(span), true, None, None) = (
        origins.get("evaluation.untrained"),
        settings.untrained,
        evaluation.desed,
        evaluation.maestro,
    ) {
        problems.push(
            Problem::new(
                span.clone(),
                "untrained models are to be scored, and no split is scored",
            )
            .label("would score nothing")
            .hint("remove `evaluation.untrained`, or name a split to score"),
        );
    }
    if let Some(span) = origins
        .get("validation.maestro")
        .filter(|_| settings.validation.maestro && !settings.splits.contains(&Split::MaestroTrain))
    {
        problems.push(
            Problem::new(
                span.clone(),
                "recordings held back from `maestro_train` are to be scored, which the plan does not use",
            )
            .label("would score nothing")
            .hint("add `maestro_train` to `data.splits`, or remove it here"),
        );
    }
    for key in ["data.exclude", "data.files", "predict.shards"] {
        let scored: Vec<Split> = (evaluation.splits())
            .chain(settings.validated_splits())
            .collect();
        let unused = |split: &Split| !settings.splits.contains(split) && !scored.contains(split);
        let named: Vec<Split> = match key {
            "data.exclude" => settings.exclude.keys().copied().collect(),
            "data.files" => settings.files.keys().copied().collect(),
            _ => settings.shards.keys().copied().collect(),
        };
        for split in named.into_iter().filter(unused) {
            let span = origins
                .get(&format!("{key}.{split}"))
                .cloned()
                .unwrap_or_default();
            problems.push(
                Problem::new(
                    span,
                    format!("`{key}` names `{split}`, which the plan does not use"),
                )
                .label(format!("`{split}` is not in use"))
                .hint(format!(
                    "add it to `data.splits`, or remove it from `{key}`"
                )),
            );
        }
    }
}

pub(crate) fn missing(span: Range<usize>, what: &str, example: &str) -> Problem {
    Problem::new(span, format!("the plan has no `{what}`"))
        .label(format!("`{what}` is missing"))
        .hint(format!("add:\n{example}"))
}

pub(crate) fn member_name(name: &str, span: &Range<usize>) -> Result<MemberName, Box<Problem>> {
    let bad = |label: &str| {
        Box::new(
            Problem::new(span.clone(), format!("`{name}` cannot be a member's name")).label(label),
        )
    };
    if name == "ensemble" {
        return Err(bad("this is the name of all members together"));
    }
    if name.contains('.') {
        return Err(bad("a dot separates the parts of a task's name"));
    }
    if name.len() > 60 {
        return Err(bad("longer than 60 characters"));
    }
    MemberName::new(name).map_err(|_| bad("expected characters out of a-z, A-Z, 0-9, '_' and '-'"))
}

pub(crate) fn member_names(drafts: &[MemberDraft<'_>], problems: &mut Vec<Problem>) {
    for (index, draft) in drafts.iter().enumerate() {
        if let Some(first) = drafts[..index]
            .iter()
            .find(|other| other.name == draft.name)
        {
            problems.push(
                Problem::new(draft.name_span.clone(), format!("two members are named `{}`", draft.name))
                    .label("named again")
                    .related(first.name_span.clone(), "first here")
                    .hint("give each member a name of its own, and members of one architecture different seeds"),
            );
        }
    }
}

/// More tasks than this are a slip of the finger; each costs memory in the coordinator before anything runs.
const MOST_TASKS: u64 = 20_000;

/// Whether the plan has a size that can be worked on: members times iterations times shards.
pub(crate) fn size(
    settings: &PlanSettings,
    origins: &Origins,
    drafts: &[MemberDraft<'_>],
    rounds: &[IterationDraft<'_>],
    problems: &mut Vec<Problem>,
) -> bool {
    let evaluation = &settings.evaluation;
    let mut splits = settings.splits.clone();
    splits.extend(evaluation.splits());
    let shards: u64 = splits
        .iter()
        .map(|split| settings.shards.get(split).copied().unwrap_or(1))
        .map(u64::from)
        .sum();
    // Training and, at most, predictions for every split of every member after every stage.
    let stages = 2 * rounds.len() as u64 + 1;
    let tasks = (drafts.len() as u64)
        .saturating_mul(stages)
        .saturating_mul(shards + 1);
    if tasks <= MOST_TASKS {
        return true;
    }
    let shards_key = origins
        .iter()
        .find(|(key, _)| key.starts_with("predict.shards"));
    let span = shards_key
        .map(|(_, span)| span.clone())
        .or_else(|| Some(rounds.last()?.header.clone()))
        .unwrap_or_default();
    let (members, iterations) = (drafts.len(), rounds.len());
    problems.push(
        Problem::new(
            span,
            format!("the plan makes up to {tasks} tasks, at most {MOST_TASKS} are allowed"),
        )
        .label(format!(
            "{members} members, {iterations} iterations, {shards} shards of all splits together"
        ))
        .hint("give `predict.shards` smaller numbers, or make several plans"),
    );
    false
}

pub(crate) fn iteration_names(drafts: &[IterationDraft<'_>], problems: &mut Vec<Problem>) {
    let named: Vec<(&str, &Range<usize>)> = drafts
        .iter()
        .filter_map(|draft| Some((draft.head.name.as_str(), draft.origins.get("name")?)))
        .collect();
    for (index, (name, span)) in named.iter().enumerate() {
        if matches!(*name, "" | "previous" | "none") {
            problems.push(
                Problem::new(
                    (*span).clone(),
                    format!("an iteration cannot be named `{name}`"),
                )
                .label("`pseudo_labels` could not refer to it"),
            );
        }
        if let Some((_, first)) = named[..index].iter().find(|(other, _)| other == name) {
            problems.push(
                Problem::new(
                    (*span).clone(),
                    format!("two iterations are named `{name}`"),
                )
                .label("named again")
                .related((*first).clone(), "first here"),
            );
        }
    }
}

pub(crate) fn weight_without_labels(
    span: Range<usize>,
    number: u32,
    header: &Range<usize>,
) -> Problem {
    Problem::new(
        span,
        format!("iteration {number} has a weight for pseudo-labels, and no pseudo-labels"),
    )
    .label("nothing to distil from")
    .related(header.clone(), "`pseudo_labels` is not given here")
    .hint(if number == 1 {
        "remove the weight: there is no earlier iteration to label the data"
    } else {
        "add `pseudo_labels = \"previous\"` to the iteration, or remove the weight"
    })
}

pub(crate) fn best_of_nothing(span: Range<usize>) -> Problem {
    Problem::new(
        span,
        "the best state is to be kept, and nothing is validated",
    )
    .label("the last state would be kept")
    .hint("give `[validation]` something to score, or write \"last\"")
}

pub(crate) fn labels_without_weight(span: Range<usize>, number: u32) -> Problem {
    Problem::new(
        span,
        format!("iteration {number} asks for pseudo-labels, and no stage of it uses them"),
    )
    .label("would be made for nothing")
    .hint("give `stage1.loss.pseudo` a weight (1.5 as published), or remove `pseudo_labels`")
}

/// Whether files of pseudo-labels are for the training splits in use, each of them: every set is distilled (recipe 8.4).
pub(crate) fn label_files(
    files: &BTreeMap<Split, PathBuf>,
    splits: &BTreeSet<Split>,
    span: &Range<usize>,
    origins: &Origins,
    problems: &mut Vec<Problem>,
) -> bool {
    let before = problems.len();
    for split in files.keys().filter(|split| !splits.contains(split)) {
        let span = origins
            .get(&format!("pseudo_labels.{split}"))
            .unwrap_or(span);
        problems.push(
            Problem::new(
                span.clone(),
                format!("pseudo-labels are given for `{split}`, which the plan does not train on"),
            )
            .label(format!("`{split}` is not in use"))
            .hint("add it to `data.splits`, or remove it here"),
        );
    }
    let without: Vec<String> = splits
        .iter()
        .filter(|split| !files.contains_key(split))
        .map(|split| format!("`{split}`"))
        .collect();
    if !without.is_empty() {
        problems.push(
            Problem::new(
                span.clone(),
                format!("no file of pseudo-labels for {}", without.join(", ")),
            )
            .label("every training split needs one")
            .hint("give each a file, or remove it from `data.splits`"),
        );
    }
    problems.len() == before
}

pub(crate) fn model(
    model: &ModelSettings,
    header: &Range<usize>,
    origins: &Origins,
    problems: &mut Vec<Problem>,
) {
    let (dim, heads) = (model.transformer.dim, model.transformer.heads);
    if !dim.is_multiple_of(heads) {
        let span = origins
            .get("transformer.dim")
            .or(origins.get("transformer.heads"))
            .unwrap_or(header)
            .clone();
        let below = dim / heads * heads;
        let near = if below == 0 { heads } else { below };
        problems.push(
            Problem::new(
                span,
                format!("the transformer's width {dim} is no multiple of its {heads} heads"),
            )
            .label(format!("each head would get {dim}/{heads} of it"))
            .hint(format!("for example `dim = {near}` with {heads} heads")),
        );
    }
    if model.architecture == Architecture::Beats {
        beats(model, header, origins, problems);
    }
}

fn beats(
    model: &ModelSettings,
    header: &Range<usize>,
    origins: &Origins,
    problems: &mut Vec<Problem>,
) {
    let mut report = |keys: &[&str], message: String, hint: String| {
        let span = keys.iter().find_map(|key| origins.get(*key));
        problems.push(Problem::new(span.unwrap_or(header).clone(), message).hint(hint));
    };
    let (dim, groups) = (model.transformer.dim, model.beats.position_groups);
    if !dim.is_multiple_of(groups) {
        report(
            &["beats.position_groups", "transformer.dim"],
            format!(
                "the transformer's width {dim} is no multiple of the {groups} groups of its positional convolution"
            ),
            format!("for example `beats.position_groups = {}`", gcd(dim, groups)),
        );
    }
    // Half of the buckets are for each direction, and half of those hold one distance each (recipe 4.6).
    let (exact, far) = (model.beats.buckets / 4, model.beats.max_distance);
    if far <= exact {
        report(
            &["beats.max_distance", "beats.buckets"],
            format!(
                "`beats.max_distance` is {far}, and a quarter of the {} buckets hold the distances below {exact}",
                model.beats.buckets
            ),
            format!("give a distance above {exact}, or fewer buckets"),
        );
    }
}

const fn gcd(a: u32, b: u32) -> u32 {
    if b == 0 { a } else { gcd(b, a % b) }
}

pub(crate) fn stage(
    place: &Place<'_>,
    settings: &StageSettings,
    origins: &Origins,
    splits: &BTreeSet<Split>,
    problems: &mut Vec<Problem>,
) {
    gang(place, settings, origins, problems);
    if place.stage == 1 {
        for key in ["optimizer.lr_transformer", "optimizer.layer_factor"] {
            if let Some(span) = origins.get(key) {
                problems.push(
                    Problem::new(
                        span.clone(),
                        format!("`{key}` is given for stage 1, where the transformer is frozen"),
                    )
                    .label("would change nothing")
                    .hint(format!("remove it, or write `stage2.{key}`")),
                );
            }
        }
    }
    microbatch(place, settings, origins, splits, problems);
    augmentation(place, settings, origins, problems);
    let loss = &settings.training.loss;
    let weights = [
        loss.maestro,
        loss.strong,
        loss.synth,
        loss.weak,
        loss.self_supervised,
        loss.pseudo,
    ];
    if weights.iter().all(|weight| *weight == 0.0) {
        let keys = [
            "loss.maestro",
            "loss.strong",
            "loss.synth",
            "loss.weak",
            "loss.self_supervised",
            "loss.pseudo",
        ];
        problems.push(
            Problem::new(place.span(origins, &keys), "every weight of the loss is 0")
                .label(format!("{} would learn nothing", place.words())),
        );
    }
}

/// Ranges the right way round, and nothing that this stage has no use for.
fn augmentation(
    place: &Place<'_>,
    settings: &StageSettings,
    origins: &Origins,
    problems: &mut Vec<Problem>,
) {
    let given = &settings.training.augmentation;
    let ranges = [
        (
            given.time_mask && given.time_mask_min > given.time_mask_max,
            ["augmentation.time_mask_min", "augmentation.time_mask_max"],
            format!(
                "the shortest time mask ({}) is longer than the longest ({})",
                given.time_mask_min, given.time_mask_max
            ),
        ),
        (
            given.filter_probability > 0.0 && given.filter_bands_min > given.filter_bands_max,
            [
                "augmentation.filter_bands_min",
                "augmentation.filter_bands_max",
            ],
            format!(
                "the fewest bands of a filter ({}) are more than the most ({})",
                given.filter_bands_min, given.filter_bands_max
            ),
        ),
        (
            given.warp_probability > 0.0 && given.warp_min > given.warp_max,
            ["augmentation.warp_min", "augmentation.warp_max"],
            format!(
                "the smallest share of bands that is warped ({}) is above the largest ({})",
                given.warp_min, given.warp_max
            ),
        ),
    ];
    for (wrong, keys, message) in ranges {
        if wrong {
            problems.push(
                Problem::new(place.span(origins, &keys), message)
                    .label(format!("in {}", place.words())),
            );
        }
    }
    let unused = [
        (
            "augmentation.warp_probability",
            given.warp_probability > 0.0,
            "where the transformer's features are not warped",
        ),
        (
            "transformer_train_mode",
            settings.training.transformer_train_mode,
            "where the transformer is frozen",
        ),
    ];
    for (key, on, why) in unused {
        if let Some(span) = origins.get(key).filter(|_| place.stage == 1 && on) {
            problems.push(
                Problem::new(span.clone(), format!("`{key}` is given for stage 1, {why}"))
                    .label("would change nothing")
                    .hint(format!("remove it, or write `stage2.{key}`")),
            );
        }
    }
}

fn gang(
    place: &Place<'_>,
    settings: &StageSettings,
    origins: &Origins,
    problems: &mut Vec<Problem>,
) {
    let (min, max) = (settings.gpus.min, settings.gpus.max);
    if min > max {
        problems.push(
            Problem::new(
                place.span(origins, &["gpus.min", "gpus.max"]),
                format!("`gpus.min` is {min} and `gpus.max` is {max}"),
            )
            .label("the smallest gang is larger than the largest"),
        );
        return;
    }
    let steps = settings.training.microbatches_per_step;
    let found = settings.world_sizes();
    if settings.training.reduction == Reduction::Fast && found.len() > 1 {
        problems.push(unsettled_gang(place, &found, origins));
    }
    if found.is_empty() {
        let sizes = list(&world_sizes(steps));
        let problem = Problem::new(
            place.span(origins, &["gpus.min", "gpus.max", "microbatches_per_step"]),
            format!(
                "no gang of {} can share {} per step",
                gangs(min, max),
                count(steps, "micro-batch")
            ),
        )
        .label(format!("in {}", place.words()))
        .hint(format!(
            "gangs for {} per step: {}",
            count(steps, "micro-batch"),
            sizes
        ));
        let other = origins
            .get("microbatches_per_step")
            .filter(|span| problem.span.as_ref() != Some(span));
        problems.push(match other {
            Some(span) => problem.related(span.clone(), "divided among the gang"),
            None => problem,
        });
    }
}

/// A fast reduction whose result would depend on how many devices happen to be free.
fn unsettled_gang(place: &Place<'_>, sizes: &[u32], origins: &Origins) -> Problem {
    let largest = sizes.last().copied().unwrap_or(1);
    let problem = Problem::new(
        place.span(origins, &["reduction"]),
        format!(
            "`reduction = \"fast\"` sums in an order that depends on the size of the gang, which may be {} here",
            list(sizes)
        ),
    )
    .label(format!("in {}", place.words()))
    .hint(format!(
        "fix the size, for example `gpus = {{ min = {largest}, max = {largest} }}`, or write \"ordered\", whose result is the same for all of them"
    ));
    match (origins.get("gpus.min")).or(origins.get("gpus.max")) {
        Some(span) => problem.related(span.clone(), "leaves more than one size"),
        None => problem,
    }
}

fn list(numbers: &[u32]) -> String {
    let numbers: Vec<String> = numbers.iter().map(u32::to_string).collect();
    numbers.join(", ")
}

fn gangs(min: u32, max: u32) -> String {
    if min == max {
        count(min, "device")
    } else {
        format!("{min} to {max} devices")
    }
}

fn count(number: u32, noun: &str) -> String {
    match (number, noun) {
        (1, noun) => format!("1 {noun}"),
        (_, noun) if noun.ends_with("ch") => format!("{number} {noun}es"),
        (_, noun) => format!("{number} {noun}s"),
    }
}

fn microbatch(
    place: &Place<'_>,
    settings: &StageSettings,
    origins: &Origins,
    splits: &BTreeSet<Split>,
    problems: &mut Vec<Problem>,
) {
    let sizes = &settings.training.microbatch;
    if u64::from(sizes.maestro)
        + u64::from(sizes.strong)
        + u64::from(sizes.synth)
        + u64::from(sizes.weak)
        == 0
        && sizes.unlabeled == 0
    {
        problems.push(
            Problem::new(
                place.span(origins, &["microbatch.maestro"]),
                "a micro-batch without clips",
            )
            .label(format!("in {}", place.words())),
        );
    }
    let kinds: [(&'static str, u32, &[Split]); 5] = [
        ("microbatch.maestro", sizes.maestro, &[Split::MaestroTrain]),
        (
            "microbatch.strong",
            sizes.strong,
            &[Split::StrongTrain, Split::ExternalStrongTrain],
        ),
        ("microbatch.synth", sizes.synth, &[Split::SynthTrain]),
        ("microbatch.weak", sizes.weak, &[Split::WeakTrain]),
        (
            "microbatch.unlabeled",
            sizes.unlabeled,
            &[Split::UnlabeledTrain],
        ),
    ];
    for (key, size, from) in kinds {
        if size > 0 && from.iter().all(|split| !splits.contains(split)) {
            let names: Vec<String> = from.iter().map(|split| format!("`{split}`")).collect();
            problems.push(
                Problem::new(
                    place.span(origins, &[key]),
                    format!(
                        "`{key}` is {size}, and `data.splits` has no {}",
                        names.join(" or ")
                    ),
                )
                .label(format!("in {}", place.words()))
                .hint(format!(
                    "add {} to `data.splits`, or write `{key} = 0`",
                    names.join(" or ")
                )),
            );
        }
    }
}
