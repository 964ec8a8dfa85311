//! Reads one value of a plan into its slot.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::path::PathBuf;

use toml::Spanned;
use toml::de::{DeArray, DeTable, DeValue};
use types::Split;

use crate::problem::{Problem, suggest};
use crate::setting::{IterationRef, Limits, Slot};

/// The key being written, for messages.
struct At<'a> {
    name: &'a str,
    /// One item of a list is written, not the whole.
    item: bool,
    limits: Limits,
    span: Range<usize>,
}

/// Which splits a key takes.
#[derive(Clone, Copy)]
struct SplitKind {
    /// What they are called.
    name: &'static str,
    allowed: fn(Split) -> bool,
}

impl SplitKind {
    const ANY: Self = Self {
        name: "known",
        allowed: |_| true,
    };
    const TRAIN: Self = Self {
        name: "training",
        allowed: Split::is_train,
    };
    /// With strong labels, and of DESED's classes.
    const VALIDATION: Self = Self {
        name: "validation",
        allowed: |split| !split.is_train() && !split.is_maestro(),
    };
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
        let at = At {
            name,
            item: false,
            limits,
            span: value.span(),
        };
        let before = problems.len();
        if let Err(problem) = self.write(&at, value.get_ref(), problems) {
            problems.push(*problem);
        }
        problems.len() == before
    }

    fn write(
        self,
        at: &At<'_>,
        value: &DeValue<'_>,
        problems: &mut Vec<Problem>,
    ) -> Result<(), Box<Problem>> {
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
            Slot::OptionalPath(slot) => *slot = Some(at.path(value)?),
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
                        Problem::new(
                            at.span.clone(),
                            format!("`{}` has {} values", at.name, list.len()),
                        )
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
                *slot = if found == "none" {
                    None
                } else {
                    Some(at.split(found, SplitKind::ANY)?)
                };
            }
            Slot::TrainSplits(slot) => {
                *slot = at.splits(value, SplitKind::TRAIN, problems)?;
            }
            Slot::ValidationSplits(slot) => {
                *slot = at.splits(value, SplitKind::VALIDATION, problems)?;
            }
            Slot::Names(slot) => {
                let mut names = BTreeSet::new();
                for item in at.list(value, "a list of names")?.iter() {
                    let at = at.item(item);
                    match at
                        .text(item.get_ref(), "a name")
                        .and_then(|name| at.one_of(name))
                    {
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
                at.each_split(value, SplitKind::ANY, problems, |at, split, value, _| {
                    slot.insert(split, at.whole_u32(value)?);
                    Ok(())
                })?;
            }
            Slot::SplitPaths(slot) => {
                at.each_split(value, SplitKind::ANY, problems, |at, split, value, _| {
                    slot.insert(split, at.path(value)?);
                    Ok(())
                })?;
            }
            Slot::SplitFiles(slot) => {
                at.each_split(
                    value,
                    SplitKind::ANY,
                    problems,
                    |at, split, value, problems| {
                        let files = slot.entry(split).or_default();
                        for (key, value) in at
                            .table(value, "a table of `audio`, `metadata` and `durations`")?
                            .iter()
                        {
                            let target = match key.get_ref().as_ref() {
                                "audio" => &mut files.audio,
                                "metadata" => &mut files.metadata,
                                "durations" => &mut files.durations,
                                other => {
                                    problems.push(
                                        Problem::new(key.span(), format!("unknown key `{other}`"))
                                            .label(format!("no such file of split `{split}`"))
                                            .hint(suggest(
                                                other,
                                                "keys here",
                                                ["audio", "metadata", "durations"],
                                            )),
                                    );
                                    continue;
                                }
                            };
                            let name = format!("{}.{}", at.name, key.get_ref());
                            let at = At {
                                name: &name,
                                item: false,
                                limits: Limits::Any,
                                span: value.span(),
                            };
                            match at.path(value.get_ref()) {
                                Ok(path) => *target = Some(path),
                                Err(problem) => problems.push(*problem),
                            }
                        }
                        Ok(())
                    },
                )?;
            }
            Slot::IterationRef(slot) => {
                *slot = match value {
                    DeValue::Integer(_) => IterationRef::Number(at.whole(value)?),
                    DeValue::Table(_) => {
                        let mut files = BTreeMap::new();
                        at.each_split(value, SplitKind::TRAIN, problems, |at, split, value, _| {
                            files.insert(split, at.path(value)?);
                            Ok(())
                        })?;
                        IterationRef::Files(files)
                    }
                    _ => match at.text(
                        value,
                        "\"previous\", \"none\", an iteration's number or name, or files by split",
                    )? {
                        "none" => IterationRef::None,
                        "previous" => IterationRef::Previous,
                        name => IterationRef::Name(name.to_owned()),
                    },
                }
            }
        }
        Ok(())
    }
}

impl<'k> At<'k> {
    fn item(&self, item: &Spanned<DeValue<'_>>) -> At<'k> {
        At {
            name: self.name,
            item: true,
            limits: self.limits,
            span: item.span(),
        }
    }

    fn shown(&self) -> String {
        if self.item {
            format!("an item of `{}`", self.name)
        } else {
            format!("`{}`", self.name)
        }
    }

    fn wrong_type(&self, value: &DeValue<'_>, expected: &str) -> Box<Problem> {
        Box::new(
            Problem::new(
                self.span.clone(),
                format!("{} is {}, expected {expected}", self.shown(), kind(value)),
            )
            .label(format!("expected {expected}")),
        )
    }

    fn out_of_range(&self, found: &str) -> Box<Problem> {
        Box::new(
            Problem::new(
                self.span.clone(),
                format!("{} is {found}, out of range", self.shown()),
            )
            .label(format!("expected {}", self.limits.show())),
        )
    }

    fn not_one_of(&self, found: &str, names: &[&'static str]) -> Box<Problem> {
        Box::new(
            Problem::new(
                self.span.clone(),
                format!("`{found}` is no value of `{}`", self.name),
            )
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
            DeValue::Integer(integer) if integer.radix() == 10 => {
                (integer.as_str().parse().ok(), integer.to_string())
            }
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

    fn splits(
        &self,
        value: &DeValue<'_>,
        kind: SplitKind,
        problems: &mut Vec<Problem>,
    ) -> Result<BTreeSet<Split>, Box<Problem>> {
        let mut splits = BTreeSet::new();
        for item in self.list(value, "a list of splits' names")?.iter() {
            let at = self.item(item);
            match at
                .text(item.get_ref(), "a split's name")
                .and_then(|name| at.split(name, kind))
            {
                Ok(split) => {
                    splits.insert(split);
                }
                Err(problem) => problems.push(*problem),
            }
        }
        Ok(splits)
    }

    fn split(&self, found: &str, kind: SplitKind) -> Result<Split, Box<Problem>> {
        let SplitKind { name, allowed } = kind;
        let names = || {
            Split::ALL
                .into_iter()
                .filter(|split| allowed(*split))
                .map(Split::as_str)
        };
        match Split::ALL.into_iter().find(|split| split.as_str() == found) {
            Some(split) if allowed(split) => Ok(split),
            Some(split) => Err(Box::new(
                Problem::new(
                    self.span.clone(),
                    format!("`{split}` is not a {name} split"),
                )
                .label(format!("`{}` takes {name} splits only", self.name))
                .hint(suggest(
                    found,
                    &format!("{name} splits"),
                    names().collect::<Vec<_>>(),
                )),
            )),
            None => Err(Box::new(
                Problem::new(self.span.clone(), format!("unknown split `{found}`"))
                    .label("no such split")
                    .hint(suggest(found, "splits", names().collect::<Vec<_>>())),
            )),
        }
    }

    fn list<'v, 'i>(
        &self,
        value: &'v DeValue<'i>,
        expected: &str,
    ) -> Result<&'v DeArray<'i>, Box<Problem>> {
        match value {
            DeValue::Array(list) => Ok(list),
            _ => Err(self.wrong_type(value, expected)),
        }
    }

    fn table<'v, 'i>(
        &self,
        value: &'v DeValue<'i>,
        expected: &str,
    ) -> Result<&'v DeTable<'i>, Box<Problem>> {
        match value {
            DeValue::Table(table) => Ok(table),
            _ => Err(self.wrong_type(value, expected)),
        }
    }

    /// Calls `write` for each `split = value` of a table.
    fn each_split(
        &self,
        value: &DeValue<'_>,
        kind: SplitKind,
        problems: &mut Vec<Problem>,
        mut write: impl FnMut(
            &At<'_>,
            Split,
            &DeValue<'_>,
            &mut Vec<Problem>,
        ) -> Result<(), Box<Problem>>,
    ) -> Result<(), Box<Problem>> {
        for (key, value) in self
            .table(value, "a table with a key for each split")?
            .iter()
        {
            let at_key = At {
                name: self.name,
                item: false,
                limits: self.limits,
                span: key.span(),
            };
            let result = at_key.split(key.get_ref(), kind).and_then(|split| {
                let name = format!("{}.{split}", self.name);
                let at = At {
                    name: &name,
                    item: false,
                    limits: self.limits,
                    span: value.span(),
                };
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
