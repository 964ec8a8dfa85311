//! The same bytes whatever the size of the gang, interrupted or not (ARCHITECTURE.md, "Sameness").
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod support;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use dataset::synthetic::{self, Sizes};
use support::{rank_process, run_gang_part, run_solo, train_spec};
use types::{
    AugmentationSettings, DataSettings, Digest, FailureClass, Keep, MicrobatchSizes, Reduction,
    Split, TaskSpec, TrainSpec, ValidationSettings,
};

/// A rank when started by [`run_gang_part`].
#[test]
fn as_rank() {
    rank_process();
}

/// `weak` clips of every kind or more; nine in ten of the weak ones are learned from, and make an epoch.
fn data(folder: &Path, weak: usize) -> DataSettings {
    let sizes = Sizes {
        maestro_train_scenes: 5,
        recording_seconds: 10 + weak / 4,
        strong: weak,
        synth: weak,
        weak,
        unlabeled: weak,
        ..Sizes::default()
    };
    synthetic::write(&folder.join("data"), &sizes, 11).unwrap()
}

/// A micro-batch has one clip of each kind. Dropout, mixing, masks, and a validation after each epoch.
fn spec(data: &DataSettings, stage: u32, microbatches_per_step: u32) -> TrainSpec {
    let mut spec = train_spec(data, stage, 2);
    spec.training.microbatch = MicrobatchSizes {
        maestro: 1,
        strong: 1,
        synth: 1,
        weak: 1,
        unlabeled: 1,
    };
    spec.training.microbatches_per_step = microbatches_per_step;
    spec.training.augmentation = AugmentationSettings {
        wavmix_probability: 0.5,
        gain_db: 3,
        mixup_probability: 0.5,
        mixstyle_probability: 0.5,
        time_mask: true,
        ..AugmentationSettings::OFF
    };
    let names = |list: &[&str]| list.iter().map(|name| (*name).to_owned()).collect();
    spec.validation = Some(ValidationSettings {
        every_epochs: 1,
        desed: [Split::SynthValidation].into(),
        maestro: true,
        desed_classes: names(types::desed_classes()),
        maestro_classes: names(&types::MAESTRO_EVALUATED),
        batch_size: 2,
        // so that the optimizer's state is compared too
        keep: if stage == 1 { Keep::Last } else { Keep::Best },
    });
    spec.runtime.checkpoint_every_steps = 1;
    spec
}

fn digest(path: &Path) -> Digest {
    Digest::of(&fs::read(path).unwrap())
}

/// One task in gangs of different sizes.
struct Gangs<'a> {
    spec: TaskSpec,
    folder: PathBuf,
    inputs: &'a BTreeMap<String, PathBuf>,
}

impl Gangs<'_> {
    /// One attempt, in a folder of its own; `stop`: in which of its steps. Returns the folder of rank 0.
    fn attempt(&self, size: usize, resume: Option<&Path>, stop: Option<u64>) -> PathBuf {
        let from = resume.map_or_else(String::new, |path| {
            format!(".{}", path.file_stem().unwrap().display())
        });
        let until = stop.map_or_else(String::new, |step| format!(".stop{step}"));
        let folder = self.folder.join(format!("{size}{from}{until}"));
        let inputs = self.inputs;
        run_gang_part("as_rank", &self.spec, &folder, inputs, size, resume, stop).1
    }

    fn result(&self, size: usize, resume: Option<&Path>) -> PathBuf {
        let rank0 = self.attempt(size, resume, None);
        rank0.join("scratch/checkpoint.safetensors")
    }
}

/// Both stages with 4 micro-batches in a step and 7 in an epoch, so that rank 3 has nothing to do in every other step.
#[test]
fn gangs_of_1_2_and_4_end_in_the_same_bytes() {
    let folder = tempfile::tempdir().unwrap();
    let data = data(folder.path(), 8);
    let mut inputs = BTreeMap::new();
    for stage in [1, 2] {
        let gangs = Gangs {
            spec: TaskSpec::Train(spec(&data, stage, 4)),
            folder: folder.path().join(format!("stage{stage}")),
            inputs: &inputs,
        };
        let alone = gangs.result(1, None);
        let expected = digest(&alone);
        // a rank without any group is a gang of one as well
        let solo = run_solo(&gangs.spec, &gangs.folder.join("solo"), &inputs, None, None);
        assert_eq!(digest(&solo.output("checkpoint")), expected, "solo");
        assert_eq!(solo.host.losses().len(), 4);
        // every checkpoint on the way as well, whoever wrote it
        let rank0 = gangs.folder.join("1/rank0");
        let steps = [1, 2, 3].map(|step| format!("step{step}.safetensors"));
        for size in [2, 4] {
            let result = gangs.result(size, None);
            assert_eq!(digest(&result), expected, "stage {stage}, {size} ranks");
            let other = gangs.folder.join(format!("{size}/rank0"));
            for step in &steps {
                let (one, two) = (rank0.join(step), other.join(step));
                assert_eq!(digest(&one), digest(&two), "{step}, {size} ranks");
            }
        }
        // 4 → 2 → 4, and from every step on with another size
        let four = gangs.attempt(4, None, Some(1)).join(&steps[0]);
        let two = gangs.attempt(2, Some(&four), Some(1)).join(&steps[1]);
        let four = gangs.result(4, Some(&two));
        assert_eq!(digest(&four), expected, "stage {stage}, 4 → 2 → 4");
        let later = gangs.result(1, Some(&gangs.folder.join("2/rank0").join(&steps[2])));
        assert_eq!(digest(&later), expected, "stage {stage}, 2 → 1");
        inputs = BTreeMap::from([("init".to_owned(), alone)]);
    }
}

/// Blocks of 12, 6 and 3, full in one step and cut in the next.
#[test]
fn twelve_micro_batches_end_in_the_same_bytes() {
    let folder = tempfile::tempdir().unwrap();
    let data = data(folder.path(), 16);
    let mut spec = spec(&data, 1, 12);
    spec.training.epochs = 1;
    spec.validation = None;
    let inputs = BTreeMap::new();
    let gangs = Gangs {
        spec: TaskSpec::Train(spec.clone()),
        folder: folder.path().join("gangs"),
        inputs: &inputs,
    };
    let expected = digest(&gangs.result(1, None));
    for size in [2, 4] {
        assert_eq!(digest(&gangs.result(size, None)), expected, "{size} ranks");
    }
    // on this data another order of summation shows
    spec.training.reduction = Reduction::Fast;
    spec.world_size = Some(1);
    let fast = TaskSpec::Train(spec);
    let fast = run_solo(&fast, &folder.path().join("fast"), &inputs, None, None);
    assert_ne!(digest(&fast.output("checkpoint")), expected);
}

/// The ring of three adds in an order that the layout of the messages decides, which must be the same after a resume.
#[test]
fn a_fast_gang_of_three_resumes_in_the_same_bytes() {
    let folder = tempfile::tempdir().unwrap();
    let data = data(folder.path(), 8);
    let mut spec = spec(&data, 1, 3);
    spec.training.reduction = Reduction::Fast;
    spec.world_size = Some(3);
    let inputs = BTreeMap::new();
    let gangs = Gangs {
        spec: TaskSpec::Train(spec),
        folder: folder.path().join("gangs"),
        inputs: &inputs,
    };
    let expected = digest(&gangs.result(3, None));
    for step in [1, 3] {
        let from = gangs.folder.join(format!("3/rank0/step{step}.safetensors"));
        let resumed = gangs.result(3, Some(&from));
        assert_eq!(digest(&resumed), expected, "resumed at {step}");
    }
    // a gang of another size would come to another result
    let alone = run_solo(
        &gangs.spec,
        &folder.path().join("solo"),
        &inputs,
        None,
        None,
    );
    let error = alone.outcome.unwrap_err();
    assert_eq!(error.class(), FailureClass::Configuration);
    assert!(
        error.to_string().contains("expected a gang of [3]"),
        "{error}"
    );
}
