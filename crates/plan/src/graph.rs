//! A plan to tasks.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use types::{
    DataSettings, Digest, EvaluateSpec, InputRef, MemberName, PredictSpec, PseudoLabelSpec, Split,
    Subject, TaskGraph, TaskKind, TaskName, TaskNode, TaskSpec, TrainSpec,
};

use crate::estimate::Sizing;
use crate::key::material;
use crate::plan::{Member, Plan};
use crate::stage::StageSettings;
use crate::world::world_sizes;

impl Plan {
    /// The tasks of the plan, each after those that it depends on. `manifest` is the digest of the data's manifest.
    /// Estimates go by the published numbers of clips and a GPU; see [`Plan::graph_sized`].
    #[must_use]
    pub fn graph(&self, manifest: Digest) -> TaskGraph {
        self.graph_sized(manifest, &Sizing::default())
    }

    /// The same tasks, with estimates for this data and kind of device.
    #[must_use]
    pub fn graph_sized(&self, manifest: Digest, sizing: &Sizing) -> TaskGraph {
        let mut data = self.data.clone();
        data.manifest = Some(manifest);
        let mut builder = Builder {
            plan: self,
            data,
            manifest,
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

    /// Whether a later iteration learns from the labels of this one.
    fn labels(&self, number: u32) -> bool {
        self.iterations
            .iter()
            .any(|iteration| iteration.pseudo_labels == Some(number))
    }

    fn num_shards(&self, split: Split) -> u32 {
        self.shards.get(&split).copied().unwrap_or(1)
    }

    fn scored_splits(&self) -> BTreeSet<Split> {
        [self.evaluation.desed, self.evaluation.maestro]
            .into_iter()
            .flatten()
            .collect()
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
                self.train(number, stage, member, settings, iteration.pseudo_labels);
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
        labels: Option<u32>,
    ) {
        let mut inputs = Vec::new();
        if stage == 2 {
            inputs.push(input(
                "init",
                train_name(number, 1, &member.name),
                "checkpoint",
            ));
        }
        if let Some(from) = labels.filter(|_| settings.training.loss.pseudo > 0.0) {
            inputs.push(input(
                "pseudo_labels",
                pseudo_label_name(from),
                "pseudo_labels",
            ));
        }
        let bounds = settings.gpus;
        let mut sizes = world_sizes(settings.training.microbatches_per_step);
        sizes.retain(|size| (bounds.min..=bounds.max).contains(size));
        let spec = TrainSpec {
            seed: self.plan.seed,
            iteration: number,
            stage,
            member: member.name.clone(),
            model: member.model.clone(),
            data: self.data.clone(),
            training: settings.training.clone(),
            runtime: self.plan.runtime.clone(),
        };
        let estimate = self.sizing.train(&spec);
        self.push(
            train_name(number, stage, &member.name),
            sizes,
            inputs,
            "checkpoint",
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
            model: member.model.clone(),
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
            inputs,
            "logits",
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
        let spec = EvaluateSpec {
            iteration: number,
            stage,
            subject,
            members,
            data: self.data.clone(),
            evaluation: self.plan.evaluation.clone(),
            shards,
        };
        self.push(
            name,
            vec![1],
            inputs,
            "scores",
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
            inputs,
            "pseudo_labels",
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

    fn push(
        &mut self,
        name: TaskName,
        world_sizes: Vec<u32>,
        mut inputs: Vec<InputRef>,
        output: &str,
        spec: TaskSpec,
        estimate: Duration,
    ) {
        inputs.sort_by(|a, b| a.role.cmp(&b.role));
        let kind: TaskKind = spec.kind();
        let written = serde_json::to_string(&spec)
            .and_then(|json| Ok((json, material(&spec, &self.manifest)?)));
        let (json, material) =
            written.expect("a plan's paths are UTF-8: `resolve` checks the only one from outside");
        self.tasks.push(TaskNode {
            name,
            kind,
            world_sizes,
            inputs,
            outputs: vec![output.to_owned()],
            material,
            spec: json.into(),
            estimate,
        });
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

fn train_name(number: u32, stage: u32, member: &MemberName) -> TaskName {
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
