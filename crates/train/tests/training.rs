//! Whole tasks on a tiny procedural data set.

mod support;

use std::collections::BTreeMap;
use std::fs;

use support::{data, rank_process, run_gang, run_solo, train_spec};
use train::Outcome;
use types::{FailureClass, TaskSpec};

/// A rank when started by [`run_gang`].
#[test]
fn as_rank() {
    rank_process();
}

fn no_inputs() -> BTreeMap<String, std::path::PathBuf> {
    BTreeMap::new()
}

#[test]
fn a_gang_of_two_learns_as_a_gang_of_one_stage_1() {
    same_losses(1);
}

#[test]
fn a_gang_of_two_learns_as_a_gang_of_one_stage_2() {
    same_losses(2);
}

/// 20 steps, every other one with a short window that leaves rank 1 idle.
fn same_losses(stage: u32) {
    let folder = tempfile::tempdir().unwrap();
    let data = data(folder.path());
    let mut inputs = no_inputs();
    if stage == 2 {
        let spec = TaskSpec::Train(train_spec(&data, 1, 1));
        let ran = run_solo(&spec, &folder.path().join("init"), &no_inputs(), None, None);
        inputs.insert("init".to_owned(), ran.output("checkpoint"));
    }
    let spec = TaskSpec::Train(train_spec(&data, stage, 10));
    let (one, _) = run_gang("as_rank", &spec, &folder.path().join("one"), &inputs, 1);
    let (two, _) = run_gang("as_rank", &spec, &folder.path().join("two"), &inputs, 2);
    assert_eq!((one.len(), two.len()), (20, 20));
    for (step, (one, two)) in one.iter().zip(&two).enumerate() {
        let relative = (one - two).abs() / one.abs();
        assert!(
            relative < 1e-4,
            "step {step}: {one} alone, {two} in a gang of two"
        );
    }
    assert!(one.iter().any(|loss| loss != &one[0]));
}

#[test]
fn a_resumed_run_ends_in_the_same_bytes() {
    let folder = tempfile::tempdir().unwrap();
    let data = data(folder.path());
    let mut spec = train_spec(&data, 1, 4);
    let whole = run_solo(
        &TaskSpec::Train(spec.clone()),
        &folder.path().join("whole"),
        &no_inputs(),
        None,
        None,
    );
    assert_eq!(whole.host.losses().len(), 8);

    // the host asks for a stop during step 3; that step is finished and handed over
    spec.runtime.checkpoint_every_steps = 2;
    let spec = TaskSpec::Train(spec);
    let first = run_solo(
        &spec,
        &folder.path().join("first"),
        &no_inputs(),
        None,
        Some(3),
    );
    assert_eq!(first.outcome.unwrap(), Outcome::Stopped);
    let steps: Vec<u64> = first
        .host
        .checkpoints
        .iter()
        .map(|(step, _)| *step)
        .collect();
    assert_eq!(steps, [2, 3]);

    for (_, checkpoint) in &first.host.checkpoints {
        let rest = run_solo(
            &spec,
            &folder.path().join("rest"),
            &no_inputs(),
            Some(checkpoint),
            None,
        );
        assert_eq!(
            rest.host.losses(),
            whole.host.losses()[8 - rest.host.losses().len()..]
        );
        assert_eq!(
            fs::read(rest.output("checkpoint")).unwrap(),
            fs::read(whole.output("checkpoint")).unwrap()
        );
    }
}

#[test]
fn the_loss_falls() {
    let folder = tempfile::tempdir().unwrap();
    let data = data(folder.path());
    let mut spec = train_spec(&data, 1, 25);
    spec.training.augmentation.mixup_probability = 0.0;
    let ran = run_solo(
        &TaskSpec::Train(spec),
        &folder.path().join("run"),
        &no_inputs(),
        None,
        None,
    );
    let losses = ran.host.losses();
    let mean = |part: &[f64]| part.iter().sum::<f64>() / part.len() as f64;
    let (early, late) = (mean(&losses[..5]), mean(&losses[losses.len() - 5..]));
    assert!(late < 0.5 * early, "from {early} to {late}");
    let last = ran.host.progress.last().unwrap();
    assert_eq!((last.done, last.total), (50, 50));
    assert!(last.clips_per_second.unwrap() > 0.0);
}

#[test]
fn what_cannot_be_done_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let data = data(folder.path());
    let run = |spec: types::TrainSpec| {
        let ran = run_solo(
            &TaskSpec::Train(spec),
            &folder.path().join("run"),
            &no_inputs(),
            None,
            None,
        );
        let error = ran.outcome.unwrap_err();
        (error.class(), error.to_string())
    };

    let (class, text) = run(train_spec(&data, 2, 1));
    assert_eq!(class, FailureClass::Artifact);
    assert!(text.contains("\"init\""), "{text}");

    let mut spec = train_spec(&data, 1, 3);
    spec.training.optimizer.lr_rnn = 1e30;
    let (class, text) = run(spec);
    assert_eq!(class, FailureClass::NotANumber, "{text}");
    assert!(text.contains("step 2: loss/"), "{text}");

    let mut spec = train_spec(&data, 1, 1);
    spec.training.microbatch.weak = 7;
    let (class, text) = run(spec);
    assert_eq!(class, FailureClass::Configuration, "{text}");
    assert!(text.contains("7 weak clips"), "{text}");

    let mut spec = train_spec(&data, 1, 1);
    spec.training.loss.pseudo = 1.5;
    let (class, text) = run(spec);
    assert_eq!(class, FailureClass::Artifact);
    assert!(text.contains("\"pseudo_labels\""), "{text}");

    let clip = dataset::clips(&data, types::Split::StrongTrain, dataset::Purpose::Training)
        .unwrap()[0]
        .path
        .clone();
    let bytes = fs::read(&clip).unwrap();
    fs::write(&clip, &bytes[..bytes.len() / 2]).unwrap();
    let (class, text) = run(train_spec(&data, 1, 2));
    assert_eq!(class, FailureClass::Data, "{text}");
    assert!(
        text.contains(&*clip.file_name().unwrap().to_string_lossy()),
        "{text}"
    );
}
