//! Runs with every random change switched on, interrupted and resumed, for each architecture (ARCHITECTURE.md, "Sameness").
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod support;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use support::{data, run_solo, train_spec};
use train::Outcome;
use types::{
    Architecture, AugmentationSettings, BeatsSettings, DataSettings, MelEdges, TaskSpec, TrainSpec,
    WavmixTarget,
};

#[test]
fn atst_frame_resumes_in_the_same_bytes() {
    resumes(Architecture::AtstFrame);
}

#[test]
fn fpasst_resumes_in_the_same_bytes() {
    resumes(Architecture::Fpasst);
}

#[test]
fn beats_resumes_in_the_same_bytes() {
    resumes(Architecture::Beats);
}

/// Both stages of one architecture, stage 2 from what stage 1 gave.
fn resumes(architecture: Architecture) {
    let folder = tempfile::tempdir().unwrap();
    let mut data = data(folder.path());
    write_responses(&mut data);
    let mut inputs = BTreeMap::new();
    for stage in [1, 2] {
        let spec = everything_on(&data, architecture, stage);
        let name = format!("stage{stage}");
        let checkpoint = resumes_at_every_step(spec, &folder.path().join(name), &inputs);
        inputs.insert("init".to_owned(), checkpoint);
    }
}

/// Runs four steps at once, and again from a checkpoint after each of the first three; returns the whole run's checkpoint.
fn resumes_at_every_step(
    mut spec: TrainSpec,
    folder: &Path,
    inputs: &BTreeMap<String, PathBuf>,
) -> PathBuf {
    let task = TaskSpec::Train(spec.clone());
    let whole = run_solo(&task, &folder.join("whole"), inputs, None, None);
    let checkpoint = whole.output("checkpoint");
    assert_eq!(whole.host.losses().len(), 4);
    assert!(whole.host.losses().iter().all(|loss| loss.is_finite()));

    spec.runtime.checkpoint_every_steps = 1;
    spec.runtime.prefetch_threads = 2;
    let task = TaskSpec::Train(spec);
    let first = run_solo(&task, &folder.join("first"), inputs, None, Some(3));
    assert_eq!(first.outcome.unwrap(), Outcome::Stopped);
    let steps: Vec<u64> = first
        .host
        .checkpoints
        .iter()
        .map(|(step, _)| *step)
        .collect();
    assert_eq!(steps, [1, 2, 3]);

    for (step, path) in &first.host.checkpoints {
        let rest = folder.join(format!("from{step}"));
        let rest = run_solo(&task, &rest, inputs, Some(path), None);
        let done = usize::try_from(*step).unwrap();
        assert_eq!(rest.host.losses(), whole.host.losses()[done..]);
        assert!(
            fs::read(rest.output("checkpoint")).unwrap() == fs::read(&checkpoint).unwrap(),
            "the checkpoint of a run resumed at step {step} differs"
        );
    }
    checkpoint
}

/// Four steps in which every change happens, some of them always and some by chance.
fn everything_on(data: &DataSettings, architecture: Architecture, stage: u32) -> TrainSpec {
    let mut spec = train_spec(data, stage, 2);
    spec.model.architecture = architecture;
    spec.model.transformer.depth = 2;
    spec.model.fpasst_mel = MelEdges {
        low: 10,
        high: 2000,
    };
    spec.model.beats = BeatsSettings {
        patch_dim: 8,
        position_kernel: 8,
        position_groups: 2,
        layerdrop: 0.5,
        ..BeatsSettings::PUBLISHED
    };
    spec.training.transformer_train_mode = true;
    spec.training.augmentation = AugmentationSettings {
        wavmix_probability: 0.5,
        wavmix_target: WavmixTarget::All,
        impulse_probability: 0.5,
        gain_db: 6,
        mixup_probability: 0.5,
        joint_maestro: stage == 1,
        mixstyle_probability: 0.5,
        filter_probability: 0.8,
        time_mask: true,
        time_shift: 0.075,
        warp_probability: 0.5,
        warp_maestro: true,
        ..AugmentationSettings::OFF
    };
    spec
}

/// Two impulse responses in the data folder.
fn write_responses(data: &mut DataSettings) {
    let folder = data.root.join("dirs");
    fs::create_dir_all(folder.join("phone")).unwrap();
    for (name, response) in [
        ("a.wav", [0.5_f32, 0.25, 0.125].as_slice()),
        ("phone/b.wav", [0.0, 0.7, -0.3, 0.1].as_slice()),
    ] {
        audio::write_wav_i16(&folder.join(name), response, dataset::SAMPLE_RATE).unwrap();
    }
    data.impulse_responses = Some("dirs".into());
}
