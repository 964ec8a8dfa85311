use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use toml::de::DeTable;
use types::{
    DataSettings, Digest, EmbeddingPooling, EvaluationSettings, MemberName, ModelSettings,
    RuntimeSettings, Split, ValidationSettings,
};

use crate::problem::{Problem, Problems};
use crate::resolve::resolve;
use crate::stage::StageSettings;

/// A valid plan: every setting resolved for every iteration, stage and member.
#[derive(Debug, Clone, PartialEq)]
pub struct Plan {
    pub(crate) name: String,
    pub(crate) seed: u64,
    pub(crate) notice: Option<String>,
    pub(crate) text: String,
    pub(crate) path: PathBuf,
    pub(crate) data: DataSettings,
    pub(crate) evaluation: EvaluationSettings,
    pub(crate) validation: Option<ValidationSettings>,
    pub(crate) untrained: bool,
    pub(crate) batch_size: u32,
    pub(crate) prediction: PredictionChanges,
    pub(crate) shards: BTreeMap<Split, u32>,
    pub(crate) runtime: RuntimeSettings,
    pub(crate) members: Vec<Member>,
    pub(crate) iterations: Vec<Iteration>,
}

/// One ensemble member.
#[derive(Debug, Clone, PartialEq)]
pub struct Member {
    /// Its name, unique in the plan.
    pub name: MemberName,
    /// Its network.
    pub model: ModelSettings,
    /// A file whose transformer weights stage 1 starts from; drawn at random without one.
    pub init: Option<PathBuf>,
}

/// Where an iteration's pseudo-labels come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PseudoLabels {
    /// From the ensemble of the earlier iteration of that number.
    Iteration(u32),
    /// From files of stored predictions, by training split.
    Files(BTreeMap<Split, PathBuf>),
}

/// In what predictions differ from the network as it was trained (recipe 10.3, T30).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct PredictionChanges {
    pub(crate) embedding_pooling: Option<EmbeddingPooling>,
    pub(crate) mel_low: Option<u32>,
    pub(crate) mel_high: Option<u32>,
}

/// One pass through the stages.
#[derive(Debug, Clone, PartialEq)]
pub struct Iteration {
    /// Its name, if it has one; its number is its place in the plan, from 1.
    pub name: Option<String>,
    /// What labels the data for it, if anything does.
    pub pseudo_labels: Option<PseudoLabels>,
    /// Settings of stage 1 and stage 2, by member.
    pub stages: [BTreeMap<MemberName, StageSettings>; 2],
}

/// How much of a plan is checked.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Options {
    /// Look whether the data folder and the files that the plan names are there.
    pub check_files: bool,
}

impl Plan {
    /// Reads and checks a plan file.
    ///
    /// # Errors
    /// When the file cannot be read, or with everything that is wrong in it.
    pub fn load(path: &Path, options: Options) -> Result<Self, Problems> {
        let fail = |problem| Problems::new(path, "", vec![problem]);
        let bytes = std::fs::read(path).map_err(|error| {
            fail(
                Problem::of_file(format!("cannot read the plan: {error}"))
                    .hint("check the path and its permissions"),
            )
        })?;
        let text = String::from_utf8(bytes).map_err(|error| {
            let at = error.utf8_error().valid_up_to();
            let line = error.as_bytes()[..at]
                .iter()
                .filter(|byte| **byte == b'\n')
                .count()
                + 1;
            fail(
                Problem::of_file(format!(
                    "the plan is not UTF-8: byte {at} (line {line}) is part of no character"
                ))
                .hint("save it as UTF-8 text"),
            )
        })?;
        // Workers start in other folders, so the data folder must not depend on where this process stands.
        let absolute = std::path::absolute(path).map_err(|error| {
            fail(Problem::of_file(format!(
                "cannot resolve the plan's path: {error}"
            )))
        })?;
        let mut plan = Self::read(&text, &absolute, path, options)?;
        if let Ok(root) = plan.data.root.canonicalize()
            && root.to_str().is_some()
        {
            plan.data.root = root;
        }
        Ok(plan)
    }

    /// Checks the text of a plan. `path` names it in messages; the data folder is relative to the folder of `path`.
    ///
    /// # Errors
    /// With everything that is wrong in the text.
    pub fn parse(text: &str, path: &Path, options: Options) -> Result<Self, Problems> {
        Self::read(text, path, path, options)
    }

    fn read(text: &str, path: &Path, shown: &Path, options: Options) -> Result<Self, Problems> {
        let (root, errors) = DeTable::parse_recoverable(text);
        let mut problems: Vec<Problem> = errors.iter().map(|error| syntax(text, error)).collect();
        let broken: Vec<usize> = problems
            .iter()
            .filter_map(|problem| line_of(text, problem))
            .collect();
        let mut found = Vec::new();
        let plan = resolve(
            &root,
            text,
            path,
            options.check_files,
            errors.is_empty(),
            &mut found,
        );
        // A value on a line that could not be read is whatever the parser made of it.
        problems.extend(
            found.into_iter().filter(|problem| {
                line_of(text, problem).is_none_or(|line| !broken.contains(&line))
            }),
        );
        match plan {
            Some(plan) if problems.is_empty() => Ok(plan),
            _ => Err(Problems::new(shown, text, problems)),
        }
    }

    /// The plan's name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The text it was read from.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The file it was read from, as far as it is known.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The digest of its text.
    #[must_use]
    pub fn digest(&self) -> Digest {
        Digest::of(self.text.as_bytes())
    }

    /// The seed of every random draw.
    #[must_use]
    pub const fn seed(&self) -> u64 {
        self.seed
    }

    /// What is to be printed with the scores.
    #[must_use]
    pub fn notice(&self) -> Option<&str> {
        self.notice.as_deref()
    }

    /// Where the data is, without its manifest's digest.
    #[must_use]
    pub const fn data(&self) -> &DataSettings {
        &self.data
    }

    /// What is scored, and how.
    #[must_use]
    pub const fn evaluation(&self) -> &EvaluationSettings {
        &self.evaluation
    }

    /// What cannot change a result.
    #[must_use]
    pub const fn runtime(&self) -> &RuntimeSettings {
        &self.runtime
    }

    /// The ensemble's members, in the plan's order.
    #[must_use]
    pub fn members(&self) -> &[Member] {
        &self.members
    }

    /// The iterations, in order.
    #[must_use]
    pub fn iterations(&self) -> &[Iteration] {
        &self.iterations
    }
}

/// A parser's error as one of ours.
fn syntax(text: &str, error: &toml::de::Error) -> Problem {
    let mut span = error.span().unwrap_or(text.len()..text.len());
    if span.is_empty()
        && span.start < text.len()
        && !text[span.start.min(text.len())..].starts_with('\n')
    {
        span.end = span.start + 1;
    }
    let problem = Problem::new(span, format!("this is not TOML: {}", error.message()));
    if error.message().contains("duplicate key") {
        return problem.label("given before").hint("remove one of the two");
    }
    problem
}

fn line_of(text: &str, problem: &Problem) -> Option<usize> {
    let start = problem.span.as_ref()?.start.min(text.len());
    Some(
        text.as_bytes()[..start]
            .iter()
            .filter(|byte| **byte == b'\n')
            .count(),
    )
}
