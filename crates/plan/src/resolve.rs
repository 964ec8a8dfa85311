//! A parsed TOML document to settings: layers in their order, the last one wins.

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::{Path, PathBuf};

use toml::Spanned;
use toml::de::{DeTable, DeValue};
use types::{Architecture, DataSettings, MemberName, ModelSettings, Split, SplitFiles};

use crate::plan::{Iteration, Member, Plan};
use crate::problem::{Problem, suggest};
use crate::setting::{FileOverrides, IterationRef, kind};
use crate::settings::{ITERATION, IterationHead, MEMBER, MemberHead, PLAN, PlanSettings};
use crate::stage::{MODEL, STAGE, StageSettings, published_model};
use crate::walk::{Layer, Origins, get, walk};
use crate::{check, files};

/// `stage1` and `stage2` of one table.
#[derive(Default)]
struct Stages<'a>([Layer<'a, StageSettings>; 2]);

struct MemberDraft<'a> {
    header: Range<usize>,
    name: MemberName,
    name_span: Range<usize>,
    head: MemberHead,
    model: Layer<'a, ModelSettings>,
    stages: Stages<'a>,
}

struct IterationDraft<'a> {
    header: Range<usize>,
    head: IterationHead,
    origins: Origins,
    stages: Stages<'a>,
    members: Vec<(MemberName, Stages<'a>)>,
}

/// Turns a document into a plan. `complete` is whether the text parsed without errors; if it did not, what seems to be
/// missing may only be unreadable, so only problems of single values are reported.
pub(crate) fn resolve(
    root: &Spanned<DeTable<'_>>,
    text: &str,
    path: &Path,
    check_files: bool,
    complete: bool,
    problems: &mut Vec<Problem>,
) -> Option<Plan> {
    let table = root.get_ref();
    let mut settings = PlanSettings::default();
    let mut origins = Origins::new();
    let layer = walk(table, "", PLAN, &["defaults", "member", "iteration"], &mut settings.clone(), problems);
    layer.apply(&mut settings, &mut origins);

    let (default_model, default_stages) = defaults(table, problems);
    let drafts = members(table, complete, problems);
    let names: Vec<&str> = drafts.iter().map(|draft| draft.name.as_str()).collect();
    let rounds = iterations(table, complete, &names, problems);
    if !complete {
        return None;
    }
    check::plan_settings(&settings, &origins, table, problems);

    let members: Vec<Member> = drafts
        .iter()
        .map(|draft| {
            let mut model = published_model(draft.head.architecture);
            let mut origins = Origins::new();
            default_model.apply(&mut model, &mut origins);
            draft.model.apply(&mut model, &mut origins);
            model.init_seed = draft.head.seed;
            check::model(&model, &draft.header, &origins, problems);
            Member { name: draft.name.clone(), model }
        })
        .collect();
    check::member_names(
        &drafts.iter().map(|draft| (draft.name.as_str(), draft.name_span.clone())).collect::<Vec<_>>(),
        problems,
    );
    if drafts.is_empty() && !has(table, "member") {
        problems.push(check::missing(0..0, "[[member]]", "[[member]]\nname = \"atst\"\narch = \"atst_frame\""));
    }
    if rounds.is_empty() && !has(table, "iteration") {
        problems.push(check::missing(0..0, "[[iteration]]", "[[iteration]]"));
    }
    check::iteration_names(
        &rounds
            .iter()
            .map(|round| (round.head.name.as_str(), round.origins.get("name").cloned().unwrap_or_default()))
            .collect::<Vec<_>>(),
        problems,
    );

    let mut iterations = Vec::new();
    for (index, round) in rounds.iter().enumerate() {
        let number = index as u32 + 1;
        let labels = pseudo_labels(number, round, &rounds, problems);
        let mut stages = [BTreeMap::new(), BTreeMap::new()];
        let mut weights = false;
        for draft in &drafts {
            for (stage, resolved) in stages.iter_mut().enumerate() {
                let mut value = StageSettings::published(draft.head.architecture, stage as u32 + 1);
                let mut origins = Origins::new();
                default_stages.0[stage].apply(&mut value, &mut origins);
                draft.stages.0[stage].apply(&mut value, &mut origins);
                round.stages.0[stage].apply(&mut value, &mut origins);
                let own = round.members.iter().find(|(name, _)| name == &draft.name).map(|(_, stages)| stages);
                if let Some(own) = own {
                    own.0[stage].apply(&mut value, &mut origins);
                }
                if labels == Labels::None {
                    // Weights for all iterations are meant for those that have labels; one that is written for this
                    // iteration cannot be meant.
                    let here = own.and_then(|own| own.0[stage].origin("loss.pseudo"));
                    let here = here.or_else(|| round.stages.0[stage].origin("loss.pseudo"));
                    if let Some(span) = here.filter(|_| value.training.loss.pseudo > 0.0) {
                        problems.push(check::weight_without_labels(span, number, &round.header));
                    }
                    value.training.loss.pseudo = 0.0;
                }
                weights |= value.training.loss.pseudo > 0.0;
                check::stage(
                    &check::Place { number, stage: stage as u32 + 1, member: &draft.name, header: &draft.header },
                    &value,
                    &origins,
                    &settings.splits,
                    problems,
                );
                resolved.insert(draft.name.clone(), value);
            }
        }
        if labels != Labels::None && !weights && !drafts.is_empty() {
            problems.push(check::labels_without_weight(
                round.origins.get("pseudo_labels").cloned().unwrap_or(round.header.clone()),
                number,
            ));
        }
        let from = match labels {
            Labels::From(from) => Some(from),
            Labels::None | Labels::Broken => None,
        };
        let name = Some(round.head.name.clone()).filter(|name| !name.is_empty());
        iterations.push(Iteration { name, pseudo_labels: from, stages });
    }

    let data = data_settings(&settings, path);
    if data.root.to_str().is_none() {
        problems.push(
            Problem::of_file("the data folder's path is not UTF-8").hint("move the plan to a folder with a UTF-8 name"),
        );
    }
    if check_files && origins.contains_key("data.root") {
        files::check(&data, &origins, problems);
    }
    problems.is_empty().then(|| Plan {
        name: settings.name,
        seed: settings.seed,
        text: text.into(),
        path: path.to_owned(),
        data,
        evaluation: settings.evaluation,
        untrained: settings.untrained,
        batch_size: settings.batch_size,
        shards: settings.shards,
        runtime: settings.runtime,
        members,
        iterations,
    })
}

fn has(table: &DeTable<'_>, name: &str) -> bool {
    get(table, name).is_some()
}

fn expect_table<'t, 'i>(
    value: &'t Spanned<DeValue<'i>>,
    shown: &str,
    problems: &mut Vec<Problem>,
) -> Option<&'t DeTable<'i>> {
    match value.get_ref() {
        DeValue::Table(table) => Some(table),
        other => {
            problems.push(
                Problem::new(value.span(), format!("{shown} is {}, expected a table", kind(other)))
                    .label("expected a table"),
            );
            None
        }
    }
}

/// The tables of `[[name]]`, each with its header's span. A single table is read too, for what else is wrong in it.
fn tables<'t, 'i>(
    table: &'t DeTable<'i>,
    name: &str,
    complete: bool,
    problems: &mut Vec<Problem>,
) -> Vec<(Range<usize>, &'t DeTable<'i>)> {
    let Some((key, value)) = get(table, name) else {
        return Vec::new();
    };
    if let DeValue::Array(items) = value.get_ref() {
        let shown = format!("`[[{name}]]`");
        let tables = items.iter().filter_map(|item| Some((item.span(), expect_table(item, &shown, problems)?)));
        return tables.collect();
    }
    if complete {
        problems.push(
            Problem::new(key, format!("`{name}` is {}, expected a list of tables", kind(value.get_ref())))
                .label("there can be several")
                .hint(format!("write `[[{name}]]`, with two brackets, before each")),
        );
    }
    match value.get_ref() {
        DeValue::Table(table) => vec![(value.span(), table)],
        _ => Vec::new(),
    }
}

fn stages<'a>(table: &'a DeTable<'a>, shown: &str, problems: &mut Vec<Problem>) -> Stages<'a> {
    let mut stages = Stages::default();
    for (index, layer) in stages.0.iter_mut().enumerate() {
        let name = format!("stage{}", index + 1);
        let Some((_, value)) = get(table, &name) else { continue };
        let shown = if shown.is_empty() { format!("`{name}`") } else { format!("`{name}` of {shown}") };
        if let Some(table) = expect_table(value, &shown, problems) {
            let mut scratch = StageSettings::published(Architecture::AtstFrame, index as u32 + 1);
            *layer = walk(table, &shown, STAGE, &[], &mut scratch, problems);
        }
    }
    stages
}

fn model<'a>(table: &'a DeTable<'a>, shown: &str, problems: &mut Vec<Problem>) -> Layer<'a, ModelSettings> {
    let Some((_, value)) = get(table, "model") else { return Layer::default() };
    let shown = format!("`model` of {shown}");
    let Some(table) = expect_table(value, &shown, problems) else { return Layer::default() };
    walk(table, &shown, MODEL, &[], &mut published_model(Architecture::AtstFrame), problems)
}

fn defaults<'a>(table: &'a DeTable<'a>, problems: &mut Vec<Problem>) -> (Layer<'a, ModelSettings>, Stages<'a>) {
    let Some((_, value)) = get(table, "defaults") else { return Default::default() };
    let Some(table) = expect_table(value, "`defaults`", problems) else { return Default::default() };
    walk::<()>(table, "`[defaults]`", &[], &["model", "stage1", "stage2"], &mut (), problems);
    (model(table, "`[defaults]`", problems), stages(table, "`[defaults]`", problems))
}

fn members<'a>(table: &'a DeTable<'a>, complete: bool, problems: &mut Vec<Problem>) -> Vec<MemberDraft<'a>> {
    let mut drafts = Vec::new();
    for (header, table) in tables(table, "member", complete, problems) {
        let shown = "`[[member]]`";
        let mut head = MemberHead::default();
        let mut origins = Origins::new();
        let others = ["model", "stage1", "stage2"];
        walk(table, shown, MEMBER, &others, &mut head.clone(), problems).apply(&mut head, &mut origins);
        let model = model(table, shown, problems);
        let stages = stages(table, shown, problems);
        for (key, example) in [("name", "name = \"atst\""), ("arch", "arch = \"atst_frame\"")] {
            if complete && !has(table, key) {
                problems.push(
                    Problem::new(header.clone(), format!("a member without `{key}`"))
                        .label(format!("`{key}` is missing"))
                        .hint(format!("add, for example, `{example}`")),
                );
            }
        }
        let Some(span) = origins.get("name").cloned() else { continue };
        match check::member_name(&head.name, &span) {
            Ok(name) => drafts.push(MemberDraft { header, name, name_span: span, head, model, stages }),
            Err(problem) => problems.push(*problem),
        }
    }
    drafts
}

fn iterations<'a>(
    table: &'a DeTable<'a>,
    complete: bool,
    names: &[&str],
    problems: &mut Vec<Problem>,
) -> Vec<IterationDraft<'a>> {
    let mut drafts = Vec::new();
    for (header, table) in tables(table, "iteration", complete, problems) {
        let shown = "`[[iteration]]`";
        let mut head = IterationHead::default();
        let mut origins = Origins::new();
        let others = ["stage1", "stage2", "member"];
        walk(table, shown, ITERATION, &others, &mut head.clone(), problems).apply(&mut head, &mut origins);
        let stages = stages(table, shown, problems);
        let members = iteration_members(table, names, problems);
        drafts.push(IterationDraft { header, head, origins, stages, members });
    }
    drafts
}

/// `[iteration.member.<name>]`: what holds for one member in this iteration alone.
fn iteration_members<'a>(
    table: &'a DeTable<'a>,
    names: &[&str],
    problems: &mut Vec<Problem>,
) -> Vec<(MemberName, Stages<'a>)> {
    let Some((_, value)) = get(table, "member") else { return Vec::new() };
    let Some(table) = expect_table(value, "`member` of an iteration", problems) else { return Vec::new() };
    let mut members = Vec::new();
    for (key, value) in table.iter() {
        let found = key.get_ref().as_ref();
        let shown = format!("`member.{found}` of `[[iteration]]`");
        let stages = expect_table(value, &shown, problems).map(|table| {
            walk::<()>(table, &shown, &[], &["stage1", "stage2"], &mut (), problems);
            stages(table, &shown, problems)
        });
        let known = names.contains(&found).then(|| MemberName::new(found).ok()).flatten();
        match (known, stages) {
            (Some(name), Some(stages)) => members.push((name, stages)),
            (None, _) => problems.push(
                Problem::new(key.span(), format!("unknown member `{found}`"))
                    .label("no `[[member]]` has this name")
                    .hint(suggest(found, "members", names.iter().copied())),
            ),
            (Some(_), None) => {}
        }
    }
    members
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Labels {
    None,
    From(u32),
    /// Asked for, but not to be had; reported.
    Broken,
}

fn pseudo_labels(
    number: u32,
    round: &IterationDraft<'_>,
    rounds: &[IterationDraft<'_>],
    problems: &mut Vec<Problem>,
) -> Labels {
    let Some(span) = round.origins.get("pseudo_labels").cloned() else { return Labels::None };
    let target = match &round.head.pseudo_labels {
        IterationRef::None => return Labels::None,
        IterationRef::Previous if number == 1 => {
            problems.push(
                Problem::new(span, "iteration 1 has no previous iteration")
                    .label("refers to nothing")
                    .hint("leave `pseudo_labels` out of the first iteration"),
            );
            return Labels::Broken;
        }
        IterationRef::Previous => number - 1,
        IterationRef::Number(wanted) => match u32::try_from(*wanted).ok().filter(|n| (1..=rounds.len()).contains(&(*n as usize))) {
            Some(found) => found,
            None => {
                problems.push(
                    Problem::new(span, format!("there is no iteration {wanted}"))
                        .label(format!("the plan has iterations 1 to {}", rounds.len())),
                );
                return Labels::Broken;
            }
        },
        IterationRef::Name(wanted) => match rounds.iter().position(|round| &round.head.name == wanted) {
            Some(index) => index as u32 + 1,
            None => {
                let names: Vec<&str> = rounds
                    .iter()
                    .map(|round| round.head.name.as_str())
                    .filter(|name| !name.is_empty())
                    .chain(["previous", "none"])
                    .collect();
                problems.push(
                    Problem::new(span, format!("unknown iteration `{wanted}`"))
                        .label("no `[[iteration]]` has this name")
                        .hint(suggest(wanted, "known", names)),
                );
                return Labels::Broken;
            }
        },
    };
    if target < number {
        return Labels::From(target);
    }
    let way = if target == number {
        "labels for itself".to_owned()
    } else {
        format!("labels from iteration {target}, which runs later")
    };
    problems.push(
        Problem::new(span, format!("cycle: iteration {number} would need {way}"))
            .label("must be an earlier iteration")
            .hint(match number {
                1 => "leave `pseudo_labels` out of the first iteration".to_owned(),
                2 => "write \"previous\"".to_owned(),
                _ => format!("write \"previous\", or a number from 1 to {}", number - 1),
            }),
    );
    Labels::Broken
}

/// Files of the splits in use: those of the training and those that are scored.
fn data_settings(settings: &PlanSettings, path: &Path) -> DataSettings {
    let scored = [settings.evaluation.desed, settings.evaluation.maestro];
    let in_use: std::collections::BTreeSet<Split> =
        settings.splits.iter().copied().chain(scored.into_iter().flatten()).collect();
    let folder = path.parent().unwrap_or(Path::new(""));
    let sources = in_use
        .iter()
        .map(|split| {
            let standard = split.standard_files();
            let own = settings.files.get(split).cloned().unwrap_or_else(FileOverrides::default);
            let files = SplitFiles {
                audio: own.audio.unwrap_or(standard.audio),
                metadata: own.metadata.or(standard.metadata),
                durations: own.durations.or(standard.durations),
            };
            (*split, files)
        })
        .collect();
    let exclude = settings.exclude.iter().filter(|(split, _)| in_use.contains(split));
    DataSettings {
        root: join(folder, &settings.root),
        sources,
        exclude: exclude.map(|(split, path)| (*split, path.clone())).collect(),
        manifest: None,
    }
}

/// `folder/path` without `.` parts, so that messages read well.
fn join(folder: &Path, path: &Path) -> PathBuf {
    folder.join(path).components().filter(|part| !matches!(part, std::path::Component::CurDir)).collect()
}
