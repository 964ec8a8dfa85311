//! The tables of a plan, each walked along its settings; nothing is put together yet.

use std::ops::Range;

use toml::Spanned;
use toml::de::{DeTable, DeValue};
use types::{Architecture, MemberName, ModelSettings};

use crate::check;
use crate::problem::{Problem, suggest};
use crate::settings::{ITERATION, IterationHead, MEMBER, MemberHead};
use crate::stage::{MODEL, STAGE, StageSettings, published_model};
use crate::value::kind;
use crate::walk::{Layer, Origins, get, walk};

/// `stage1` and `stage2` of one table.
#[derive(Default)]
pub(crate) struct Stages<'a>(pub(crate) [Layer<'a, StageSettings>; 2]);

/// `[defaults]` as written.
#[derive(Default)]
pub(crate) struct Defaults<'a> {
    pub(crate) model: Layer<'a, ModelSettings>,
    pub(crate) stages: Stages<'a>,
}

/// A `[[member]]` as written.
pub(crate) struct MemberDraft<'a> {
    pub(crate) header: Range<usize>,
    pub(crate) name: MemberName,
    pub(crate) name_span: Range<usize>,
    pub(crate) head: MemberHead,
    pub(crate) origins: Origins,
    pub(crate) model: Layer<'a, ModelSettings>,
    pub(crate) stages: Stages<'a>,
}

/// An `[[iteration]]` as written.
pub(crate) struct IterationDraft<'a> {
    pub(crate) header: Range<usize>,
    pub(crate) head: IterationHead,
    pub(crate) origins: Origins,
    pub(crate) stages: Stages<'a>,
    pub(crate) members: Vec<(MemberName, Stages<'a>)>,
}

/// Whether a table has that key.
pub(crate) fn has(table: &DeTable<'_>, name: &str) -> bool {
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
                Problem::new(
                    value.span(),
                    format!("{shown} is {}, expected a table", kind(other)),
                )
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
        let tables = items
            .iter()
            .filter_map(|item| Some((item.span(), expect_table(item, &shown, problems)?)));
        return tables.collect();
    }
    if complete {
        problems.push(
            Problem::new(
                key,
                format!(
                    "`{name}` is {}, expected a list of tables",
                    kind(value.get_ref())
                ),
            )
            .label("there can be several")
            .hint(format!(
                "write `[[{name}]]`, with two brackets, before each"
            )),
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
        let Some((_, value)) = get(table, &name) else {
            continue;
        };
        let shown = if shown.is_empty() {
            format!("`{name}`")
        } else {
            format!("`{name}` of {shown}")
        };
        if let Some(table) = expect_table(value, &shown, problems) {
            let mut scratch = StageSettings::published(Architecture::AtstFrame, index as u32 + 1);
            *layer = walk(table, &shown, STAGE, &[], &mut scratch, problems);
        }
    }
    stages
}

fn model<'a>(
    table: &'a DeTable<'a>,
    shown: &str,
    problems: &mut Vec<Problem>,
) -> Layer<'a, ModelSettings> {
    let Some((_, value)) = get(table, "model") else {
        return Layer::default();
    };
    let shown = format!("`model` of {shown}");
    let Some(table) = expect_table(value, &shown, problems) else {
        return Layer::default();
    };
    walk(
        table,
        &shown,
        MODEL,
        &[],
        &mut published_model(Architecture::AtstFrame),
        problems,
    )
}

/// `[defaults]`: a model and two stages.
pub(crate) fn defaults<'a>(table: &'a DeTable<'a>, problems: &mut Vec<Problem>) -> Defaults<'a> {
    let Some((_, value)) = get(table, "defaults") else {
        return Defaults::default();
    };
    let Some(table) = expect_table(value, "`defaults`", problems) else {
        return Defaults::default();
    };
    walk::<()>(
        table,
        "`[defaults]`",
        &[],
        &["model", "stage1", "stage2"],
        &mut (),
        problems,
    );
    let shown = "`[defaults]`";
    Defaults {
        model: model(table, shown, problems),
        stages: stages(table, shown, problems),
    }
}

/// Each `[[member]]` that has a usable name. `complete` is whether the text parsed without errors.
pub(crate) fn members<'a>(
    table: &'a DeTable<'a>,
    complete: bool,
    problems: &mut Vec<Problem>,
) -> Vec<MemberDraft<'a>> {
    let mut drafts = Vec::new();
    for (header, table) in tables(table, "member", complete, problems) {
        let shown = "`[[member]]`";
        let mut head = MemberHead::default();
        let mut origins = Origins::new();
        let others = ["model", "stage1", "stage2"];
        walk(table, shown, MEMBER, &others, &mut head.clone(), problems)
            .apply(&mut head, &mut origins);
        let model = model(table, shown, problems);
        let stages = stages(table, shown, problems);
        for (key, example) in [
            ("name", "name = \"atst\""),
            ("arch", "arch = \"atst_frame\""),
        ] {
            if complete && !has(table, key) {
                problems.push(
                    Problem::new(header.clone(), format!("a member without `{key}`"))
                        .label(format!("`{key}` is missing"))
                        .hint(format!("add, for example, `{example}`")),
                );
            }
        }
        let Some(span) = origins.get("name").cloned() else {
            continue;
        };
        match check::member_name(&head.name, &span) {
            Ok(name) => drafts.push(MemberDraft {
                header,
                name,
                name_span: span,
                head,
                origins,
                model,
                stages,
            }),
            Err(problem) => problems.push(*problem),
        }
    }
    drafts
}

/// Each `[[iteration]]`; `names` are those of the members.
pub(crate) fn iterations<'a>(
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
        walk(
            table,
            shown,
            ITERATION,
            &others,
            &mut head.clone(),
            problems,
        )
        .apply(&mut head, &mut origins);
        let stages = stages(table, shown, problems);
        let members = iteration_members(table, names, problems);
        drafts.push(IterationDraft {
            header,
            head,
            origins,
            stages,
            members,
        });
    }
    drafts
}

/// `[iteration.member.<name>]`: what holds for one member in this iteration alone.
fn iteration_members<'a>(
    table: &'a DeTable<'a>,
    names: &[&str],
    problems: &mut Vec<Problem>,
) -> Vec<(MemberName, Stages<'a>)> {
    let Some((_, value)) = get(table, "member") else {
        return Vec::new();
    };
    let Some(table) = expect_table(value, "`member` of an iteration", problems) else {
        return Vec::new();
    };
    let mut members = Vec::new();
    for (key, value) in table.iter() {
        let found = key.get_ref().as_ref();
        let shown = format!("`member.{found}` of `[[iteration]]`");
        let stages = expect_table(value, &shown, problems).map(|table| {
            walk::<()>(table, &shown, &[], &["stage1", "stage2"], &mut (), problems);
            stages(table, &shown, problems)
        });
        let known = names
            .contains(&found)
            .then(|| MemberName::new(found).ok())
            .flatten();
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
