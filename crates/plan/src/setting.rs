use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use types::{
    Architecture, DecibelFloor, EmbeddingPooling, Keep, OptimizerKind, Reduction, Split,
    TeacherInit, WavmixTarget,
};

use crate::stage::Preset;

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
    Setting {
        name,
        limits,
        field,
        doc,
        source,
    }
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
    /// A path; none where the key is not given.
    OptionalPath(&'a mut Option<PathBuf>),
    Choice(&'a mut dyn Choice),
    /// A whole number, or `false` for none.
    OptionalU32(&'a mut Option<u32>),
    /// As many whole numbers as there are.
    Numbers(&'a mut [u32]),
    /// A split, or `"none"`.
    OptionalSplit(&'a mut Option<Split>),
    TrainSplits(&'a mut BTreeSet<Split>),
    /// Splits that can be scored by PSDS while a model trains.
    ValidationSplits(&'a mut BTreeSet<Split>),
    Names(&'a mut BTreeSet<String>),
    SplitNumbers(&'a mut BTreeMap<Split, u32>),
    SplitPaths(&'a mut BTreeMap<Split, PathBuf>),
    SplitFiles(&'a mut BTreeMap<Split, FileOverrides>),
    /// `"none"`, `"previous"`, an iteration by number or name, or files by split.
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
    Files(BTreeMap<Split, PathBuf>),
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
    EmbeddingPooling::Nearest => "nearest",
});
choice!(Keep { Keep::Best => "best", Keep::Last => "last" });
choice!(Reduction { Reduction::Ordered => "ordered", Reduction::Fast => "fast" });
choice!(TeacherInit { TeacherInit::Teacher => "teacher", TeacherInit::Student => "student" });
choice!(WavmixTarget {
    WavmixTarget::Strong => "strong",
    WavmixTarget::Labeled => "labeled",
    WavmixTarget::All => "all",
});
choice!(Preset { Preset::LikeI2 => "i1_like_i2", Preset::Default => "i1_default" });
choice!(DecibelFloor { DecibelFloor::Batch => "batch", DecibelFloor::Clip => "clip" });

/// A choice that may be left as it is.
impl Choice for Option<EmbeddingPooling> {
    fn names(&self) -> Vec<&'static str> {
        let mut names = vec![AS_TRAINED];
        names.extend(EmbeddingPooling::Nearest.names());
        names
    }

    fn name(&self) -> &'static str {
        self.as_ref().map_or(AS_TRAINED, Choice::name)
    }

    fn choose(&mut self, name: &str) -> bool {
        if name == AS_TRAINED {
            *self = None;
            return true;
        }
        let mut chosen = EmbeddingPooling::Nearest;
        let known = chosen.choose(name);
        if known {
            *self = Some(chosen);
        }
        known
    }
}

const AS_TRAINED: &str = "as_trained";

impl Choice for Architecture {
    fn names(&self) -> Vec<&'static str> {
        Self::ALL
            .iter()
            .map(|architecture| architecture.as_str())
            .collect()
    }

    fn name(&self) -> &'static str {
        self.as_str()
    }

    fn choose(&mut self, name: &str) -> bool {
        match Self::ALL
            .into_iter()
            .find(|architecture| architecture.as_str() == name)
        {
            Some(found) => {
                *self = found;
                true
            }
            None => false,
        }
    }
}

impl Slot<'_> {
    /// The type in the reference.
    pub(crate) fn type_name(&self) -> String {
        match self {
            Slot::U32(_) | Slot::U64(_) => "whole number".to_owned(),
            Slot::F64(_) => "number".to_owned(),
            Slot::Bool(_) => "true or false".to_owned(),
            Slot::Text(_) => "text".to_owned(),
            Slot::Path(_) | Slot::OptionalPath(_) => "path".to_owned(),
            Slot::Choice(choice) => choice.names().join(" | "),
            Slot::OptionalU32(_) => "whole number or false".to_owned(),
            Slot::Numbers(slot) => format!("list of {} whole numbers", slot.len()),
            Slot::OptionalSplit(_) => "split or \"none\"".to_owned(),
            Slot::TrainSplits(_) => "list of training splits".to_owned(),
            Slot::ValidationSplits(_) => "list of validation splits".to_owned(),
            Slot::Names(_) => "list of names".to_owned(),
            Slot::SplitNumbers(_) => "table: split = whole number".to_owned(),
            Slot::SplitPaths(_) => "table: split = path".to_owned(),
            Slot::SplitFiles(_) => "table: split = { audio, metadata, durations }".to_owned(),
            Slot::IterationRef(_) => {
                "\"none\", \"previous\", number, name,\nor table: split = path".to_owned()
            }
        }
    }

    /// The value as a plan would write it.
    pub(crate) fn show(&self) -> String {
        fn quoted<T: ToString>(names: impl Iterator<Item = T>) -> String {
            let names: Vec<String> = names
                .map(|name| format!("\"{}\"", name.to_string()))
                .collect();
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
            Slot::OptionalU32(value) => {
                value.map_or_else(|| "false".to_owned(), |number| number.to_string())
            }
            Slot::Numbers(values) => {
                format!(
                    "[{}]",
                    values
                        .iter()
                        .map(u32::to_string)
                        .collect::<Vec<_>>()
                        .join(", ")
                )
            }
            Slot::OptionalSplit(value) => {
                format!(
                    "\"{}\"",
                    value.map_or_else(|| "none".to_owned(), |split| split.to_string())
                )
            }
            Slot::TrainSplits(values) | Slot::ValidationSplits(values) => quoted(values.iter()),
            Slot::Names(values) => quoted(values.iter()),
            Slot::SplitNumbers(values) => {
                let each: Vec<String> = values
                    .iter()
                    .map(|(split, number)| format!("{split} = {number}"))
                    .collect();
                if each.is_empty() {
                    "{}".to_owned()
                } else {
                    format!("{{ {} }}", each.join(", "))
                }
            }
            Slot::SplitPaths(paths) => show_paths(paths),
            Slot::SplitFiles(_) => "{}".to_owned(),
            Slot::OptionalPath(value) => value.as_ref().map_or_else(
                || "none".to_owned(),
                |path| format!("\"{}\"", path.display()),
            ),
            Slot::IterationRef(value) => match value {
                IterationRef::None => "\"none\"".to_owned(),
                IterationRef::Previous => "\"previous\"".to_owned(),
                IterationRef::Number(number) => number.to_string(),
                IterationRef::Name(name) => format!("\"{name}\""),
                IterationRef::Files(files) => show_paths(files),
            },
        }
    }
}

fn show_paths(paths: &BTreeMap<Split, PathBuf>) -> String {
    let each: Vec<String> = paths
        .iter()
        .map(|(split, path)| format!("{split} = \"{}\"", path.display()))
        .collect();
    if each.is_empty() {
        "{}".to_owned()
    } else {
        format!("{{ {} }}", each.join(", "))
    }
}

/// Very small and very large numbers as `5e-4`, the others in full.
fn show_number(value: f64) -> String {
    if value != 0.0 && !(1e-3..1e6).contains(&value.abs()) {
        format!("{value:e}")
    } else {
        value.to_string()
    }
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
