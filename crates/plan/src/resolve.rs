//! Drafts to a plan: layers in their order, the last one wins.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::path::{Component, Path, PathBuf};

use toml::Spanned;
use toml::de::DeTable;
use types::{DataSettings, Keep, Split, SplitFiles};

use crate::plan::{Iteration, Member, Plan, PseudoLabels};
use crate::problem::{Problem, suggest};
use crate::read::{self, IterationDraft, MemberDraft, Stages, has};
use crate::setting::IterationRef;
use crate::settings::{PLAN, PlanSettings};
use crate::stage::{StageSettings, published_model};
use crate::walk::{Origins, walk};
use crate::{check, files};

/// Turns a document into a plan. `complete` is whether the text parsed without errors; if it did not, what seems to be
/// missing may only be unreadable, so only problems of single values are reported.
pub(crate) fn resolve(
    root: &Spanned<DeTable<'_>>,
    text: &str,
    path: &Path,
    check_files: bool,
    complete: bool,
    problems: &mut Vec<Problem>,
) -> Option<Plan> {
    let table = root.get_ref();
    let mut settings = PlanSettings::default();
    let mut origins = Origins::new();
    let others = ["defaults", "member", "iteration"];
    walk(table, "", PLAN, &others, &mut settings.clone(), problems)
        .apply(&mut settings, &mut origins);
    let defaults = read::defaults(table, problems);
    let drafts = read::members(table, complete, problems);
    let names: Vec<&str> = drafts.iter().map(|draft| draft.name.as_str()).collect();
    let rounds = read::iterations(table, complete, &names, problems);
    if !complete {
        return None;
    }

    check::plan_settings(&settings, &origins, table, problems);
    if drafts.is_empty() && !has(table, "member") {
        let example = "[[member]]\nname = \"atst\"\narch = \"atst_frame\"";
        problems.push(check::missing(0..0, "[[member]]", example));
    }
    if rounds.is_empty() && !has(table, "iteration") {
        problems.push(check::missing(0..0, "[[iteration]]", "[[iteration]]"));
    }
    check::member_names(&drafts, problems);
    check::iteration_names(&rounds, problems);
    if !check::size(&settings, &origins, &drafts, &rounds, problems) {
        return None;
    }
    let folder = path.parent().unwrap_or(Path::new(""));
    let networks: Vec<Network> = drafts
        .iter()
        .map(|draft| Network::of(draft, &defaults, folder, problems))
        .collect();
    let mut whole = Whole {
        settings: &settings,
        defaults: &defaults.stages,
        drafts: &drafts,
        rounds: &rounds,
        networks: &networks,
        folder,
        problems,
    };
    let iterations: Vec<Iteration> = (1..=rounds.len() as u32)
        .map(|number| whole.iteration(number))
        .collect();

    let mut data = data_settings(&settings, folder);
    let convolves = |stage: &StageSettings| stage.training.augmentation.impulse_probability > 0.0;
    let mut stages = iterations.iter().flat_map(|iteration| &iteration.stages);
    if stages.any(|members| members.values().any(convolves)) {
        data.impulse_responses = Some(settings.impulse_responses.clone());
    }
    if data.root.to_str().is_none() {
        let problem = Problem::of_file("the data folder's path is not UTF-8");
        problems.push(problem.hint("move the plan to a folder with a UTF-8 name"));
    }
    if check_files && origins.contains_key("data.root") {
        files::check(&data, &origins, problems);
    }
    if check_files {
        files::check_external(&drafts, &networks, &rounds, &iterations, problems);
    }
    let validation = settings.validation();
    problems.is_empty().then(|| Plan {
        name: settings.name,
        seed: settings.seed,
        notice: (!settings.notice.is_empty()).then_some(settings.notice),
        text: text.into(),
        path: path.to_owned(),
        data,
        evaluation: settings.evaluation,
        validation,
        untrained: settings.untrained,
        batch_size: settings.batch_size,
        prediction: settings.prediction,
        shards: settings.shards,
        runtime: settings.runtime,
        members: networks.into_iter().map(|network| network.member).collect(),
        iterations,
    })
}

/// A member, and what its stages need to know of how it was written.
pub(crate) struct Network {
    pub(crate) member: Member,
    /// The plan says how embeddings are pooled, so that no preset does.
    pooling_given: bool,
}

impl Network {
    fn of(
        draft: &MemberDraft<'_>,
        defaults: &read::Defaults<'_>,
        folder: &Path,
        problems: &mut Vec<Problem>,
    ) -> Self {
        let mut model = published_model(draft.head.architecture);
        let mut origins = Origins::new();
        defaults.model.apply(&mut model, &mut origins);
        draft.model.apply(&mut model, &mut origins);
        model.init_seed = draft.head.seed;
        check::model(&model, &draft.header, &origins, problems);
        Self {
            member: Member {
                name: draft.name.clone(),
                model,
                init: draft.head.init.as_ref().map(|path| join(folder, path)),
            },
            pooling_given: origins.contains_key("embedding_pooling"),
        }
    }
}

/// What an iteration is put together from.
struct Whole<'p, 'a> {
    settings: &'p PlanSettings,
    defaults: &'p Stages<'a>,
    drafts: &'p [MemberDraft<'a>],
    rounds: &'p [IterationDraft<'a>],
    networks: &'p [Network],
    folder: &'p Path,
    problems: &'p mut Vec<Problem>,
}

impl Whole<'_, '_> {
    fn iteration(&mut self, number: u32) -> Iteration {
        let round = &self.rounds[number as usize - 1];
        let labels = self.pseudo_labels(number, round);
        let mut stages = [BTreeMap::new(), BTreeMap::new()];
        for (draft, network) in self.drafts.iter().zip(self.networks) {
            for (stage, resolved) in (1..).zip(&mut stages) {
                let value = self.stage(number, stage, draft, network, labels == Labels::None);
                resolved.insert(draft.name.clone(), value);
            }
        }
        let weights = stages
            .iter()
            .flat_map(BTreeMap::values)
            .any(|stage| stage.training.loss.pseudo > 0.0);
        if labels != Labels::None && !weights && !self.drafts.is_empty() {
            let span = round
                .origins
                .get("pseudo_labels")
                .unwrap_or(&round.header)
                .clone();
            self.problems
                .push(check::labels_without_weight(span, number));
        }
        let pseudo_labels = match labels {
            Labels::From(labels) => Some(labels),
            Labels::None | Labels::Broken => None,
        };
        let name = Some(round.head.name.clone()).filter(|name| !name.is_empty());
        Iteration {
            name,
            pseudo_labels,
            stages,
        }
    }

    fn pseudo_labels(&mut self, number: u32, round: &IterationDraft<'_>) -> Labels {
        let Some(span) = round.origins.get("pseudo_labels").cloned() else {
            return Labels::None;
        };
        match &round.head.pseudo_labels {
            IterationRef::None => Labels::None,
            IterationRef::Files(files) => {
                let splits = &self.settings.splits;
                if check::label_files(files, splits, &span, &round.origins, self.problems) {
                    let files = files
                        .iter()
                        .map(|(split, path)| (*split, join(self.folder, path)));
                    Labels::From(PseudoLabels::Files(files.collect()))
                } else {
                    Labels::Broken
                }
            }
            reference => source_of_labels(number, reference, span, self.rounds, self.problems)
                .map_or(Labels::Broken, |from| {
                    Labels::From(PseudoLabels::Iteration(from))
                }),
        }
    }

    fn stage(
        &mut self,
        number: u32,
        stage: u32,
        draft: &MemberDraft<'_>,
        network: &Network,
        unlabelled: bool,
    ) -> StageSettings {
        let round = &self.rounds[number as usize - 1];
        let own = round
            .members
            .iter()
            .find(|(name, _)| name == &draft.name)
            .map(|(_, stages)| stages);
        let index = stage as usize - 1;
        let mut value = StageSettings::of_preset(round.head.preset, draft.head.architecture, stage);
        if network.pooling_given {
            value.embedding_pooling = network.member.model.embedding_pooling;
        }
        let mut origins = Origins::new();
        let layers = [
            Some(self.defaults),
            Some(&draft.stages),
            Some(&round.stages),
            own,
        ];
        for layer in layers.into_iter().flatten() {
            layer.0[index].apply(&mut value, &mut origins);
        }
        if unlabelled {
            // Weights for all iterations are meant for those that have labels; one that is written for this iteration
            // cannot be meant.
            let here = [own, Some(&round.stages)]
                .into_iter()
                .flatten()
                .find_map(|layer| layer.0[index].origin("loss.pseudo"));
            if let Some(span) = here.filter(|_| value.training.loss.pseudo > 0.0) {
                self.problems
                    .push(check::weight_without_labels(span, number, &round.header));
            }
            value.training.loss.pseudo = 0.0;
        }
        if let Some(span) = origins
            .get("keep")
            .filter(|_| value.keep == Keep::Best && self.settings.validation().is_none())
        {
            self.problems.push(check::best_of_nothing(span.clone()));
        }
        let place = check::Place {
            number,
            stage,
            member: &draft.name,
            header: &draft.header,
        };
        check::stage(
            &place,
            &value,
            &origins,
            &self.settings.splits,
            self.problems,
        );
        value
    }
}

#[derive(PartialEq, Eq)]
enum Labels {
    None,
    From(PseudoLabels),
    /// Asked for, but not to be had; reported.
    Broken,
}

/// The iteration that another one's labels come from; none if it is not to be had, which is reported.
fn source_of_labels(
    number: u32,
    reference: &IterationRef,
    span: Range<usize>,
    rounds: &[IterationDraft<'_>],
    problems: &mut Vec<Problem>,
) -> Option<u32> {
    let target = match reference {
        IterationRef::None | IterationRef::Files(_) => return None,
        IterationRef::Previous if number == 1 => {
            problems.push(
                Problem::new(span, "iteration 1 has no previous iteration")
                    .label("refers to nothing")
                    .hint("leave `pseudo_labels` out of the first iteration"),
            );
            return None;
        }
        IterationRef::Previous => number - 1,
        IterationRef::Number(wanted) => match u32::try_from(*wanted)
            .ok()
            .filter(|n| (1..=rounds.len()).contains(&(*n as usize)))
        {
            Some(found) => found,
            None => {
                problems.push(
                    Problem::new(span, format!("there is no iteration {wanted}"))
                        .label(format!("the plan has iterations 1 to {}", rounds.len())),
                );
                return None;
            }
        },
        IterationRef::Name(wanted) => {
            match rounds.iter().position(|round| &round.head.name == wanted) {
                Some(index) => index as u32 + 1,
                None => {
                    let names: Vec<&str> = rounds
                        .iter()
                        .map(|round| round.head.name.as_str())
                        .filter(|name| !name.is_empty())
                        .chain(["previous", "none"])
                        .collect();
                    problems.push(
                        Problem::new(span, format!("unknown iteration `{wanted}`"))
                            .label("no `[[iteration]]` has this name")
                            .hint(suggest(wanted, "known", names)),
                    );
                    return None;
                }
            }
        }
    };
    if target < number {
        return Some(target);
    }
    let way = if target == number {
        "labels for itself".to_owned()
    } else {
        format!("labels from iteration {target}, which runs later")
    };
    problems.push(
        Problem::new(span, format!("cycle: iteration {number} would need {way}"))
            .label("must be an earlier iteration")
            .hint(match number {
                1 => "leave `pseudo_labels` out of the first iteration".to_owned(),
                2 => "write \"previous\"".to_owned(),
                _ => format!("write \"previous\", or a number from 1 to {}", number - 1),
            }),
    );
    None
}

/// Files of the splits in use: those of the training and those that are scored, while a model trains or afterwards.
fn data_settings(settings: &PlanSettings, folder: &Path) -> DataSettings {
    let in_use: BTreeSet<Split> = settings
        .splits
        .iter()
        .copied()
        .chain(settings.evaluation.splits())
        .chain(settings.validated_splits())
        .collect();
    let sources = in_use
        .iter()
        .map(|split| {
            let standard = split.standard_files();
            let own = settings.files.get(split).cloned().unwrap_or_default();
            let files = SplitFiles {
                audio: own.audio.unwrap_or(standard.audio),
                metadata: own.metadata.or(standard.metadata),
                durations: own.durations.or(standard.durations),
            };
            (*split, files)
        })
        .collect();
    let exclude = settings
        .exclude
        .iter()
        .filter(|(split, _)| in_use.contains(split));
    DataSettings {
        root: join(folder, &settings.root),
        sources,
        exclude: exclude
            .map(|(split, path)| (*split, path.clone()))
            .collect(),
        impulse_responses: None,
        manifest: None,
    }
}

/// `folder/path` without `.` parts, so that messages read well.
fn join(folder: &Path, path: &Path) -> PathBuf {
    folder
        .join(path)
        .components()
        .filter(|part| !matches!(part, Component::CurDir))
        .collect()
}
