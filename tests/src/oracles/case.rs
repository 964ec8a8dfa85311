//! One case of reference values that a description and tensors make up.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use model::TensorFile;
use serde_json::Value;
use tch::{Kind, Tensor};

use super::rows::{CaseReport, Outcome, Row, Rows, Tolerance};

/// A case that is being run.
#[derive(Debug)]
pub struct Case {
    /// The description.
    pub json: Value,
    /// The folder that it lies in.
    pub folder: PathBuf,
    /// The description's file.
    pub path: PathBuf,
    name: String,
    tensors: Option<TensorFile>,
    /// What was compared so far.
    pub rows: Rows,
    compared: RefCell<BTreeSet<String>>,
}

/// Roles of tensors that have to be compared.
const COMPARED: [&str; 3] = ["output", "intermediate", "grad"];
/// Roles of tensors that are taken over.
const TAKEN: [&str; 2] = ["input", "draw"];

impl Case {
    /// Reads a description and opens its tensors.
    ///
    /// # Errors
    /// When a file cannot be read or is not what the README describes.
    pub fn open(path: &Path) -> Result<Self> {
        let text = std::fs::read_to_string(path)
            .with_context(|| format!("cannot read {}", path.display()))?;
        let json: Value = serde_json::from_str(&text)
            .with_context(|| format!("{} is no JSON", path.display()))?;
        let folder = path.parent().unwrap_or(Path::new(".")).to_owned();
        let stem = path.file_stem().unwrap_or_default().to_string_lossy();
        let name = json["case"].as_str().unwrap_or(&stem).to_owned();
        let tensors = match json["files"]["tensors"].as_str() {
            Some(file) => Some(TensorFile::open(&folder.join(file))?),
            None => None,
        };
        for (tensor, entry) in json["tensors"].as_object().into_iter().flatten() {
            let role = entry["role"].as_str().unwrap_or("none");
            ensure!(
                COMPARED.contains(&role) || TAKEN.contains(&role),
                "{tensor} has the role {role}, expected one of {COMPARED:?} or {TAKEN:?}"
            );
        }
        Ok(Self {
            json,
            folder,
            path: path.to_owned(),
            name,
            tensors,
            rows: Rows::default(),
            compared: RefCell::default(),
        })
    }

    /// The case's own name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Whether nothing in it is to be compared: a file of inputs for other cases.
    #[must_use]
    pub fn is_input(&self) -> bool {
        let mut tensors = self.json["tensors"].as_object().into_iter().flatten();
        self.json["tensors"].is_object() && tensors.all(|(_, entry)| entry["role"] == "input")
    }

    /// Names of all tensors with this role.
    pub fn with_role<'a>(&'a self, role: &'a str) -> impl Iterator<Item = &'a str> {
        let tensors = self.json["tensors"].as_object().into_iter().flatten();
        tensors
            .filter(move |(_, entry)| entry["role"] == role)
            .map(|(name, _)| name.as_str())
    }

    /// Of a value on the way, of which a description may keep the first part of some axes, as much as was kept; anything else as
    /// it is.
    ///
    /// # Errors
    /// When there is no such tensor.
    pub fn kept(&self, name: &str, got: &Tensor) -> Result<Tensor> {
        let (mine, theirs) = (got.size(), self.tensor(name)?.size());
        let on_the_way = self.json["tensors"][name]["role"] == "intermediate";
        if !on_the_way || mine.len() != theirs.len() {
            return Ok(got.shallow_clone());
        }
        let sizes = mine.into_iter().zip(theirs);
        Ok((0..)
            .zip(sizes)
            .fold(got.shallow_clone(), |got, (axis, (mine, theirs))| {
                got.narrow(axis, 0, theirs.min(mine))
            }))
    }

    /// Names of the tensors that have to be compared, but those that the case calls ill-conditioned.
    pub fn expected(&self) -> impl Iterator<Item = &str> {
        let tensors = self.json["tensors"].as_object().into_iter().flatten();
        tensors
            .filter(|(name, entry)| {
                entry["role"]
                    .as_str()
                    .is_some_and(|role| COMPARED.contains(&role))
                    && !self.is_ill_conditioned(name)
            })
            .map(|(name, _)| name.as_str())
    }

    fn is_ill_conditioned(&self, name: &str) -> bool {
        let list = self.json["ill_conditioned"].as_array();
        list.into_iter().flatten().any(|other| other == name)
    }

    /// Whether there is a tensor of this name.
    #[must_use]
    pub fn has(&self, name: &str) -> bool {
        self.json["tensors"].get(name).is_some()
    }

    /// A tensor of the case; halves become float32, as which all was computed.
    ///
    /// # Errors
    /// When it is not there or not as the description says.
    pub fn tensor(&self, name: &str) -> Result<Tensor> {
        let Some(file) = &self.tensors else {
            bail!("the case has no file of tensors, expected {name} in one");
        };
        let tensor = file.tensor(name)?;
        let shape = serde_json::json!(tensor.size());
        let described = &self.json["tensors"][name]["shape"];
        ensure!(
            *described == shape,
            "{name} has the shape {shape} in its file, the description says {described}"
        );
        Ok(widen(tensor))
    }

    /// The state dict beside the case.
    ///
    /// # Errors
    /// When there is none.
    pub fn state_dict(&self) -> Result<BTreeMap<String, Tensor>> {
        let Some(file) = self.json["files"]["state_dict"].as_str() else {
            bail!("the case names no state dict, expected one under files");
        };
        read_all(&self.folder.join(file))
    }

    /// Compares a tensor: integers and masks exactly, everything else by the case's tolerance.
    ///
    /// # Errors
    /// When there is no such tensor.
    pub fn check(&self, name: &str, got: &Tensor) -> Result<()> {
        self.check_as(name, name, got)
    }

    /// As [`Self::check`], for a second way to the same values.
    ///
    /// # Errors
    /// When there is no such tensor.
    pub fn check_as(&self, label: &str, name: &str, got: &Tensor) -> Result<()> {
        let want = self.tensor(name)?;
        let exact = !want.is_floating_point();
        let tolerance = match exact {
            true => Tolerance::EXACT,
            false => self.tolerance(name)?,
        };
        let shape = |x: &Tensor| -> Vec<i64> { x.size().into_iter().filter(|n| *n != 1).collect() };
        let mut row = Row {
            round_off: self.json["float32_vs_float64_max_abs"][name].as_f64(),
            ..Row::new(label, tolerance)
        };
        if shape(&want) == shape(got) {
            let double = |x: &Tensor| x.detach().to_kind(Kind::Double).flatten(0, -1);
            let (want, got) = (double(&want), double(got));
            let error = (&got - &want).abs();
            let limit = want.abs() * tolerance.rtol + tolerance.atol;
            let ratio = (&error / limit).where_self(&error.not_equal(0.0), &error.zeros_like());
            // the largest of nothing is no number
            let largest = |x: &Tensor| match x.numel() {
                0 => 0.0,
                _ => x.max().double_value(&[]),
            };
            row.judge(largest(&error), largest(&ratio));
        } else {
            let (got, want) = (got.size(), want.size());
            row.outcome = Outcome::Failed(format!("shape {got:?}, expected {want:?}"));
        }
        self.compared.borrow_mut().insert(name.to_owned());
        self.rows.push(row);
        Ok(())
    }

    fn tolerance(&self, name: &str) -> Result<Tolerance> {
        let tolerance = &self.json["tolerance"];
        let rule = (tolerance["per_tensor"].get(name)).unwrap_or(&tolerance["default"]);
        Tolerance::read(rule).with_context(|| format!("tolerance of {name}"))
    }

    /// The tolerance of what no other one is given for.
    ///
    /// # Errors
    /// When the case has none.
    pub fn default_tolerance(&self) -> Result<Tolerance> {
        Tolerance::read(&self.json["tolerance"]["default"]).context("the case's default tolerance")
    }

    /// Ends the case: what should have been compared and was not is a failure.
    #[must_use]
    pub fn finish(self, run: Result<()>) -> CaseReport {
        let compared = self.compared.borrow();
        for (name, entry) in self.json["tensors"].as_object().into_iter().flatten() {
            let counts = entry["role"]
                .as_str()
                .is_some_and(|role| COMPARED.contains(&role));
            if !counts || compared.contains(name) {
                continue;
            }
            match self.is_ill_conditioned(name) {
                true => self.rows.push(Row {
                    outcome: Outcome::IllConditioned,
                    ..Row::new(name, Tolerance::EXACT)
                }),
                false => self.rows.not_compared(name),
            }
        }
        drop(compared);
        self.rows.into_report(self.name, run)
    }
}

fn widen(tensor: Tensor) -> Tensor {
    match tensor.kind() {
        Kind::Half => tensor.to_kind(Kind::Float),
        _ => tensor,
    }
}

/// Every tensor of a file; halves become float32.
///
/// # Errors
/// When it cannot be read.
pub(crate) fn read_all(path: &Path) -> Result<BTreeMap<String, Tensor>> {
    let file = TensorFile::open(path)?;
    file.names()
        .map(|name| Ok((name.to_owned(), widen(file.tensor(name)?))))
        .collect()
}

/// A number of a description.
///
/// # Errors
/// When it is missing or no number.
pub(crate) fn number(value: &Value, key: &str) -> Result<f64> {
    (value[key].as_f64()).with_context(|| format!("{key} is {}, expected a number", value[key]))
}

/// A whole number of a description, written as 4 or 4.0.
///
/// # Errors
/// When it is missing, negative or has a fraction.
pub(crate) fn whole(value: &Value, key: &str) -> Result<u64> {
    as_whole(&value[key])
        .with_context(|| format!("{key} is {}, expected a whole number", value[key]))
}

fn as_whole(value: &Value) -> Option<u64> {
    let fits = |number: &f64| number.fract() == 0.0 && (0.0..9e15).contains(number);
    value
        .as_u64()
        .or_else(|| value.as_f64().filter(fits).map(|number| number as u64))
}

/// A size of a description.
///
/// # Errors
/// As [`whole`], and when it is beyond all measure.
pub(crate) fn size(value: &Value, key: &str) -> Result<u32> {
    u32::try_from(whole(value, key)?).with_context(|| format!("{key} is too large"))
}

/// A text of a description.
///
/// # Errors
/// When it is missing or no text.
pub(crate) fn text<'a>(value: &'a Value, key: &str) -> Result<&'a str> {
    (value[key].as_str()).with_context(|| format!("{key} is {}, expected a text", value[key]))
}

/// A list of a description.
///
/// # Errors
/// When it is missing or no list.
pub(crate) fn items<'a>(value: &'a Value, key: &str) -> Result<&'a [Value]> {
    match value[key].as_array() {
        Some(list) => Ok(list),
        None => bail!("{key} is {}, expected a list", value[key]),
    }
}

/// A list of numbers.
///
/// # Errors
/// When it is missing or has other things in it.
pub(crate) fn numbers(value: &Value, key: &str) -> Result<Vec<f64>> {
    items(value, key)?
        .iter()
        .map(|item| (item.as_f64()).with_context(|| format!("{key} has {item}, expected numbers")))
        .collect()
}

/// A list of sizes.
///
/// # Errors
/// When it is missing or has other things in it.
pub(crate) fn sizes(value: &Value, key: &str) -> Result<Vec<u32>> {
    items(value, key)?
        .iter()
        .map(|item| {
            (as_whole(item).and_then(|item| u32::try_from(item).ok()))
                .with_context(|| format!("{key} has {item}, expected sizes"))
        })
        .collect()
}

/// Named entries of a description.
///
/// # Errors
/// When they are missing.
pub(crate) fn entries<'a>(
    value: &'a Value,
    key: &str,
) -> Result<&'a serde_json::Map<String, Value>> {
    (value[key].as_object())
        .with_context(|| format!("{key} is {}, expected named entries", value[key]))
}

/// A switch, which descriptions write as true, 1, false, 0 or null.
#[must_use]
pub(crate) fn switch(value: &Value) -> bool {
    value
        .as_bool()
        .unwrap_or_else(|| value.as_f64().is_some_and(|number| number != 0.0))
}

/// The whole number that follows `marker` in a text.
#[must_use]
pub(crate) fn number_after(text: &str, marker: &str) -> Option<u32> {
    let (_, rest) = text.split_once(marker)?;
    let digits = rest.len() - rest.trim_start_matches(|c: char| c.is_ascii_digit()).len();
    rest[..digits].parse().ok()
}
