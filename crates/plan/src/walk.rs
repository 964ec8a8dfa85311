//! Walks a parsed table along a table of settings, and keeps what fits.

use std::collections::BTreeMap;
use std::ops::Range;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use crate::problem::{Problem, nearest, suggest};
use crate::setting::Setting;
use crate::value::kind;
use crate::{settings, stage};

/// The settings that one table of a plan gives, checked each by itself. Layers are applied over one another.
pub(crate) struct Layer<'a, T: 'static> {
    given: Vec<(&'static Setting<T>, &'a Spanned<DeValue<'a>>)>,
}

impl<T> Default for Layer<'_, T> {
    fn default() -> Self {
        Self { given: Vec::new() }
    }
}

/// Where the value of each key was written, if it was.
pub(crate) type Origins = BTreeMap<String, Range<usize>>;

impl<T> Layer<'_, T> {
    /// Writes the layer's values over those of `target`, and notes in `origins` where they come from.
    pub(crate) fn apply(&self, target: &mut T, origins: &mut Origins) {
        for (setting, value) in &self.given {
            // Found good when the layer was read, so nothing can be reported here that was not reported then.
            (setting.field)(target).assign(setting.name, setting.limits, value, &mut Vec::new());
            origins.insert(setting.name.to_owned(), value.span());
            if let DeValue::Table(table) = value.get_ref() {
                for key in table.keys() {
                    origins.insert(format!("{}.{}", setting.name, key.get_ref()), key.span());
                }
            }
        }
    }

    /// Where this layer gives that key.
    pub(crate) fn origin(&self, name: &str) -> Option<Range<usize>> {
        self.given
            .iter()
            .find(|(setting, _)| setting.name == name)
            .map(|(_, value)| value.span())
    }
}

/// Reads a table. `shown` names it in messages, `others` are keys in it that somebody else reads.
pub(crate) fn walk<'a, T>(
    table: &'a DeTable<'a>,
    shown: &str,
    settings: &'static [Setting<T>],
    others: &[&'static str],
    scratch: &mut T,
    problems: &mut Vec<Problem>,
) -> Layer<'a, T> {
    let mut layer = Layer::default();
    Walk {
        shown,
        settings,
        others,
        scratch,
        problems,
        layer: &mut layer,
    }
    .table(table, "");
    layer
}

struct Walk<'w, 'a, T: 'static> {
    shown: &'w str,
    settings: &'static [Setting<T>],
    others: &'w [&'static str],
    scratch: &'w mut T,
    problems: &'w mut Vec<Problem>,
    layer: &'w mut Layer<'a, T>,
}

impl<'a, T> Walk<'_, 'a, T> {
    fn table(&mut self, table: &'a DeTable<'a>, prefix: &str) {
        for (key, value) in table.iter() {
            let full = format!("{prefix}{}", key.get_ref());
            if prefix.is_empty() && self.others.contains(&full.as_str()) {
                continue;
            }
            if let Some(setting) = self.settings.iter().find(|setting| setting.name == full) {
                let slot = (setting.field)(self.scratch);
                if slot.assign(setting.name, setting.limits, value, self.problems) {
                    self.layer.given.push((setting, value));
                }
                continue;
            }
            let inner = format!("{full}.");
            if !self
                .settings
                .iter()
                .any(|setting| setting.name.starts_with(&inner))
            {
                self.unknown(key.span(), key.get_ref(), prefix);
                continue;
            }
            match value.get_ref() {
                DeValue::Table(table) => self.table(table, &inner),
                other => self.problems.push(
                    Problem::new(
                        value.span(),
                        format!("`{full}` is {}, expected a table", kind(other)),
                    )
                    .label("expected a table")
                    .hint(format!(
                        "keys of `{full}`: {}",
                        quoted(&children(self.settings, &inner))
                    )),
                ),
            }
        }
    }

    fn unknown(&mut self, span: Range<usize>, found: &str, prefix: &str) {
        let mut here = children(self.settings, prefix);
        if prefix.is_empty() {
            here.extend(self.others);
        }
        let place = match (self.shown, prefix.trim_end_matches('.')) {
            ("", "") => "at the top of a plan".to_owned(),
            ("", inner) => format!("in `{inner}`"),
            (shown, "") => format!("in {shown}"),
            (shown, inner) => format!("in `{inner}` of {shown}"),
        };
        let near = nearest(found, here.iter().copied());
        let hint = match near {
            Some(near) => format!("did you mean `{near}`?"),
            None => elsewhere(found, self.settings)
                .unwrap_or_else(|| suggest(found, "keys here", here.clone())),
        };
        self.problems.push(
            Problem::new(span, format!("unknown key `{found}`"))
                .label(format!("no such key {place}"))
                .hint(hint),
        );
    }
}

/// The names that can stand right after `prefix`, in the order of the settings.
fn children<T>(settings: &[Setting<T>], prefix: &str) -> Vec<&'static str> {
    let mut names: Vec<&'static str> = Vec::new();
    for setting in settings {
        if let Some(rest) = setting.name.strip_prefix(prefix) {
            let name = rest.split_once('.').map_or(rest, |(head, _)| head);
            if !names.contains(&name) {
                names.push(name);
            }
        }
    }
    names
}

pub(crate) fn quoted(names: &[&str]) -> String {
    names
        .iter()
        .map(|name| format!("`{name}`"))
        .collect::<Vec<_>>()
        .join(", ")
}

/// Where a key that stands in the wrong place belongs.
fn elsewhere<T>(found: &str, here: &[Setting<T>]) -> Option<String> {
    fn with_end<T>(found: &str, settings: &[Setting<T>]) -> Option<&'static str> {
        let ends = |name: &str| {
            name == found
                || name
                    .strip_suffix(found)
                    .is_some_and(|rest| rest.ends_with('.'))
        };
        settings
            .iter()
            .map(|setting| setting.name)
            .find(|name| ends(name) || name.split_once('.').is_some_and(|(head, _)| head == found))
    }
    if let Some(name) = with_end(found, here) {
        return Some(format!("`{found}` is written `{name}` here"));
    }
    if let Some(name) = with_end(found, stage::STAGE) {
        let name = if name.ends_with(found) { name } else { found };
        return Some(format!(
            "`{name}` is a key of a stage: write `stage1.{name}` or `stage2.{name}`"
        ));
    }
    if let Some(name) = with_end(found, stage::MODEL) {
        let name = if name.ends_with(found) { name } else { found };
        return Some(format!(
            "`{name}` is a key of a member's network: write `model.{name}`"
        ));
    }
    with_end(found, settings::PLAN).map(|name| format!("`{name}` stands at the top of a plan"))
}

/// The entry of a table, with its key's span.
pub(crate) fn get<'t, 'i>(
    table: &'t DeTable<'i>,
    name: &str,
) -> Option<(Range<usize>, &'t Spanned<DeValue<'i>>)> {
    table
        .iter()
        .find(|(key, _)| key.get_ref() == name)
        .map(|(key, value)| (key.span(), value))
}
