use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::path::PathBuf;

use toml::Spanned;
use toml::de::{DeArray, DeTable, DeValue};
use types::{Architecture, DecibelFloor, EmbeddingPooling, OptimizerKind, Split};

use crate::problem::{Problem, suggest};

/// One key of a plan: its name in dots, where its value goes, what values it takes, and the words for the reference.
pub(crate) struct Setting<T> {
    pub(crate) name: &'static str,
    pub(crate) limits: Limits,
    pub(crate) field: for<'a> fn(&'a mut T) -> Slot<'a>,
    pub(crate) doc: &'static str,
    /// Section of the recipe that the default comes from; empty where it is ours.
    pub(crate) source: &'static str,
}

/// One line of a table of settings.
pub(crate) const fn setting<T>(
    name: &'static str,
    limits: Limits,
    field: for<'a> fn(&'a mut T) -> Slot<'a>,
    doc: &'static str,
    source: &'static str,
) -> Setting<T> {
    Setting { name, limits, field, doc, source }
}

/// Values that a key takes beyond its type.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Limits {
    /// All of the type.
    Any,
    /// Whole numbers from the first to the second.
    Whole(u64, u64),
    /// Numbers from the first to the second.
    Real(f64, f64),
    /// Numbers above 0, to this one.
    Positive(f64),
    /// Texts out of these.
    OneOf(&'static [&'static str]),
}

/// A place in the settings that a value of the plan is written to; says by its kind what the value must be.
pub(crate) enum Slot<'a> {
    U32(&'a mut u32),
    U64(&'a mut u64),
    F64(&'a mut f64),
    Bool(&'a mut bool),
    Text(&'a mut String),
    Path(&'a mut PathBuf),
    Choice(&'a mut dyn Choice),
    /// A whole number, or `false` for none.
    OptionalU32(&'a mut Option<u32>),
    /// As many whole numbers as there are.
    Numbers(&'a mut [u32]),
    /// A split, or `"none"`.
    OptionalSplit(&'a mut Option<Split>),
    TrainSplits(&'a mut BTreeSet<Split>),
    Names(&'a mut BTreeSet<String>),
    SplitNumbers(&'a mut BTreeMap<Split, u32>),
    SplitPaths(&'a mut BTreeMap<Split, PathBuf>),
    SplitFiles(&'a mut BTreeMap<Split, FileOverrides>),
    /// `"none"`, `"previous"`, or an iteration by number or name.
    IterationRef(&'a mut IterationRef),
}

/// Where an iteration's pseudo-labels come from, as written.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) enum IterationRef {
    #[default]
    None,
    Previous,
    Number(u64),
    Name(String),
}

/// A split's files where they differ from the standard ones.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct FileOverrides {
    pub(crate) audio: Option<PathBuf>,
    pub(crate) metadata: Option<PathBuf>,
    pub(crate) durations: Option<PathBuf>,
}

/// An enumeration that a plan chooses from by name.
pub(crate) trait Choice {
    fn names(&self) -> Vec<&'static str>;
    fn name(&self) -> &'static str;
    /// Takes the value of that name; `false` if there is none.
    fn choose(&mut self, name: &str) -> bool;
}

macro_rules! choice {
    ($type:ty { $($variant:path => $name:literal),+ $(,)? }) => {
        impl Choice for $type {
            fn names(&self) -> Vec<&'static str> {
                vec![$($name),+]
            }
            fn name(&self) -> &'static str {
                match self { $($variant => $name),+ }
            }
            fn choose(&mut self, name: &str) -> bool {
                match name {
                    $($name => *self = $variant,)+
                    _ => return false,
                }
                true
            }
        }
    };
}

choice!(OptimizerKind { OptimizerKind::Adamw => "adamw", OptimizerKind::Adam => "adam" });
choice!(EmbeddingPooling {
    EmbeddingPooling::AdaptiveAverage => "adaptive_average",
    EmbeddingPooling::NearestExact => "nearest_exact",
});
choice!(DecibelFloor { DecibelFloor::Batch => "batch", DecibelFloor::Clip => "clip" });

impl Choice for Architecture {
    fn names(&self) -> Vec<&'static str> {
        Self::ALL.iter().map(|architecture| architecture.as_str()).collect()
    }

    fn name(&self) -> &'static str {
        self.as_str()
    }

    fn choose(&mut self, name: &str) -> bool {
        match Self::ALL.into_iter().find(|architecture| architecture.as_str() == name) {
            Some(found) => {
                *self = found;
                true
            }
            None => false,
        }
    }
}

/// The key being written, for messages.
struct At<'a> {
    name: &'a str,
    /// One item of a list is written, not the whole.
    item: bool,
    limits: Limits,
    span: Range<usize>,
}

impl Slot<'_> {
    /// Writes a value of the plan. Problems that it finds go to `problems`; the slot is then left as it was, or in part.
    pub(crate) fn assign(
        self,
        name: &str,
        limits: Limits,
        value: &Spanned<DeValue<'_>>,
        problems: &mut Vec<Problem>,
    ) -> bool {
        let at = At { name, item: false, limits, span: value.span() };
        let before = problems.len();
        if let Err(problem) = self.write(&at, value.get_ref(), problems) {
            problems.push(*problem);
        }
        problems.len() == before
    }

    fn write(self, at: &At<'_>, value: &DeValue<'_>, problems: &mut Vec<Problem>) -> Result<(), Box<Problem>> {
        match self {
            Slot::U32(slot) => *slot = at.whole_u32(value)?,
            Slot::U64(slot) => *slot = at.whole(value)?,
            Slot::F64(slot) => *slot = at.real(value)?,
            Slot::Bool(slot) => match value {
                DeValue::Boolean(found) => *slot = *found,
                _ => return Err(at.wrong_type(value, "`true` or `false`")),
            },
            Slot::Text(slot) => *slot = at.text(value, "a string")?.to_owned(),
            Slot::Path(slot) => *slot = at.path(value)?,
            Slot::Choice(slot) => {
                let names = slot.names();
                let found = at.text(value, "a string")?;
                if !slot.choose(found) {
                    return Err(at.not_one_of(found, &names));
                }
            }
            Slot::OptionalU32(slot) => match value {
                DeValue::Boolean(false) => *slot = None,
                DeValue::Integer(_) => *slot = Some(at.whole_u32(value)?),
                _ => return Err(at.wrong_type(value, "a whole number, or `false` for none")),
            },
            Slot::Numbers(slot) => {
                let list = at.list(value, &format!("a list of {} whole numbers", slot.len()))?;
                if list.len() != slot.len() {
                    return Err(Box::new(
                        Problem::new(at.span.clone(), format!("`{}` has {} values", at.name, list.len()))
                            .label(format!("expected {}", slot.len())),
                    ));
                }
                for (slot, item) in slot.iter_mut().zip(list.iter()) {
                    match at.item(item).whole_u32(item.get_ref()) {
                        Ok(number) => *slot = number,
                        Err(problem) => problems.push(*problem),
                    }
                }
            }
            Slot::OptionalSplit(slot) => {
                let found = at.text(value, "a split's name, or \"none\"")?;
                *slot = if found == "none" { None } else { Some(at.split(found, |_| true)?) };
            }
            Slot::TrainSplits(slot) => {
                let mut splits = BTreeSet::new();
                for item in at.list(value, "a list of splits' names")?.iter() {
                    let at = at.item(item);
                    match at.text(item.get_ref(), "a split's name").and_then(|name| at.split(name, Split::is_train)) {
                        Ok(split) => {
                            splits.insert(split);
                        }
                        Err(problem) => problems.push(*problem),
                    }
                }
                *slot = splits;
            }
            Slot::Names(slot) => {
                let mut names = BTreeSet::new();
                for item in at.list(value, "a list of names")?.iter() {
                    let at = at.item(item);
                    match at.text(item.get_ref(), "a name").and_then(|name| at.one_of(name)) {
                        Ok(name) => {
                            names.insert(name.to_owned());
                        }
                        Err(problem) => problems.push(*problem),
                    }
                }
                if names.is_empty() && problems.is_empty() {
                    return Err(Box::new(
                        Problem::new(at.span.clone(), format!("`{}` is empty", at.name))
                            .label("expected at least one name"),
                    ));
                }
                *slot = names;
            }
            Slot::SplitNumbers(slot) => {
                at.each_split(value, problems, |at, split, value, _| {
                    slot.insert(split, at.whole_u32(value)?);
                    Ok(())
                })?;
            }
            Slot::SplitPaths(slot) => {
                at.each_split(value, problems, |at, split, value, _| {
                    slot.insert(split, at.path(value)?);
                    Ok(())
                })?;
            }
            Slot::SplitFiles(slot) => {
                at.each_split(value, problems, |at, split, value, problems| {
                    let files = slot.entry(split).or_default();
                    for (key, value) in at.table(value, "a table of `audio`, `metadata` and `durations`")?.iter() {
                        let target = match key.get_ref().as_ref() {
                            "audio" => &mut files.audio,
                            "metadata" => &mut files.metadata,
                            "durations" => &mut files.durations,
                            other => {
                                problems.push(
                                    Problem::new(key.span(), format!("unknown key `{other}`"))
                                        .label(format!("no such file of split `{split}`"))
                                        .hint(suggest(other, "keys here", ["audio", "metadata", "durations"])),
                                );
                                continue;
                            }
                        };
                        let name = format!("{}.{}", at.name, key.get_ref());
                        let at = At { name: &name, item: false, limits: Limits::Any, span: value.span() };
                        match at.path(value.get_ref()) {
                            Ok(path) => *target = Some(path),
                            Err(problem) => problems.push(*problem),
                        }
                    }
                    Ok(())
                })?;
            }
            Slot::IterationRef(slot) => {
                *slot = match value {
                    DeValue::Integer(_) => IterationRef::Number(at.whole(value)?),
                    _ => match at.text(value, "\"previous\", \"none\", or an iteration's number or name")? {
                        "none" => IterationRef::None,
                        "previous" => IterationRef::Previous,
                        name => IterationRef::Name(name.to_owned()),
                    },
                }
            }
        }
        Ok(())
    }

    /// The type in the reference.
    pub(crate) fn type_name(&self) -> String {
        match self {
            Slot::U32(_) | Slot::U64(_) => "whole number".to_owned(),
            Slot::F64(_) => "number".to_owned(),
            Slot::Bool(_) => "true or false".to_owned(),
            Slot::Text(_) => "text".to_owned(),
            Slot::Path(_) => "path".to_owned(),
            Slot::Choice(choice) => choice.names().join(" | "),
            Slot::OptionalU32(_) => "whole number or false".to_owned(),
            Slot::Numbers(slot) => format!("list of {} whole numbers", slot.len()),
            Slot::OptionalSplit(_) => "split or \"none\"".to_owned(),
            Slot::TrainSplits(_) => "list of training splits".to_owned(),
            Slot::Names(_) => "list of names".to_owned(),
            Slot::SplitNumbers(_) => "table: split = whole number".to_owned(),
            Slot::SplitPaths(_) => "table: split = path".to_owned(),
            Slot::SplitFiles(_) => "table: split = { audio, metadata, durations }".to_owned(),
            Slot::IterationRef(_) => "\"none\", \"previous\", number or name".to_owned(),
        }
    }

    /// The value as a plan would write it.
    pub(crate) fn show(&self) -> String {
        fn quoted<T: ToString>(names: impl Iterator<Item = T>) -> String {
            let names: Vec<String> = names.map(|name| format!("\"{}\"", name.to_string())).collect();
            format!("[{}]", names.join(", "))
        }
        match self {
            Slot::U32(value) => value.to_string(),
            Slot::U64(value) => value.to_string(),
            Slot::F64(value) => show_number(**value),
            Slot::Bool(value) => value.to_string(),
            Slot::Text(value) => format!("\"{value}\""),
            Slot::Path(value) => format!("\"{}\"", value.display()),
            Slot::Choice(value) => format!("\"{}\"", value.name()),
            Slot::OptionalU32(value) => value.map_or_else(|| "false".to_owned(), |number| number.to_string()),
            Slot::Numbers(values) => {
                format!("[{}]", values.iter().map(u32::to_string).collect::<Vec<_>>().join(", "))
            }
            Slot::OptionalSplit(value) => {
                format!("\"{}\"", value.map_or_else(|| "none".to_owned(), |split| split.to_string()))
            }
            Slot::TrainSplits(values) => quoted(values.iter()),
            Slot::Names(values) => quoted(values.iter()),
            Slot::SplitNumbers(values) => {
                let each: Vec<String> = values.iter().map(|(split, number)| format!("{split} = {number}")).collect();
                if each.is_empty() { "{}".to_owned() } else { format!("{{ {} }}", each.join(", ")) }
            }
            Slot::SplitPaths(_) | Slot::SplitFiles(_) => "{}".to_owned(),
            Slot::IterationRef(value) => match value {
                IterationRef::None => "\"none\"".to_owned(),
                IterationRef::Previous => "\"previous\"".to_owned(),
                IterationRef::Number(number) => number.to_string(),
                IterationRef::Name(name) => format!("\"{name}\""),
            },
        }
    }
}

/// Very small and very large numbers as `5e-4`, the others in full.
fn show_number(value: f64) -> String {
    if value != 0.0 && !(1e-3..1e6).contains(&value.abs()) { format!("{value:e}") } else { value.to_string() }
}

impl Limits {
    /// For the reference: `1 to 100`; empty where there is nothing to say.
    pub(crate) fn show(self) -> String {
        match self {
            Self::Any => String::new(),
            Self::Whole(min, max) if max > 1_000_000_000_000 => format!("{min} or more"),
            Self::Whole(min, max) => format!("{min} to {max}"),
            Self::Real(min, max) => format!("{} to {}", show_number(min), show_number(max)),
            Self::Positive(max) => format!("above 0, to {}", show_number(max)),
            Self::OneOf(names) => names.join(", "),
        }
    }
}

impl<'k> At<'k> {
    fn item(&self, item: &Spanned<DeValue<'_>>) -> At<'k> {
        At { name: self.name, item: true, limits: self.limits, span: item.span() }
    }

    fn shown(&self) -> String {
        if self.item { format!("an item of `{}`", self.name) } else { format!("`{}`", self.name) }
    }

    fn wrong_type(&self, value: &DeValue<'_>, expected: &str) -> Box<Problem> {
        Box::new(
            Problem::new(self.span.clone(), format!("{} is {}, expected {expected}", self.shown(), kind(value)))
                .label(format!("expected {expected}")),
        )
    }

    fn out_of_range(&self, found: &str) -> Box<Problem> {
        Box::new(
            Problem::new(self.span.clone(), format!("{} is {found}, out of range", self.shown()))
                .label(format!("expected {}", self.limits.show())),
        )
    }

    fn not_one_of(&self, found: &str, names: &[&'static str]) -> Box<Problem> {
        Box::new(
            Problem::new(self.span.clone(), format!("`{found}` is no value of `{}`", self.name))
                .label("not one of its values")
                .hint(suggest(found, "values", names.iter().copied())),
        )
    }

    fn whole(&self, value: &DeValue<'_>) -> Result<u64, Box<Problem>> {
        let DeValue::Integer(integer) = value else {
            return Err(self.wrong_type(value, "a whole number"));
        };
        let (min, max) = match self.limits {
            Limits::Whole(min, max) => (min, max),
            _ => (0, u64::MAX),
        };
        u64::from_str_radix(integer.as_str(), integer.radix())
            .ok()
            .filter(|found| (min..=max).contains(found))
            .ok_or_else(|| self.out_of_range(&integer.to_string()))
    }

    fn whole_u32(&self, value: &DeValue<'_>) -> Result<u32, Box<Problem>> {
        let found = self.whole(value)?;
        u32::try_from(found).map_err(|_| self.out_of_range(&found.to_string()))
    }

    fn real(&self, value: &DeValue<'_>) -> Result<f64, Box<Problem>> {
        let (found, shown) = match value {
            DeValue::Integer(integer) if integer.radix() == 10 => (integer.as_str().parse().ok(), integer.to_string()),
            DeValue::Float(float) => (float.as_str().parse::<f64>().ok(), float.to_string()),
            _ => return Err(self.wrong_type(value, "a number")),
        };
        found
            .filter(|found: &f64| {
                found.is_finite()
                    && match self.limits {
                        Limits::Real(min, max) => (min..=max).contains(found),
                        Limits::Positive(max) => *found > 0.0 && *found <= max,
                        _ => true,
                    }
            })
            .ok_or_else(|| self.out_of_range(&shown))
    }

    fn text<'v>(&self, value: &'v DeValue<'_>, expected: &str) -> Result<&'v str, Box<Problem>> {
        match value {
            DeValue::String(text) => Ok(text.as_ref()),
            _ => Err(self.wrong_type(value, expected)),
        }
    }

    fn path(&self, value: &DeValue<'_>) -> Result<PathBuf, Box<Problem>> {
        let text = self.text(value, "a path")?;
        if text.is_empty() || text.contains('\0') {
            return Err(Box::new(
                Problem::new(self.span.clone(), format!("`{}` is no path", self.name))
                    .label("empty, or with a NUL character"),
            ));
        }
        Ok(PathBuf::from(text))
    }

    fn one_of<'v>(&self, found: &'v str) -> Result<&'v str, Box<Problem>> {
        match self.limits {
            Limits::OneOf(names) if !names.contains(&found) => Err(self.not_one_of(found, names)),
            _ => Ok(found),
        }
    }

    fn split(&self, found: &str, allowed: fn(Split) -> bool) -> Result<Split, Box<Problem>> {
        let names = || Split::ALL.into_iter().filter(|split| allowed(*split)).map(Split::as_str);
        match Split::ALL.into_iter().find(|split| split.as_str() == found) {
            Some(split) if allowed(split) => Ok(split),
            Some(split) => Err(Box::new(
                Problem::new(self.span.clone(), format!("`{split}` is not a training split"))
                    .label(format!("`{}` takes training splits only", self.name))
                    .hint(suggest(found, "training splits", names().collect::<Vec<_>>())),
            )),
            None => Err(Box::new(
                Problem::new(self.span.clone(), format!("unknown split `{found}`"))
                    .label("no such split")
                    .hint(suggest(found, "splits", names().collect::<Vec<_>>())),
            )),
        }
    }

    fn list<'v, 'i>(&self, value: &'v DeValue<'i>, expected: &str) -> Result<&'v DeArray<'i>, Box<Problem>> {
        match value {
            DeValue::Array(list) => Ok(list),
            _ => Err(self.wrong_type(value, expected)),
        }
    }

    fn table<'v, 'i>(&self, value: &'v DeValue<'i>, expected: &str) -> Result<&'v DeTable<'i>, Box<Problem>> {
        match value {
            DeValue::Table(table) => Ok(table),
            _ => Err(self.wrong_type(value, expected)),
        }
    }

    /// Calls `write` for each `split = value` of a table.
    fn each_split(
        &self,
        value: &DeValue<'_>,
        problems: &mut Vec<Problem>,
        mut write: impl FnMut(&At<'_>, Split, &DeValue<'_>, &mut Vec<Problem>) -> Result<(), Box<Problem>>,
    ) -> Result<(), Box<Problem>> {
        for (key, value) in self.table(value, "a table with a key for each split")?.iter() {
            let at_key = At { name: self.name, item: false, limits: self.limits, span: key.span() };
            let result = at_key.split(key.get_ref(), |_| true).and_then(|split| {
                let name = format!("{}.{split}", self.name);
                let at = At { name: &name, item: false, limits: self.limits, span: value.span() };
                write(&at, split, value.get_ref(), problems)
            });
            if let Err(problem) = result {
                problems.push(*problem);
            }
        }
        Ok(())
    }
}

/// A value's type in words.
pub(crate) fn kind(value: &DeValue<'_>) -> &'static str {
    match value {
        DeValue::String(_) => "a string",
        DeValue::Integer(_) => "a whole number",
        DeValue::Float(_) => "a number with a fraction",
        DeValue::Boolean(true) => "`true`",
        DeValue::Boolean(false) => "`false`",
        DeValue::Datetime(_) => "a date or time",
        DeValue::Array(_) => "a list",
        DeValue::Table(_) => "a table",
    }
}
