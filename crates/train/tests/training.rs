//! Whole tasks on a tiny procedural data set.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::PathBuf;

use support::{data, run_checked, run_solo, train_spec};
use train::Outcome;
use types::{
    DataSettings, Estimate, EvaluateSpec, EvaluationSettings, FailureClass, MemberName,
    PostProcessing, PredictSpec, PseudoLabelSpec, ScoreReport, ShownClips, Split, Subject,
    TaskSpec,
};

fn no_inputs() -> BTreeMap<String, PathBuf> {
    BTreeMap::new()
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
    let mut spec = train_spec(&data, 1, 20);
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
    assert!(late < 0.8 * early, "from {early} to {late}");
    let last = ran.host.progress.last().unwrap();
    assert_eq!((last.done, last.total), (40, 40));
    assert!(last.clips_per_second.unwrap() > 0.0);
}

/// Stage 1, stage 2, predictions, pseudo-labels, iteration 2, scores.
#[test]
fn the_whole_way_round() {
    let folder = tempfile::tempdir().unwrap();
    let data = data(folder.path());
    let run = |name: &str, spec: TaskSpec, inputs: &BTreeMap<String, PathBuf>| {
        run_solo(&spec, &folder.path().join(name), inputs, None, None)
    };
    let stage1 = run("s1", TaskSpec::Train(train_spec(&data, 1, 1)), &no_inputs());
    let init = BTreeMap::from([("init".to_owned(), stage1.output("checkpoint"))]);
    let stage2 = run("s2", TaskSpec::Train(train_spec(&data, 2, 1)), &init);
    let checkpoint = BTreeMap::from([("checkpoint".to_owned(), stage2.output("checkpoint"))]);

    // two shards of the training splits, one of the evaluated ones
    let train_splits = data
        .sources
        .keys()
        .copied()
        .filter(|split| split.is_train())
        .collect::<Vec<_>>();
    let scored = [Split::DesedValidation, Split::MaestroValidation];
    let mut logits = BTreeMap::new();
    for split in train_splits.iter().copied().chain(scored) {
        let num_shards = if split.is_train() { 2 } else { 1 };
        for shard in 0..num_shards {
            let spec = predict_spec(&data, 2, split, shard, num_shards);
            let name = format!("p.{split}.{shard}");
            let ran = run(&name, TaskSpec::Predict(spec), &checkpoint);
            logits.insert(format!("logits/tiny/{split}/{shard}"), ran.output("logits"));
        }
    }
    let members = BTreeSet::from([MemberName::new("tiny").unwrap()]);
    let labeling = TaskSpec::PseudoLabel(PseudoLabelSpec {
        iteration: 1,
        members: members.clone(),
        splits: train_splits.iter().map(|split| (*split, 2)).collect(),
    });
    let labeled = run("label", labeling, &logits);
    let labels = BTreeMap::from([("pseudo_labels".to_owned(), labeled.output("pseudo_labels"))]);

    let mut spec = train_spec(&data, 1, 1);
    spec.iteration = 2;
    spec.training.loss.pseudo = 1.5;
    let second = run("i2", TaskSpec::Train(spec), &labels);
    assert!(second.host.metrics[0].values["loss/pseudo"] > 0.0);

    let evaluation = TaskSpec::Evaluate(EvaluateSpec {
        seed: 5,
        iteration: 1,
        stage: 2,
        subject: Subject::Ensemble,
        members,
        data: data.clone(),
        evaluation: EvaluationSettings {
            desed: Some(Split::DesedValidation),
            test: None,
            maestro: Some(Split::MaestroValidation),
            desed_classes: dataset::desed_classes()
                .iter()
                .map(|x| (*x).to_owned())
                .collect(),
            maestro_classes: dataset::MAESTRO_EVALUATED
                .iter()
                .map(|x| (*x).to_owned())
                .collect(),
            replicates: 20,
            clips: 3,
        },
        shards: scored.map(|split| (split, 1)).into(),
    });
    let scores = run("scores", evaluation.clone(), &logits);
    let report: ScoreReport =
        serde_json::from_slice(&fs::read(scores.output("scores")).unwrap()).unwrap();
    let events = &report.events[&Split::DesedValidation];
    let after: Vec<PostProcessing> = events.iter().map(|scores| scores.post_processing).collect();
    assert_eq!(after, PostProcessing::ALL);
    let segments = report.segments.as_ref().unwrap();
    let mut values = vec![segments.mpauc];
    for scores in events {
        assert_eq!(scores.clips, 6);
        assert_eq!(scores.roc_by_class.len(), scores.psds1_by_class.len());
        values.extend([scores.psds1, scores.psds2, scores.psds1_class_mean]);
        values.extend(scores.psds1_by_class.values().map(|class| class.score));
    }
    for Estimate { value, interval } in values {
        assert!((0.0..=1.0).contains(&value), "{report:?}");
        assert!(interval.is_none_or(|[low, high]| low <= high), "{report:?}");
    }
    assert!(!segments.pauc_by_class.is_empty());
    assert_eq!(report.tuned_on, Some(Split::DesedValidation));
    assert_eq!(report.csebbs.len(), events[0].psds1_by_class.len());
    let shown: ShownClips =
        serde_json::from_slice(&fs::read(scores.output("clips")).unwrap()).unwrap();
    assert_eq!(shown.clips.len(), 3);
    assert!(
        shown.clips.is_sorted_by(|(one, _), (two, _)| one >= two),
        "the best first"
    );
    for (agreement, clip) in &shown.clips {
        assert!((0.0..=1.0).contains(agreement));
        assert!(!clip.truth.as_ref().unwrap().is_empty());
        assert_eq!(clip.spectrogram.columns(), 625);
        assert_eq!(
            clip.found.scores.len(),
            (clip.found.boundaries.len() - 1) * clip.found.classes.len()
        );
    }
    let again = run("again", evaluation.clone(), &logits);
    assert_eq!(
        fs::read(again.output("scores")).unwrap(),
        fs::read(scores.output("scores")).unwrap(),
        "the bootstrap draws by the plan's seed"
    );

    // labels of other clips, and a file cut short
    let mut swapped = logits.clone();
    let other = logits["logits/tiny/maestro_validation/0"].clone();
    swapped.insert("logits/tiny/desed_validation/0".to_owned(), other.clone());
    assert!(
        run("swapped", evaluation.clone(), &swapped)
            .outcome
            .is_err()
    );
    let bytes = fs::read(&other).unwrap();
    fs::write(&other, &bytes[..bytes.len() - 1]).unwrap();
    let error = run("cut", evaluation, &logits).outcome.unwrap_err();
    assert_eq!(error.class(), FailureClass::Artifact);
    assert!(error.to_string().contains("cut off or damaged"), "{error}");
}

/// An untrained model needs no checkpoint, and says the same each time.
#[test]
fn an_untrained_model_predicts() {
    let folder = tempfile::tempdir().unwrap();
    let data = data(folder.path());
    let spec = TaskSpec::Predict(predict_spec(&data, 0, Split::DesedValidation, 0, 1));
    let bytes = |name: &str| {
        let ran = run_solo(&spec, &folder.path().join(name), &no_inputs(), None, None);
        fs::read(ran.output("logits")).unwrap()
    };
    assert_eq!(bytes("a"), bytes("b"));
}

fn predict_spec(
    data: &DataSettings,
    stage: u32,
    split: Split,
    shard: u32,
    num_shards: u32,
) -> PredictSpec {
    let like = train_spec(data, 1, 1);
    PredictSpec {
        seed: like.seed,
        iteration: 1,
        stage,
        member: like.member,
        model: like.model,
        data: like.data,
        split,
        shard,
        num_shards,
        batch_size: 4,
        runtime: like.runtime,
    }
}

#[test]
fn other_data_is_refused_before_anything_is_learned() {
    let folder = tempfile::tempdir().unwrap();
    let data = data(folder.path());
    let manifest = folder.path().join("manifest.json");
    let built = dataset::Manifest::build(&data, None).unwrap();
    fs::write(&manifest, built.to_json()).unwrap();
    let spec = TaskSpec::Train(train_spec(&data, 1, 1));
    let run = |name: &str| run_checked(&spec, &folder.path().join(name), &manifest);
    assert!(run("same").outcome.is_ok());

    let files = data.sources[&Split::WeakTrain].clone();
    let table = data.root.join(files.metadata.unwrap());
    let text = fs::read_to_string(&table).unwrap();
    fs::write(&table, text + "\n").unwrap();
    let error = run("other").outcome.unwrap_err();
    assert_eq!(error.class(), FailureClass::Data);
    assert!(error.to_string().contains("weak.tsv"), "{error}");
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
    assert!(text.contains("is NaN in micro-batch 0"), "{text}");

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

    let clip = dataset::clips(&data, Split::StrongTrain, dataset::Purpose::Training).unwrap()[0]
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
