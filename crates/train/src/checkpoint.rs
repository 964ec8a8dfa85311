//! Checkpoints: student, teacher, optimizer state, step; nothing about the gang (ARCHITECTURE.md, "Sameness").

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use model::{Role, SedModel, TensorFile, write_tensors};
use types::TrainSpec;

use tch::{Device, Tensor};

use crate::validation::Best;
use crate::{Error, Learner, Optimizer};

/// Names of the student's tensors begin with this,
pub(crate) const STUDENT: &str = "student.";
/// the teacher's with this.
pub(crate) const TEACHER: &str = "teacher.";
const STEP: &str = "step";
/// The best state beside the last one: before its tensors' names,
const BEST: &str = "best.";
/// when it was validated,
const BEST_STEP: &str = "best_step";
/// and its objective.
const OBJECTIVE: &str = "best_objective";

/// Where a rank writes its checkpoints and its result, one at a time.
pub(crate) fn path(scratch: &Path) -> PathBuf {
    scratch.join("checkpoint.safetensors")
}

/// A tensor of the present state.
pub(crate) struct Source {
    pub(crate) name: String,
    pub(crate) tensor: Tensor,
    /// No step changes it: a frozen weight of the student, and its copy in the teacher.
    pub(crate) is_constant: bool,
}

/// Everything of the present state: optimizer, student, teacher.
pub(crate) fn sources(learner: &Learner) -> Vec<Source> {
    let moments = learner.optimizer().tensors().into_iter();
    let moments = moments.map(|(name, tensor)| Source {
        name,
        tensor,
        is_constant: false,
    });
    let student = learner.student().store();
    let networks = [(STUDENT, student), (TEACHER, learner.teacher().store())];
    let networks = networks.into_iter().flat_map(|(prefix, store)| {
        let pairs = store.iter().zip(student.iter());
        pairs.map(move |((name, role, tensor), (_, _, students))| Source {
            name: format!("{prefix}{name}"),
            tensor: tensor.shallow_clone(),
            is_constant: role == Role::Parameter && !students.requires_grad(),
        })
    });
    moments.chain(networks).collect()
}

/// What a checkpoint file holds.
pub(crate) struct Content {
    tensors: Vec<(String, Tensor)>,
    metadata: BTreeMap<String, String>,
}

impl Content {
    /// The state after `step` updates, with the best state so far beside it.
    pub(crate) fn new(
        spec: &TrainSpec,
        step: u64,
        mut tensors: Vec<(String, Tensor)>,
        best: Option<&Best>,
    ) -> Self {
        let mut metadata = metadata(spec, step);
        if let Some(best) = best {
            metadata.insert(BEST_STEP.to_owned(), best.step.to_string());
            metadata.insert(OBJECTIVE.to_owned(), best.objective.to_string());
            // never changed, so that it can be shared
            let beside = best.tensors.iter();
            tensors.extend(
                beside.map(|(name, tensor)| (format!("{BEST}{name}"), tensor.shallow_clone())),
            );
        }
        Self { tensors, metadata }
    }

    /// Bytes of all tensors.
    pub(crate) fn bytes(&self) -> u64 {
        let tensors = self.tensors.iter();
        let bytes = tensors.map(|(_, tensor)| tensor.numel() * tensor.kind().elt_size_in_bytes());
        bytes.sum::<usize>() as u64
    }

    /// The present state as it is, without a copy: for when no step follows.
    pub(crate) fn present(spec: &TrainSpec, step: u64, learner: &Learner) -> Self {
        let sources = sources(learner).into_iter();
        let tensors = sources.map(|source| (source.name, source.tensor)).collect();
        Self::new(spec, step, tensors, None)
    }

    /// The best state alone: the result of a task that keeps it.
    pub(crate) fn best(spec: &TrainSpec, best: &Best) -> Self {
        let mut metadata = metadata(spec, best.step);
        metadata.insert(OBJECTIVE.to_owned(), best.objective.to_string());
        let tensors = best.tensors.iter();
        let tensors = tensors.map(|(name, tensor)| (name.clone(), tensor.shallow_clone()));
        Self {
            tensors: tensors.collect(),
            metadata,
        }
    }

    /// Writes it; equal content gives equal bytes.
    pub(crate) fn write(&self, path: &Path) -> Result<(), Error> {
        Ok(write_tensors(path, &self.tensors, &self.metadata)?)
    }
}

/// Copies both networks to main memory.
pub(crate) fn keep(step: u64, objective: f64, learner: &Learner) -> Best {
    let copies = networks(learner).into_iter();
    Best {
        step,
        objective,
        tensors: tch::no_grad(|| {
            copies
                .map(|(name, tensor)| (name, tensor.to_device(Device::Cpu).copy()))
                .collect()
        }),
    }
}

fn networks(learner: &Learner) -> Vec<(String, Tensor)> {
    let both = [(STUDENT, learner.student()), (TEACHER, learner.teacher())];
    let named = both.iter().flat_map(|(prefix, model)| {
        let tensors = model.store().iter();
        tensors.map(move |(name, _, tensor)| (format!("{prefix}{name}"), tensor.shallow_clone()))
    });
    named.collect()
}

fn metadata(spec: &TrainSpec, step: u64) -> BTreeMap<String, String> {
    BTreeMap::from([
        (STEP.to_owned(), step.to_string()),
        ("iteration".to_owned(), spec.iteration.to_string()),
        ("stage".to_owned(), spec.stage.to_string()),
        ("member".to_owned(), spec.member.to_string()),
        (
            "model".to_owned(),
            serde_json::json!(spec.model).to_string(),
        ),
    ])
}

/// Takes both networks over from a checkpoint; the teacher's tensors stand below `teacher_prefix`.
pub(crate) fn load_networks(
    file: &TensorFile,
    student: &SedModel,
    teacher: &SedModel,
    teacher_prefix: &str,
) -> Result<(), Error> {
    student.store().load(file, STUDENT)?;
    teacher.store().load(file, teacher_prefix)?;
    Ok(())
}

/// Takes everything over from this task's own checkpoint; returns the updates made and the best state.
pub(crate) fn resume(
    path: &Path,
    student: &SedModel,
    teacher: &SedModel,
    optimizer: &Optimizer,
) -> Result<(u64, Option<Best>), Error> {
    let file = TensorFile::open(path)?;
    load_networks(&file, student, teacher, TEACHER)?;
    optimizer.load(&file)?;
    Ok((number(&file, STEP)?, best(&file)?))
}

fn best(file: &TensorFile) -> Result<Option<Best>, Error> {
    if file.metadata(BEST_STEP).is_err() {
        return Ok(None);
    }
    let names = file.names().filter_map(|name| name.strip_prefix(BEST));
    let tensors = names.map(|name| Ok((name.to_owned(), file.tensor(&format!("{BEST}{name}"))?)));
    Ok(Some(Best {
        step: number(file, BEST_STEP)?,
        objective: number(file, OBJECTIVE)?,
        tensors: tensors.collect::<Result<_, Error>>()?,
    }))
}

fn number<T: std::str::FromStr>(file: &TensorFile, key: &str) -> Result<T, Error> {
    let text = file.metadata(key)?;
    text.parse()
        .map_err(|_| Error::from(file.content(format!("{key} {text:?}"), "a number".to_owned())))
}
