//! Checkpoints: student, teacher, optimizer state, step; nothing about the gang (ARCHITECTURE.md, "Sameness").

use std::collections::BTreeMap;
use std::path::Path;

use model::{SedModel, TensorFile, write_tensors};
use types::TrainSpec;

use crate::{Error, Learner, Optimizer};

/// Names of the student's tensors begin with this,
pub(crate) const STUDENT: &str = "student.";
/// the teacher's with this.
pub(crate) const TEACHER: &str = "teacher.";
const STEP: &str = "step";

/// Writes a checkpoint after `step` updates.
pub(crate) fn save(
    path: &Path,
    spec: &TrainSpec,
    step: u64,
    learner: &Learner,
) -> Result<(), Error> {
    let mut tensors = learner.optimizer().tensors();
    for (prefix, model) in [(STUDENT, learner.student()), (TEACHER, learner.teacher())] {
        tensors.extend(
            model
                .store()
                .iter()
                .map(|(name, _, tensor)| (format!("{prefix}{name}"), tensor.shallow_clone())),
        );
    }
    let metadata = BTreeMap::from([
        (STEP.to_owned(), step.to_string()),
        ("iteration".to_owned(), spec.iteration.to_string()),
        ("stage".to_owned(), spec.stage.to_string()),
        ("member".to_owned(), spec.member.to_string()),
        (
            "model".to_owned(),
            serde_json::json!(spec.model).to_string(),
        ),
    ]);
    Ok(write_tensors(path, &tensors, &metadata)?)
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

/// Takes everything over from this task's own checkpoint; returns the updates made.
pub(crate) fn resume(
    path: &Path,
    student: &SedModel,
    teacher: &SedModel,
    optimizer: &Optimizer,
) -> Result<u64, Error> {
    let file = TensorFile::open(path)?;
    load_networks(&file, student, teacher, TEACHER)?;
    optimizer.load(&file)?;
    let step = file.metadata(STEP)?;
    step.parse()
        .map_err(|_| Error::from(file.content(format!("step {step:?}"), "a number".to_owned())))
}
