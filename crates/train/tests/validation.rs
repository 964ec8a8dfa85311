//! Scores of the student while it trains, and which state is the result.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod support;

use std::collections::BTreeMap;
use std::path::Path;

use model::TensorFile;
use support::{Recorder, data, rank_process, run_gang, run_solo, train_spec};
use train::Outcome;
use types::{DataSettings, Keep, MetricPoint, Split, TaskSpec, TrainSpec, ValidationSettings};

const OBJECTIVE: &str = "validation/objective";

/// A rank when started by [`run_gang`].
#[test]
fn as_rank() {
    rank_process();
}

/// Two steps an epoch; steps so large that scores go up and down.
fn spec(data: &DataSettings, epochs: u32, every_epochs: u32, keep: Keep) -> TrainSpec {
    let mut spec = train_spec(data, 1, epochs);
    spec.training.optimizer.lr_cnn = 3e-2;
    spec.training.optimizer.lr_rnn = 3e-2;
    let names = |list: &[&str]| list.iter().map(|name| (*name).to_owned()).collect();
    spec.validation = Some(ValidationSettings {
        every_epochs,
        desed: [Split::SynthValidation].into(),
        maestro: true,
        desed_classes: names(types::desed_classes()),
        maestro_classes: names(&types::MAESTRO_EVALUATED),
        batch_size: 3,
        keep,
    });
    spec
}

/// Step and values of each validation.
fn validations(points: &[MetricPoint]) -> Vec<(u64, BTreeMap<&str, f64>)> {
    let validated = points
        .iter()
        .filter(|point| point.values.contains_key(OBJECTIVE));
    validated
        .map(|point| {
            let values = point.values.iter();
            let own = values.filter(|(name, _)| name.starts_with("validation/"));
            (
                point.step.0,
                own.map(|(name, value)| (name.as_str(), *value)).collect(),
            )
        })
        .collect()
}

/// The step with the highest objective, the first of several.
fn best_step(host: &Recorder) -> u64 {
    let mut best = (0, f64::MIN);
    for (step, values) in validations(&host.metrics) {
        if values[OBJECTIVE] > best.1 {
            best = (step, values[OBJECTIVE]);
        }
    }
    best.0
}

fn same_networks(one: &Path, two: &Path) -> bool {
    let (one, two) = (
        TensorFile::open(one).unwrap(),
        TensorFile::open(two).unwrap(),
    );
    let mut names = one
        .names()
        .filter(|name| name.starts_with("student.") || name.starts_with("teacher."));
    names.all(|name| one.tensor(name).unwrap() == two.tensor(name).unwrap())
}

#[test]
fn every_other_epoch_and_the_last_are_validated_and_the_best_is_the_result() {
    let folder = tempfile::tempdir().unwrap();
    let data = data(folder.path());
    let mut spec = spec(&data, 7, 2, Keep::Best);
    spec.runtime.checkpoint_every_steps = 1;
    let run = |spec: &TrainSpec, name: &str| {
        run_solo(
            &TaskSpec::Train(spec.clone()),
            &folder.path().join(name),
            &BTreeMap::new(),
            None,
            None,
        )
    };
    let ran = run(&spec, "best");
    let found = validations(&ran.host.metrics);
    let steps: Vec<u64> = found.iter().map(|(step, _)| *step).collect();
    assert_eq!(steps, [4, 8, 12, 14]);
    for (_, values) in &found {
        let parts =
            ["validation/psds1/synth_validation", "validation/mpauc"].map(|name| values[name]);
        assert_eq!(values.len(), 3);
        assert_eq!(values[OBJECTIVE], parts[1] + parts[0]);
        assert!(
            parts.iter().all(|part| (0.0..=1.0).contains(part)),
            "{parts:?}"
        );
    }
    let best = best_step(&ran.host);
    assert!(
        best < 14,
        "the last state is the best one: this data shows nothing, {found:?}"
    );
    let result = ran.output("checkpoint");
    assert_eq!(
        TensorFile::open(&result).unwrap().metadata("step").unwrap(),
        best.to_string()
    );
    for (step, checkpoint) in &ran.host.checkpoints {
        assert_eq!(
            same_networks(&result, checkpoint),
            *step == best,
            "step {step}"
        );
    }

    spec.validation.as_mut().unwrap().keep = Keep::Last;
    let last = run(&spec, "last");
    assert_eq!(validations(&last.host.metrics), found);
    let result = TensorFile::open(&last.output("checkpoint")).unwrap();
    assert_eq!(result.metadata("step").unwrap(), "14");

    // looking at a student does not change it
    spec.validation = None;
    let unseen = run(&spec, "unseen");
    assert_eq!(unseen.host.losses(), last.host.losses());
    assert!(same_networks(
        &unseen.output("checkpoint"),
        &last.output("checkpoint")
    ));
}

#[test]
fn a_resumed_run_remembers_the_best_state() {
    let folder = tempfile::tempdir().unwrap();
    let data = data(folder.path());
    let mut spec = spec(&data, 7, 2, Keep::Best);
    spec.runtime.checkpoint_every_steps = 4;
    let spec = TaskSpec::Train(spec);
    let inputs = BTreeMap::new();
    let whole = run_solo(&spec, &folder.path().join("whole"), &inputs, None, None);
    let best = best_step(&whole.host);
    let first = run_solo(&spec, &folder.path().join("first"), &inputs, None, Some(13));
    assert_eq!(first.outcome.unwrap(), Outcome::Stopped);
    for (step, checkpoint) in &first.host.checkpoints {
        let rest = run_solo(
            &spec,
            &folder.path().join("rest"),
            &inputs,
            Some(checkpoint),
            None,
        );
        assert_eq!(
            std::fs::read(rest.output("checkpoint")).unwrap(),
            std::fs::read(whole.output("checkpoint")).unwrap(),
            "resumed after {step}, best after {best}"
        );
    }
    assert!(first.host.checkpoints.iter().any(|(step, _)| *step > best));
}

#[test]
fn a_gang_shares_the_clips_and_sees_what_one_sees() {
    let folder = tempfile::tempdir().unwrap();
    let data = data(folder.path());
    let spec = TaskSpec::Train(spec(&data, 2, 1, Keep::Best));
    let run = |size: usize| {
        let place = folder.path().join(size.to_string());
        run_gang("as_rank", &spec, &place, &BTreeMap::new(), size).0
    };
    let (one, two) = (run(1), run(2));
    let (one, two) = (validations(&one), validations(&two));
    assert_eq!(one.len(), 2);
    assert_eq!(one, two);
}
