//! A plan to tasks.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::time::Duration;

use types::{
    DataSettings, Digest, EvaluateSpec, EvaluationSettings, InputRef, MelEdges, MemberName,
    ModelSettings, PredictSpec, PseudoLabelSpec, Reduction, Split, Subject, TaskGraph, TaskKind,
    TaskName, TaskNode, TaskSpec, TrainSpec, ValidationSettings,
};

use crate::estimate::Sizing;
use crate::key::material;
use crate::plan::{Member, Plan, PseudoLabels};
use crate::stage::StageSettings;

impl Plan {
    /// The tasks of the plan, each after those that it depends on. `manifest` is the digest of the data's manifest.
    /// Estimates go by the published numbers of clips and a GPU, and no external file is known; see [`Plan::graph_of`].
    #[must_use]
    pub fn graph(&self, manifest: Digest) -> TaskGraph {
        self.graph_of(manifest, &BTreeMap::new(), &Sizing::default())
    }

    /// The same tasks, with the digests of [`Plan::files`] and with estimates for this data and kind of device. A file that is
    /// not among `files` counts as one that cannot be read: no result was ever made from it, and none can be.
    #[must_use]
    pub fn graph_of(
        &self,
        manifest: Digest,
        files: &BTreeMap<PathBuf, Digest>,
        sizing: &Sizing,
    ) -> TaskGraph {
        let mut data = self.data.clone();
        data.manifest = Some(manifest);
        let mut builder = Builder {
            plan: self,
            data,
            manifest,
            files,
            sizing,
            tasks: Vec::new(),
        };
        if self.untrained {
            builder.score(0, 0);
        }
        for number in 1..=self.iterations.len() as u32 {
            builder.iteration(number);
        }
        TaskGraph {
            tasks: builder.tasks,
        }
    }

    /// The files from outside the run that its tasks read, each once: what [`Plan::graph_of`] needs the digests of.
    #[must_use]
    pub fn files(&self) -> BTreeSet<PathBuf> {
        let labels =
            self.iterations
                .iter()
                .filter_map(|iteration| match &iteration.pseudo_labels {
                    Some(PseudoLabels::Files(files)) => Some(files.values()),
                    _ => None,
                });
        let pretrained = self
            .members
            .iter()
            .filter_map(|member| member.init.as_ref());
        labels.flatten().chain(pretrained).cloned().collect()
    }

    /// Whether a later iteration learns from the labels of this one.
    fn labels(&self, number: u32) -> bool {
        self.iterations
            .iter()
            .any(|iteration| iteration.pseudo_labels == Some(PseudoLabels::Iteration(number)))
    }

    /// The network of a `train` task.
    pub(crate) fn trained(&self, number: u32, stage: u32, member: &Member) -> ModelSettings {
        let iteration = &self.iterations[number as usize - 1];
        let settings = &iteration.stages[stage as usize - 1][&member.name];
        ModelSettings {
            fpasst_mel: settings.fpasst_mel,
            embedding_pooling: settings.embedding_pooling,
            ..member.model.clone()
        }
    }

    /// The network of a `predict` task: as it was trained, unless `[predict]` says otherwise.
    fn predicted(&self, number: u32, stage: u32, member: &Member) -> ModelSettings {
        // Untrained models are scored as those that they would become.
        let mut model = self.trained(number.max(1), stage.max(1), member);
        let changed = &self.prediction;
        model.embedding_pooling = changed.embedding_pooling.unwrap_or(model.embedding_pooling);
        model.fpasst_mel = MelEdges {
            low: changed.mel_low.unwrap_or(model.fpasst_mel.low),
            high: changed.mel_high.unwrap_or(model.fpasst_mel.high),
        };
        model
    }

    fn num_shards(&self, split: Split) -> u32 {
        self.shards.get(&split).copied().unwrap_or(1)
    }

    fn scored_splits(&self) -> BTreeSet<Split> {
        self.evaluation.splits().collect()
    }

    fn train_splits(&self) -> BTreeSet<Split> {
        self.data
            .sources
            .keys()
            .copied()
            .filter(|split| split.is_train())
            .collect()
    }
}

struct Builder<'p> {
    plan: &'p Plan,
    data: DataSettings,
    manifest: Digest,
    files: &'p BTreeMap<PathBuf, Digest>,
    sizing: &'p Sizing,
    tasks: Vec<TaskNode>,
}

impl Builder<'_> {
    fn iteration(&mut self, number: u32) {
        let plan = self.plan;
        let iteration = &plan.iterations[number as usize - 1];
        for stage in [1, 2] {
            for member in &plan.members {
                let settings = &iteration.stages[stage as usize - 1][&member.name];
                self.train(
                    number,
                    stage,
                    member,
                    settings,
                    iteration.pseudo_labels.as_ref(),
                );
            }
            self.score(number, stage);
        }
        if plan.labels(number) {
            self.pseudo_label(number);
        }
    }

    fn train(
        &mut self,
        number: u32,
        stage: u32,
        member: &Member,
        settings: &StageSettings,
        labels: Option<&PseudoLabels>,
    ) {
        let mut inputs = Vec::new();
        let mut files = BTreeMap::new();
        if let Some(path) = member.init.as_deref().filter(|_| stage == 1) {
            files.insert("pretrained".to_owned(), self.digest_of(path));
        }
        if stage == 2 {
            inputs.push(input(
                "init",
                train_name(number, 1, &member.name),
                "checkpoint",
            ));
        }
        match labels.filter(|_| settings.training.loss.pseudo > 0.0) {
            Some(PseudoLabels::Iteration(from)) => inputs.push(input(
                "pseudo_labels",
                pseudo_label_name(*from),
                "pseudo_labels",
            )),
            Some(PseudoLabels::Files(paths)) => {
                files.extend(
                    paths.iter().map(|(split, path)| {
                        (format!("pseudo_labels/{split}"), self.digest_of(path))
                    }),
                );
            }
            None => {}
        }
        let sizes = settings.world_sizes();
        let fixed =
            (sizes.first().copied()).filter(|_| settings.training.reduction == Reduction::Fast);
        let spec = TrainSpec {
            seed: self.plan.seed,
            iteration: number,
            stage,
            member: member.name.clone(),
            model: self.plan.trained(number, stage, member),
            data: self.data.clone(),
            training: settings.training.clone(),
            world_size: fixed,
            validation: (self.plan.validation.clone()).map(|validation| ValidationSettings {
                keep: settings.keep,
                ..validation
            }),
            runtime: self.plan.runtime.clone(),
        };
        let estimate = self.sizing.train(&spec);
        self.push(
            train_name(number, stage, &member.name),
            sizes,
            Inputs {
                tasks: inputs,
                files,
            },
            &["checkpoint"],
            TaskSpec::Train(spec),
            estimate,
        );
    }

    /// Predictions of one stage's models, and their scores. Stage 0 of iteration 0: untrained models.
    fn score(&mut self, number: u32, stage: u32) {
        let scored = self.plan.scored_splits();
        let mut splits = scored.clone();
        if stage == 2 && self.plan.labels(number) {
            splits.extend(self.plan.train_splits());
        }
        for member in &self.plan.members {
            for split in &splits {
                for shard in 0..self.plan.num_shards(*split) {
                    self.predict(number, stage, member, *split, shard);
                }
            }
        }
        if scored.is_empty() {
            return;
        }
        let members: Vec<MemberName> = self
            .plan
            .members
            .iter()
            .map(|member| member.name.clone())
            .collect();
        for name in &members {
            self.evaluate(
                number,
                stage,
                Subject::Member(name.clone()),
                BTreeSet::from([name.clone()]),
                &scored,
            );
        }
        self.evaluate(
            number,
            stage,
            Subject::Ensemble,
            members.into_iter().collect(),
            &scored,
        );
    }

    fn predict(&mut self, number: u32, stage: u32, member: &Member, split: Split, shard: u32) {
        let inputs = if stage == 0 {
            Vec::new()
        } else {
            vec![input(
                "checkpoint",
                train_name(number, stage, &member.name),
                "checkpoint",
            )]
        };
        let spec = PredictSpec {
            seed: self.plan.seed,
            iteration: number,
            stage,
            member: member.name.clone(),
            model: self.plan.predicted(number, stage, member),
            data: self.data.clone(),
            split,
            shard,
            num_shards: self.plan.num_shards(split),
            batch_size: self.plan.batch_size,
            runtime: self.plan.runtime.clone(),
        };
        let estimate = self.sizing.predict(&spec);
        let name = predict_name(number, stage, &member.name, split, shard);
        self.push(
            name,
            vec![1],
            inputs.into(),
            &["logits"],
            TaskSpec::Predict(spec),
            estimate,
        );
    }

    fn evaluate(
        &mut self,
        number: u32,
        stage: u32,
        subject: Subject,
        members: BTreeSet<MemberName>,
        splits: &BTreeSet<Split>,
    ) {
        let shown = match &subject {
            Subject::Member(name) => name.as_str(),
            Subject::Ensemble => "ensemble",
        };
        let name = task_name(format!("i{number}.s{stage}.{shown}.evaluate"));
        let inputs = self.logits(number, stage, &members, splits);
        let shards: BTreeMap<Split, u32> = splits
            .iter()
            .map(|split| (*split, self.plan.num_shards(*split)))
            .collect();
        let estimate = self.sizing.arithmetic(splits, members.len());
        // Clips are looked at for the ensemble alone.
        let clips = match (&subject, self.plan.evaluation.desed) {
            (Subject::Ensemble, Some(_)) => self.plan.evaluation.clips,
            _ => 0,
        };
        let outputs: &[&str] = if clips > 0 {
            &["scores", "clips"]
        } else {
            &["scores"]
        };
        let spec = EvaluateSpec {
            seed: self.plan.seed,
            iteration: number,
            stage,
            subject,
            members,
            data: self.data.clone(),
            evaluation: EvaluationSettings {
                clips,
                ..self.plan.evaluation.clone()
            },
            shards,
        };
        self.push(
            name,
            vec![1],
            inputs.into(),
            outputs,
            TaskSpec::Evaluate(spec),
            estimate,
        );
    }

    fn pseudo_label(&mut self, number: u32) {
        let splits = self.plan.train_splits();
        let members: BTreeSet<MemberName> = self
            .plan
            .members
            .iter()
            .map(|member| member.name.clone())
            .collect();
        let inputs = self.logits(number, 2, &members, &splits);
        let estimate = self.sizing.arithmetic(&splits, members.len());
        let spec = PseudoLabelSpec {
            iteration: number,
            members,
            splits: splits
                .iter()
                .map(|split| (*split, self.plan.num_shards(*split)))
                .collect(),
        };
        self.push(
            pseudo_label_name(number),
            vec![1],
            inputs.into(),
            &["pseudo_labels"],
            TaskSpec::PseudoLabel(spec),
            estimate,
        );
    }

    fn logits(
        &self,
        number: u32,
        stage: u32,
        members: &BTreeSet<MemberName>,
        splits: &BTreeSet<Split>,
    ) -> Vec<InputRef> {
        let mut inputs = Vec::new();
        for member in members {
            for split in splits {
                for shard in 0..self.plan.num_shards(*split) {
                    let task = predict_name(number, stage, member, *split, shard);
                    inputs.push(input(
                        &format!("logits/{member}/{split}/{shard}"),
                        task,
                        "logits",
                    ));
                }
            }
        }
        inputs
    }

    fn digest_of(&self, path: &Path) -> Digest {
        self.files
            .get(path)
            .copied()
            .unwrap_or_else(|| Digest::of(b"a file that cannot be read"))
    }

    fn push(
        &mut self,
        name: TaskName,
        world_sizes: Vec<u32>,
        mut inputs: Inputs,
        outputs: &[&str],
        spec: TaskSpec,
        estimate: Duration,
    ) {
        inputs.tasks.sort_by(|a, b| a.role.cmp(&b.role));
        let kind: TaskKind = spec.kind();
        let written = serde_json::to_string(&spec)
            .and_then(|json| Ok((json, material(&spec, &self.manifest)?)));
        let (json, material) =
            written.expect("a plan's paths are UTF-8: `resolve` checks the only one from outside");
        self.tasks.push(TaskNode {
            name,
            kind,
            world_sizes,
            inputs: inputs.tasks,
            files: inputs.files,
            outputs: outputs.iter().map(|&name| name.to_owned()).collect(),
            material,
            spec: json.into(),
            estimate,
            keep_checkpoints: self.plan.runtime.keep_checkpoints,
        });
    }
}

/// What a task reads.
struct Inputs {
    tasks: Vec<InputRef>,
    files: BTreeMap<String, Digest>,
}

impl From<Vec<InputRef>> for Inputs {
    fn from(tasks: Vec<InputRef>) -> Self {
        Self {
            tasks,
            files: BTreeMap::new(),
        }
    }
}

fn input(role: &str, task: TaskName, output: &str) -> InputRef {
    InputRef {
        role: role.to_owned(),
        task,
        output: output.to_owned(),
    }
}

fn task_name(text: String) -> TaskName {
    TaskName::new(text).expect("made of checked names of at most 60 characters")
}

pub(crate) fn train_name(number: u32, stage: u32, member: &MemberName) -> TaskName {
    task_name(format!("i{number}.s{stage}.{member}.train"))
}

fn predict_name(
    number: u32,
    stage: u32,
    member: &MemberName,
    split: Split,
    shard: u32,
) -> TaskName {
    task_name(format!(
        "i{number}.s{stage}.{member}.predict.{split}.{shard}"
    ))
}

fn pseudo_label_name(number: u32) -> TaskName {
    task_name(format!("i{number}.pseudo_label"))
}
